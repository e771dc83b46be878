// The dialog about the links to a conversation: making, copying and revoking them.
import { call, Refusal } from "../api.js";
import { installCopyButton } from "../copy-button.js";
import { byId, fromTemplate, part } from "../dom.js";
import { pageLanguage, text } from "../translations.js";
/** @import { Id, Share } from "../types.js" */

const dialog = byId("share-dialog", HTMLDialogElement);
const list = part(dialog, "list");
const days = byId("share-days", HTMLSelectElement);
const createButton = part(dialog, "create", HTMLButtonElement);

/** @type {{ conversation: Id, leaf: Id | null }} */
let place;

/** Resolves when the links are listed. A new one is made after that, so that it is not listed twice. */
let listing = Promise.resolve();

/**
 * Runs an action, and shows why the server refused it.
 * @param {() => Promise<void>} action
 */
async function attempt(action) {
  const error = part(dialog, "error");
  error.hidden = true;
  try {
    await action();
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    error.textContent = refusal.message;
    error.hidden = false;
  }
}

const showWhetherThereAreLinks = () => (part(dialog, "links").hidden = !list.children.length);

/** @param {Share} share */
function describeTimes({ created_at: made, expires_at: end }) {
  const format = new Intl.DateTimeFormat(pageLanguage(), { dateStyle: "medium" });
  const date = format.format(made ? new Date(made) : new Date());
  return end ? text("shareMadeUntil", { date, end: format.format(new Date(end)) }) : text("shareMade", { date });
}

/** @param {Share} share */
function createRow(share) {
  const row = fromTemplate("share-link-template");
  const field = part(row, "url", HTMLInputElement);
  field.value = share.url;
  field.addEventListener("focus", () => field.select());
  part(row, "times").textContent = describeTimes(share);
  installCopyButton(part(row, "copy"), () => share.url);
  part(row, "revoke").addEventListener("click", () =>
    attempt(async () => {
      await call("DELETE", `/api/shares/${share.id}/`);
      row.remove();
      showWhetherThereAreLinks();
      createButton.focus();
    }),
  );
  return row;
}

async function createLink() {
  createButton.disabled = true;
  await listing;
  await attempt(async () => {
    const { conversation, leaf } = place;
    const body = { ...(days.value && { expires_in_days: Number(days.value) }), ...(leaf && { message: Number(leaf) }) };
    /** @type {Share} */
    const share = await call("POST", `/api/conversations/${conversation}/share/`, body);
    const row = createRow(share);
    list.prepend(row);
    showWhetherThereAreLinks();
    part(row, "url").focus();
  });
  createButton.disabled = false;
}

createButton.addEventListener("click", createLink);

/**
 * Opens the dialog with the links that the conversation has.
 * @param {Id} conversation
 * @param {Id | null} leaf the last message of the shown branch
 */
export async function openShareDialog(conversation, leaf) {
  const opened = { conversation, leaf };
  place = opened;
  list.replaceChildren();
  showWhetherThereAreLinks();
  dialog.showModal();
  createButton.focus();
  listing = attempt(async () => {
    /** @type {Share[]} */
    const shares = await call("GET", "/api/shares/");
    if (place !== opened) return; // opened again meanwhile
    const rows = shares.filter((share) => String(share.conversation) === String(conversation)).map(createRow);
    list.append(...rows);
    showWhetherThereAreLinks();
  });
  await listing;
}

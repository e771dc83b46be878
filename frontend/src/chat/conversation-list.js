// The list of conversations: the one that just began, older ones, search, the archive, and what can be done with each.
import { call, Refusal } from "../api.js";
import { text } from "../translations.js";

const PAUSE_BEFORE_SEARCH_MS = 250;

const list = document.getElementById("conversations");
const older = document.getElementById("older");
const search = document.getElementById("search");
const archive = document.getElementById("show-archived");
const nothing = document.getElementById("nothing-found");
const archivedNote = document.getElementById("archived-note");
const titleShown = document.getElementById("title");
const menu = document.getElementById("conversation-menu");
const renaming = document.getElementById("rename-dialog");
const deleting = document.getElementById("delete-dialog");

let current = null;
/** A fragment with the rows of the list while found or archived ones are shown in their place. */
let setAside = null;
/** Where the rows after those in the list are; of the list itself only that there may be some is known at first. */
let next = older.hidden ? null : "/api/conversations/";
let nextSetAside = null;
/** The row whose menu is open. */
let chosen = null;

const known = (id) => list.querySelector(`[data-id="${CSS.escape(id)}"]`);
/** The rows of the conversation that `node` is a row of: in the list, and among search results. */
const rowsOf = ({ dataset: { id } }) =>
  [list, setAside].flatMap((rows) => [...(rows?.querySelectorAll(`[data-id="${CSS.escape(id)}"]`) ?? [])]);
const titleOf = (node) => node.querySelector("a > span").textContent;

function row({ id, title, pinned }) {
  const node = document.getElementById("conversation-template").content.firstElementChild.cloneNode(true);
  node.dataset.id = id;
  node.classList.toggle("pinned", pinned);
  const link = node.querySelector("a");
  link.href = `/c/${id}/`;
  if (String(id) === String(current)) link.setAttribute("aria-current", "page");
  setTitle(node, title);
  return node;
}

function setTitle(node, title) {
  node.querySelector("a > span").textContent = title;
  node.querySelector("[data-more]").setAttribute("aria-label", text("more", { title }));
  if (node.dataset.id !== String(current)) return;
  document.title = title;
  titleShown.textContent = title;
}

/** Into its place: pinned rows first, the newest on top of the rest. */
function place(node, parent = node.parentNode) {
  const rows = [...parent.children].filter((other) => other !== node);
  const before = node.classList.contains("pinned")
    ? rows[0]
    : rows.find((other) => !other.classList.contains("pinned"));
  parent.insertBefore(node, before ?? null);
}

/** Shows a conversation that just began as the current one. */
export function addConversation({ id, title }) {
  endSearch();
  for (const link of list.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
  current = id;
  const node = known(id);
  if (node) node.querySelector("a").setAttribute("aria-current", "page");
  else place(row({ id, title, pinned: false }), list);
  document.title = title;
  titleShown.textContent = title;
}

/** Does what may be refused; a refusal is told in the list's status line. */
async function attempt(action) {
  nothing.hidden = true;
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    nothing.textContent = error.message;
    nothing.hidden = false;
  }
}

/** Behind a proxy the server may name itself by another scheme or host than the page was loaded from. */
function pathOf(url) {
  const { pathname, search: query } = new URL(url, location.href);
  return pathname + query;
}

function setNext(url) {
  next = url && pathOf(url);
  older.hidden = !next;
}

function installOlder() {
  older.addEventListener("click", async () => {
    older.disabled = true;
    await attempt(async () => {
      for (let added = 0; next && !added; ) {
        const page = await call("GET", next);
        const rows = page.results.filter(({ id }) => !known(id)).map(row);
        list.append(...rows);
        added = rows.length;
        setNext(page.next);
      }
    });
    older.disabled = false;
  });
}

const archiveShown = () => archive.getAttribute("aria-pressed") === "true";

function endSearch() {
  search.value = "";
  archive.setAttribute("aria-pressed", "false");
  if (!setAside) return;
  list.replaceChildren(setAside);
  setAside = null;
  setNext(nextSetAside);
  nothing.hidden = true;
}

/** Shows what is looked for: the rows with these words, the archived ones, or the list again. */
async function find() {
  const [words, archived] = [search.value.trim(), archiveShown()];
  if (!words && !archived) return endSearch();
  const query = new URLSearchParams({ ...(words && { search: words }), ...(archived && { archived }) });
  await attempt(async () => {
    const page = await call("GET", `/api/conversations/?${query}`);
    if (search.value.trim() !== words || archiveShown() !== archived) return;
    if (!setAside) {
      setAside = document.createDocumentFragment();
      setAside.append(...list.children);
      nextSetAside = next;
    }
    list.replaceChildren(...page.results.map(row));
    setNext(page.next);
    nothing.textContent = text(archived && !words ? "archivedNone" : "nothingFound");
    nothing.hidden = page.results.length > 0;
  });
}

function installSearch() {
  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(find, PAUSE_BEFORE_SEARCH_MS);
  });
  archive.addEventListener("click", () => {
    archive.setAttribute("aria-pressed", String(!archiveShown()));
    find();
  });
}

function openMenu(button) {
  chosen = button.closest("li");
  const pinned = chosen.classList.contains("pinned");
  menu.querySelector('[data-action="pin"]').hidden = pinned;
  menu.querySelector('[data-action="unpin"]').hidden = !pinned;
  menu.querySelector('[data-action="archive"]').hidden = archiveShown();
  menu.querySelector('[data-action="unarchive"]').hidden = !archiveShown();
  for (const link of menu.querySelectorAll("[data-export]")) {
    link.href = `/api/conversations/${chosen.dataset.id}/export/?as=${link.dataset.export}`;
  }
  menu.showPopover();
  const { bottom, right } = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  menu.style.left = `${Math.max(8, Math.min(right - 8, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.min(bottom, innerHeight - height - 8)}px`;
  menu.querySelector("button:not([hidden])").focus();
}

async function setPinned(node, pinned) {
  await call("PATCH", `/api/conversations/${node.dataset.id}/`, { pinned });
  for (const shown of rowsOf(node)) {
    shown.classList.toggle("pinned", pinned);
    place(shown);
  }
}

/** Puts it away, or back on top of those that are not pinned: where it belongs by its age shows after a reload. */
async function setArchived(id, archived) {
  await call("PATCH", `/api/conversations/${id}/`, { archived });
  const rows = rowsOf({ dataset: { id: String(id) } });
  for (const shown of rows) shown.remove();
  if (!archived) place(rows[0] ?? row({ id, title: titleShown.textContent }), setAside ?? list);
  if (String(id) === String(current)) archivedNote.hidden = !archived;
}

async function rename(node, title) {
  if (!title || title === titleOf(node)) return;
  await call("PATCH", `/api/conversations/${node.dataset.id}/`, { title });
  for (const shown of rowsOf(node)) setTitle(shown, title);
}

async function remove(node) {
  await call("DELETE", `/api/conversations/${node.dataset.id}/`);
  if (node.dataset.id === String(current)) location.assign("/");
  else for (const shown of rowsOf(node)) shown.remove();
}

/** Resolves when the dialog is closed, to whether it was confirmed. */
function ask(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

const actions = {
  pin: (node) => setPinned(node, true),
  unpin: (node) => setPinned(node, false),
  archive: (node) => setArchived(node.dataset.id, true),
  unarchive: (node) => setArchived(node.dataset.id, false),
  async rename(node) {
    const field = renaming.querySelector("input");
    field.value = titleOf(node);
    const answer = ask(renaming);
    field.select();
    if (await answer) await rename(node, field.value.trim());
  },
  async delete(node) {
    deleting.querySelector("[data-part=title]").textContent = titleOf(node);
    if (await ask(deleting)) await remove(node);
  },
};

function installMenu() {
  list.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-more]");
    if (button) openMenu(button);
  });
  archivedNote.querySelector("button").addEventListener("click", () => attempt(() => setArchived(current, false)));
  menu.addEventListener("click", ({ target }) => {
    if (target.closest("[data-export]")) menu.hidePopover();
    const action = target.closest("[data-action]")?.dataset.action;
    if (!action) return;
    menu.hidePopover();
    attempt(() => actions[action](chosen));
  });
}

export function installConversations(id) {
  current = id;
  installOlder();
  installSearch();
  installMenu();
}

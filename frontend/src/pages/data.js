// The page of a user's own data: the form that imports a file of an earlier export.
import { call, Refusal } from "../api.js";
import { confirmIn } from "../dialogs.js";
import { describeImport, describeImportRefusal, describeLeftOut } from "../data-import.js";
import { byId, find } from "../dom.js";
import { text } from "../translations.js";

const form = byId("import-form", HTMLFormElement);
const button = find(form, "button", HTMLButtonElement);
const field = byId("file", HTMLInputElement);
const result = byId("import-result");
const leftOut = byId("import-left-out");

const chosenFile = () => field.files?.[0];

/** @param {string} message */
function showResult(message, failed = false) {
  result.textContent = message;
  result.classList.toggle("error", failed);
  result.hidden = false;
}

/** @param {import("../data-import.js").LeftOut[]} list */
function showLeftOut(list) {
  const rows = list.map((each) => {
    const row = document.createElement("li");
    row.textContent = describeLeftOut(each);
    return row;
  });
  leftOut.replaceChildren(...rows);
  leftOut.hidden = !rows.length;
}

/** @param {File} file */
async function importFile(file) {
  showLeftOut([]);
  if (file.size > Number(text("maxBytes"))) {
    showResult(text("tooLarge"), true);
    return;
  }
  showResult(text("importing"));
  try {
    const imported = await call("POST", "/api/import/", file);
    showResult(describeImport(imported));
    showLeftOut(imported.left_out ?? []);
    form.reset();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    showResult(describeImportRefusal(error), true);
  }
}

/** Deletes all conversations once the user has confirmed it. */
async function deleteAll() {
  if (!(await confirmIn(byId("delete-all-dialog", HTMLDialogElement)))) return;
  try {
    await call("DELETE", "/api/conversations/", { confirm: true });
    location.reload();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const failure = byId("delete-all-result");
    failure.textContent = error.message;
    failure.hidden = false;
  }
}

byId("delete-all-button").addEventListener("click", deleteAll);
field.addEventListener("change", () => (button.disabled = !chosenFile()));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = chosenFile();
  if (!file) return;
  button.disabled = true;
  await importFile(file);
  button.disabled = !chosenFile();
});

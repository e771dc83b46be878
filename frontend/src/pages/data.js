// The page of a user's own data: the form that imports a file of an earlier export.
import { call, Refusal } from "../api.js";
import { describeImport, describeImportRefusal } from "../data-import.js";
import { byId, find } from "../dom.js";
import { text } from "../translations.js";

const form = byId("import-form", HTMLFormElement);
const button = find(form, "button", HTMLButtonElement);
const field = byId("file", HTMLInputElement);
const result = byId("import-result");

const chosenFile = () => field.files?.[0];

/** @param {string} message */
function showResult(message, failed = false) {
  result.textContent = message;
  result.classList.toggle("error", failed);
  result.hidden = false;
}

/** @param {File} file */
async function importFile(file) {
  if (file.size > Number(text("maxBytes"))) {
    showResult(text("tooLarge"), true);
    return;
  }
  showResult(text("importing"));
  try {
    showResult(describeImport(await call("POST", "/api/import/", file)));
    form.reset();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    showResult(describeImportRefusal(error), true);
  }
}

field.addEventListener("change", () => (button.disabled = !chosenFile()));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = chosenFile();
  if (!file) return;
  button.disabled = true;
  await importFile(file);
  button.disabled = !chosenFile();
});

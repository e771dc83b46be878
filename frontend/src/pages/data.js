// One's own data: a file of an export, brought in.
import { headers, refusalOf } from "../api.js";
import { counted, text } from "../translations.js";

const form = document.getElementById("import-form");
const button = form.querySelector("button");
const field = document.getElementById("file");
const result = document.getElementById("import-result");

function say(words, failed = false) {
  result.textContent = words;
  result.classList.toggle("error", failed);
  result.hidden = false;
}

/** What was wrong, in words; `details` name places such as `conversations.0.messages.3.role`. */
function complaint(refusal) {
  if (refusal?.code === "prompt_too_long") return text("tooLarge");
  if (refusal?.code !== "invalid_request") return refusal?.message ?? text("failed");
  const where = Object.keys(refusal.details ?? {}).find((name) => name !== "body");
  return where ? `${text("foreign")} ${text("wrongAt", { where })}` : text("foreign");
}

async function bringIn(file) {
  if (file.size > Number(text("maxBytes"))) return say(text("tooLarge"), true);
  say(text("importing"));
  let response;
  try {
    response = await fetch("/api/import/", {
      method: "POST",
      credentials: "same-origin",
      headers: headers({ "Content-Type": "application/json" }),
      body: file,
    });
  } catch {
    return say(text("offline"), true);
  }
  if (!response.ok) return say(complaint(await refusalOf(response)), true);
  const { conversations, messages } = await response.json();
  say(
    text("imported", {
      conversations: counted("conversations", conversations),
      messages: counted("messages", messages),
    }),
  );
  form.reset();
}

field.addEventListener("change", () => (button.disabled = !field.files.length));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  await bringIn(field.files[0]);
  button.disabled = !field.files.length;
});

// Texts about the result of importing conversations.
import { plural, text } from "./translations.js";
/** @import { Refusal } from "./api.js" */

/** @param {{ conversations: number, messages: number }} counts */
export function describeImport({ conversations, messages }) {
  return text("imported", {
    conversations: plural("conversations", conversations),
    messages: plural("messages", messages),
  });
}

/**
 * Returns why an import was refused. The details name places in the file, such as `conversations.0.messages.3.role`.
 * @param {Refusal} refusal
 */
export function describeImportRefusal({ code, message, details }) {
  if (code === "prompt_too_long") return text("tooLarge");
  if (code !== "invalid_request") return message;
  const where = Object.keys(details).find((name) => name !== "body");
  return where ? `${text("foreign")} ${text("wrongAt", { where })}` : text("foreign");
}

// Texts about the result of importing conversations.
import { plural, text } from "./translations.js";
/** @import { Refusal } from "./api.js" */

/** @typedef {{ conversation: string, what: string, count: number }} LeftOut */

/** @param {{ conversations: number, messages: number, left_out?: LeftOut[] }} counts */
export function describeImport({ conversations, messages, left_out: leftOut = [] }) {
  const imported = text("imported", {
    conversations: plural("conversations", conversations),
    messages: plural("messages", messages),
  });
  return leftOut.length ? `${imported} ${text("leftOut")}` : imported;
}

/** @param {LeftOut} leftOut */
export function describeLeftOut({ conversation, what, count }) {
  return `${conversation}: ${what}${count > 1 ? ` × ${count}` : ""}`;
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

// How text fields for prompts behave, in the composer and in the prompt editor.

/**
 * Returns whether a key press sends the prompt. While an input method composes, Enter belongs to it; Safari reports
 * that Enter afterwards, with key code 229.
 * @param {Pick<KeyboardEvent, "key" | "shiftKey" | "isComposing" | "keyCode">} event
 */
export const isSendKey = ({ key, shiftKey, isComposing, keyCode }) =>
  key === "Enter" && !shiftKey && !isComposing && keyCode !== 229;

/**
 * Makes a field as high as its text, where the style sheet alone does not (`field-sizing`): measuring it makes the
 * browser lay out the page at each key press.
 * @param {HTMLTextAreaElement} field
 */
export function fitHeight(field) {
  if (CSS.supports("field-sizing", "content")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

/**
 * Makes the send key submit the form of a field. On touch keyboards, which have no Shift+Enter, Enter makes a new line.
 * @param {HTMLTextAreaElement} field
 */
export function installSendKey(field) {
  if (matchMedia("(pointer: coarse)").matches) {
    field.enterKeyHint = "enter";
    return;
  }
  field.addEventListener("keydown", (event) => {
    if (!isSendKey(event)) return;
    event.preventDefault();
    field.form?.requestSubmit();
  });
}

// The page of a shared conversation: renders its completions as the chat page does.
import { GrowingMarkdown } from "../markdown/growing-markdown.js";

for (const content of document.querySelectorAll('.answer [data-part="content"]')) {
  new GrowingMarkdown(/** @type {HTMLElement} */ (content)).finish();
}

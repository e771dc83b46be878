// The page of a shared conversation: shows its messages as the chat page does.
import { GrowingMarkdown } from "../markdown/growing-markdown.js";
import { makeReachable } from "../scroll-box.js";

for (const content of document.querySelectorAll('.answer [data-part="content"]')) {
  new GrowingMarkdown(/** @type {HTMLElement} */ (content)).finish();
}
for (const bubble of document.querySelectorAll(".bubble")) makeReachable(bubble);

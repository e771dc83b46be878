// Turns rendered HTML into sanitised DOM. Completions may be hostile: nothing in them runs, loads anything from
// anywhere, or links into this service.
import DOMPurify from "dompurify";
import { text } from "../translations.js";
import { isExternal } from "./links.js";

const TAGS =
  "p br hr h1 h2 h3 h4 h5 h6 strong em s sub sup kbd a img ul ol li blockquote pre code table thead tbody tr th td div " +
  "span details summary section input";

const forMarkdown = {
  ALLOWED_TAGS: TAGS.split(" "),
  ALLOWED_ATTR: ["href", "class", "start", "value", "src", "alt", "dir", "type", "checked", "disabled"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: /** @type {const} */ (true),
};
const forCode = { ...forMarkdown, ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] };

/** @param {Element} link */
function secureLink(link) {
  if (isExternal(link.getAttribute("href") ?? "", location.host)) {
    link.setAttribute("rel", "noopener noreferrer nofollow");
    link.setAttribute("target", "_blank");
  } else {
    link.removeAttribute("href");
  }
}

/** @param {Element} input a box of a task list; the parser makes no others */
function secureBox(input) {
  if (input.getAttribute("type") !== "checkbox") input.remove();
  input.setAttribute("disabled", "");
  input.setAttribute("aria-label", text(input.hasAttribute("checked") ? "taskDone" : "taskOpen"));
}

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "IMG" && !node.getAttribute("src")?.startsWith("data:image/")) node.remove();
  if (node.nodeName === "INPUT") secureBox(node);
  if (node.nodeName === "A") secureLink(node);
});

/**
 * Returns a fragment of rendered Markdown.
 * @param {string} html
 */
export const sanitizeMarkdown = (html) => DOMPurify.sanitize(html, forMarkdown);

/**
 * Returns a fragment of highlighted code, which has only coloured spans.
 * @param {string} html
 */
export const sanitizeCode = (html) => DOMPurify.sanitize(html, forCode);

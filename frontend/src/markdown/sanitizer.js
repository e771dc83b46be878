// Turns rendered HTML into sanitised DOM. Completions may be hostile: nothing in them runs, loads anything from
// anywhere, or links into this service.
import DOMPurify from "dompurify";
import { isExternal } from "./links.js";

const forMarkdown = {
  ALLOWED_TAGS:
    "p br hr h1 h2 h3 h4 h5 h6 strong em s a img ul ol li blockquote pre code table thead tbody tr th td div span".split(
      " ",
    ),
  ALLOWED_ATTR: ["href", "class", "start", "src", "alt"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: /** @type {const} */ (true),
};
const forCode = { ...forMarkdown, ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] };

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "IMG" && !node.getAttribute("src")?.startsWith("data:image/")) node.remove();
  if (node.nodeName !== "A") return;
  if (isExternal(node.getAttribute("href") ?? "", location.host)) {
    node.setAttribute("rel", "noopener noreferrer nofollow");
    node.setAttribute("target", "_blank");
  } else {
    node.removeAttribute("href");
  }
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

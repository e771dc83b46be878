// Markdown to sanitised DOM, one top-level block at a time. Answers may be hostile: raw HTML is off in the
// parser, the result is sanitised all the same, and nothing in it loads from anywhere.
import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";
import { formulas } from "./formula-syntax.js";
import { text } from "../translations.js";

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: true }).use(formulas);
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

const { escapeHtml } = markdown.utils;
const { rules } = markdown.renderer;

rules.table_open = () => '<div class="table"><table>';
rules.table_close = () => "</table></div>";

// Alignment as a class: the page's policy allows no style attributes.
for (const cell of ["th_open", "td_open"]) {
  rules[cell] = (tokens, i, options, env, self) => {
    const align = tokens[i].attrGet("style")?.match(/(left|center|right)$/)?.[1];
    tokens[i].attrs = align ? [["class", `align-${align}`]] : null;
    return self.renderToken(tokens, i, options);
  };
}

// An image from a host would be a request: shown as a link to it. Only embedded pictures are shown.
rules.image = (tokens, i, options, env, self) => {
  const source = tokens[i].attrGet("src") ?? "";
  const label = self.renderInlineAsText(tokens[i].children, options, env);
  if (source.startsWith("data:image/")) return `<img src="${escapeHtml(source)}" alt="${escapeHtml(label)}">`;
  return `<a class="picture" href="${escapeHtml(source)}">${escapeHtml(label || text("image"))}</a>`;
};

const rich = {
  ALLOWED_TAGS: (
    "p br hr h1 h2 h3 h4 h5 h6 strong em s a img ul ol li blockquote pre code table thead tbody tr th td div span"
  ).split(" "),
  ALLOWED_ATTR: ["href", "class", "start", "src", "alt"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const coloured = { ...rich, ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] };

/** Only the outside world is linked: a link into this service could act in the reader's name. */
function leadsOutside(href) {
  let url;
  try {
    url = new URL(href);
  } catch {
    return false;
  }
  if (url.protocol === "mailto:") return true;
  return (url.protocol === "https:" || url.protocol === "http:") && url.host !== location.host;
}

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "IMG" && !node.getAttribute("src")?.startsWith("data:image/")) node.remove();
  if (node.nodeName !== "A") return;
  if (leadsOutside(node.getAttribute("href") ?? "")) {
    node.setAttribute("rel", "noopener noreferrer nofollow");
    node.setAttribute("target", "_blank");
  } else {
    node.removeAttribute("href");
  }
});

/** A sanitised fragment from rendered Markdown. */
export const sanitised = (html) => DOMPurify.sanitize(html, rich);

/** A sanitised fragment from highlighted code: nothing but spans. */
export const sanitisedCode = (html) => DOMPurify.sanitize(html, coloured);

/** The top-level blocks of `source` as `{html, line}`; `env` carries link definitions from call to call. */
export function blocksOf(source, env) {
  const blocks = [];
  let group = [];
  for (const token of markdown.parse(source, env)) {
    group.push(token);
    if (token.level === 0 && token.nesting <= 0) {
      const html = markdown.renderer.render(group, markdown.options, env);
      blocks.push({ html, line: group[0].map?.[0] ?? 0 });
      group = [];
    }
  }
  return blocks;
}

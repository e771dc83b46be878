// Renders Markdown to HTML, one top-level block at a time. The result still has to be sanitised: the parser lets no
// HTML of the source through, but the source may be hostile.
import MarkdownIt from "markdown-it";
import { text } from "../translations.js";
import { formulaSyntax } from "./formula-syntax.js";
/** @import { Env, RendererRule, Token } from "markdown-it" */

/**
 * One top-level block: its HTML, and the line of the source where it begins.
 * @typedef {{ html: string, line: number }} Block
 */

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: true }).use(formulaSyntax);
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

const { escapeHtml } = markdown.utils;

/**
 * Writes a cell's alignment as a class, because the page's Content-Security-Policy allows no style attributes.
 * @type {RendererRule}
 */
function renderCell(tokens, index, options, _env, renderer) {
  const token = /** @type {Token} */ (tokens[index]);
  const alignment = String(token.attrGet("style")).match(/(left|center|right)$/)?.[1];
  token.attrs = alignment ? [["class", `align-${alignment}`]] : null;
  return renderer.renderToken(tokens, index, options);
}

/**
 * Renders an embedded image as such, any other as a link to it, because loading it would be a request to a stranger.
 * @type {RendererRule}
 */
function renderImage(tokens, index, options, env, renderer) {
  const token = /** @type {Token} */ (tokens[index]);
  const source = String(token.attrGet("src") ?? "");
  const label = renderer.renderInlineAsText(token.children ?? [], options, env);
  if (source.startsWith("data:image/")) return `<img src="${escapeHtml(source)}" alt="${escapeHtml(label)}">`;
  return `<a class="picture" href="${escapeHtml(source)}">${escapeHtml(label || text("image"))}</a>`;
}

Object.assign(markdown.renderer.rules, {
  table_open: () => '<div class="table"><table>',
  table_close: () => "</table></div>",
  th_open: renderCell,
  td_open: renderCell,
  image: renderImage,
});

/**
 * Returns the top-level blocks of `source`.
 * @param {string} source
 * @param {Env} env carries link definitions from call to call; `growing`: more text will follow
 */
export function renderBlocks(source, env) {
  /** @type {Block[]} */
  const blocks = [];
  /** @type {Token[]} */
  let group = [];
  for (const token of markdown.parse(source, env)) {
    group.push(token);
    if (token.level === 0 && token.nesting <= 0) {
      const html = markdown.renderer.render(group, markdown.options, env);
      blocks.push({ html, line: group[0]?.map?.[0] ?? 0 });
      group = [];
    }
  }
  return blocks;
}

/**
 * Returns how many of the blocks can no longer change, and how many characters of `source` they take. A block is
 * settled once the next one has begun with a complete line.
 * @param {string} source
 * @param {Block[]} blocks those of `source`
 */
export function measureSettled(source, blocks) {
  const lineStarts = [0];
  for (let at = source.indexOf("\n"); at !== -1; at = source.indexOf("\n", at + 1)) lineStarts.push(at + 1);
  const completeLines = lineStarts.length - 1;
  const count = Math.max(
    blocks.findLastIndex(({ line }) => line < completeLines),
    0,
  );
  return { count, chars: lineStarts[blocks[count]?.line ?? 0] ?? 0 };
}

// Renders Markdown to HTML, one top-level block at a time. The result still has to be sanitised: the parser lets no
// HTML of the source through, but the source may be hostile.
import MarkdownIt from "markdown-it";
import cjkFriendly from "markdown-it-cjk-friendly";
import { text } from "../translations.js";
import { lookAhead } from "./block-lines.js";
import { fenceSyntax } from "./fence-syntax.js";
import { footnotes, renderNotes } from "./footnotes.js";
import { formulaSyntax } from "./formula-syntax.js";
import { growingSyntax } from "./growing-syntax.js";
import { tagSyntax } from "./tag-syntax.js";
import { taskLists } from "./task-lists.js";
import { textDirection } from "./text-direction.js";
/** @import { Env, RendererRule, StateCore, Token } from "markdown-it" */

/**
 * One top-level block: its HTML, and the line of the source where it begins. A list or a table has parts, its items or
 * rows, which are updated one by one: `html` is `before`, the parts and `after`; `partLines` is where they begin.
 * @typedef {object} Block
 * @property {string} html
 * @property {number} line
 * @property {string} before
 * @property {string[]} parts
 * @property {number[]} partLines
 * @property {string} after
 */

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: true });
markdown.use(cjkFriendly).use(fenceSyntax).use(formulaSyntax).use(tagSyntax).use(taskLists).use(footnotes);
markdown.use(growingSyntax).use(textDirection).use(lookAhead);
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
markdown.core.ruler.after("block", "paragraphs", showParagraphs);
markdown.core.ruler.after("inline", "flatten_links", flattenLinks);

const { escapeHtml } = markdown.utils;

/**
 * Keeps the paragraphs of tight lists, because a growing list may become a loose one below what the reader selects.
 * @param {StateCore} state
 */
function showParagraphs({ tokens }) {
  for (const token of tokens) token.hidden = false;
}

/**
 * Removes links from within links: an address in angle brackets or a tag can hold them. An image in a link is its text.
 * @param {StateCore} state
 */
function flattenLinks({ tokens }) {
  for (const token of tokens) {
    let depth = 0;
    if (!token.children) continue;
    token.children = token.children.filter((child) => {
      if (child.type === "image" && depth) child.meta = { isLinked: true };
      if (child.type === "link_open") depth += 1;
      const isNested = depth > 1 && child.type.startsWith("link_");
      if (child.type === "link_close") depth -= 1;
      return !isNested;
    });
  }
}

/**
 * Writes a cell's alignment as a class, because the page's Content-Security-Policy allows no style attributes.
 * @type {RendererRule}
 */
function renderCell(tokens, index, options, _env, renderer) {
  const token = /** @type {Token} */ (tokens[index]);
  const alignment = String(token.attrGet("style")).match(/(left|center|right)$/)?.[1];
  token.attrs = (token.attrs ?? []).filter(([name]) => name !== "style");
  if (alignment) token.attrPush(["class", `align-${alignment}`]);
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
  if (token.meta?.isLinked) return escapeHtml(label || text("image"));
  return `<a class="picture" href="${escapeHtml(source)}">${escapeHtml(label || text("image"))}</a>`;
}

/** @type {RendererRule} */
function renderTable(tokens, index, options, _env, renderer) {
  return `<div class="table">${renderer.renderToken(tokens, index, options)}`;
}

Object.assign(markdown.renderer.rules, {
  table_open: renderTable,
  table_close: () => "</table></div>",
  th_open: renderCell,
  td_open: renderCell,
  image: renderImage,
});

/**
 * Returns the tokens of a list's items or of a table's rows below its head; `end` is where they end.
 * @param {Token[]} group the tokens of a block
 */
function splitParts(group) {
  /** @type {Token[][]} */
  const parts = [];
  const body = group.findIndex(({ type }) => type === "tbody_open");
  const isTable = group[0]?.type === "table_open";
  const level = isTable ? 2 : 1;
  let start = -1;
  let end = -1;
  for (let i = Math.max(body, 0); i < group.length; i += 1) {
    const { type, level: tokenLevel } = /** @type {Token} */ (group[i]);
    if (tokenLevel !== level || type.replace(/_(open|close)$/, "") !== (isTable ? "tr" : "list_item")) continue;
    if (type.endsWith("_open")) start = i;
    else {
      parts.push(group.slice(start, i + 1));
      end = i + 1;
    }
  }
  return { parts, end };
}

/**
 * @param {Token[]} group the tokens of a block
 * @param {Env} env
 * @returns {Block}
 */
function renderBlock(group, env) {
  /** @param {Token[]} tokens */
  const render = (tokens) => markdown.renderer.render(tokens, markdown.options, env);
  const line = group[0]?.map?.[0] ?? 0;
  const isDivisible = /^(?:bullet_list|ordered_list|table)_open$/.test(group[0]?.type ?? "");
  const { parts: tokens, end } = isDivisible ? splitParts(group) : { parts: [], end: -1 };
  if (!tokens.length) return { html: render(group), line, before: "", parts: [], partLines: [], after: "" };
  const first = group.indexOf(/** @type {Token} */ (tokens[0]?.[0]));
  const [before, after] = [render(group.slice(0, first)), render(group.slice(end))];
  const parts = tokens.map(render);
  const partLines = tokens.map(([open]) => open?.map?.[0] ?? line);
  return { html: before + parts.join("") + after, line, before, parts, partLines, after };
}

/**
 * Returns the top-level blocks of `source`.
 * @param {string} source
 * @param {Env} env carries link definitions and footnotes from call to call; `growing`: more text will follow
 */
export function renderBlocks(source, env) {
  /** @type {Block[]} */
  const blocks = [];
  /** @type {Token[]} */
  let group = [];
  for (const token of markdown.parse(source, env)) {
    group.push(token);
    if (token.level === 0 && token.nesting <= 0) {
      blocks.push(renderBlock(group, env));
      group = [];
    }
  }
  return blocks;
}

/**
 * Returns the block with the footnotes of all calls with this environment, or null.
 * @param {Env} env
 * @returns {Block | null}
 */
export function renderFootnotes(env) {
  const html = renderNotes(markdown, env);
  return html ? { html, line: Infinity, before: "", parts: [], partLines: [], after: "" } : null;
}

/**
 * Returns how many of the blocks can no longer change, how many characters of `source` they take, and where its lines
 * begin. A block is settled once the next one has begun with a complete line.
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
  return { count, chars: lineStarts[blocks[count]?.line ?? 0] ?? 0, lineStarts };
}

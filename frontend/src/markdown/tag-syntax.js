// The few HTML tags that models write in Markdown. They are made from their names alone: attributes are dropped, and
// everything else that looks like a tag is text.
import { indentOf, isOutdented, lineOf, mayLookAhead } from "./block-lines.js";
/** @import { Env, MarkdownIt, StateBlock, StateInline } from "markdown-it" */

/** Characters within which a tag in a line must be closed; they bound the search in hostile texts. */
const MAX_CONTENT_CHARS = 2_000;

/** Deepest nesting of tags within a line. */
const MAX_DEPTH = 4;

/** Longest tag within a line, attributes included. */
const MAX_TAG_CHARS = 200;

const BREAK = /^<br\s*\/?>|^<br\s[^<>]*>/i;
const PAIR = /^<(sub|sup|kbd)(?:\s[^<>]*)?>/i;
/**
 * For each tag, what finds those that open and close.
 * @type {Record<string, RegExp>}
 */
const TAGS = Object.fromEntries(
  ["sub", "sup", "kbd"].map((name) => [name, new RegExp(`<(/?)${name}(?:\\s[^<>]*)?>`, "gi")]),
);
const DETAILS = /^<details(?:\s[^<>]*)?>/i;
const SUMMARY = /^\s*<summary(?:\s[^<>]*)?>/i;

/**
 * Returns a text with backticks in place of its code spans, which begin and end with equally many.
 * @param {string} source
 */
function maskCode(source) {
  const runs = [...source.matchAll(/`+/g)].map(({ 0: { length }, index }) => ({ length, index, closing: -1 }));
  /** The next run of each length. @type {Map<number, number>} */
  const next = new Map();
  for (const [i, run] of [...runs.entries()].reverse()) {
    run.closing = next.get(run.length) ?? -1;
    next.set(run.length, i);
  }
  let masked = "";
  for (let i = 0; i < runs.length; i += 1) {
    const opening = /** @type {typeof runs[0]} */ (runs[i]);
    const closing = runs[opening.closing];
    if (!closing) continue;
    masked += source.slice(masked.length, opening.index);
    masked += "`".repeat(closing.index + closing.length - opening.index);
    i = opening.closing;
  }
  return masked + source.slice(masked.length);
}

/**
 * Returns the tag that closes the one before `from`, or null. Tags in code spans do not count.
 * @param {string} source
 * @param {number} from
 * @param {string} name
 */
function findClosingTag(source, from, name) {
  let depth = 1;
  for (const match of maskCode(source).matchAll(TAGS[name] ?? /$^/g)) {
    const [tag, slash] = match;
    if (match.index < from) continue;
    depth += slash ? -1 : 1;
    if (!depth) return { tag, index: match.index };
  }
  return null;
}

/**
 * Parses a line break.
 * @param {StateInline} state
 * @param {boolean} silent
 */
function parseBreak(state, silent) {
  const [tag = ""] = state.src.slice(state.pos, Math.min(state.posMax, state.pos + MAX_TAG_CHARS)).match(BREAK) ?? [];
  if (!tag) return false;
  if (!silent) state.push("hardbreak", "br", 0);
  state.pos += tag.length;
  return true;
}

/**
 * Parses a pair of tags within a line, and what stands between them.
 * @param {StateInline} state
 * @param {boolean} silent
 */
function parsePair(state, silent) {
  const { pos, posMax, src } = state;
  if (src[pos] !== "<" || state.level >= MAX_DEPTH) return false;
  const source = src.slice(pos, Math.min(posMax, pos + MAX_CONTENT_CHARS));
  const [opening = "", name = ""] = source.match(PAIR) ?? [];
  const closing = opening ? findClosingTag(source, opening.length, name.toLowerCase()) : null;
  if (!closing) return false;
  if (!silent) {
    state.pos = pos + opening.length;
    state.posMax = pos + closing.index;
    state.push("tag_open", name.toLowerCase(), 1);
    state.md.inline.tokenize(state);
    state.push("tag_close", name.toLowerCase(), -1);
    state.posMax = posMax;
  }
  state.pos = pos + closing.index + closing.tag.length;
  return true;
}

/**
 * Returns by how much a line changes the depth of <details> elements. Tags in code do not count.
 * @param {string} line
 */
function countDetails(line) {
  const tags = maskCode(line).match(/<\/?details(?:\s[^<>]*)?>/gi) ?? [];
  return tags.reduce((depth, tag) => depth + (tag.startsWith("</") ? -1 : 1), 0);
}

/**
 * Returns the last line of the details that begin in a line, and whether they are closed there.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 */
function findDetailsEnd(state, startLine, endLine) {
  let depth = 0;
  let fence = "";
  let line = startLine;
  const isWithin = () => line < endLine && !isOutdented(state, line) && mayLookAhead(state);
  for (; isWithin(); line += 1) {
    const content = lineOf(state, line);
    const mark = content.match(/^(?:`{3,}|~{3,})/)?.[0];
    if (mark?.startsWith(fence)) fence = fence ? "" : mark;
    if (!fence) depth += countDetails(content);
    if (depth <= 0) return { lastLine: line, isClosed: true };
  }
  return { lastLine: line - 1, isClosed: false };
}

/**
 * Returns how many <details> elements are around what is being parsed.
 * @param {Env} env
 */
const depthOf = (env) => Number(env.detailsDepth ?? 0);

/**
 * Parses a <details> element on lines of its own, with its summary, and Markdown within it.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {boolean} silent
 */
function parseDetails(state, startLine, endLine, silent) {
  const [opening] = lineOf(state, startLine).match(DETAILS) ?? [];
  if (!opening || indentOf(state, startLine) >= 4 || depthOf(state.env) >= MAX_DEPTH) return false;
  const { lastLine, isClosed } = findDetailsEnd(state, startLine, endLine);
  const source = state
    .getLines(startLine, lastLine + 1, state.blkIndent, false)
    .trim()
    .slice(opening.length);
  const isUnfinished = lastLine >= startLine && (state.env.growing || SUMMARY.test(source));
  if (!isClosed && !isUnfinished) return false;
  if (silent) return true;
  pushDetails(state, source, [startLine, lastLine + 1]);
  state.line = lastLine + 1;
  return true;
}

/**
 * @param {StateBlock} state
 * @param {string} source what follows the opening tag
 * @param {[number, number]} map
 */
function pushDetails(state, source, map) {
  const inner = source.replace(/<\/details\s*>$/i, "");
  const [, title = null, body = inner] =
    inner.match(/^\s*<summary(?:\s[^<>]*)?>([^]*?)(?:<\/summary\s*>([^]*))?$/i) ?? [];
  state.push("details_open", "details", 1).map = map;
  if (title !== null) {
    state.push("summary_open", "summary", 1);
    const token = state.push("inline", "", 0);
    token.content = title.trim().replace(/<\/?[a-z][^<>]*>/gi, "");
    token.children = [];
    state.push("summary_close", "summary", -1);
  }
  const from = state.tokens.length;
  const depth = depthOf(state.env);
  state.env.detailsDepth = depth + 1;
  state.md.block.parse(title !== null && body === inner ? "" : body, state.md, state.env, state.tokens);
  state.env.detailsDepth = depth;
  for (const token of state.tokens.slice(from)) {
    token.level += state.level;
    token.map = null;
  }
  state.push("details_close", "details", -1);
}

/**
 * The plugin for markdown-it.
 * @param {MarkdownIt} markdown
 */
export function tagSyntax(markdown) {
  markdown.inline.ruler.before("autolink", "line_break", parseBreak);
  markdown.inline.ruler.before("autolink", "tag_pair", parsePair);
  markdown.block.ruler.before("paragraph", "details", parseDetails, { alt: ["paragraph", "reference", "blockquote"] });
}

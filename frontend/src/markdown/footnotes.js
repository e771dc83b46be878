// Footnotes: a mark "[^label]" leads to the note "[^label]: text", which stands at the end. What the parser has found is
// kept in the environment, because a growing text is parsed in pieces; parsing a piece again changes nothing.
import { indentOf, lineOf } from "./block-lines.js";
/** @import { Env, MarkdownIt, StateBlock, StateInline } from "markdown-it" */

const MARK = /^\[\^([^\]\s[^]{1,100})\]/;
const NOTE = /^\[\^([^\]\s[^]{1,100})\]:[ \t]*/;

/** Notes of one text above which more are shown as text; they bound the work for hostile texts. */
const MAX_NOTES = 500;

/**
 * The notes of a text by their labels, the numbers of the labels in the order of their marks, and what was rendered last
 * of each note, so that a growing text renders only the notes that have changed.
 * @typedef {object} Footnotes
 * @property {Map<string, string>} notes
 * @property {Set<string>} marked the labels that have a mark
 * @property {Map<string, number>} numbers
 * @property {Map<string, { source: string, html: string }>} rendered
 */

/**
 * @param {Env} env
 * @returns {Footnotes}
 */
function footnotesOf(env) {
  env.footnotes ??= { notes: new Map(), marked: new Set(), numbers: new Map(), rendered: new Map() };
  return /** @type {Footnotes} */ (env.footnotes);
}

/**
 * Returns the number of a label; a new label gets the next one.
 * @param {Env} env
 * @param {string} label
 */
function numberOf(env, label) {
  const { numbers } = footnotesOf(env);
  if (!numbers.has(label)) numbers.set(label, numbers.size + 1);
  return numbers.get(label);
}

/**
 * Parses a note: its first line, the lines that continue its paragraph, and those that are indented.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {boolean} silent
 */
function parseNote(state, startLine, endLine, silent) {
  const first = lineOf(state, startLine);
  const [mark = "", label = ""] = first.match(NOTE) ?? [];
  const { notes } = footnotesOf(state.env);
  if (!mark || indentOf(state, startLine) >= 4 || (notes.size >= MAX_NOTES && !notes.has(label))) return false;
  if (silent) return true;
  const lastLine = findNoteEnd(state, startLine, endLine);
  const lines = [first.slice(mark.length)];
  for (let line = startLine + 1; line <= lastLine; line += 1) {
    lines.push(state.getLines(line, line + 1, state.blkIndent + Math.min(indentOf(state, line), 4), false));
  }
  notes.set(label, lines.join("\n").trim());
  state.line = lastLine + 1;
  return true;
}

/**
 * Returns the last line of a note.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 */
function findNoteEnd(state, startLine, endLine) {
  let last = startLine;
  for (let line = startLine + 1; line < endLine; line += 1) {
    if (state.isEmpty(line)) continue;
    const follows = line - last > 1 ? indentOf(state, line) >= 2 : !NOTE.test(lineOf(state, line));
    if (!follows) break;
    last = line;
  }
  return last;
}

/**
 * Parses a mark. While the text grows, its note may still follow.
 * @param {StateInline} state
 * @param {boolean} silent
 */
function parseMark(state, silent) {
  // A mark becomes a link, and a link holds no other.
  if (state.linkLevel > 0 || !state.src.startsWith("[^", state.pos)) return false;
  const [mark = "", label = ""] = state.src.slice(state.pos, state.pos + 105).match(MARK) ?? [];
  if (!mark || !(state.env.growing || footnotesOf(state.env).notes.has(label))) return false;
  if (!silent) {
    state.push("footnote_mark", "sup", 0).content = String(numberOf(state.env, label));
    footnotesOf(state.env).marked.add(label);
  }
  state.pos += mark.length;
  return true;
}

/**
 * Returns a note as HTML. All notes share the lines ahead of their text.
 * @param {MarkdownIt} markdown
 * @param {Env} env
 * @param {string} label
 * @param {string} source
 */
function renderNote(markdown, env, label, source) {
  const { rendered } = footnotesOf(env);
  const last = rendered.get(label);
  if (last?.source === source) return last.html;
  env.isWithin = true;
  const html = markdown.render(source, env);
  env.isWithin = false;
  rendered.set(label, { source, html });
  return html;
}

/**
 * Returns the notes as HTML; an empty string when there are none. Those without a mark come last, and have no number to
 * which a mark could lead.
 * @param {MarkdownIt} markdown
 * @param {Env} env
 */
export function renderNotes(markdown, env) {
  const { notes, marked, numbers } = footnotesOf(env);
  if (!notes.size) return "";
  /** @type {Map<number, { label: string, html: string }>} */
  const shown = new Map();
  // Marks within notes give numbers to further notes, and a note may hold another one: both maps can grow meanwhile.
  for (const label of numbers.keys()) render(label);
  for (const label of notes.keys()) render(label);
  /** @param {string} label */
  function render(label) {
    const source = notes.get(label);
    const number = numberOf(env, label) ?? 0;
    if (source === undefined || shown.has(number)) return;
    shown.set(number, { label, html: renderNote(markdown, env, label, source) });
  }
  const items = [...shown].sort(([a], [b]) => a - b);
  const list = items.map(([number, { label, html }]) => {
    const value = marked.has(label) ? ` value="${number}"` : "";
    return `<li class="footnote"${value}>${html}</li>`;
  });
  return `<section class="footnotes"><ol>${list.join("")}</ol></section>`;
}

/**
 * The plugin for markdown-it.
 * @param {MarkdownIt} markdown
 */
export function footnotes(markdown) {
  markdown.block.ruler.before("reference", "footnote", parseNote, { alt: ["paragraph", "reference"] });
  markdown.inline.ruler.before("link", "footnote_mark", parseMark);
  markdown.renderer.rules.footnote_mark = (tokens, index) =>
    `<sup class="footnote-mark">${tokens[index]?.content ?? ""}</sup>`;
}

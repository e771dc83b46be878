// Markdown syntax for formulas: $…$ and \(…\) in a line, $$…$$ and \[…\] on their own.
// They leave the parser as escaped text in an element; typesetting happens after sanitising.

const INLINE = [
  { open: "$$", close: "$$", display: true },
  { open: "\\[", close: "\\]", display: true },
  { open: "\\(", close: "\\)", display: false },
  { open: "$", close: "$", display: false },
];

/** A single dollar is a price unless it hugs its content: "$5 and $10" is no formula. */
function isPrice(source, start, end) {
  const content = source.slice(start, end);
  return /^\s|\s$/.test(content) || /\d/.test(source[end + 1] ?? "");
}

function findClose(source, close, from) {
  for (let at = source.indexOf(close, from); at !== -1; at = source.indexOf(close, at + 1)) {
    let backslashes = 0;
    while (source[at - 1 - backslashes] === "\\") backslashes += 1;
    if (backslashes % 2 === 0) return at;
  }
  return -1;
}

function inline(state, silent) {
  const { src, pos } = state;
  const syntax = INLINE.find(({ open }) => src.startsWith(open, pos));
  if (!syntax) return false;
  const start = pos + syntax.open.length;
  const end = findClose(src, syntax.close, start);
  if (end === -1 || end >= state.posMax || !src.slice(start, end).trim()) return false;
  if (syntax.open === "$" && isPrice(src, start, end)) return false;
  if (!silent) {
    const token = state.push(syntax.display ? "formula_display" : "formula", "", 0);
    token.content = src.slice(start, end).trim();
  }
  state.pos = end + syntax.close.length;
  return true;
}

function block(state, startLine, endLine, silent) {
  const lineAt = (line) => state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]).trimEnd();
  if (state.sCount[startLine] - state.blkIndent >= 4) return false;
  const first = lineAt(startLine);
  const syntax = INLINE.find(({ open, display }) => display && first.startsWith(open));
  if (!syntax) return false;
  const lines = [];
  for (let line = startLine; line < endLine; line += 1) {
    const content = line === startLine ? first.slice(syntax.open.length) : lineAt(line);
    if (!content && line > startLine) return false; // a blank line ends it
    const end = findClose(content, syntax.close, 0);
    if (end === -1) {
      lines.push(content);
      continue;
    }
    if (content.slice(end + syntax.close.length).trim()) return false;
    lines.push(content.slice(0, end));
    if (!lines.join("").trim()) return false;
    if (silent) return true;
    const token = state.push("formula_display", "", 0);
    token.content = lines.join("\n").trim();
    token.map = [startLine, line + 1];
    token.block = true;
    state.line = line + 1;
    return true;
  }
  return unfinished(state, startLine, endLine, lines, silent);
}

/** The end of a growing text inside of a formula: its source, until the rest has come. */
function unfinished(state, startLine, endLine, lines, silent) {
  if (!state.env.growing || endLine !== state.lineMax || state.parentType !== "root") return false;
  if (silent) return true;
  const token = state.push("formula_unfinished", "", 0);
  token.content = lines.join("\n").trim();
  token.map = [startLine, endLine];
  token.block = true;
  state.line = endLine;
  return true;
}

/** The markdown-it plugin. */
export function formulas(markdown) {
  markdown.inline.ruler.before("escape", "formula", inline);
  markdown.block.ruler.before("fence", "formula", block, { alt: ["paragraph", "reference", "blockquote", "list"] });
  const { escapeHtml } = markdown.utils;
  markdown.renderer.rules.formula = (tokens, i) => `<span class="formula">${escapeHtml(tokens[i].content)}</span>`;
  markdown.renderer.rules.formula_display = (tokens, i) =>
    `<span class="formula formula-display">${escapeHtml(tokens[i].content)}</span>`;
  markdown.renderer.rules.formula_unfinished = (tokens, i) =>
    `<div class="formula-unfinished">${escapeHtml(tokens[i].content)}</div>`;
}

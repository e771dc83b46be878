// Colours for code. Loaded with the first code block, because highlight.js is large.
import highlighter from "highlight.js/lib/common";

/**
 * Returns `source` as HTML with coloured spans, or null when the language is unknown.
 * @param {string} source
 * @param {string} language
 */
export function highlightCode(source, language) {
  if (!highlighter.getLanguage(language)) return null;
  return highlighter.highlight(source, { language, ignoreIllegals: true }).value;
}

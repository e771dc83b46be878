// Colours for code; loaded with the first code block.
import highlighter from "highlight.js/lib/common";

/** Escaped HTML for `source`, or null for a language that is not known. */
export function highlighted(source, language) {
  if (!highlighter.getLanguage(language)) return null;
  return highlighter.highlight(source, { language, ignoreIllegals: true }).value;
}

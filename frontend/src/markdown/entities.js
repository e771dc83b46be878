// Takes the place of the package "entities" in the bundle: the browser knows the names of all characters already, and
// the package's table of them would be a sixth of the first page's scripts.

/** References kept with what they stand for. A text may hold any number of invented ones. */
const MAX_KEPT = 5_000;

/** @type {Map<string, string>} */
const kept = new Map();

/**
 * Returns the character of a reference such as "&amp;", or the reference itself when there is none.
 * @param {string} reference from ampersand to semicolon
 */
export function decodeHTMLStrict(reference) {
  const known = kept.get(reference);
  if (known !== undefined) return known;
  // The parser drops white space at the beginning, which a reference can stand for.
  const text = new DOMParser().parseFromString(`.${reference}`, "text/html").documentElement.textContent.slice(1);
  // Browsers know some names without a semicolon, too: "&notit;" is "¬it;" to them.
  const decoded = text.endsWith(";") && reference !== "&semi;" ? reference : text;
  if (kept.size >= MAX_KEPT) kept.clear();
  kept.set(reference, decoded);
  return decoded;
}

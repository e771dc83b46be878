// The texts that scripts show. Templates write them, translated, into data attributes of the element #strings.

export const pageLanguage = () => document.documentElement.lang || "en";

/**
 * Returns the text called `name`, with {placeholders} filled from `values`.
 * @param {string} name
 * @param {Record<string, string | number>} [values]
 */
export function text(name, values = {}) {
  const pattern = document.getElementById("strings")?.dataset[name] ?? "";
  return pattern.replace(/\{(\w+)\}/g, (placeholder, key) => String(values[key] ?? placeholder));
}

/**
 * Returns the text `nameOne` or `nameOther` with its {count}, by the plural rules of the page's language.
 * @param {string} name
 * @param {number} count
 */
export function plural(name, count) {
  const isOne = new Intl.PluralRules(pageLanguage()).select(count) === "one";
  return text(name + (isOne ? "One" : "Other"), { count: formatNumber(count) });
}

/** @param {number} value */
export const formatNumber = (value) => value.toLocaleString(pageLanguage());

/**
 * Formats a date in the page's language and the reader's time zone; without the day when it is today.
 * @param {Date} date
 */
export function formatDate(date) {
  const isToday = new Date().toDateString() === date.toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const day = isToday ? {} : { weekday: "short", month: "short", day: "numeric" };
  return new Intl.DateTimeFormat(pageLanguage(), { ...day, hour: "2-digit", minute: "2-digit" }).format(date);
}

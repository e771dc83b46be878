// The words that scripts show, translated by the template into data attributes.

const { dataset } = document.getElementById("strings");

export const language = document.documentElement.lang || "en";

/** The string `name` with {placeholders} filled from `values`. */
export function text(name, values = {}) {
  return (dataset[name] ?? "").replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

/** The singular or plural form of `name`, by the rules of the page's language. */
export function counted(name, count) {
  const one = new Intl.PluralRules(language).select(count) === "one";
  return text(name + (one ? "One" : "Other"), { count: count.toLocaleString(language) });
}

/** A moment as a person would say it: the time alone when it is today. */
export function moment(date) {
  const today = new Date().toDateString() === date.toDateString();
  const day = today ? {} : { weekday: "short", month: "short", day: "numeric" };
  return new Intl.DateTimeFormat(language, { ...day, hour: "2-digit", minute: "2-digit" }).format(date);
}

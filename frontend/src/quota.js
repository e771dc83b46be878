// What is left of the quota that the selected model counts against.
import { call } from "./api.js";
import { counted, moment, text } from "./translations.js";

const charges = { credit: "chargeCredit", daily: "chargeDaily", none: "chargeNone" };

const leftToday = ({ daily_limit, used_today }) => Math.max(daily_limit - used_today, 0);

function described(quota) {
  const { title, daily_limit: limit, credits } = quota;
  if (limit === null) return text("quotaUnlimited", { title });
  const left = text("quotaToday", { title, left: leftToday(quota), limit });
  if (limit === 0) return text("quotaCredits", { title, credits: counted("credits", credits) });
  return credits ? `${left} · ${counted("credits", credits)}` : left;
}

export class Quotas {
  #node;
  #bySlug = new Map();
  #selected = null;

  constructor(node, quotas) {
    this.#node = node;
    for (const quota of quotas) this.#bySlug.set(quota.slug, quota);
  }

  select(slug) {
    this.#selected = slug;
    this.#show();
  }

  update(quota) {
    this.#bySlug.set(quota.slug, quota);
    this.#show();
  }

  async refresh() {
    for (const quota of await call("GET", "/api/quotas/")) this.#bySlug.set(quota.slug, quota);
    this.#show();
  }

  /** What an answer cost, in words: nothing to say where there is no limit. */
  chargeOf(slug, source) {
    const unlimited = this.#bySlug.get(slug)?.daily_limit === null;
    return source && !(unlimited && source === "daily") ? text(charges[source]) : "";
  }

  /** When the selected quota has units again, in words; empty when no day brings any. */
  resetTime() {
    const quota = this.#bySlug.get(this.#selected);
    if (!quota?.resets_at || quota.daily_limit === 0) return "";
    return moment(new Date(quota.resets_at));
  }

  #show() {
    const quota = this.#bySlug.get(this.#selected);
    this.#node.textContent = quota ? described(quota) : "";
    this.#node.classList.toggle("exhausted", quota?.remaining === 0);
    const resets = this.resetTime();
    this.#node.title = resets ? text("quotaResets", { time: resets }) : "";
  }
}

// What is left of the quota that the selected model counts against.
import { call } from "./api.js";
import { formatDate, formatNumber, plural, text } from "./translations.js";
/** @import { ChargeSource, Quota } from "./types.js" */

const chargeTexts = { credit: "chargeCredit", daily: "chargeDaily", none: "chargeNone" };

/**
 * Returns a text about what is left of a quota.
 * @param {Quota} quota
 */
export function describeQuota({ title, daily_limit: limit, used_today: used, credits }) {
  if (limit === null) return text("quotaUnlimited", { title });
  if (limit === 0) return text("quotaCredits", { title, credits: plural("credits", credits) });
  const left = formatNumber(Math.max(limit - used, 0));
  const today = text("quotaToday", { title, left, limit: formatNumber(limit) });
  return credits ? `${today} · ${plural("credits", credits)}` : today;
}

/** The user's quotas, and the line of the page that shows the selected one. */
export class Quotas {
  #node;
  /** @type {Map<string | undefined, Quota>} */
  #bySlug = new Map();
  /** @type {string | undefined} */
  #selected;

  /**
   * @param {HTMLElement} node
   * @param {Quota[]} quotas
   */
  constructor(node, quotas) {
    this.#node = node;
    for (const quota of quotas) this.#bySlug.set(quota.slug, quota);
  }

  /** @param {string | undefined} slug */
  select(slug) {
    this.#selected = slug;
    this.#show();
  }

  /** @param {Quota[]} quotas */
  update(...quotas) {
    for (const quota of quotas) this.#bySlug.set(quota.slug, quota);
    this.#show();
  }

  async refresh() {
    /** @type {Quota[]} */
    const quotas = await call("GET", "/api/quotas/");
    this.update(...quotas);
  }

  /**
   * Returns a text about what a completion cost; empty while it runs, and where the quota has no limit.
   * @param {string | undefined} slug
   * @param {ChargeSource | "" | undefined} source
   */
  describeCharge(slug, source) {
    const isFree = source === "daily" && this.#bySlug.get(slug)?.daily_limit === null;
    return source && !isFree ? text(chargeTexts[source]) : "";
  }

  /** Returns the time at which the selected quota has units again; empty when it has no daily units. */
  resetTime() {
    const quota = this.#bySlug.get(this.#selected);
    return quota?.resets_at && quota.daily_limit !== 0 ? formatDate(new Date(quota.resets_at)) : "";
  }

  #show() {
    const quota = this.#bySlug.get(this.#selected);
    const time = this.resetTime();
    this.#node.textContent = quota ? describeQuota(quota) : "";
    this.#node.classList.toggle("exhausted", quota?.remaining === 0);
    this.#node.title = time && text("quotaResets", { time });
  }
}

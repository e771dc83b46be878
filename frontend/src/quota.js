// What is left of the quota that the selected model counts against.
import { call } from "./api.js";
import { formatDate, formatNumber, plural, text } from "./translations.js";
/** @import { ChargeSource, GuestAllowance, Id, Quota } from "./types.js" */

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

/**
 * @param {number} left
 * @param {number} limit
 */
const describeGuest = (left, limit) =>
  text("quotaToday", { title: text("guest"), left: formatNumber(left), limit: formatNumber(limit) });

/** The user's quotas, and the line of the page that shows the selected one, or what a guest has left if that is less. */
export class Quotas {
  #node;
  #guest;
  /** The generations that this page has begun for the guest. @type {Set<Id>} */
  #guestUses = new Set();
  /** @type {Map<string | undefined, Quota>} */
  #bySlug = new Map();
  /** @type {string | undefined} */
  #selected;

  /**
   * @param {HTMLElement} node
   * @param {Quota[]} quotas
   * @param {GuestAllowance | null} [guest] null unless the user is a guest
   */
  constructor(node, quotas, guest = null) {
    this.#node = node;
    this.#guest = guest;
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

  /** @param {Id} generation one that this page has begun */
  countGuestUse(generation) {
    this.#guestUses.add(generation);
    this.#show();
  }

  /** Notes that the server has refused a prompt, because the guest or others at the same address have used all. */
  exhaustGuest() {
    if (this.#guest) this.#guest.left = 0;
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
    const guest = quota && this.#guest;
    const left = guest ? Math.max(guest.left - this.#guestUses.size, 0) : Infinity;
    const isGuestLimit = guest && left <= (quota.remaining ?? Infinity);
    if (isGuestLimit) this.#node.textContent = describeGuest(left, guest.limit);
    else this.#node.textContent = quota ? describeQuota(quota) : "";
    this.#node.classList.toggle("exhausted", left === 0 || quota?.remaining === 0);
    this.#node.title = time && text("quotaResets", { time });
  }
}

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { describeQuota, Quotas } from "../src/quota.js";
import { installFetch, installPage } from "./page-stub.js";
/** @import { GuestAllowance, Quota } from "../src/types.js" */

/** @type {Quota} */
const daily = {
  slug: "basic",
  title: "Basic",
  daily_limit: 10,
  used_today: 4,
  credits: 0,
  remaining: 6,
  resets_at: "2099-05-01T00:00:00+00:00",
};

const createNode = () => ({
  textContent: "",
  title: "",
  classes: /** @type {Record<string, boolean>} */ ({}),
  classList: {
    toggle(/** @type {string} */ name, /** @type {boolean} */ force) {
      node.classes[name] = force;
    },
  },
});
let node = createNode();

/** @param {Quota[]} quotas */
const show = (...quotas) => showTo(null, ...quotas);

/**
 * @param {GuestAllowance | null} guest
 * @param {Quota[]} quotas
 */
const showTo = (guest, ...quotas) =>
  new Quotas(/** @type {HTMLElement} */ (/** @type {unknown} */ (node)), quotas, guest);

beforeEach(() => {
  node = createNode();
  installPage({
    guest: "Guest",
    quotaUnlimited: "{title}: no limit",
    quotaCredits: "{title}: {credits}",
    quotaToday: "{title}: {left} of {limit}",
    quotaResets: "renewed at {time}",
    creditsOne: "{count} credit",
    creditsOther: "{count} credits",
    chargeDaily: "daily",
    chargeCredit: "1 credit",
    chargeNone: "not charged",
  });
});

test("a quota shows what is left today, and the credits if there are any", () => {
  assert.equal(describeQuota(daily), "Basic: 6 of 10");
  assert.equal(describeQuota({ ...daily, credits: 1 }), "Basic: 6 of 10 · 1 credit");
  assert.equal(describeQuota({ ...daily, daily_limit: 12_000 }), "Basic: 11,996 of 12,000");
});

test("a limit that was lowered below the use leaves nothing, not less", () => {
  assert.equal(describeQuota({ ...daily, daily_limit: 3 }), "Basic: 0 of 3");
});

test("a quota without a limit, and one of credits only, have texts of their own", () => {
  assert.equal(describeQuota({ ...daily, daily_limit: null, remaining: null }), "Basic: no limit");
  assert.equal(describeQuota({ ...daily, daily_limit: 0, credits: 5 }), "Basic: 5 credits");
});

test("the line shows the selected quota and whether it is exhausted", () => {
  const quotas = show(daily, { ...daily, slug: "premium", title: "Premium", remaining: 0 });
  quotas.select("basic");
  assert.equal(node.textContent, "Basic: 6 of 10");
  assert.equal(node.classes.exhausted, false);
  assert.match(node.title, /^renewed at /);
  quotas.select("premium");
  assert.equal(node.classes.exhausted, true);
  quotas.select(undefined);
  assert.equal(node.textContent, "");
});

test("a refreshed quota replaces the shown one", async () => {
  const quotas = show(daily);
  quotas.select("basic");
  const requests = installFetch(Response.json([{ ...daily, used_today: 5 }]));
  await quotas.refresh();
  assert.equal(node.textContent, "Basic: 5 of 10");
  assert.equal(requests[0]?.url, "/api/quotas/");
});

test("a charge is described by its source, but not where there is no limit", () => {
  const quotas = show(daily, { ...daily, slug: "free", daily_limit: null });
  assert.equal(quotas.describeCharge("basic", "daily"), "daily");
  assert.equal(quotas.describeCharge("basic", "none"), "not charged");
  assert.equal(quotas.describeCharge("basic", ""), "");
  assert.equal(quotas.describeCharge("free", "daily"), "");
  assert.equal(quotas.describeCharge("free", "credit"), "1 credit");
});

test("a quota of credits only is never renewed", () => {
  const quotas = show({ ...daily, daily_limit: 0 });
  quotas.select("basic");
  assert.equal(quotas.resetTime(), "");
  assert.equal(node.title, "");
});

test("a guest sees the trial of the day, and each generation counts once", () => {
  const quotas = showTo({ limit: 3, left: 2 }, daily);
  quotas.select("basic");
  assert.equal(node.textContent, "Guest: 2 of 3");
  quotas.countGuestUse("g1");
  quotas.countGuestUse("g1");
  assert.equal(node.textContent, "Guest: 1 of 3");
  assert.equal(node.classes.exhausted, false);
  quotas.exhaustGuest();
  assert.equal(node.textContent, "Guest: 0 of 3");
  assert.equal(node.classes.exhausted, true);
});

test("a guest sees the quota where it leaves less than the trial", () => {
  const quotas = showTo({ limit: 9, left: 9 }, daily);
  quotas.select("basic");
  assert.equal(node.textContent, "Basic: 6 of 10");
  quotas.update({ ...daily, daily_limit: null, remaining: null });
  assert.equal(node.textContent, "Guest: 9 of 9");
});

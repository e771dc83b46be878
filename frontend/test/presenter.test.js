import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { actionsAfterRefusal, GenerationPresenter } from "../src/generation/presenter.js";
import { installPage } from "./page-stub.js";

const steps = { retry: () => {}, edit: () => {} };

/** @param {string} code */
const labels = (code, given = steps) => actionsAfterRefusal(code, given).map(({ label }) => label);

const texts = {
  account: "account",
  edit: "edit",
  invite: "invite",
  inviteUrl: "/invitations/",
  logIn: "log in",
  redeem: "redeem",
  redeemUrl: "/usage/",
  terms: "terms",
  tryAgain: "try again",
};

beforeEach(() => installPage(texts));

test("a refusal that may pass can be retried or edited", () => {
  assert.deepEqual(labels("upstream_unavailable"), ["try again", "edit"]);
});

test("the same request is not offered where it would be refused again", () => {
  for (const code of ["content_blocked", "prompt_too_long", "invalid_request", "forbidden", "not_found"]) {
    assert.deepEqual(labels(code), ["edit"], code);
  }
});

test("an exhausted quota leads to ways to more credits", () => {
  assert.deepEqual(labels("quota_exhausted"), ["invite", "redeem", "edit"]);
  installPage({ ...texts, inviteUrl: "" });
  assert.deepEqual(labels("quota_exhausted"), ["redeem", "edit"]);
});

test("an exhausted trial leads to the sign-up, while it is open", () => {
  const guest = { ...texts, inviteUrl: "", redeemUrl: "" };
  installPage({ ...guest, signUp: "sign up", signUpUrl: "/accounts/keep/" });
  assert.deepEqual(labels("quota_exhausted"), ["sign up", "edit"]);
  installPage(guest);
  assert.deepEqual(labels("quota_exhausted"), ["edit"]);
});

test("a lost login leads to the login page and back", () => {
  assert.deepEqual(actionsAfterRefusal("not_authenticated", steps), [
    { label: "log in", href: "/accounts/login/?next=/c/7/" },
  ]);
});

test("an incomplete account leads to the page that completes it", () => {
  assert.deepEqual(labels("account_incomplete"), ["account", "edit"]);
});

test("terms that are not accepted lead to their page and back", () => {
  assert.deepEqual(actionsAfterRefusal("terms_required", { edit: steps.edit })[0], {
    label: "terms",
    href: "/accounts/terms/?next=/c/7/",
  });
});

test("a step that is not possible is not offered", () => {
  assert.deepEqual(actionsAfterRefusal("upstream_unavailable", {}), []);
  assert.deepEqual(actionsAfterRefusal("content_blocked", { retry: steps.retry }), []);
});

/**
 * Shows a generation with these events in a stand-in for a view, and returns the sources that it then has.
 * @param {[string, any][]} events
 * @param {any} stored
 */
async function sourcesAfter(events, stored) {
  /** @type {any} */
  const view = {
    node: { dataset: {} },
    begin() {},
    replace() {},
    async showRest() {},
    finish() {},
    fail() {},
    appendContent() {},
  };
  /** @type {any} */
  const quotas = { describeCharge: () => "", update() {}, refresh: async () => {} };
  /** @type {any} */
  const generation = {
    follow: async (/** @type {any} */ handlers) => events.forEach(([name, payload]) => handlers[name]?.(payload)),
    fetchStored: async () => stored,
  };
  const presenter = new GenerationPresenter({ models: [], quotas, announcer: /** @type {any} */ ({}) });
  await presenter.show(generation, view, "m", { error() {} });
  await new Promise(setImmediate);
  return view.sources;
}

/** @type {[string, any]} */
const start = ["start", { generation: "9", model: "m" }];
/** @type {[string, any]} */
const done = ["done", { finish_reason: "stop", usage: null, charge: null, quota: {} }];
const [first, second] = [
  { url: "https://a.example/", title: "A" },
  { url: "https://b.example/", title: "B" },
];

test("sources are those of the event", async () => {
  assert.deepEqual(await sourcesAfter([start, ["sources", { sources: [first] }], done], { sources: [second] }), [
    first,
  ]);
  assert.deepEqual(await sourcesAfter([start, done], { sources: [second] }), []);
});

test("images are those of the event, and what was left out is said after the end", async () => {
  /** @type {any[]} */
  const said = [];
  /** @type {any} */
  const view = {
    node: { dataset: {} },
    begin() {},
    async showRest() {},
    finish() {},
    notice: (/** @type {string} */ line) => said.push(line),
  };
  /** @type {any} */
  const quotas = { describeCharge: () => "", update() {} };
  const image = { id: 1, kind: "image", name: "image-1.png" };
  /** @type {any} */
  const generation = {
    follow: async (/** @type {any} */ handlers) => {
      handlers.start(start[1]);
      handlers.attachments({ attachments: [image] });
      handlers.notice({ code: "image_left_out", message: "lost" });
      said.length = 0;
      handlers.done(done[1]);
    },
  };
  const presenter = new GenerationPresenter({ models: [], quotas, announcer: /** @type {any} */ ({}) });
  await presenter.show(generation, view, "m", { error() {} });
  assert.deepEqual([view.attachments, said], [[image], ["lost"]]);
});

test("sources that a reset may have left out are fetched", async () => {
  assert.deepEqual(await sourcesAfter([start, ["reset", {}], done], { sources: [second] }), [second]);
  assert.deepEqual(await sourcesAfter([start, ["reset", {}], done], {}), []);
  const events = /** @type {[string, any][]} */ ([start, ["reset", {}], ["sources", { sources: [first] }], done]);
  assert.deepEqual(await sourcesAfter(events, { sources: [second] }), [first]);
});

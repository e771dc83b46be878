import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { actionsAfterRefusal } from "../src/generation/presenter.js";
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
  tryAgain: "try again",
  usageUrl: "/usage/",
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

test("a lost login leads to the login page and back", () => {
  assert.deepEqual(actionsAfterRefusal("not_authenticated", steps), [
    { label: "log in", href: "/accounts/login/?next=/c/7/" },
  ]);
});

test("an incomplete account leads to the page that completes it", () => {
  assert.deepEqual(labels("account_incomplete"), ["account", "edit"]);
});

test("a step that is not possible is not offered", () => {
  assert.deepEqual(actionsAfterRefusal("upstream_unavailable", {}), []);
  assert.deepEqual(actionsAfterRefusal("content_blocked", { retry: steps.retry }), []);
});

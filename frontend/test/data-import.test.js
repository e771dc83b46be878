import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Refusal } from "../src/api.js";
import { describeImport, describeImportRefusal, describeLeftOut } from "../src/data-import.js";
import { installPage } from "./page-stub.js";

beforeEach(() =>
  installPage({
    conversationsOne: "{count} conversation",
    conversationsOther: "{count} conversations",
    foreign: "not our file.",
    imported: "{conversations}, {messages}",
    leftOut: "but",
    messagesOne: "{count} message",
    messagesOther: "{count} messages",
    tooLarge: "too large",
    wrongAt: "see {where}",
  }),
);

/**
 * @param {string} code
 * @param {Record<string, unknown>} [details]
 */
const describe = (code, details) =>
  describeImportRefusal(new Refusal({ code, message: "the server's message", details }));

test("an import is described by its counts", () => {
  assert.equal(describeImport({ conversations: 1, messages: 12 }), "1 conversation, 12 messages");
});

test("what was left out is named", () => {
  const leftOut = { conversation: "Trip", what: "image", count: 2 };
  assert.equal(
    describeImport({ conversations: 1, messages: 2, left_out: [leftOut] }),
    "1 conversation, 2 messages but",
  );
  assert.equal(describeLeftOut(leftOut), "Trip: image × 2");
  assert.equal(describeLeftOut({ ...leftOut, count: 1 }), "Trip: image");
});

test("a file that is too large is called so", () => {
  assert.equal(describe("prompt_too_long"), "too large");
});

test("a foreign file is called so, with the place of its first mistake", () => {
  assert.equal(describe("invalid_request"), "not our file.");
  assert.equal(describe("invalid_request", { body: ["no JSON"] }), "not our file.");
  const details = { "conversations.0.messages.3.role": ["unknown"], "conversations.1": ["unknown"] };
  assert.equal(describe("invalid_request", details), "not our file. see conversations.0.messages.3.role");
});

test("any other refusal is shown with the server's message", () => {
  assert.equal(describe("rate_limited"), "the server's message");
});

import assert from "node:assert/strict";
import test from "node:test";
import { chosenParameters } from "../src/chat/parameters.js";

const own = /** @type {const} */ ({ temperature: 0.9, max_tokens: 50, reasoning_effort: "high" });

test("parameters of the preset are left to the server", () => {
  assert.deepEqual(chosenParameters(own, { temperature: 0.1 }, ["reasoning_effort"]), {
    max_tokens: 50,
    reasoning_effort: "high",
  });
});

test("reasoning effort is sent only to models that take it", () => {
  assert.deepEqual(chosenParameters(own, {}, ["images"]), { temperature: 0.9, max_tokens: 50 });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { isSendKey } from "../src/chat/prompt-field.js";

const enter = { key: "Enter", shiftKey: false, isComposing: false, keyCode: 13 };

test("Enter sends, Shift+Enter and other keys do not", () => {
  assert.ok(isSendKey(enter));
  assert.ok(!isSendKey({ ...enter, shiftKey: true }));
  assert.ok(!isSendKey({ ...enter, key: "a", keyCode: 65 }));
});

test("the Enter of an input method does not send", () => {
  assert.ok(!isSendKey({ ...enter, isComposing: true }));
  assert.ok(!isSendKey({ ...enter, keyCode: 229 }), "Safari reports it after the composition");
});

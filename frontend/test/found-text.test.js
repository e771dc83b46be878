import assert from "node:assert/strict";
import { test } from "node:test";
import { splitAround } from "../src/chat/found-text.js";

test("every occurrence of a searched text is apart from what surrounds it", () => {
  assert.deepEqual(splitAround("A needle, a NEEDLE", "Needle"), ["A ", "needle", ", a ", "NEEDLE", ""]);
  assert.deepEqual(splitAround("İstanbul 字典", "字"), ["İstanbul ", "字", "典"]);
  assert.deepEqual(splitAround("aaa", "aa"), ["", "aa", "a"]);
  assert.deepEqual(splitAround("nothing", ""), ["nothing"]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { FramePace } from "../src/markdown/frame-pace.js";

/** @param {number} milliseconds */
function work(milliseconds) {
  for (const end = performance.now() + milliseconds; performance.now() < end;);
}

test("a short text is shown whole, a long one in steps that cut no character", () => {
  const pace = new FramePace();
  assert.equal(pace.endOf("short", 0), 5);
  const end = pace.endOf("a".repeat(50_000), 100);
  assert.ok(end > 100 && end < 50_000);
  assert.equal(pace.endOf(`${"a".repeat(end - 101)}${"😀".repeat(9_000)}`, 100), end + 1);
});

test("a slow update is followed by a pause and by smaller ones", async () => {
  const pace = new FramePace();
  const source = "a".repeat(50_000);
  const first = pace.endOf(source, 0);
  pace.measure(first, () => work(80));
  assert.ok(!pace.isDue(performance.now()));
  await wait(1);
  assert.ok(!pace.isDue(performance.now()));
  assert.ok(pace.endOf(source, 0) < first / 2);
  await wait(400);
  assert.ok(pace.isDue(performance.now()));
});

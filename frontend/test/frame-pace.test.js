import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { installPage } from "./page-stub.js";

// The module listens to the keys of the page.
installPage();
const { FramePace, UpdateCost } = await import("../src/markdown/frame-pace.js");

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

test("after a slow update comes a pause", async () => {
  const pace = new FramePace();
  pace.measure(1_000, () => work(40));
  assert.ok(!pace.isDue(performance.now()), "not painted yet");
  await wait(1);
  assert.ok(!pace.isDue(performance.now() + 200));
  const later = performance.now() + 500;
  const due = Array.from({ length: 24 }, () => pace.isDue(later)).indexOf(true);
  assert.equal(due, 21, "frames count, whatever their length");
});

test("a pause ends after a second, because no frame is counted while no text waits", async () => {
  const pace = new FramePace();
  pace.measure(1_000, () => work(40));
  await wait(1);
  assert.ok(!pace.isDue(performance.now() + 500));
  assert.ok(pace.isDue(performance.now() + 1_001));
});

test("a text that is hurried has no pauses between its updates", async () => {
  const pace = new FramePace();
  pace.measure(10_000, () => work(40));
  await wait(1);
  assert.ok(!pace.isDue(performance.now()));
  pace.hurried = true;
  assert.ok(pace.isDue(performance.now()));
  pace.measure(10_000, () => work(40));
  assert.ok(!pace.isDue(performance.now()), "not painted yet");
  await wait(1);
  assert.ok(pace.isDue(performance.now()));
});

/** @param {[number, number][]} updates characters and milliseconds of each */
function fittingAfter(...updates) {
  const cost = new UpdateCost();
  for (const [chars, duration] of updates) cost.add(chars, duration);
  return cost.fittingChars(150);
}

test("an update adds what fits into its time, by the updates before it", () => {
  assert.equal(fittingAfter(), 1_000);
  assert.equal(fittingAfter([1_000, 300]), 500);
  assert.equal(fittingAfter([1_000, 100], [2_000, 150]), 2_000);
  assert.equal(fittingAfter([100, 5_000]), 80);
});

test("updates do not shrink for what one without characters takes too", () => {
  assert.equal(fittingAfter([400, 320], [1_600, 380], [800, 340]), 2_040);
});

test("an update is not much larger than those from which its duration is known", () => {
  assert.equal(fittingAfter([2_000, 1]), 3_000);
  assert.equal(fittingAfter([100, 101], [110, 101.1]), 1_000);
});

test("no update begins while a key is likely", () => {
  const pace = new FramePace();
  assert.ok(pace.isDue(performance.now()));
  dispatchEvent(new Event("keydown"));
  const due = Array.from({ length: 8 }, () => pace.isDue(performance.now()));
  assert.deepEqual(due, [false, false, true, true, true, false, false, false]);
  dispatchEvent(new Event("keydown"));
  assert.ok(!pace.isDue(performance.now()));
  assert.ok(pace.isDue(performance.now() + 450), "no longer typing");
});

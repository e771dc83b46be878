import assert from "node:assert/strict";
import { test } from "node:test";
import { versionAt, versionIds } from "../src/versions.js";

/** @param {Record<string, string>} dataset */
const node = (dataset) => /** @type {HTMLElement} */ (/** @type {unknown} */ ({ dataset }));

test("a message without versions has none", () => {
  assert.deepEqual(versionIds(node({ id: "4" })), []);
});

test("the neighbours of a version are found, and none beyond the ends", () => {
  const middle = node({ id: "5", versions: "4,5,6" });
  assert.equal(versionAt(middle, -1), "4");
  assert.equal(versionAt(middle, 1), "6");
  assert.equal(versionAt(node({ id: "4", versions: "4,5,6" }), -1), null);
  assert.equal(versionAt(node({ id: "6", versions: "4,5,6" }), 1), null);
});

test("a version that is not stored yet cannot be chosen", () => {
  assert.equal(versionAt(node({ id: "4", versions: "4," }), 1), null);
});

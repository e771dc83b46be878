import assert from "node:assert/strict";
import { test } from "node:test";
import { isHelpPress, singleKey } from "../src/chat/shortcuts.js";

const press = (/** @type {string} */ key, changes = {}) => ({
  ...{ key, ctrlKey: false, metaKey: false, altKey: false, isComposing: false, repeat: false },
  ...changes,
});

test("a key alone is a shortcut, also with capitals and with full-width marks", () => {
  assert.equal(singleKey(press("n")), "n");
  assert.equal(singleKey(press("N")), "n");
  assert.equal(singleKey(press("？")), "?");
});

test("keys of the browser, of the screen reader and of the input method are none", () => {
  for (const changes of [
    { ctrlKey: true },
    { metaKey: true },
    { altKey: true },
    { isComposing: true },
    { repeat: true },
  ]) {
    assert.equal(singleKey(press("n", changes)), "");
  }
  for (const key of ["Tab", "Enter", "Escape", "F5", "ArrowDown"]) assert.equal(singleKey(press(key)), "");
});

test("Ctrl+/ and Cmd+/ open the list, but not AltGr+/", () => {
  assert.ok(isHelpPress(press("/", { ctrlKey: true })));
  assert.ok(isHelpPress(press("/", { metaKey: true })));
  assert.ok(!isHelpPress(press("/", { ctrlKey: true, altKey: true })));
  assert.ok(!isHelpPress(press("/")));
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { dayName } from "../src/chat/day-groups.js";

const midnight = new Date(2026, 2, 29);

/** @type {[string, Date][]} */
const moments = [
  ["today", new Date(2026, 2, 30)],
  ["today", new Date(2026, 2, 29)],
  ["yesterday", new Date(2026, 2, 28, 23, 59, 59)],
  ["yesterday", new Date(2026, 2, 28)],
  ["previousWeek", new Date(2026, 2, 27, 23, 59)],
  ["previousWeek", new Date(2026, 2, 22)],
  ["previousMonth", new Date(2026, 2, 21, 23, 59)],
  ["previousMonth", new Date(2026, 1, 27)],
  ["", new Date(2026, 1, 26, 23, 59)],
];

test("days are counted from midnight to midnight of the reader's time zone", () => {
  for (const [name, moment] of moments) assert.equal(dayName(moment, midnight), name, moment.toISOString());
});

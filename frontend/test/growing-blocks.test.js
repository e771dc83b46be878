import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { GrowingBlocks } from "../src/markdown/growing-blocks.js";
import { renderBlocks, renderFootnotes } from "../src/markdown/markdown.js";
import { installPage } from "./page-stub.js";

beforeEach(() => installPage({ image: "Image" }));

/**
 * Grows a text by some characters at a time, and checks each state against the whole beginning, parsed at once.
 * @param {string} text
 * @param {number} step
 */
function grow(text, step) {
  const growing = new GrowingBlocks(true);
  /** @type {string[]} */
  let shown = [];
  for (let end = step; end < text.length + step; end += step) {
    const { first, blocks } = growing.render(text.slice(0, end), text.length);
    shown = [...shown.slice(0, first), ...blocks.map(({ html }) => html)];
    const env = { growing: true };
    const expected = [...renderBlocks(text.slice(0, end), env), renderFootnotes(env)].flatMap((block) => block ?? []);
    assert.deepEqual(
      shown,
      expected.map(({ html }) => html),
      JSON.stringify(text.slice(0, end)),
    );
  }
  return growing;
}

/**
 * @param {number} count
 * @param {(number: number) => string} line
 */
const lines = (count, line) => Array.from({ length: count }, (_, number) => line(number)).join("");

test("long lists and tables look the same as when they are parsed whole", () => {
  for (const text of [
    `Before\n\n| a | b |\n|---|:-:|\n${lines(16, (n) => `| *${n}* | \`x\` |\n`)}\nAfter\n\n- end\n`,
    `\n\n${lines(16, (n) => `- item **${n}** with\n  a second line\n`)}\n${lines(3, (n) => `- loose ${n}\n\n`)}Done\n`,
    `${lines(14, (n) => `${n + 3}. one\n   - nested ${n}\n\n     text\n`)}\n***\n\n* other\n`,
    `${lines(14, (n) => `- [${n % 2 ? "x" : " "}] task\n`)}lazy\n+ another list\n`,
    `${lines(14, (n) => `* ${n}\n`)}\n    code?\n\n---\n| a |\n|---|\n${lines(12, (n) => `| ${n}[^1] |\n`)}\n[^1]: note\n`,
  ]) {
    for (const step of [1, 150]) grow(text, step);
  }
});

test("the rows of a long table are parsed once", () => {
  const row = "| **cell** | `code` |\n";
  const growing = new GrowingBlocks(true);
  let text = "| a | b |\n|---|---|\n";
  const times = Array.from({ length: 400 }, () => {
    text += row;
    const begin = performance.now();
    growing.render(text, text.length);
    return performance.now() - begin;
  });
  // The shortest ones, because other work makes times longer.
  const [early, late] = [Math.min(...times.slice(20, 60)), Math.min(...times.slice(-40))];
  assert.ok(late < 4 * early, `${late} ms, earlier ${early} ms`);
});

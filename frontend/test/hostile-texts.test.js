// Texts that are made to keep the page busy: the time for each grows no faster than the text.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { renderBlocks, renderFootnotes } from "../src/markdown/markdown.js";
import { installPage } from "./page-stub.js";

const [SMALL, LARGE] = [30_000, 120_000];

/** How many times the time of the small text that the large one may take: linear is 4, quadratic 16. */
const MOST = 10;

/** Milliseconds that do not count, because the machine does other things too. */
const NOISE_MS = 20;

/** Measurements at most: the shortest counts, and a crowded machine needs several to show it. */
const MOST_ROUNDS = 30;

/** @type {Record<string, (size: number) => string>} each repeats a part up to a number of characters, or so */
const texts = {
  "environments that begin and end": (size) => fill("\\begin{align}\n\\end{align} x\n", size),
  "environments that begin": (size) => fill("\\begin{align}\n", size),
  "environments that begin, then end": (size) => fill("\\begin{align}\n", size / 2) + fill("\\end{align}\n", size / 2),
  "environments that end more than once": (size) => `\\begin{align}\n${fill("\\begin{align}\\end{align}\n", size)}`,
  "emphasis that opens in one line": (size) => fill("*a **b ~~c ", size),
  "tags that open in one line": (size) => fill("<sub>a ", size),
  "tags that open and others that close": (size) => fill("<sub>a ", size / 2) + fill("</sup>", size / 2),
  "a long run of backticks": (size) => `\`a${"`".repeat(size)}x`,
  "details and backticks": (size) => `<details>${"`".repeat(size / 2)}${"x".repeat(size / 2)}`,
  "details and runs of backticks": (size) => {
    let text = "<details>";
    for (let length = 1; text.length < size; length += 1) text += `${"`".repeat(length)}x`;
    return text;
  },
  "tags and backticks": (size) => fill(`${"<sub>".repeat(100)}${"`".repeat(500)}${"x".repeat(500)}`, size),
  "notes with formulas": (size) => fill("[^NUMBER]: \\begin{align}\n    \\begin{align}\n", size),
  "notes within notes": (size) => fill("[^NUMBER]: ", size),
  "one note many times": (size) => fill("[^a]: b\n", size),
};

/**
 * @param {string} part where it says NUMBER, each repetition has its own
 * @param {number} size
 */
const fill = (part, size) =>
  Array.from({ length: Math.ceil(size / part.length) }, (_, i) => part.replace("NUMBER", String(i))).join("");

/**
 * Returns the milliseconds of CPU that one rendering takes.
 * @param {string} source
 * @param {boolean} growing
 */
function measure(source, growing) {
  const begin = process.cpuUsage();
  const env = { growing };
  renderBlocks(source, env);
  renderFootnotes(env);
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / 1000;
}

before(() => installPage({ image: "Image" }));

for (const [name, make] of Object.entries(texts)) {
  for (const growing of [true, false]) {
    test(`${name}: linear time, ${growing ? "growing" : "whole"}`, () => {
      const [few, many] = [make(SMALL), make(LARGE)];
      let [small, large] = [Infinity, Infinity];
      for (let round = 0; round < 3 || (round < MOST_ROUNDS && large > MOST * small + NOISE_MS); round += 1) {
        small = Math.min(small, measure(few, growing));
        if (round >= 2) large = Math.min(large, measure(many, growing)); // the small text has warmed the code up
      }
      assert.ok(large <= MOST * small + NOISE_MS, `${LARGE} characters took ${large} ms, ${SMALL} took ${small} ms`);
    });
  }
}

test("while a text grows, only the notes that have changed are rendered again", () => {
  const env = { growing: true };
  const notes = Array.from({ length: 400 }, (_, i) => `[^${i}]: ${"*a* `b` ".repeat(40)}`).join("\n");
  const begin = performance.now();
  renderBlocks(notes, env);
  const first = renderFootnotes(env)?.html;
  const rendered = performance.now();
  for (let i = 0; i < 10; i += 1) assert.equal(renderFootnotes(env)?.html, first);
  assert.ok(performance.now() - rendered < rendered - begin);
  renderBlocks("[^0]: new", env);
  assert.match(renderFootnotes(env)?.html ?? "", /<p[^>]*>new<\/p>/);
});

test("no link holds another", () => {
  for (const [source, want] of [
    ["[<sub>[^1]</sub>](https://a.example) [^1]\n\n[^1]: note", '<a href="https://a.example"><sub>[^1]</sub></a> <sup'],
    ["[<sub>[b](https://b.example)</sub>](https://a.example) c", '<a href="https://a.example"><sub>b</sub></a> c'],
    ["[<https://b.example>](https://a.example) c", '<a href="https://a.example">https://b.example</a> c'],
    ["[![b](https://b.example/b.png)](https://a.example) c", '<a href="https://a.example">b</a> c'],
    ["![b](https://b.example/b.png)", '<a class="picture" href="https://b.example/b.png">b</a>'],
  ]) {
    const [block] = renderBlocks(String(source), {});
    assert.ok(block?.html.includes(String(want)), block?.html);
  }
});

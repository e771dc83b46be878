import assert from "node:assert/strict";
import { test } from "node:test";
import { renderBlocks } from "../src/markdown/markdown.js";

/**
 * @param {string} source
 * @param {boolean} growing
 */
const html = (source, growing = false) =>
  renderBlocks(source, { growing })
    .map((block) => block.html.trim())
    .join("");
const inline = (/** @type {string} */ formula) => `<span class="formula">${formula}</span>`;
const display = (/** @type {string} */ formula) => `<span class="formula formula-display">${formula}</span>`;

test("each pair of delimiters makes a formula within a line", () => {
  assert.equal(html("a $x$ b"), `<p>a ${inline("x")} b</p>`);
  assert.equal(html("a \\(x\\) b"), `<p>a ${inline("x")} b</p>`);
  assert.equal(html("a $$x$$ b"), `<p>a ${display("x")} b</p>`);
  assert.equal(html("a \\[x\\] b"), `<p>a ${display("x")} b</p>`);
});

test("prices are no formulas", () => {
  for (const text of ["$5 and $10", "from 5$ to 10$", "$ x $", "a $ b"]) assert.equal(html(text), `<p>${text}</p>`);
});

test("an escaped dollar closes nothing", () => {
  assert.equal(html("$a\\$b$"), `<p>${inline("a\\$b")}</p>`);
});

test("a formula is escaped", () => {
  assert.equal(html("$a<b$"), `<p>${inline("a&lt;b")}</p>`);
});

test("a formula on lines of its own is a block", () => {
  assert.equal(html("$$\na\nb\n$$\ntext"), `${display("a\nb")}<p>text</p>`);
  assert.equal(html("\\[ a \\]"), display("a"));
  assert.equal(html("text\n$$\na\n$$"), `<p>text</p>${display("a")}`);
});

test("empty formulas, and those with text behind them, are no blocks", () => {
  assert.equal(html("$$\n\n$$"), "<p>$$</p><p>$$</p>");
  assert.doesNotMatch(html("$$\na\n$$ text"), /^<span/);
  assert.match(html("    $$\n    a\n    $$"), /^<pre>/);
});

test("while the text grows, an open formula shows its source", () => {
  assert.equal(html("$$\na +", true), '<div class="formula-unfinished">a +</div>');
  assert.equal(html("$$\na +"), "<p>$$<br>\na +</p>");
  assert.match(html("> $$\n> a +", true), /^<blockquote>/);
});

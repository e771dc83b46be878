import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { completeText } from "../src/markdown/growing-text.js";
import { renderBlocks } from "../src/markdown/markdown.js";
import { installPage } from "./page-stub.js";

beforeEach(() => installPage({ image: "Image" }));

/** @param {string} source */
const growing = (source) =>
  renderBlocks(source, { growing: true })
    .map(({ html }) => html)
    .join("");

/** @param {string} html */
const plain = (html) => html.replace(/<[^>]*>/g, "");

/**
 * Renders each beginning of a text, and checks what is shown of it.
 * @param {string} source
 * @param {(html: string, beginning: string) => void} check
 */
function grow(source, check) {
  for (let length = 1; length <= source.length; length += 1) {
    const beginning = source.slice(0, length);
    check(growing(beginning), JSON.stringify(beginning));
  }
}

test("what is open is closed, and marks without text are not shown", () => {
  for (const [source, shown] of [
    ["a **bo", "a **bo**"],
    ["a **bold*", "a **bold**"],
    ["a **", "a"],
    ["*a **b", "*a **b***"],
    ["a `co", "a `co`"],
    ["a ``co`", "a ``co``"],
    ["~~a", "~~a~~"],
    ["H<sub>2", "H<sub>2</sub>"],
    ["H<su", "H"],
    ["a **", "a"],
    ["2 * 3 ** 4", "2 * 3 ** 4"],
    ["a_b", "a_b"],
    ["**a** b", "**a** b"],
    ["`**a", "`**a`"],
    ["他说：**“你", "他说：**“你**"],
  ]) {
    assert.equal(completeText(String(source)), shown, source);
  }
});

test("links, citations and formulas are held back until they are whole", () => {
  for (const [source, shown] of [
    ["see [the do", "see"],
    ["see [the docs](https://exa", "see"],
    ["see ![a", "see"],
    ["as in [1]", "as in"],
    ["as in [1] and", "as in [1] and"],
    ["a \\(x", "a"],
    ["a $x", "a"],
    ["a $5 and", "a $5 and"],
    ["a $$x", "a"],
    ["see <https://exa", "see"],
  ]) {
    assert.equal(completeText(String(source)), shown, source);
  }
});

test("a bracket that is never closed is shown in the end", () => {
  const source = `an open [ ${"bracket ".repeat(60)}`;
  assert.equal(completeText(source), source.trimEnd());
});

test("no beginning of a text shows marks that its whole does not", () => {
  const source =
    "**Bold “x”** and *it* with `code`, [a link](https://example.com/(a)), ![p](https://example.com/p.png).\n" +
    "1. **“One”**：a\n2. ~~two~~[^1]\n\n| a | **b** |\n|---|:-:|\n| `c` | [d](https://example.com) |\n\n[^1]: note **b**\n";
  grow(source, (html, beginning) => assert.doesNotMatch(plain(html), /[*`~|\]]|\[(?!\d)|https/, beginning));
});

test("a table is a table from its first cell on", () => {
  grow("| a | b |\n|---|--:|\n| c | d |\n", (html, beginning) => {
    assert.doesNotMatch(html, /<p>[^<]/, beginning);
    if (beginning.length > 5) assert.match(html, /^<div class="table"><table>/, beginning);
  });
});

test("a paragraph above a list never looks like a heading", () => {
  grow("text\n- one\n- two\n  - three\n", (html, beginning) => assert.doesNotMatch(html, /<h[1-6]/, beginning));
  assert.match(growing("text\n---\n"), /<h2>text/);
});

test("a code block keeps out the fence that closes it, and the language until it is whole", () => {
  grow("```python\nprint(1)\n```\n", (html, beginning) => {
    assert.doesNotMatch(plain(html), /`/, beginning);
    assert.doesNotMatch(html, /language-(?!python")/, beginning);
  });
});

test("a fence in a README opens no other block while it grows", () => {
  grow("```markdown\n# T\n\n```bash\nx\n```\n\nmore\n```\n", (html, beginning) => {
    if (beginning.length > 14) assert.match(html, /^<pre>(?:(?!<pre>|<p>|<h1>)[^])*$/, beginning);
  });
});

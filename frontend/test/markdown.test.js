import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { isExternal } from "../src/markdown/links.js";
import { measureSettled, renderBlocks } from "../src/markdown/markdown.js";
import { installPage } from "./page-stub.js";

beforeEach(() => installPage({ image: "Image" }));

/** @param {string} source */
const html = (source) => renderBlocks(source, {}).map((block) => block.html.trim());

test("HTML in the source is text", () => {
  assert.deepEqual(html("<img src=x onerror=alert(1)>"), ["<p>&lt;img src=x onerror=alert(1)&gt;</p>"]);
});

test("only an embedded image is an image, others are links", () => {
  const embedded = "data:image/png;base64,AAAA";
  assert.deepEqual(html(`![dot](${embedded})`), [`<p><img src="${embedded}" alt="dot"></p>`]);
  const link = '<a class="picture" href="https://example.com/a.png">a &lt;b&gt;</a>';
  assert.deepEqual(html("![a <b>](https://example.com/a.png)"), [`<p>${link}</p>`]);
  assert.match(html("![](https://example.com/a.png)")[0] ?? "", />Image</);
});

test("a cell's alignment is a class, not a style", () => {
  const [table = ""] = html("| a | b |\n|:-:|---|\n| 1 | 2 |");
  assert.match(table, /^<div class="table"><table>/);
  assert.match(table, /<td class="align-center">1<\/td>\s*<td>2<\/td>/);
  assert.doesNotMatch(table, /style/);
});

test("addresses are links, bare host names are not", () => {
  assert.match(html("see https://example.com")[0] ?? "", /<a href="https:\/\/example.com">/);
  assert.doesNotMatch(html("see example.com or a@example.com")[0] ?? "", /<a/);
});

test("each top-level block has the line where it begins", () => {
  const blocks = renderBlocks("# Title\n\ntext\ntext\n\n- one\n- two\n\n```\ncode\n```\n", {});
  assert.deepEqual(
    blocks.map(({ line }) => line),
    [0, 2, 5, 8],
  );
});

test("a link definition is known to later calls with the same environment", () => {
  const env = {};
  renderBlocks("[home]: https://example.com\n\ntext", env);
  assert.match(renderBlocks("[home]", env)[0]?.html ?? "", /href="https:\/\/example.com"/);
});

/** @param {string} source */
function settled(source) {
  const { count, chars } = measureSettled(source, renderBlocks(source, { growing: true }));
  return { count, chars };
}

test("a block is settled once the next one has begun with a complete line", () => {
  assert.deepEqual(settled("one"), { count: 0, chars: 0 });
  assert.deepEqual(settled("one\n\n"), { count: 0, chars: 0 });
  assert.deepEqual(settled("one\n\ntwo"), { count: 0, chars: 0 });
  assert.deepEqual(settled("one\n\ntwo\n"), { count: 1, chars: 5 });
});

test("settled blocks look the same however the text continues", () => {
  const text =
    "# A\n\nb *c*\n\n- d\n- e\n\n    f\n\n> g\n\n$$\nh\n$$\n\n| i |\n|---|\n| j |\n\n```\nk\n\nl\n```\n\nm\n\n" +
    "1. [ ] n\n\n2. o\n\n\\begin{align}\np\n\nq\n\\end{align}\n\n<details>\n\nr\n\n</details>\n\nH<sub>2</sub>O $x$ *s*\n";
  const whole = html(text);
  for (let length = 1; length <= text.length; length += 1) {
    const start = text.slice(0, length);
    const { count, chars } = settled(start);
    assert.deepEqual(html(start).slice(0, count), whole.slice(0, count), JSON.stringify(start));
    assert.deepEqual(html(text.slice(chars)), whole.slice(count), JSON.stringify(start));
  }
});

test("only links to other sites can be followed", () => {
  const own = "rivulet.example";
  for (const href of ["https://example.com/x", "http://rivulet.example:81/", "mailto:a@example.com"]) {
    assert.ok(isExternal(href, own), href);
  }
  for (const href of [
    "https://rivulet.example/api/",
    "/c/7/",
    "javascript:alert(1)",
    "data:text/html,x",
    "ftp://a/",
    "",
  ]) {
    assert.ok(!isExternal(href, own), href);
  }
});

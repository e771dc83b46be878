// What models write, and what is seen: the table page-cases.json, which tests/browser/test_markdown.py reads too.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import { renderBlocks, renderFootnotes } from "../src/markdown/markdown.js";
import { installPage } from "./page-stub.js";

/** @type {{ name: string, text: string, want: Record<string, any> }[]} */
const cases = JSON.parse(readFileSync(new URL("page-cases.json", import.meta.url), "utf8"));

before(() => installPage({ image: "Image" }));

/** @type {Record<string, string>} */
const CHARACTERS = { lt: "<", gt: ">", quot: '"', amp: "&" };

/** @param {string} html */
const plain = (html) =>
  html
    .replace(/<br>\n?/g, "\n")
    .replace(/<[^>]*>/g, "")
    .replace(/&(lt|gt|quot|amp);/g, (_match, name) => CHARACTERS[name] ?? "");

/**
 * @param {string} html
 * @param {RegExp} pattern
 */
const texts = (html, pattern) => [...html.matchAll(pattern)].map(([, inner = ""]) => plain(inner).trim());

/**
 * Returns what is seen of a kind.
 * @type {Record<string, (html: string) => unknown>}
 */
const seen = {
  all: (html) =>
    plain(html)
      .trim()
      .replace(/[\s\u00a0]+/g, " "),
  blocks: (html) => texts(html, /<pre><code[^>]*>([^]*?)<\/code><\/pre>/g),
  boxes: (html) => [...html.matchAll(/<input[^>]*>/g)].map(([box]) => box.includes("checked")),
  code: (html) => texts(html.replace(/<pre>[^]*?<\/pre>/g, ""), /<code>(.*?)<\/code>/g),
  displays: (html) => texts(html, /<span class="formula formula-display">([^]*?)<\/span>/g),
  formulas: (html) => texts(html, /<span class="formula">([^]*?)<\/span>/g),
  links: (html) => texts(html, /<a href="http[^>]*>(.*?)<\/a>/g),
  marks: (html) => texts(html, /<sup class="footnote-mark">(.*?)<\/sup>/g),
  notes: (html) => texts(html, /<li class="footnote"[^>]*>([^]*?)<\/li>/g),
  paragraphs: (html) => texts(html, /<p(?: [^>]*)?>([^]*?)<\/p>/g).filter(Boolean),
  rows: (html) =>
    [...html.matchAll(/<tr>([^]*?)<\/tr>/g)].map(([, row = ""]) => texts(row, /<t[hd]>([^]*?)<\/t[hd]>/g)),
  sources: (html) => texts(html, /<span class="formula[^>]*>([^]*?)<\/span>/g),
  summaries: (html) => texts(html, /<summary>(.*?)<\/summary>/g),
  sup: (html) => texts(html, /<sup>(.*?)<\/sup>/g),
};

for (const { name, text, want } of cases) {
  test(name, () => {
    const env = {};
    const blocks = renderBlocks(`${text}\n`, env);
    const html = [...blocks, renderFootnotes(env)].map((block) => block?.html ?? "").join("");
    for (const [kind, expected] of Object.entries(want)) {
      if (kind === "absent") for (const part of expected) assert.ok(!plain(html).includes(part), `${part} in ${html}`);
      else if (kind === "present")
        for (const part of expected) assert.ok(plain(html).includes(part), `no ${part} in ${html}`);
      else {
        const find =
          seen[kind] ?? ((/** @type {string} */ source) => texts(source, new RegExp(`<${kind}>(.*?)</${kind}>`, "g")));
        assert.deepEqual(find(html), expected, `${kind} of ${html}`);
      }
    }
  });
}

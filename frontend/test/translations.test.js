import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { formatDate, plural, text } from "../src/translations.js";
import { installPage } from "./page-stub.js";

const root = new URL("../../", import.meta.url);

/** @param {string} folder */
const filesIn = (folder) =>
  readdirSync(new URL(folder, root), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(js|html)$/.test(name))
    .map((name) => readFileSync(new URL(name, new URL(folder, root)), "utf8"));

test("placeholders are filled, unknown ones stay", () => {
  installPage({ quota: "{title}: {left} of {limit}" });
  assert.equal(text("quota", { title: "Daily", left: 0 }), "Daily: 0 of {limit}");
});

test("a text that the page lacks is empty", () => {
  installPage();
  assert.equal(text("unheardOf"), "");
});

test("a number chooses the singular or the plural", () => {
  installPage({ creditsOne: "{count} credit", creditsOther: "{count} credits" });
  assert.equal(plural("credits", 1), "1 credit");
  assert.equal(plural("credits", 1200), "1,200 credits");
});

test("a time today has no day", () => {
  installPage();
  const now = new Date();
  const month = now.toLocaleString("en", { month: "short" });
  assert.ok(!formatDate(now).includes(month));
  const longAgo = new Date(now.getFullYear() - 1, now.getMonth(), now.getDate());
  assert.ok(formatDate(longAgo).includes(month));
});

test("each text that a script names is written by a template", () => {
  const written = new Set();
  for (const template of filesIn("templates/")) {
    const block = template.match(/<div id="strings"[^]*?><\/div>/)?.[0] ?? "";
    for (const [, name = ""] of block.matchAll(/ data-([a-z-]+)="/g)) {
      written.add(name.replace(/-(\w)/g, (_match, letter) => letter.toUpperCase()));
    }
  }
  assert.ok(written.size > 40);
  const scripts = filesIn("frontend/src/").join("");
  const used = [...scripts.matchAll(/\b(text|plural)\("(\w+)"/g)].flatMap(([, call, name = ""]) =>
    call === "plural" ? [`${name}One`, `${name}Other`] : [name],
  );
  assert.ok(used.length > 40);
  assert.deepEqual(
    used.filter((name) => !written.has(name)),
    [],
  );
  const unused = [...written].filter((name) => !used.includes(name) && !scripts.includes(`"${name}"`));
  assert.deepEqual(unused, []);
});

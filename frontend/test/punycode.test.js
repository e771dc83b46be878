import assert from "node:assert/strict";
import { test } from "node:test";
import punycode from "../src/markdown/punycode.js";

test("hosts are written in ASCII, and shown as they are written", () => {
  assert.equal(punycode.toASCII("例子.测试"), "xn--fsqu00a.xn--0zwm56d");
  assert.equal(punycode.toASCII("bücher.example"), "xn--bcher-kva.example");
  assert.equal(punycode.toUnicode("xn--pple-43d.com"), "xn--pple-43d.com");
});

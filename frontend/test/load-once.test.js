import assert from "node:assert/strict";
import { test } from "node:test";
import { loadOnce } from "../src/load-once.js";
import { installPage } from "./page-stub.js";

installPage();

test("what is loaded is loaded once", async () => {
  let loads = 0;
  const load = loadOnce(async () => (loads += 1));
  assert.deepEqual(await Promise.all([load(), load()]), [1, 1]);
  assert.equal(await load(), 1);
});

test("a failure is not kept", async () => {
  const results = [Promise.reject(new Error("network")), Promise.resolve("module")];
  const load = loadOnce(() => results.shift() ?? Promise.reject(new Error("loaded twice")));
  await assert.rejects(load(), /network/);
  assert.equal(await load(), "module");
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { installPage } from "./page-stub.js";

installPage();
// No check begins by itself, and there are no other tabs.
Object.assign(document, { hidden: true });
Object.assign(globalThis, {
  BroadcastChannel: class extends EventTarget {
    postMessage() {}
  },
});
const { ConversationWatch } = await import("../src/chat/conversation-watch.js");

for (const change of /** @type {const} */ (["acceptChange", "announce"])) {
  test(`what was read before this tab's own change is no news after it: ${change}`, async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    let now = 0;
    context.mock.method(performance, "now", () => now);
    /** @type {((response: Response) => void)[]} */
    const waiting = [];
    context.mock.method(globalThis, "fetch", () => new Promise((resolve) => waiting.push(resolve)));
    /** @type {string[]} */
    const checked = [];
    const watch = new ConversationWatch({
      updatedAt: null,
      getConversationId: () => "7",
      isBusy: () => false,
      onChecked: ({ title }) => checked.push(title),
      onNews: async () => {},
      onListChanged: async () => {},
    });
    const hasNews = async (/** @type {string} */ title, /** @type {string} */ updated, changes = () => {}) => {
      now += 10_000;
      const answer = watch.hasNews();
      changes();
      waiting.shift()?.(Response.json({ title, updated_at: updated }));
      return answer;
    };
    assert.equal(await hasNews("old", "12:00", () => watch[change]()), false);
    assert.equal(await hasNews("new", "12:01"), false);
    assert.deepEqual(checked, ["new"]);
  });
}

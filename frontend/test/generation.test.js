import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Generation } from "../src/generation/generation.js";
import { eventStream, installFetch, installPage, refusal } from "./page-stub.js";

const START = 'id: 9:1\nevent: start\ndata: {"generation":"9","conversation":7,"model":"m","title":"t"}\n\n';
const FIRST = 'id: 9:2\nevent: message\ndata: {"content":"a"}\n\n';
const SECOND = 'id: 9:3\nevent: message\ndata: {"content":"b"}\n\n';
const DONE = 'id: 9:4\nevent: done\ndata: {"finish_reason":"stop"}\n\n';
const broken = () => new TypeError("network");

/**
 * The handled events, as names with their payloads.
 * @type {[string, any][]}
 */
let handled = [];
/**
 * The waits before reconnections, in milliseconds. The tests end each of them at once: the network is back.
 * @type {number[]}
 */
let waits = [];

const handlers = Object.fromEntries(
  ["start", "message", "reset", "sources", "done", "error", "connection"].map((name) => [
    name,
    (/** @type {unknown} */ payload) => {
      handled.push([name, payload]);
      if (name === "connection" && payload) setImmediate(() => dispatchEvent(new Event("online")));
    },
  ]),
);
const handledNames = () => handled.filter(([name]) => name !== "connection").map(([name]) => name);
const send = () => Generation.fromRequest("/api/chat/", { model: "m", prompt: "hello" });

beforeEach(() => {
  installPage({ unsent: "unsent" });
  handled = [];
  waits = [];
  const { setTimeout } = globalThis;
  mock.method(globalThis, "setTimeout", (/** @type {() => void} */ callback, /** @type {number} */ milliseconds) => {
    const isSilence = milliseconds === 60_000;
    if (!isSilence) waits.push(milliseconds);
    return setTimeout(callback, milliseconds);
  });
});
afterEach(() => mock.restoreAll());

test("a generation is started by a POST and followed to its end", async () => {
  const requests = installFetch(eventStream(START + FIRST + SECOND + DONE));
  const generation = send();
  await generation.follow(handlers);
  assert.deepEqual(handledNames(), ["start", "message", "message", "done"]);
  assert.equal(generation.id, "9");
  assert.equal(requests.length, 1);
  assert.equal(requests[0]?.init.method, "POST");
  assert.equal(requests[0]?.init.body, '{"model":"m","prompt":"hello"}');
  assert.match(requests[0]?.init.headers["Idempotency-Key"] ?? "", /^[0-9a-f]{32}$/);
});

test("after a break, following goes on after the last event received", async () => {
  const requests = installFetch(eventStream(START + FIRST), broken(), eventStream(SECOND + DONE));
  await send().follow(handlers);
  assert.deepEqual(handledNames(), ["start", "message", "message", "done"]);
  assert.equal(requests[2]?.url, "/api/generations/9/events/");
  assert.equal(requests[2]?.init.headers["Last-Event-ID"], "9:2");
  assert.deepEqual(
    handled.filter(([name]) => name === "connection").map(([, lost]) => lost),
    [false, true, true, false],
  );
});

test("a request that got no response is sent again with the same idempotency key", async () => {
  const requests = installFetch(broken(), new Response("", { status: 502 }), eventStream(START + DONE));
  await send().follow(handlers);
  const keys = requests.map(({ init }) => init.headers["Idempotency-Key"]);
  assert.equal(new Set(keys).size, 1);
  assert.equal(keys.length, 3);
});

test("the waits double up to eight seconds, and start over after an event", async () => {
  const failures = Array.from({ length: 6 }, broken);
  installFetch(...failures, eventStream(START), broken(), eventStream(DONE));
  await send().follow(handlers);
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 8000, 500, 1000]);
});

test("no wait is shorter than the server asks for", async () => {
  installFetch(eventStream(`retry: 3000\n\n${START}`), eventStream(DONE));
  await send().follow(handlers);
  assert.deepEqual(waits, [3000]);
});

test("a refusal of the server ends the attempt to start", async () => {
  for (const status of [400, 429, 503]) {
    installFetch(refusal(status, "some_code"));
    await assert.rejects(send().follow(handlers), { code: "some_code" });
  }
  assert.deepEqual(handled, []);
});

test("a refusal that will pass does not end a generation that was started", async () => {
  installFetch(eventStream(START), refusal(429, "rate_limited"), eventStream(DONE));
  await send().follow(handlers);
  assert.deepEqual(handledNames(), ["start", "done"]);
});

test("a generation that is gone ends following", async () => {
  installFetch(refusal(404, "not_found"));
  await assert.rejects(Generation.fromRunning("9", "/api/generations/9/events/").follow(handlers), {
    code: "not_found",
  });
});

test("without more events, what the server stored is the end", async () => {
  const stored = { status: "completed", content: "ab", reasoning: null, error: null, finish_reason: "stop" };
  installFetch(new Response(null, { status: 204 }), Response.json(stored));
  await Generation.fromRunning("9", "/api/generations/9/events/").follow(handlers);
  assert.deepEqual(handledNames(), ["reset", "sources", "done"]);
  assert.equal(handled[0]?.[1].content, "ab");
  assert.equal(handled.at(-1)?.[1].finish_reason, "stop");
});

test("a stored error ends with that error and its charge", async () => {
  const error = { code: "upstream_failed", message: "failed" };
  const stored = { status: "failed", content: "a", reasoning: null, error, charge: { source: "none" } };
  installFetch(new Response(null, { status: 204 }), Response.json(stored));
  await Generation.fromRunning("9", "/api/generations/9/events/").follow(handlers);
  assert.deepEqual(handled.at(-1), ["error", { ...error, charge: { source: "none" } }]);
});

test("a stop that comes too early is sent when the generation has started", async () => {
  const requests = installFetch(eventStream(START + DONE), Response.json({}));
  const generation = send();
  await generation.stop();
  assert.equal(requests.length, 0);
  await generation.follow(handlers);
  assert.equal(requests[1]?.url, "/api/generations/9/stop/");
});

test("a stop ends the attempts to send", async () => {
  installFetch(broken());
  const generation = send();
  await generation.stop();
  await assert.rejects(generation.follow(handlers), { code: "cancelled", message: "unsent" });
});

test("a fault of a handler passes, and is not taken for a broken connection", async () => {
  installFetch(eventStream(START + DONE));
  const fault = new TypeError("fault");
  const start = () => {
    throw fault;
  };
  await assert.rejects(send().follow({ start }), fault);
});

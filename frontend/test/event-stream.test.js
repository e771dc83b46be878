import assert from "node:assert/strict";
import { test } from "node:test";
import { readEvents } from "../src/generation/event-stream.js";

/** @param {Uint8Array[]} chunks */
const responseOf = (...chunks) => new Response(new ReadableStream({ start: (stream) => send(stream, chunks) }));

/**
 * @param {ReadableStreamDefaultController} stream
 * @param {Uint8Array[]} chunks
 */
function send(stream, chunks) {
  for (const chunk of chunks) stream.enqueue(chunk);
  stream.close();
}

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

/** @param {Parameters<typeof readEvents>} args */
async function readAll(...args) {
  const events = [];
  for await (const { id, event, data } of readEvents(...args)) events.push([id, event, data]);
  return events;
}

/** Makes a response whose body sends one event and then nothing, and knows whether its reader closed it. */
function createOpenConnection() {
  const connection = { closed: false, response: new Response() };
  const body = new ReadableStream({
    start: (stream) => stream.enqueue(bytes("data: 1\n\n")),
    cancel() {
      connection.closed = true;
    },
  });
  connection.response = new Response(body);
  return connection;
}

test("events are complete however the body is cut, even within a character", async () => {
  const body = bytes('id: 1:1\nevent: message\ndata: {"content":"水"}\n\nid: 1:2\nevent: done\ndata: {}\n\n');
  for (const at of [1, 12, body.indexOf(0xe6) + 1, body.length - 1]) {
    const events = await readAll(responseOf(body.slice(0, at), body.slice(at)));
    assert.deepEqual(events, [
      ["1:1", "message", '{"content":"水"}'],
      ["1:2", "done", "{}"],
    ]);
  }
});

test("an event that the end of the body cuts off is dropped", async () => {
  assert.deepEqual(await readAll(responseOf(bytes('event: message\ndata: {"con'))), []);
});

test("the pause that the server asks for is reported", async () => {
  /** @type {number[]} */
  const pauses = [];
  await readAll(responseOf(bytes("retry: 3000\n\n")), { onRetry: (ms) => pauses.push(ms) });
  assert.deepEqual(pauses, [3000]);
});

test("a connection that falls silent counts as broken, and is closed", async () => {
  const connection = createOpenConnection();
  const events = readEvents(connection.response, { silenceMs: 5 });
  assert.equal((await events.next()).value?.data, "1");
  await assert.rejects(events.next(), /silence/);
  assert.ok(connection.closed);
});

test("a reader that stops early closes the connection", async () => {
  const connection = createOpenConnection();
  const events = readEvents(connection.response);
  await events.next();
  await events.return();
  assert.ok(connection.closed);
});

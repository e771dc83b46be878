// One response body of server-sent events, read as an async generator.
import { createParser } from "eventsource-parser";

/** Longer than any sensible keep-alive interval: a connection that is silent for so long is dead. */
const SILENCE_MS = 60_000;

async function readWithin(reader, milliseconds) {
  let timer;
  const silence = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error("silence")), milliseconds);
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** Yields `{id, event, data}`; ends when the body ends, throws when the connection breaks or falls silent. */
export async function* eventsOf(response, { onRetry }) {
  const waiting = [];
  const parser = createParser({ onEvent: (event) => waiting.push(event), onRetry });
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await readWithin(reader, SILENCE_MS);
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield* waiting.splice(0);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

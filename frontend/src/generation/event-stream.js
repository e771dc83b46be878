// Reads the server-sent events of one response body, as an async generator.
import { createParser } from "eventsource-parser";

/** Milliseconds of silence after which a connection counts as dead. Longer than any sensible keep-alive interval. */
const SILENCE_MS = 60_000;

/**
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader
 * @param {number} milliseconds
 */
async function readWithin(reader, milliseconds) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const silence = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error("silence")), milliseconds);
  });
  try {
    return await Promise.race([reader.read(), /** @type {Promise<never>} */ (silence)]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Yields the events of a response. Ends with its body; throws when the connection breaks or is silent for too long.
 * @param {Response} response
 * @param {{ onRetry?: (milliseconds: number) => void, silenceMs?: number }} [options] `onRetry` gets the pause that
 *   the server asks for before a reconnection
 */
export async function* readEvents(response, { onRetry, silenceMs = SILENCE_MS } = {}) {
  if (!response.body) return;
  /** @type {import("eventsource-parser").EventSourceMessage[]} */
  const parsed = [];
  const parser = createParser({ onEvent: (event) => parsed.push(event), onRetry });
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await readWithin(reader, silenceMs);
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield* parsed.splice(0);
    }
  } finally {
    reader.cancel().catch(() => {}); // the connection may be broken already
  }
}

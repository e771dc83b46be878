// Start, follow and stop one generation. It outlives the connection: whatever breaks, following goes on
// from the last event seen, for as long as the page lives.
import { call, headers, refusalOf, Refusal } from "../api.js";
import { eventsOf } from "./event-stream.js";
import { text } from "../translations.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;

/** A random key for one send; crypto.randomUUID is missing on plain-http origins. */
function idempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Waits, but not longer than until the network is back. */
function pause(milliseconds) {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      removeEventListener("online", wake);
      resolve();
    };
    const timer = setTimeout(wake, milliseconds);
    addEventListener("online", wake);
  });
}

/** Statuses with which a proxy or a restarting process answers, and that say nothing about the request. */
const passing = (status) => [408, 429, 500, 502, 503, 504].includes(status);

export class Generation {
  #request = null;
  #key = null;
  #eventsUrl = null;
  #lastEventId = null;
  #leastWait = FIRST_WAIT_MS;
  #stopping = false;
  #ended = false;

  constructor(id = null) {
    this.id = id;
  }

  /** One to be started by POSTing `body` to `url`. */
  static toStart(url, body) {
    const generation = new Generation();
    generation.#request = { url, body: JSON.stringify(body) };
    generation.#key = idempotencyKey();
    return generation;
  }

  /** One that already runs; it is followed from its beginning. */
  static running(id, eventsUrl) {
    const generation = new Generation(id);
    generation.#eventsUrl = eventsUrl;
    return generation;
  }

  /**
   * Calls `on[event](data)` for every event, and `on.connection(lost)` when the connection is lost or back.
   * Resolves after `done` or `error`; rejects with a Refusal when it was never started.
   */
  async follow(on) {
    let wait = 0;
    while (!this.#ended) {
      if (wait) await this.#wait(wait, on);
      wait = Math.min(Math.max(wait * 2, FIRST_WAIT_MS), LONGEST_WAIT_MS);
      const response = await this.#connect(on);
      if (!response) continue;
      on.connection?.(false);
      if (await this.#read(response, on)) wait = FIRST_WAIT_MS;
    }
  }

  /** Asks the server to stop, as soon as there is something to stop; the end then comes as an event. */
  async stop() {
    this.#stopping = true;
    if (this.id === null || this.#ended) return;
    await call("POST", `/api/generations/${this.id}/stop/`, {});
  }

  /** The stored generation. */
  stored() {
    return call("GET", `/api/generations/${this.id}/`);
  }

  async #wait(milliseconds, on) {
    if (this.#stopping && this.id === null) throw new Refusal({ code: "cancelled", message: text("unsent") });
    on.connection?.(true);
    await pause(Math.max(milliseconds, this.#leastWait));
  }

  /** Handles the events of one connection until it ends; whether there were any. */
  async #read(response, on) {
    const events = eventsOf(response, { onRetry: (milliseconds) => (this.#leastWait = milliseconds) });
    let any = false;
    while (!this.#ended) {
      let step;
      try {
        step = await events.next();
      } catch {
        return any;
      }
      if (step.done) return any;
      any = true;
      this.#receive(step.value, on);
    }
    events.return();
    return any;
  }

  /** A response to read events from; null: try again later. */
  async #connect(on) {
    let response;
    try {
      response = await (this.#eventsUrl ? this.#resume() : this.#start());
    } catch {
      return null;
    }
    if (response.status === 204) {
      await this.#readStored(on);
      return null;
    }
    const kind = response.headers.get("Content-Type") ?? "";
    if (response.ok && kind.startsWith("text/event-stream")) return response;
    const refusal = await refusalOf(response);
    if (passing(response.status) && (this.#eventsUrl || !refusal)) return null;
    throw refusal ?? new Refusal({ status: response.status, code: "unknown", message: text("failed") });
  }

  #start() {
    return fetch(this.#request.url, {
      method: "POST",
      credentials: "same-origin",
      headers: headers({
        Accept: "text/event-stream",
        "Content-Type": "application/json",
        "Idempotency-Key": this.#key,
      }),
      body: this.#request.body,
    });
  }

  #resume() {
    const extra = { Accept: "text/event-stream" };
    if (this.#lastEventId) extra["Last-Event-ID"] = this.#lastEventId;
    return fetch(this.#eventsUrl, { credentials: "same-origin", cache: "no-store", headers: headers(extra) });
  }

  #receive({ id, event, data }, on) {
    const values = JSON.parse(data);
    if (id) this.#lastEventId = id;
    if (event === "start") {
      this.id = values.generation;
      this.#eventsUrl ??= `/api/generations/${this.id}/events/`;
      if (this.#stopping) this.stop().catch(() => {});
    }
    if (event === "done" || event === "error") this.#ended = true;
    on[event]?.(values);
  }

  /** The server has no more events for us: what it stored is the end. */
  async #readStored(on) {
    let stored;
    try {
      stored = await this.stored();
    } catch {
      return;
    }
    if (stored.status === "running") return;
    this.#ended = true;
    on.reset?.({ content: stored.content, reasoning: stored.reasoning });
    if (stored.error) on.error?.({ ...stored.error, charge: stored.charge });
    else on.done?.({ ...stored, quota: null });
  }
}

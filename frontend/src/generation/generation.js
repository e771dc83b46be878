// Starts, follows and stops one generation. A generation outlives its connection: after a break, following goes on
// after the last event received, for as long as the page is open.
import { call, headers, readRefusal, Refusal, unknownFailure } from "../api.js";
import { text } from "../translations.js";
import { readEvents } from "./event-stream.js";
/** @import { EventSourceMessage } from "eventsource-parser" */
/** @import { EventPayloads, FollowHandlers, GenerationRequest, Id, StoredGeneration } from "../types.js" */

/** Milliseconds before the first attempt to reconnect; doubled after each failure, up to the second figure. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;

/** Statuses that a proxy or a restarting process may send. They do not judge the request, so it is sent again. */
const TRANSIENT_STATUSES = [408, 429, 500, 502, 503, 504];

/** Returns a random key for one send. (crypto.randomUUID is missing on plain-http origins.) */
function createIdempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Waits for so many milliseconds, or until the network is back.
 * @param {number} milliseconds
 * @returns {Promise<void>}
 */
function waitForNetwork(milliseconds) {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      removeEventListener("online", finish);
      resolve();
    };
    const timer = setTimeout(finish, milliseconds);
    addEventListener("online", finish);
  });
}

export class Generation {
  /** The POST request that starts the generation. */
  #start;
  /** Address of its events; null until the server has named the generation. */
  #eventsUrl;
  #lastEventId = "";
  /** Milliseconds that the server asks clients to wait, at least, before they reconnect. */
  #serverRetryMs = FIRST_WAIT_MS;
  #stopRequested = false;
  #ended = false;
  #onBegun = () => {};
  /** Resolves when the server has named the generation. @type {Promise<void>} */
  begun = new Promise((resolve) => (this.#onBegun = resolve));

  /**
   * @param {Id | null} id
   * @param {string | null} eventsUrl
   * @param {{ url: string | Promise<string>, body: string, key: string } | null} start
   */
  constructor(id, eventsUrl, start) {
    this.id = id;
    this.#eventsUrl = eventsUrl;
    this.#start = start;
  }

  /**
   * Returns a generation that `follow` starts, by a POST request.
   * @param {string | Promise<string>} url
   * @param {GenerationRequest} request
   */
  static fromRequest(url, request) {
    return new Generation(null, null, { url, body: JSON.stringify(request), key: createIdempotencyKey() });
  }

  /**
   * Returns a generation that already runs; `follow` replays it from its first event.
   * @param {Id} id
   * @param {string} eventsUrl
   */
  static fromRunning(id, eventsUrl) {
    return new Generation(id, eventsUrl, null);
  }

  /**
   * Calls the handler of each event with its payload, and `connection(lost)` when the connection is lost or back.
   * Resolves after `done` or `error`; rejects with a Refusal when the generation was not started.
   * @param {FollowHandlers} handlers
   */
  async follow(handlers) {
    let wait = 0;
    while (!this.#ended) {
      if (wait) await this.#pause(wait, handlers);
      wait = Math.min(Math.max(wait * 2, FIRST_WAIT_MS), LONGEST_WAIT_MS);
      const response = await this.#connect(handlers);
      if (!response) continue;
      handlers.connection?.(false);
      if (await this.#read(response, handlers)) wait = FIRST_WAIT_MS;
    }
  }

  /** Asks the server to stop, as soon as it has started. The end then arrives as an event. */
  async stop() {
    this.#stopRequested = true;
    if (this.id === null || this.#ended) return;
    await call("POST", `/api/generations/${this.id}/stop/`, {});
  }

  /** @returns {Promise<StoredGeneration>} */
  fetchStored() {
    return call("GET", `/api/generations/${this.id}/`);
  }

  /**
   * @param {number} milliseconds
   * @param {FollowHandlers} handlers
   */
  async #pause(milliseconds, handlers) {
    if (this.#stopRequested && this.id === null) throw new Refusal({ code: "cancelled", message: text("unsent") });
    handlers.connection?.(true);
    await waitForNetwork(Math.max(milliseconds, this.#serverRetryMs));
  }

  /**
   * Handles the events of one connection until it ends. Returns whether there were any.
   * @param {Response} response
   * @param {FollowHandlers} handlers
   */
  async #read(response, handlers) {
    const events = readEvents(response, { onRetry: (milliseconds) => (this.#serverRetryMs = milliseconds) });
    let received = false;
    while (!this.#ended) {
      // Only a broken connection is caught here. An error of a handler is a fault of the page and passes.
      const step = await events.next().catch(() => null);
      if (!step || step.done) return received;
      received = true;
      this.#receive(step.value, handlers);
    }
    events.return();
    return received;
  }

  /**
   * Returns a response with events, or null when the caller shall try again later.
   * @param {FollowHandlers} handlers
   */
  async #connect(handlers) {
    const response = await this.#send().catch((error) => {
      if (error instanceof Refusal) throw error; // of the address
      return null;
    });
    if (!response) return null;
    if (response.status === 204) {
      await this.#readStored(handlers);
      return null;
    }
    const type = response.headers.get("Content-Type") ?? "";
    if (response.ok && type.startsWith("text/event-stream")) return response;
    const refusal = await readRefusal(response);
    if (TRANSIENT_STATUSES.includes(response.status) && (this.#eventsUrl || !refusal)) return null;
    throw refusal ?? unknownFailure();
  }

  /** Sends the request for the events after the last one received, or the request that starts the generation. */
  async #send() {
    const accept = { Accept: "text/event-stream" };
    if (this.#eventsUrl) {
      const extra = this.#lastEventId ? { ...accept, "Last-Event-ID": this.#lastEventId } : accept;
      return fetch(this.#eventsUrl, { credentials: "same-origin", cache: "no-store", headers: headers(extra) });
    }
    if (!this.#start) throw new Error("A running generation has an address of its events");
    const { url, body, key } = this.#start;
    const extra = { ...accept, "Content-Type": "application/json", "Idempotency-Key": key };
    return fetch(await url, { method: "POST", credentials: "same-origin", headers: headers(extra), body });
  }

  /**
   * @param {EventSourceMessage} message
   * @param {FollowHandlers} handlers
   */
  #receive({ id, event, data }, handlers) {
    const payload = JSON.parse(data);
    if (id) this.#lastEventId = id;
    if (event === "start") {
      this.id = payload.generation;
      this.#eventsUrl ??= `/api/generations/${this.id}/events/`;
      this.#onBegun();
      if (this.#stopRequested) this.stop().catch(() => {}); // the user can press the button again
    }
    if (event === "done" || event === "error") this.#ended = true;
    handlers[/** @type {keyof EventPayloads} */ (event)]?.(payload);
  }

  /**
   * Ends with what the server stored, because it has no more events for this client.
   * @param {FollowHandlers} handlers
   */
  async #readStored(handlers) {
    const stored = await this.fetchStored().catch(() => null);
    if (!stored || stored.status === "running") return;
    this.#ended = true;
    handlers.reset?.(stored);
    showLists(stored, handlers);
    if (stored.error) handlers.error?.({ ...stored.error, charge: stored.charge });
    else handlers.done?.({ ...stored, quota: null });
  }
}

/**
 * @param {StoredGeneration} stored
 * @param {FollowHandlers} handlers
 */
function showLists({ sources = [], attachments = [] }, handlers) {
  handlers.sources?.({ sources });
  handlers.attachments?.({ attachments });
}

// Calls to our own JSON routes, and the one error that they raise.
import { text } from "./translations.js";

/** An error response of the server, with the code and message of its JSON body. */
export class Refusal extends Error {
  /** @param {{ code: string, message: string, details?: Record<string, unknown> }} body */
  constructor({ code, message, details = {} }) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

export const offline = () => new Refusal({ code: "offline", message: text("offline") });
/** For a response without a body of ours, such as a proxy's error page. */
export const unknownFailure = () => new Refusal({ code: "unknown", message: text("failed") });

/**
 * Returns the request headers that our routes need, and `extra`. The CSRF token is read from the cookie each time,
 * because a login in another tab replaces it.
 * @param {Record<string, string>} [extra]
 * @returns {Record<string, string>}
 */
export function headers(extra = {}) {
  const csrfToken = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";
  return { Accept: "application/json", "X-CSRFToken": csrfToken, ...extra };
}

/**
 * Returns the refusal that a response carries, or null when its body is not one of ours.
 * @param {Response} response
 */
export async function readRefusal(response) {
  try {
    const { error } = await response.json();
    return error?.code ? new Refusal({ ...error, details: error.details ?? {} }) : null;
  } catch {
    return null;
  }
}

/**
 * Sends a request to one of our routes and returns the JSON of the response, null for an empty one.
 * Throws a Refusal when the server is out of reach or refuses.
 * @template T
 * @param {string} method
 * @param {string} url
 * @param {unknown} [body] sent as JSON; a file is sent as it is
 * @param {Record<string, string>} [extra] further request headers
 * @returns {Promise<T>}
 */
export async function call(method, url, body, extra = {}) {
  /** @type {RequestInit} */
  const init = { method, headers: headers(extra), credentials: "same-origin" };
  if (body !== undefined) {
    init.headers = headers({ "Content-Type": "application/json", ...extra });
    init.body = body instanceof Blob ? body : JSON.stringify(body);
  }
  const response = await fetch(url, init).catch(() => {
    throw offline();
  });
  if (!response.ok) throw (await readRefusal(response)) ?? unknownFailure();
  return JSON.parse((await response.text()) || "null");
}

/**
 * Runs an action whose refusal makes no difference to the user.
 * @param {() => Promise<void>} action
 */
export async function ignoreRefusal(action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
  }
}

/**
 * Runs an action, and announces why the server refused it.
 * @param {HTMLElement} announcer
 * @param {() => Promise<void>} action
 */
export async function announceRefusal(announcer, action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    announcer.textContent = error.message;
  }
}

/**
 * Loads another page of ours as a document; its scripts do not run.
 * @param {string} url
 */
export async function fetchDocument(url) {
  const response = await fetch(url, { credentials: "same-origin", cache: "no-store" }).catch(() => {
    throw offline();
  });
  if (!response.ok || response.redirected) throw unknownFailure();
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// Calls to our own JSON routes, and the one error they raise.
import { text } from "./translations.js";

/** What the server refused, with its code and message (contract: refusals). */
export class Refusal extends Error {
  constructor({ status = 0, code, message, details = null, retryAfter = null }) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
    this.retryAfter = retryAfter;
  }
}

/** From the cookie, not from the page: logging in again in another tab makes a new one. */
const csrfToken = () => document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";

export function headers(extra = {}) {
  return { Accept: "application/json", "X-CSRFToken": csrfToken(), ...extra };
}

/** The refusal that a response carries, or null when it is not one of ours (a proxy's error page). */
export async function refusalOf(response) {
  let error;
  try {
    ({ error } = await response.json());
  } catch {
    return null;
  }
  if (!error?.code) return null;
  const seconds = Number(response.headers.get("Retry-After"));
  return new Refusal({
    status: response.status,
    code: error.code,
    message: error.message,
    details: error.details,
    retryAfter: seconds > 0 ? seconds : null,
  });
}

/** Calls one of our routes; its JSON (null for 204), or a Refusal. */
export async function call(method, url, body) {
  const init = { method, headers: headers(), credentials: "same-origin" };
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url, init);
  } catch {
    throw new Refusal({ code: "offline", message: text("offline") });
  }
  if (!response.ok) {
    throw (
      (await refusalOf(response)) ??
      new Refusal({ status: response.status, code: "unknown", message: text("failed") })
    );
  }
  return response.status === 204 ? null : response.json();
}

/** Another page of ours, to take something out of; nothing in it runs. */
export async function pageAt(url) {
  const response = await fetch(url, { credentials: "same-origin", cache: "no-store" }).catch(() => null);
  if (!response) throw new Refusal({ code: "offline", message: text("offline") });
  if (!response.ok || response.redirected) {
    throw new Refusal({ status: response.status, code: "unknown", message: text("failed") });
  }
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

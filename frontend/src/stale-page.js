// A tab that was opened before an upgrade: files that it loads late may be gone. It then reloads itself.

/** Milliseconds between looks at whether a reload would disturb the user. */
const LOOK_MS = 1_000;

/** What a reload would lose or interrupt. The draft is kept (chat/composer.js). */
const DISTURBED = ".answer.running, .message.editing, dialog[open], .composer .upload";

/** Whether a reload is planned or was found useless. */
let isHandled = false;

/** Returns whether the server no longer has the script with which this page began. */
async function isStale() {
  const script = /** @type {HTMLScriptElement | null} */ (document.querySelector("script[type=module][src]"));
  if (!script) return false;
  const response = await fetch(script.src, { method: "HEAD", cache: "no-store" }).catch(() => null);
  return response?.status === 404;
}

/** Call this when a part of the page could not be loaded: reloads the page once nothing is disturbed, if it is stale. */
export async function reloadIfStale() {
  if (isHandled) return;
  isHandled = true;
  if (!(await isStale())) {
    isHandled = false; // the connection failed, and may fail again
    return;
  }
  const timer = setInterval(() => {
    if (document.querySelector(DISTURBED)) return;
    clearInterval(timer);
    location.reload();
  }, LOOK_MS);
}

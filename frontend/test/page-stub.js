// A stand-in for the few parts of a page that the tested modules read.

/**
 * Sets the texts that `translations.js` finds, the address of the page, its cookie, and its window's events.
 * @param {Record<string, string>} [texts]
 */
export function installPage(texts = {}) {
  const strings = { dataset: texts };
  const events = new EventTarget();
  Object.assign(globalThis, {
    document: {
      cookie: "theme=dark; csrftoken=secret",
      documentElement: { lang: "en" },
      querySelector: () => null,
      getElementById: (/** @type {string} */ id) => (id === "strings" ? strings : null),
    },
    location: { pathname: "/c/7/", host: "rivulet.example" },
    addEventListener: events.addEventListener.bind(events),
    removeEventListener: events.removeEventListener.bind(events),
    dispatchEvent: events.dispatchEvent.bind(events),
  });
}

/**
 * Resolves each call of `fetch` to the next of these responses; an Error stands for a broken connection.
 * Returns the requests, which grow with the calls.
 * @param {(Response | Error)[]} responses
 */
export function installFetch(...responses) {
  /** @type {{ url: string, init: RequestInit & { headers: Record<string, string> } }[]} */
  const requests = [];
  const fetch = async (/** @type {string} */ url, /** @type {any} */ init) => {
    requests.push({ url, init });
    const response = responses.shift();
    if (!response) throw new Error(`unexpected request for ${url}`);
    if (response instanceof Error) throw response;
    return response;
  };
  Object.assign(globalThis, { fetch });
  return requests;
}

/**
 * Makes a response with server-sent events.
 * @param {string} body
 */
export const eventStream = (body) => new Response(body, { headers: { "Content-Type": "text/event-stream" } });

/**
 * Makes a refusal as the server sends it.
 * @param {number} status
 * @param {string} code
 */
export const refusal = (status, code) => Response.json({ error: { code, message: `refused: ${code}` } }, { status });

// A notification when a long generation ends while the tab is hidden. Off until the user asks for it.

/** The key in localStorage under which this browser keeps that the user wants notifications. */
const WANTED_KEY = "notify-of-ends";

/** Milliseconds that a generation must have run; shorter ones end before the user turns to something else. */
const LONG_MS = 8_000;

export class EndNotification {
  #announcer;
  /** @param {HTMLElement} announcer holds the text of how a generation ended */
  constructor(announcer) {
    this.#announcer = announcer;
  }

  /** Makes the buttons for it work, where the browser has notifications. */
  install() {
    if (!("Notification" in globalThis)) return;
    for (const button of document.querySelectorAll("[data-notify]")) {
      button.addEventListener("click", () => this.#toggle());
    }
    this.#showState();
  }

  get isOn() {
    return (
      "Notification" in globalThis && Notification.permission === "granted" && localStorage.getItem(WANTED_KEY) !== null
    );
  }

  async #toggle() {
    if (this.isOn) localStorage.removeItem(WANTED_KEY);
    else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(WANTED_KEY, "1");
    this.#showState();
  }

  #showState() {
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-notify]"))) {
      button.hidden = false;
      button.setAttribute("aria-checked", String(this.isOn));
    }
  }

  /** Notes that a generation began; call the returned function when it has ended. */
  begin() {
    const start = performance.now();
    return () => {
      if (document.hidden && this.isOn && performance.now() - start >= LONG_MS) this.#notify();
    };
  }

  async #notify() {
    const options = { body: this.#announcer.textContent, tag: location.pathname, data: location.pathname };
    const registration = await navigator.serviceWorker?.getRegistration();
    // Phones have notifications of service workers only.
    if (registration) return registration.showNotification(document.title, options);
    const notification = new Notification(document.title, options);
    return notification.addEventListener("click", () => globalThis.focus());
  }
}

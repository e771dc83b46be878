// Dictation into the prompt, where the browser recognises speech. The button is hidden elsewhere.
import { byId } from "../dom.js";
import { text } from "../translations.js";

/** Errors that only mean that dictation ended. */
const HARMLESS = ["aborted", "no-speech"];

/** The constructor of speech recognition; TypeScript's library lacks it, because no standard has it yet. */
const findRecognition = () =>
  Reflect.get(globalThis, "SpeechRecognition") ?? Reflect.get(globalThis, "webkitSpeechRecognition");

/** Returns the language that the user probably speaks: the browser's, if it is a variety of the page's. */
function spokenLanguage() {
  const written = document.documentElement.lang;
  const primary = written.split("-")[0] ?? "";
  return navigator.languages.find((language) => language.startsWith(primary)) ?? (primary === "zh" ? "zh-CN" : written);
}

class Dictation {
  #button;
  #recognition;
  #field = byId("prompt", HTMLTextAreaElement);
  #status = byId("dictation-status");
  #isRunning = false;
  /** The field's text before and after the place of what is spoken. */
  #around = { before: "", after: "" };

  /**
   * @param {HTMLElement} button
   * @param {any} recognition
   */
  constructor(button, recognition) {
    this.#button = button;
    this.#recognition = recognition;
  }

  install() {
    const recognition = this.#recognition;
    Object.assign(recognition, { continuous: true, interimResults: true, lang: spokenLanguage() });
    recognition.addEventListener("result", (/** @type {any} */ event) => this.#write(event.results));
    recognition.addEventListener("end", () => this.#setRunning(false));
    recognition.addEventListener("error", (/** @type {any} */ { error }) => {
      if (!HARMLESS.includes(error)) this.#status.textContent = text("dictationFailed");
    });
    this.#button.addEventListener("click", () => (this.#isRunning ? recognition.stop() : this.#start()));
    // What comes after the prompt was sent belongs to no prompt.
    byId("composer").addEventListener("submit", () => recognition.abort());
    this.#button.hidden = false;
  }

  #start() {
    const { value, selectionStart, selectionEnd } = this.#field;
    const before = value.slice(0, selectionStart);
    this.#around = { before: before && !/\s$/.test(before) ? `${before} ` : before, after: value.slice(selectionEnd) };
    this.#status.textContent = "";
    this.#recognition.start();
    this.#setRunning(true);
  }

  /** @param {boolean} isRunning */
  #setRunning(isRunning) {
    this.#isRunning = isRunning;
    this.#button.setAttribute("aria-pressed", String(isRunning));
    if (!isRunning) this.#field.focus({ preventScroll: true });
  }

  /** @param {Iterable<Iterable<{ transcript: string }>>} results each with its alternatives, the likeliest first */
  #write(results) {
    const spoken = Array.from(results, ([best]) => best?.transcript ?? "").join("");
    const { before, after } = this.#around;
    this.#field.value = before + spoken + after;
    const end = before.length + spoken.length;
    this.#field.setSelectionRange(end, end);
    this.#field.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** Shows the button for dictation, where the browser recognises speech. */
export function installDictation() {
  const Recognition = findRecognition();
  if (Recognition) new Dictation(byId("dictate"), new Recognition()).install();
}

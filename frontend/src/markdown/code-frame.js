// Code in a frame with a bar: its language and a copy button. The frame stays while the code grows.
// The highlighter is loaded with the first code that has a language.
import { createCopyButton } from "../copy-button.js";
import { loadOnce } from "../load-once.js";
import { text } from "../translations.js";
import { Picture } from "./picture.js";
import { markDecorated, patchChildren, patchText } from "./patch.js";
import { sanitizeCode } from "./sanitizer.js";

/** Characters of code above which it stays without colours, because highlighting would block the page. */
const MAX_COLOURED_CHARS = 60_000;

/** Characters of code above which it gets its colours only when it has stopped growing, not at every frame. */
const LONG_CODE_CHARS = 4_000;

/** Milliseconds without growth after which long code gets its colours. */
const STILL_MS = 400;

/** The language of code that is a diagram, and is drawn when it has stopped growing. */
const DIAGRAM = "mermaid";

const loadDiagrams = loadOnce(() => import("./diagram.js"));
const loadHighlighter = loadOnce(() => import("./code-highlighter.js"));

/** @param {Element} code */
const languageOf = (code) => code.className.match(/^language-(.+)/)?.[1] ?? "";

class CodeFrame {
  #code;
  #label = document.createElement("span");
  #language = "";
  #source = "";
  /** @type {Picture | null} */
  #picture = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {HTMLElement} code the element within a rendered <pre>, which is put into the frame */
  constructor(code) {
    this.#code = code;
    const pre = /** @type {HTMLElement} */ (code.parentElement);
    const [frame, bar] = [document.createElement("div"), document.createElement("div")];
    frame.className = "code";
    bar.className = "code-bar";
    bar.append(
      this.#label,
      createCopyButton(() => this.#source),
    );
    markDecorated(frame, { source: pre.cloneNode(true), update: (fresh) => this.#update(fresh) });
    pre.tabIndex = 0;
    pre.replaceWith(frame);
    frame.append(bar, pre);
    this.#show(code.textContent, languageOf(code));
  }

  /** @param {Element} fresh */
  #update(fresh) {
    const code = fresh.nodeName === "PRE" && fresh.firstElementChild;
    if (!code) return false;
    const source = code.textContent;
    this.#code.className = code.className;
    this.#showPlain(source);
    this.#show(source, languageOf(code));
    return true;
  }

  /**
   * Shows a grown text without colours for what is new; the colours of what was there stay.
   * @param {string} source
   */
  #showPlain(source) {
    const shown = this.#code.textContent;
    const last = this.#code.lastChild;
    if (source.startsWith(shown) && last instanceof Text) last.appendData(source.slice(shown.length));
    else if (source.startsWith(shown)) this.#code.append(source.slice(shown.length));
    else if (last instanceof Text && last === this.#code.firstChild) patchText(last, source);
    else this.#code.textContent = source;
  }

  /**
   * @param {string} source
   * @param {string} language
   */
  #show(source, language) {
    this.#source = source;
    this.#language = language;
    this.#label.textContent = language || text("code");
    clearTimeout(this.#timer);
    if (language === DIAGRAM) {
      this.#timer = setTimeout(() => void this.#draw(), STILL_MS);
      return;
    }
    if (!language || source.length > MAX_COLOURED_CHARS) return;
    if (source.length <= LONG_CODE_CHARS) void this.#colour();
    else this.#timer = setTimeout(() => void this.#colour(), STILL_MS);
  }

  /** Shows a diagram instead of its source, unless the source is no diagram, or not yet. */
  async #draw() {
    const source = this.#source;
    try {
      const { drawDiagram } = await loadDiagrams();
      const image = await drawDiagram(source);
      if (source !== this.#source) return; // it has grown meanwhile
      this.#picture ??= new Picture(this.#label, /** @type {HTMLElement} */ (this.#code.parentElement));
      this.#picture.show(image);
    } catch {
      this.#picture?.show(null);
    }
  }

  async #colour() {
    const [source, language] = [this.#source, this.#language];
    try {
      const { highlightCode } = await loadHighlighter();
      if (source !== this.#source || language !== this.#language) return; // it has grown meanwhile
      const html = highlightCode(source, language);
      if (html) patchChildren(this.#code, sanitizeCode(html));
    } catch {
      // The code stays readable without colours.
    }
  }
}

/**
 * Puts code into a frame.
 * @param {HTMLElement} code
 */
export function frameCode(code) {
  return new CodeFrame(code);
}

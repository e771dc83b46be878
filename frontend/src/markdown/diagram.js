// Pictures of diagrams. Loaded with the first one. A sandboxed frame draws them, because the drawing library needs rights
// that this page must not have; the page shows the result as an image, in which nothing runs or loads.
import { text } from "../translations.js";

/** Milliseconds that drawing may take, with loading the frame. */
const DRAWING_MS = 15_000;

/** Characters of a diagram's source, and of its picture, above which the source stays. */
const MAX_SOURCE_CHARS = 20_000;
const MAX_PICTURE_CHARS = 2_000_000;

/**
 * What a diagram that only shows something never needs: addresses to load, style rules, scripts, and HTML other than a few
 * words of it. The frame would refuse all of it too; such a text stays source without a try.
 */
const SUSPICIOUS =
  /url\s*\(|@import|\bimg\s*:|themeCSS|fontFamily|javascript:|\bon\w+\s*=|\\[0-9a-f]|(?<!<)<(?!br\s*\/?>|\/?(?:b|i|u|em|strong|sub|sup)>)[a-z!/]/i;

/** The frame while it draws; it is removed when nothing is left to draw. */
class DrawingFrame {
  /** @type {HTMLIFrameElement | null} */
  #frame = null;
  /** @type {Promise<void>} */
  #ready = Promise.resolve();
  #count = 0;
  #waiting = 0;

  /**
   * Returns a picture as SVG, or "" when the source is no diagram.
   * @param {string} source
   * @param {boolean} isDark
   * @returns {Promise<string>}
   */
  async draw(source, isDark) {
    this.#waiting += 1;
    try {
      return await this.#ask(source, isDark);
    } finally {
      this.#waiting -= 1;
      if (!this.#waiting) this.#close();
    }
  }

  /**
   * @param {string} source
   * @param {boolean} isDark
   */
  async #ask(source, isDark) {
    const frame = this.#open();
    this.#count += 1;
    const id = this.#count;
    const drawn = this.#receive(frame, (data) => data.id === id);
    void this.#ready.then(() => frame.contentWindow?.postMessage({ id, source, isDark }, "*"));
    const { svg } = await drawn;
    return typeof svg === "string" && svg.length <= MAX_PICTURE_CHARS ? svg : "";
  }

  #open() {
    if (this.#frame) return this.#frame;
    const frame = document.createElement("iframe");
    frame.className = "drawing-frame";
    frame.setAttribute("sandbox", "allow-scripts");
    frame.setAttribute("aria-hidden", "true");
    frame.tabIndex = -1;
    frame.src = text("diagramUrl");
    this.#frame = frame;
    this.#ready = this.#receive(frame, (data) => data.isReady === true).then(() => {});
    this.#ready.catch(() => {}); // each drawing waits for a message of its own
    document.body.append(frame);
    return frame;
  }

  #close() {
    this.#frame?.remove();
    this.#frame = null;
  }

  /**
   * Resolves to the frame's next message that fits.
   * @param {HTMLIFrameElement} frame
   * @param {(data: any) => boolean} fits
   * @returns {Promise<any>}
   */
  #receive(frame, fits) {
    return new Promise((resolve, reject) => {
      const stop = new AbortController();
      const timer = setTimeout(() => {
        stop.abort();
        if (this.#frame === frame) this.#close(); // it may hang
        reject(new Error("Drawing took too long"));
      }, DRAWING_MS);
      addEventListener(
        "message",
        ({ source, data }) => {
          if (source !== frame.contentWindow || !fits(data)) return;
          clearTimeout(timer);
          stop.abort();
          resolve(data);
        },
        { signal: stop.signal },
      );
    });
  }
}

const drawingFrame = new DrawingFrame();
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

function isDarkShown() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : systemIsDark.matches;
}

/** Calls back when the theme changes, as long as the element is in the page. */
class ThemeWatch {
  /** @type {Map<Element, () => void>} */
  #callbacks = new Map();

  constructor() {
    systemIsDark.addEventListener("change", () => this.#inform());
    const themes = { attributes: true, attributeFilter: ["data-theme"] };
    new MutationObserver(() => this.#inform()).observe(document.documentElement, themes);
  }

  /**
   * @param {Element} element
   * @param {() => void} callback
   */
  add(element, callback) {
    this.#callbacks.set(element, callback);
  }

  #inform() {
    for (const [element, callback] of this.#callbacks) {
      if (element.isConnected) callback();
      else this.#callbacks.delete(element);
    }
  }
}

const themeWatch = new ThemeWatch();

/**
 * Returns an image of a diagram that follows the theme, or null when the source is no diagram.
 * @param {string} source
 */
export async function drawDiagram(source) {
  if (source.length > MAX_SOURCE_CHARS || SUSPICIOUS.test(source)) return null;
  const image = new Image();
  image.alt = text("diagram");
  const redraw = async () => {
    const svg = await drawingFrame.draw(source, isDarkShown());
    if (!svg) return false;
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    await image.decode();
    return true;
  };
  if (!(await redraw())) return null;
  themeWatch.add(image, () => void redraw().catch(() => {})); // the picture in the other colours stays
  return image;
}

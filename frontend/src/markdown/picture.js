// The picture of a diagram in place of its source, with a button in the bar that shows the source again.
import { text } from "../translations.js";

export class Picture {
  #place = document.createElement("div");
  #button = document.createElement("button");
  #source;
  #isSourceWanted = false;

  /**
   * @param {HTMLElement} label the bar's label, behind which the button stands
   * @param {HTMLElement} source the <pre>
   */
  constructor(label, source) {
    this.#source = source;
    this.#place.className = "diagram";
    this.#place.tabIndex = 0;
    this.#button.type = "button";
    this.#button.className = "quiet-button diagram-source";
    this.#button.textContent = text("diagramSource");
    this.#button.addEventListener("click", () => {
      this.#isSourceWanted = !this.#isSourceWanted;
      this.#update();
    });
    label.after(this.#button);
    source.after(this.#place);
  }

  /** @param {HTMLImageElement | null} image none: only the source is shown */
  show(image) {
    this.#place.replaceChildren(...(image ? [image] : []));
    this.#update();
  }

  #update() {
    const hasImage = this.#place.hasChildNodes();
    const isImageShown = hasImage && !this.#isSourceWanted;
    this.#place.hidden = !isImageShown;
    this.#source.hidden = isImageShown;
    this.#button.hidden = !hasImage;
    this.#button.setAttribute("aria-pressed", String(!isImageShown));
  }
}

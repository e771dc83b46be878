// The button that opens the dialog about links; the dialog's module is loaded with the first click.
import { loadOnce } from "../load-once.js";
/** @import { Id } from "../types.js" */

const loadDialog = loadOnce(() => import("./share-dialog.js"));

export class ShareButton {
  /** Missing where sharing is switched off. */
  #button = document.getElementById("share");

  /** @param {() => { conversation: Id | null, leaf: Id | null }} getPlace what is shown when the dialog opens */
  constructor(getPlace) {
    this.#button?.addEventListener("click", async () => {
      const { openShareDialog } = await loadDialog();
      const { conversation, leaf } = getPlace();
      if (conversation !== null) await openShareDialog(conversation, leaf);
    });
  }

  /** There is something to share now. */
  show() {
    if (this.#button) this.#button.hidden = false;
  }
}

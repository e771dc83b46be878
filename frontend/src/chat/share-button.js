// The button that opens the dialog about links; the dialog's module is loaded with the first click.
/** @import { Id } from "../types.js" */

export class ShareButton {
  /** Missing where sharing is switched off. */
  #button = document.getElementById("share");

  /** @param {() => { conversation: Id | null, leaf: Id | null }} getPlace what is shown when the dialog opens */
  constructor(getPlace) {
    this.#button?.addEventListener("click", async () => {
      const { openShareDialog } = await import("./share-dialog.js");
      const { conversation, leaf } = getPlace();
      if (conversation !== null) await openShareDialog(conversation, leaf);
    });
  }

  /** There is something to share now. */
  show() {
    if (this.#button) this.#button.hidden = false;
  }
}

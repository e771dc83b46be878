// The ways by which files come into the composer: chosen, photographed, pasted or dropped. What happens to them then is
// in upload-list.js, which is loaded with the first file.
import { byId } from "../dom.js";
import { loadOnce } from "../load-once.js";
/** @import { Attachment, ChatModel } from "../types.js" */
/** @import { TabDraft } from "./tab-draft.js" */
/** @import { UploadList } from "./upload-list.js" */

/** Milliseconds after the last sign of files over the page at which the drop area goes: browsers send one each 350. */
const DRAG_END_MS = 500;

export class Attaching {
  #onChange;
  #draft;
  /** @type {UploadList | null} */
  #list = null;
  /** @type {ChatModel | undefined} */
  #model;
  #load = loadOnce(async () => {
    const { UploadList } = await import("./upload-list.js");
    this.#list = new UploadList(this.#draft, this.#onChange);
    this.#list.model = this.#model;
    return this.#list;
  });

  /**
   * @param {object} options
   * @param {TabDraft} options.draft where the tab keeps what is attached, until it is sent
   * @param {() => void} options.onChange called when the prompt may be sent, or may not any more
   */
  constructor({ draft, onChange }) {
    this.#draft = draft;
    this.#onChange = onChange;
    // The page of a guest has no fields for files.
    if (!document.getElementById("attach-files")) return;
    for (const [button, id] of [
      ["attach", "attach-files"],
      ["take-photo", "attach-photo"],
    ]) {
      const input = byId(id ?? "", HTMLInputElement);
      byId(button ?? "").addEventListener("click", () => input.click());
      input.addEventListener("change", () => {
        this.add([...(input.files ?? [])]);
        input.value = "";
      });
    }
    byId("prompt").addEventListener("paste", (event) => this.#paste(/** @type {ClipboardEvent} */ (event)));
    this.#acceptDrops();
    if (draft.text) this.#load();
  }

  /** Whether the prompt must not be sent as it is. */
  get blocks() {
    return this.#list?.blocks ?? false;
  }

  /** Whether a prompt has something to send beside its text. */
  get hasFiles() {
    return Boolean(this.#list?.hasFiles);
  }

  /** @param {ChatModel | undefined} model the chosen one, which may take no images */
  set model(model) {
    this.#model = model;
    if (this.#list) this.#list.model = model;
  }

  /** Resolves when no file is being uploaded any more. */
  async settled() {
    await this.#list?.settled();
  }

  /**
   * Returns what is attached, and empties the list.
   * @returns {Attachment[]}
   */
  take() {
    return this.#list?.take() ?? [];
  }

  /** @param {File[]} files */
  async add(files) {
    if (files.length) (await this.#load()).add(files);
  }

  /**
   * Puts back what was taken, when its prompt was refused.
   * @param {Attachment[]} attachments
   */
  async restore(attachments) {
    if (attachments.length) (await this.#load()).restore(attachments);
  }

  /** @param {ClipboardEvent} event */
  #paste(event) {
    const { files = [], types = [] } = event.clipboardData ?? {};
    // Office programs put a picture of copied text beside the text.
    if (!files.length || types.includes("text/plain")) return;
    event.preventDefault();
    this.add([...files]);
  }

  /** Lets the user drop files anywhere on the page, which otherwise would leave it for the file. */
  #acceptDrops() {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const end = () => document.body.classList.remove("dropping");
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      document.body.classList.add("dropping");
      clearTimeout(timer);
      timer = setTimeout(end, DRAG_END_MS);
    });
    document.addEventListener("drop", (event) => {
      end();
      const files = [...(event.dataTransfer?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      this.add(files);
      byId("prompt").focus({ preventScroll: true });
    });
  }
}

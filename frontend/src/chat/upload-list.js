// The files beside the prompt that the user writes: uploads with their progress, refusals in place, and removal.
import { call, headers, ignoreRefusal, offline, Refusal, unknownFailure } from "../api.js";
import { byId, fromTemplate, part } from "../dom.js";
import { text } from "../translations.js";
import { contentUrl } from "./attachments.js";
/** @import { Attachment, ChatModel } from "../types.js" */
/** @import { TabDraft } from "./tab-draft.js" */

/** Attachments that a prompt may have. */
const MOST_ATTACHMENTS = 10;
/** Files that are uploaded at a time. */
const MOST_UPLOADS = 2;

class Upload {
  node = fromTemplate("upload-template");
  /** @type {Attachment | null} */
  attachment = null;
  failed = false;
  file;
  #request = new XMLHttpRequest();

  /**
   * @param {string} name
   * @param {File | null} file
   */
  constructor(name, file) {
    this.file = file;
    part(this.node, "name").textContent = name;
    this.node.title = name;
    const remove = part(this.node, "remove");
    remove.setAttribute("aria-label", `${remove.getAttribute("aria-label")} ${name}`);
  }

  get pending() {
    return !this.attachment && !this.failed;
  }

  get isImage() {
    return this.attachment ? this.attachment.kind === "image" : Boolean(this.file?.type.startsWith("image/"));
  }

  /** Uploads the file; what becomes of it is shown in place. */
  async send() {
    try {
      this.ready(await this.#send());
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.fail(error);
    }
  }

  /** @returns {Promise<Attachment>} */
  #send() {
    const form = new FormData();
    form.append("file", /** @type {File} */ (this.file));
    const request = this.#request;
    const progress = part(this.node, "progress", HTMLProgressElement);
    return new Promise((resolve, reject) => {
      request.upload.addEventListener("progress", ({ loaded, total }) => {
        // The server then reads the file, which shows no progress of its own.
        if (loaded < total) progress.value = loaded / total;
        else progress.removeAttribute("value");
      });
      request.addEventListener("error", () => reject(offline()));
      request.addEventListener("load", () => {
        if (request.status === 201) return resolve(request.response);
        const error = request.response?.error;
        return reject(error?.code ? new Refusal(error) : unknownFailure());
      });
      request.open("POST", "/api/attachments/");
      for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
      request.responseType = "json";
      request.send(form);
    });
  }

  /** @param {Attachment} attachment */
  ready(attachment) {
    this.attachment = attachment;
    part(this.node, "progress").hidden = true;
    if (attachment.kind !== "image") return;
    const image = part(this.node, "image", HTMLImageElement);
    image.src = contentUrl(attachment);
    image.hidden = false;
    part(this.node, "icon", SVGElement).remove();
  }

  /** @param {Refusal} refusal */
  fail({ message }) {
    this.failed = true;
    this.node.classList.add("failed");
    part(this.node, "progress").hidden = true;
    part(this.node, "error").textContent = message;
  }

  /** Forgets the file, here and on the server. */
  async discard() {
    this.failed = true;
    this.#request.abort();
    const { attachment } = this;
    if (attachment) await ignoreRefusal(() => call("DELETE", `/api/attachments/${attachment.id}/`));
  }
}

export class UploadList {
  #list = byId("uploads");
  #note = byId("uploads-note");
  #maxBytes = Number(byId("attach-files").dataset.maxBytes);
  /** @type {Upload[]} */
  #uploads = [];
  #running = 0;
  /** @type {ChatModel | undefined} */
  #model;
  /** @type {(() => void)[]} */
  #waiting = [];
  #draft;
  #onChange;

  /**
   * @param {TabDraft} draft
   * @param {() => void} onChange
   */
  constructor(draft, onChange) {
    this.#draft = draft;
    this.#onChange = onChange;
    this.restore(JSON.parse(draft.text || "[]"));
  }

  get blocks() {
    return this.#uploads.some(({ failed }) => failed) || !this.#modelTakesThem;
  }

  get hasFiles() {
    return this.#uploads.some(({ failed }) => !failed);
  }

  /** @param {ChatModel | undefined} model */
  set model(model) {
    this.#model = model;
    this.#update();
  }

  settled() {
    if (!this.#uploads.some(({ pending }) => pending)) return Promise.resolve();
    return new Promise((/** @type {(value: void) => void} */ resolve) => this.#waiting.push(resolve));
  }

  /** @returns {Attachment[]} */
  take() {
    const taken = this.#uploads.flatMap(({ attachment }) => attachment ?? []);
    this.#uploads = [];
    this.#list.replaceChildren();
    this.#update();
    return taken;
  }

  /** @param {File[]} files */
  add(files) {
    for (const file of files) {
      const upload = this.#append(new Upload(file.name, file));
      if (this.#uploads.length > MOST_ATTACHMENTS) upload.fail(refusal("tooMany", MOST_ATTACHMENTS));
      else if (file.size > this.#maxBytes) upload.fail(refusal("tooLarge", Math.floor(this.#maxBytes / 2 ** 20)));
    }
    this.#sendNext();
  }

  /** @param {Attachment[]} attachments */
  restore(attachments) {
    for (const attachment of attachments) this.#append(new Upload(attachment.name, null)).ready(attachment);
    this.#update();
  }

  get #modelTakesThem() {
    return !this.#model || this.#model.takes.includes("images") || !this.#uploads.some(({ isImage }) => isImage);
  }

  /** @param {Upload} upload */
  #append(upload) {
    this.#uploads.push(upload);
    this.#list.append(upload.node);
    part(upload.node, "remove").addEventListener("click", () => this.#remove(upload));
    return upload;
  }

  /** @param {Upload} upload */
  #remove(upload) {
    const place = this.#uploads.indexOf(upload);
    this.#uploads.splice(place, 1);
    upload.node.remove();
    upload.discard();
    const next = this.#uploads[place] ?? this.#uploads.at(-1);
    (next ? part(next.node, "remove") : byId("prompt")).focus();
    this.#update();
  }

  async #sendNext() {
    this.#update();
    const next = this.#uploads.find((upload) => upload.pending && upload.file && !sending.has(upload));
    if (!next || this.#running >= MOST_UPLOADS) return;
    sending.add(next);
    this.#running += 1;
    this.#sendNext();
    try {
      await next.send();
    } finally {
      this.#running -= 1;
      this.#sendNext();
    }
  }

  #update() {
    this.#list.hidden = !this.#uploads.length;
    const title = this.#model?.title ?? "";
    this.#note.textContent = this.#modelTakesThem ? "" : text("noImages", { model: title });
    const ready = this.#uploads.flatMap(({ attachment }) => attachment ?? []);
    this.#draft.text = ready.length ? JSON.stringify(ready) : "";
    if (!this.#uploads.some(({ pending }) => pending)) for (const resolve of this.#waiting.splice(0)) resolve();
    this.#onChange();
  }
}

/**
 * The uploads that have begun.
 * @type {WeakSet<Upload>}
 */
const sending = new WeakSet();

/**
 * @param {string} name of the text
 * @param {number} limit
 */
const refusal = (name, limit) => new Refusal({ code: "invalid_request", message: text(name, { limit }) });

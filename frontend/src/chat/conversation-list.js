// The list of conversations in the sidebar: recent and older ones, search results, and archived ones.
import { call, Refusal } from "../api.js";
import { byId, find, fromTemplate } from "../dom.js";
import { loadOnce } from "../load-once.js";
import { text } from "../translations.js";
import { groupByDay } from "./day-groups.js";
import { foundUrl } from "./place.js";
/** @import { Conversation, Id, ListPage } from "../types.js" */

const loadExcerpts = loadOnce(() => import("./search-excerpt.js"));

/** Milliseconds without a key press after which a search begins. */
const SEARCH_DELAY_MS = 250;

/**
 * Returns the path and query of an address: behind a proxy the server may name itself by another scheme or host than
 * the page was loaded from.
 * @param {string} url
 */
export function withoutOrigin(url) {
  const { pathname, search } = new URL(url, "http://localhost");
  return pathname + search;
}

/**
 * Returns the rows of a list, without the headings between them.
 * @param {ParentNode} parent
 */
const rowsIn = (parent) => /** @type {HTMLElement[]} */ ([...parent.children]).filter(({ dataset }) => dataset.id);

export class ConversationList {
  #list = byId("conversations");
  #olderButton = byId("older", HTMLButtonElement);
  #searchField = byId("search", HTMLInputElement);
  #archiveToggle = byId("show-archived");
  #status = byId("nothing-found");
  #archivedNote = byId("archived-note");
  #heading = byId("title");
  #currentId;
  #onChange;
  /**
   * The rows of the list, while search results or archived conversations are shown in their place.
   * @type {DocumentFragment | null}
   */
  #listedRows = null;
  /**
   * Address of the rows after the shown ones, null after the last. The server rendered the first ones into the page.
   * @type {string | null}
   */
  #nextPage;
  /**
   * The value of `#nextPage` for the list, while `#listedRows` holds its rows.
   * @type {string | null}
   */
  #nextListedPage = null;
  /** Counts what has changed: a list that was read before a change is not shown after it. */
  #changes = 0;
  /** @type {Promise<void> | null} */
  #refreshing = null;

  /**
   * @param {Id | null} currentId the open conversation
   * @param {() => void} onChange called when the user has changed a conversation
   */
  constructor(currentId, onChange) {
    this.#currentId = currentId;
    this.#onChange = onChange;
    groupByDay(this.#list);
    this.#nextPage = this.#olderButton.hidden ? null : "/api/conversations/";
    this.#olderButton.addEventListener("click", () => this.#showOlder());
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    this.#searchField.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#search(), SEARCH_DELAY_MS);
    });
    find(this.#archivedNote, "button").addEventListener("click", () => this.attempt(() => this.#unarchiveCurrent()));
    this.#archiveToggle.addEventListener("click", () => {
      this.#archiveToggle.setAttribute("aria-pressed", String(!this.isArchiveShown));
      this.#search();
    });
  }

  /** @param {HTMLElement} row */
  titleOf(row) {
    return find(row, "a > span").textContent;
  }

  get isArchiveShown() {
    return this.#archiveToggle.getAttribute("aria-pressed") === "true";
  }

  /**
   * Adds a conversation that just began, as the current one.
   * @param {Pick<Conversation, "id" | "title">} conversation
   */
  add({ id, title }) {
    this.#changes += 1;
    this.#endSearch();
    for (const link of this.#list.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
    this.#currentId = id;
    const row = this.#shownRow(id);
    if (row) find(row, "a").setAttribute("aria-current", "page");
    else placeRow(this.#createRow({ id, title, pinned: false, updated_at: new Date().toISOString() }), this.#list);
    this.#showTitle(title);
  }

  /** Shows the titles and the order of the newest conversations as they are stored, unless a search is shown. */
  async refresh() {
    if (this.#listedRows) return;
    this.#changes += 1; // a refresh that runs already reads again
    this.#refreshing ??= this.#refreshOnce().finally(() => (this.#refreshing = null));
    await this.#refreshing;
  }

  async #refreshOnce() {
    const { results, next } = await this.#read("/api/conversations/");
    if (!this.#listedRows) this.#showNewest(results, next !== null);
  }

  /**
   * Reads a page of the list, and reads it again if something has changed meanwhile.
   * @param {string} url
   * @returns {Promise<ListPage<Conversation>>}
   */
  async #read(url) {
    for (;;) {
      const changes = this.#changes;
      const page = await call("GET", url);
      if (changes === this.#changes) return page;
    }
  }

  /**
   * @param {Conversation[]} results
   * @param {boolean} hasMore whether other pages follow
   */
  #showNewest(results, hasMore) {
    for (const item of results) {
      if (this.#shownRow(item.id)) this.update(item);
      else placeRow(this.#createRow(item), this.#list);
    }
    const ids = new Set(results.map(({ id }) => String(id)));
    const lastRow = hasMore ? rowsIn(this.#list).findLast(({ dataset }) => ids.has(dataset.id ?? "")) : null;
    for (const row of rowsIn(this.#list)) {
      // Rows below the last one belong to later pages.
      if (!ids.has(row.dataset.id ?? "") && (!lastRow || isAbove(row, lastRow))) row.remove();
    }
  }

  /**
   * Shows a conversation as it is stored.
   * @param {Conversation} stored
   */
  update({ id, title, pinned, updated_at: updated }) {
    for (const row of this.#rowsOf(id)) {
      if (this.titleOf(row) !== title) this.#setTitle(row, title);
      if (row.dataset.updated === updated && isPinned(row) === pinned) continue;
      row.dataset.updated = updated;
      row.classList.toggle("pinned", pinned);
      placeRow(row, /** @type {ParentNode} */ (row.parentNode));
    }
  }

  /** Moves the open conversation to the top, because it is used now. */
  moveCurrentUp() {
    if (this.#currentId === null) return;
    this.#changes += 1;
    for (const row of this.#rowsOf(this.#currentId)) {
      row.dataset.updated = new Date().toISOString();
      placeRow(row, /** @type {ParentNode} */ (row.parentNode));
    }
  }

  /**
   * Runs an action that the server may refuse, and shows a refusal in the list's status line.
   * @param {() => Promise<void>} action
   */
  async attempt(action) {
    this.#status.hidden = true;
    try {
      await action();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#showStatus(error.message);
    }
  }

  /**
   * @param {Id} id
   * @param {boolean} pinned
   */
  async setPinned(id, pinned) {
    await this.#change(id, { pinned });
    for (const row of this.#rowsOf(id)) {
      row.classList.toggle("pinned", pinned);
      placeRow(row, /** @type {ParentNode} */ (row.parentNode));
    }
  }

  /**
   * Archives a conversation, or brings it back to where it stands by its age.
   * @param {Id} id
   * @param {boolean} archived
   */
  async setArchived(id, archived) {
    const stored = await this.#change(id, { archived });
    const rows = this.#rowsOf(id);
    for (const row of rows) row.remove();
    if (!archived) placeRow(rows[0] ?? this.#createRow(stored), this.#listedRows ?? this.#list);
    if (this.#isCurrent(id)) this.#archivedNote.hidden = !archived;
  }

  /** Brings the open conversation back from the archive. */
  async #unarchiveCurrent() {
    if (this.#currentId !== null) await this.setArchived(this.#currentId, false);
  }

  /**
   * @param {Id} id
   * @param {string} title
   */
  async rename(id, title) {
    await this.#change(id, { title });
    for (const row of this.#rowsOf(id)) this.#setTitle(row, title);
  }

  /** @param {Id} id */
  async delete(id) {
    await call("DELETE", `/api/conversations/${id}/`);
    this.#noteChange();
    if (this.#isCurrent(id)) location.assign("/");
    else for (const row of this.#rowsOf(id)) row.remove();
  }

  /**
   * @param {Id} id
   * @param {Partial<Conversation>} fields
   * @returns {Promise<Conversation>}
   */
  async #change(id, fields) {
    const stored = await call("PATCH", `/api/conversations/${id}/`, fields);
    this.#noteChange();
    return stored;
  }

  #noteChange() {
    this.#changes += 1;
    this.#onChange();
  }

  async #showOlder() {
    this.#olderButton.disabled = true;
    await this.attempt(async () => {
      // A page may hold nothing new, because conversations move to the top while the list is shown.
      for (let added = 0; this.#nextPage && !added;) {
        const page = await this.#read(this.#nextPage);
        const fresh = page.results.filter(({ id }) => !this.#shownRow(id));
        const rows = await this.#createFound(fresh, this.#searchField.value.trim());
        this.#list.append(...rows);
        added = rows.length;
        this.#setNextPage(page.next);
      }
    });
    this.#olderButton.disabled = false;
  }

  /** Shows the rows with the searched text, the archived ones, or the list again. */
  async #search() {
    const [query, archived] = [this.#searchField.value.trim(), this.isArchiveShown];
    if (!query && !archived) return this.#endSearch();
    const parameters = new URLSearchParams({ ...(query && { search: query }), ...(archived && { archived: "true" }) });
    const isOutdated = () => this.#searchField.value.trim() !== query || this.isArchiveShown !== archived;
    return this.attempt(async () => {
      /** @type {ListPage<Conversation> | null} */
      const page = await this.#read(`/api/conversations/?${parameters}`).catch((error) => {
        if (isOutdated()) return null; // the server refuses a search that a newer one replaces
        throw error;
      });
      if (!page || isOutdated()) return;
      if (!this.#listedRows) {
        this.#listedRows = document.createDocumentFragment();
        this.#listedRows.append(...rowsIn(this.#list));
        this.#nextListedPage = this.#nextPage;
      }
      this.#list.replaceChildren(...(await this.#createFound(page.results, query)));
      this.#setNextPage(page.next);
      if (!page.results.length) this.#showStatus(text(archived && !query ? "archivedNone" : "nothingFound"));
    });
  }

  #endSearch() {
    this.#searchField.value = "";
    this.#archiveToggle.setAttribute("aria-pressed", "false");
    if (!this.#listedRows) return;
    this.#list.replaceChildren(this.#listedRows);
    this.#listedRows = null;
    this.#setNextPage(this.#nextListedPage);
    this.#status.hidden = true;
  }

  /**
   * Creates the rows of conversations, with excerpts of the messages in which `query` was found.
   * @param {Conversation[]} conversations
   * @param {string} query
   */
  async #createFound(conversations, query) {
    if (!query) return conversations.map((item) => this.#createRow(item));
    const { createExcerpt } = await loadExcerpts();
    return conversations.map((item) => {
      const row = this.#createRow(item);
      if (!item.match) return row;
      const link = find(row, "a", HTMLAnchorElement);
      link.href = foundUrl(item.id, item.match.message, query);
      link.append(createExcerpt(item.match.excerpt, query));
      return row;
    });
  }

  /** @param {Pick<Conversation, "id" | "title" | "pinned" | "updated_at">} conversation */
  #createRow({ id, title, pinned, updated_at: updated }) {
    const row = fromTemplate("conversation-template");
    row.dataset.id = String(id);
    row.dataset.updated = updated;
    row.classList.toggle("pinned", pinned);
    const link = find(row, "a", HTMLAnchorElement);
    link.href = `/c/${id}/`;
    if (this.#isCurrent(id)) link.setAttribute("aria-current", "page");
    this.#setTitle(row, title);
    return row;
  }

  /**
   * @param {HTMLElement} row
   * @param {string} title
   */
  #setTitle(row, title) {
    find(row, "a > span").textContent = title;
    find(row, "[data-more]").setAttribute("aria-label", text("more", { title }));
    if (this.#isCurrent(row.dataset.id)) this.#showTitle(title);
  }

  /** @param {string} title */
  #showTitle(title) {
    document.title = title;
    this.#heading.textContent = title;
  }

  /** @param {string} message */
  #showStatus(message) {
    this.#status.textContent = message;
    this.#status.hidden = false;
  }

  /** @param {string | null} url */
  #setNextPage(url) {
    this.#nextPage = url && withoutOrigin(url);
    this.#olderButton.hidden = !url;
  }

  /** @param {Id | undefined} id */
  #isCurrent(id) {
    return String(id) === String(this.#currentId);
  }

  /** @param {Id} id */
  #shownRow(id) {
    return rowsIn(this.#list).find(({ dataset }) => dataset.id === String(id));
  }

  /**
   * Returns the rows of a conversation: in the list, and among search results.
   * @param {Id} id
   */
  #rowsOf(id) {
    const rows = [...rowsIn(this.#list), ...(this.#listedRows ? rowsIn(this.#listedRows) : [])];
    return rows.filter(({ dataset }) => dataset.id === String(id));
  }
}

/** @param {HTMLElement} row */
const isPinned = ({ classList }) => classList.contains("pinned");

/**
 * Returns whether `row` stands above `other`: pinned rows first, then the one used last.
 * @param {HTMLElement} row
 * @param {HTMLElement} other
 */
function isAbove(row, other) {
  if (isPinned(row) !== isPinned(other)) return isPinned(row);
  return Date.parse(row.dataset.updated ?? "") >= Date.parse(other.dataset.updated ?? "");
}

/**
 * Puts a row into its place. What has the focus in it keeps it.
 * @param {HTMLElement} row
 * @param {ParentNode} parent
 */
function placeRow(row, parent) {
  const next = rowsIn(parent).find((other) => other !== row && isAbove(row, other));
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const hasFocus = row.contains(focused);
  parent.insertBefore(row, next ?? null);
  if (hasFocus) focused?.focus({ preventScroll: true });
}

// The chat page: connects the composer, the shown branch, the running generation and the list of conversations.
import { announceRefusal, ignoreRefusal } from "../api.js";
import { attachmentsOf, installImageDialog, showAttachments } from "../chat/attachments.js";
import { AutoScroll } from "../chat/auto-scroll.js";
import { Branch } from "../chat/branch.js";
import { Choice } from "../chat/choice.js";
import { Composer } from "../chat/composer.js";
import { ConversationList } from "../chat/conversation-list.js";
import { installDevice } from "../chat/device.js";
import { ConversationWatch } from "../chat/conversation-watch.js";
import { installDrawerAndMenus } from "../chat/drawer.js";
import { installLateMenus } from "../chat/late-menus.js";
import { deleteMessage } from "../chat/message-deletion.js";
import { keepPlace, openingPlace, showFoundText } from "../chat/place.js";
import { editPrompt } from "../chat/prompt-editor.js";
import { loadComparison, SecondModel } from "../chat/second-model.js";
import { ShareButton } from "../chat/share-button.js";
import { installShortcuts } from "../chat/shortcuts.js";
import { SystemPrompt } from "../chat/system-prompt.js";
import { TemporaryChat } from "../chat/temporary-chat.js";
import { byId, find, pageData, part } from "../dom.js";
import { Generation } from "../generation/generation.js";
import { GenerationPresenter } from "../generation/presenter.js";
import { RenderQueue } from "../generation/render-queue.js";
import { Quotas } from "../quota.js";
/** @import { Comparison, ComparisonPage } from "../chat/comparison.js" */
/** @import { PickedModel } from "../chat/second-model.js" */
/** @import { EditedPrompt } from "../chat/prompt-editor.js" */
/** @import { CompletionView } from "../generation/completion-view.js" */
/** @import { Attachment, BranchData, ChatPageData, GenerationRequest, Id, StoredError } from "../types.js" */

class ChatPage {
  #announcer = byId("announcer");
  #endNotification = installDevice(this.#announcer);
  #models;
  #quotas;
  #presenter;
  #conversations;
  #branch;
  #composer;
  #systemPrompt;
  #watch;
  #choice;
  #scroll;
  #renderQueue = new RenderQueue();
  #temporary;
  #share = new ShareButton(() => ({ conversation: this.#branch.conversationId, leaf: this.#branch.leaf }));
  #second = new SecondModel(() => this.#composer.model);
  /**
   * The generations that this tab follows.
   * @type {Set<Generation>}
   */
  #running = new Set();
  /**
   * The two completions between which the user has not chosen yet.
   * @type {Comparison | null}
   */
  #comparison = null;
  /**
   * Removes a refused prompt that is still shown, and the place of its completion. The server stored neither.
   * @type {(() => void) | null}
   */
  #removeRefused = null;

  /** @param {ChatPageData} data */
  constructor({ user, models, quotas, guest, conversation, leaf, updated_at: updated, temporary }) {
    this.#temporary = new TemporaryChat(temporary);
    this.#models = models;
    this.#quotas = new Quotas(byId("quota"), quotas, guest);
    this.#presenter = new GenerationPresenter({ models, quotas: this.#quotas, announcer: this.#announcer });
    this.#conversations = new ConversationList(conversation, () => this.#watch.announce());
    this.#branch = new Branch({
      conversationId: conversation,
      leaf,
      onRegenerate: (view) => this.#regenerate(view),
      onContinue: (view) => this.#continue(view),
      onVersion: (node, id, buttonName) => this.#showVersion(node, id, buttonName),
      onEdit: (promptNode) => this.#edit(promptNode),
      isFollowed: () => this.#scroll.following,
    });
    this.#composer = new Composer({
      userId: user,
      onSend: (prompt, attachments) => this.#sendUnlessStale(prompt, attachments),
      onStop: () => this.#stop(),
      onModel: (slug) => this.#selectModel(slug),
    });
    this.#systemPrompt = new SystemPrompt({ userId: user, getConversationId: () => this.#branch.conversationId });
    this.#watch = new ConversationWatch({
      updatedAt: updated,
      getConversationId: () => this.#branch.conversationId,
      isBusy: () => this.#isBusy,
      onChecked: (stored) => this.#conversations.update(stored),
      onNews: () => this.#showNews(),
      onListChanged: () => this.#conversations.refresh(),
    });
    this.#choice = new Choice({ userId: user, models, conversationId: conversation });
    const jumpButton = byId("jump");
    this.#scroll = new AutoScroll((following) => (jumpButton.hidden = following));
    jumpButton.addEventListener("click", () => this.#scroll.scrollToEnd());
  }

  /**
   * Brings what the server rendered to life, and follows the generation that is still running.
   * @param {BranchData} data
   */
  start(data) {
    installDrawerAndMenus();
    installShortcuts();
    installImageDialog();
    installLateMenus(this.#conversations, {
      models: this.#models,
      onDelete: (node) => this.#delete(node),
      onRegenerate: (node, slug) => this.#regenerate(this.#branch.completionOf(node), slug),
    });
    this.#open(data);
    this.#selectModel(this.#composer.model);
    for (const example of document.querySelectorAll("[data-example]")) {
      example.addEventListener("click", () => this.#composer.fill(example.textContent.trim()));
    }
    this.#resume(data);
    this.#watch.start();
    if (matchMedia("(pointer: fine)").matches) this.#composer.focus();
  }

  /**
   * Shows the conversation where the reader left it, or at what a search found, or at its end.
   * @param {BranchData} data
   */
  #open(data) {
    const place = openingPlace(data);
    // Before anything is measured, so that the messages are laid out once; the browser paints after this task.
    byId("messages").removeAttribute("data-opening");
    this.#showStored(place?.node);
    if (place) this.#scroll.standAt(place.node, place.top);
    else this.#scroll.scrollToEnd();
    keepPlace(this.#scroll);
    showFoundText(this.#scroll, this.#renderQueue);
  }

  /** @param {string} slug */
  #selectModel(slug) {
    const model = this.#models.find((candidate) => candidate.slug === slug);
    this.#quotas.select(model?.quota);
    this.#composer.chosenModel = model;
    byId("model-description").textContent = model?.description ?? "";
  }

  get #isBusy() {
    return this.#running.size > 0;
  }

  /**
   * Shows a generation until it ends; rejects when it was not started.
   * @param {Generation} generation
   * @param {CompletionView} view
   * @param {string} [model]
   */
  async #show(generation, view, model = this.#composer.model) {
    this.#running.add(generation);
    this.#composer.running = true;
    const notifyOfEnd = this.#endNotification.begin();
    const isOwn = generation.id === null;
    try {
      await this.#presenter.show(generation, view, model, {
        start: ({ conversation, title }) => {
          this.#onStart(conversation, title);
          if (isOwn) this.#watch.announce();
        },
        done: ({ message }) => this.#setLeaf(view, message),
        error: (error) => this.#showError(view, error, generation),
      });
    } catch (error) {
      if (generation.id === null) throw error;
      this.#presenter.showRefusal(view, error);
    } finally {
      this.#running.delete(generation);
      this.#composer.running = this.#isBusy;
      this.#watch.acceptChange();
      notifyOfEnd();
    }
  }

  /**
   * @param {Id | null} conversation
   * @param {string} title
   */
  #onStart(conversation, title) {
    if (conversation === null) return;
    const isNew = conversation !== this.#branch.conversationId;
    // `?message=` chose a branch that the new generation has left.
    if (isNew || location.search) this.#temporary.showAddress(`/c/${conversation}/`);
    this.#composer.followAddress();
    if (!isNew) {
      this.#conversations.moveCurrentUp();
      return;
    }
    this.#branch.conversationId = conversation;
    this.#systemPrompt.clearDraft();
    this.#choice.begin(conversation);
    this.#temporary.begin();
    if (this.#temporary.chosen) return;
    this.#conversations.add({ id: conversation, title });
    this.#share.show();
  }

  /**
   * @param {CompletionView} view
   * @param {Id | null} message the stored message of the completion
   */
  #setLeaf(view, message) {
    const id = message ?? view.id;
    view.id = id;
    this.#branch.leaf = id;
  }

  /**
   * @param {string} prompt
   * @param {Attachment[]} attachments
   * @param {Id | null} parent
   * @returns {GenerationRequest}
   */
  #createRequest(prompt, attachments, parent) {
    const ids = attachments.map(({ id }) => id);
    const { conversationId: conversation } = this.#branch;
    const { model } = this.#composer;
    const request = { model, prompt, ...(ids.length && { attachments: ids }), ...this.#choice.fields(model) };
    if (conversation !== null) return { ...request, conversation, ...(parent !== null && { parent }) };
    const systemPrompt = this.#systemPrompt.text;
    const temporary = this.#temporary.chosen;
    return { ...request, ...(systemPrompt && { system_prompt: systemPrompt }), ...(temporary && { temporary }) };
  }

  /**
   * Sends a prompt, unless the conversation went on in another tab: then the user sees that first.
   * @param {string} prompt
   * @param {Attachment[]} attachments
   */
  async #sendUnlessStale(prompt, attachments) {
    this.#composer.disabled = true;
    const hasNews = await this.#watch.hasNews();
    const second = hasNews ? null : await this.#second.take();
    this.#composer.disabled = false;
    byId("went-on").hidden = !hasNews;
    if (hasNews) this.#composer.attach(attachments);
    else await this.#send(prompt, attachments, null, second);
  }

  /** Shows what other tabs have added to the conversation. */
  async #showNews() {
    this.#dropRefused();
    const { views, data } = await this.#branch.catchUp();
    this.#showStored(null, views);
    this.#resume(data);
  }

  /**
   * Sends a prompt: at the end of the branch, or as another version of the prompt in `edited`.
   * @param {string} prompt
   * @param {Attachment[]} attachments
   * @param {HTMLElement | null} edited
   * @param {PickedModel | null} second completes the prompt too
   */
  async #send(prompt, attachments, edited, second) {
    if (this.#isBusy) return;
    this.#dropRefused();
    const parent = edited ? this.#branch.parentOf(edited) : this.#branch.leaf;
    const detached = edited ? this.#branch.detachFrom(edited) : [];
    const promptNode = this.#branch.addPrompt(prompt);
    showAttachments(promptNode, attachments);
    const view = this.#branch.addCompletion();
    if (!edited) this.#composer.clear(prompt);
    this.#scroll.scrollToEnd();
    try {
      const generation = Generation.fromRequest("/api/chat/", this.#createRequest(prompt, attachments, parent));
      await this.#showBesideSecond(generation, view, second);
    } catch (error) {
      this.#choose(view.node);
      this.#removeRefused = () => {
        this.#branch.reattach(detached);
        this.#branch.remove(promptNode, view.node);
      };
      if (!edited) this.#composer.keepDraft(prompt, attachments);
      this.#presenter.showRefusal(view, error, {
        retry: () => this.#send(prompt, attachments, edited, second),
        edit: () => this.#editRefused(prompt, attachments, edited),
      });
      return;
    }
    // The new version of the prompt has no id in the page yet; until it has one, the user can only read it.
    const { id } = view;
    if (edited && id) await ignoreRefusal(() => this.#branch.fetchIds(id));
  }

  /**
   * @param {Generation} generation
   * @param {CompletionView} view
   * @param {PickedModel | null} second
   */
  #showBesideSecond(generation, view, second) {
    const shown = this.#show(generation, view);
    if (second) this.#comparison = second.module.compare(this.#comparisonPage, { generation, shown, view }, second);
    return shown;
  }

  /**
   * @param {string} prompt
   * @param {Attachment[]} attachments
   * @param {HTMLElement | null} edited
   */
  #editRefused(prompt, attachments, edited) {
    this.#dropRefused();
    if (edited) this.#edit(edited, { prompt, attachments });
    else this.#composer.fill(prompt, attachments);
  }

  /** @param {HTMLElement} [node] part of the completion to go on with, if two are shown side by side */
  #dropRefused(node) {
    this.#removeRefused?.();
    this.#removeRefused = null;
    this.#choose(node);
  }

  /**
   * Goes on with one of two completions, if they are shown side by side.
   * @param {HTMLElement} [node]
   */
  #choose(node) {
    this.#comparison?.choose(node);
    this.#comparison = null;
  }

  /** @returns {ComparisonPage} */
  get #comparisonPage() {
    return {
      branch: this.#branch,
      presenter: this.#presenter,
      show: (generation, view, model) => this.#show(generation, view, model),
      showStored: (view) => this.#showStored(null, [view]),
      onRestored: (comparison, data) => {
        this.#comparison = comparison;
        this.#resume(data);
      },
      onChoose: ({ node, id }) => {
        this.#choose(node);
        this.#temporary.showAddress(`/c/${this.#branch.conversationId}/?message=${id}`);
        this.#composer.focus();
      },
    };
  }

  /**
   * Lets the user edit a prompt. What was changed is sent as another version of it.
   * @param {HTMLElement} promptNode
   * @param {EditedPrompt | null} draft
   */
  async #edit(promptNode, draft = null) {
    if (this.#isBusy || promptNode.classList.contains("editing")) return;
    const shown = { prompt: part(promptNode, "content").textContent, attachments: attachmentsOf(promptNode) };
    const edited = await editPrompt(promptNode, draft ?? shown);
    const isChanged = edited?.prompt !== shown.prompt || edited.attachments.length !== shown.attachments.length;
    if (edited && isChanged) await this.#send(edited.prompt, edited.attachments, promptNode, null);
    else part(promptNode, "edit").focus();
  }

  /**
   * @param {CompletionView | undefined} old
   * @param {string} [slug] another model than the chosen one
   */
  async #regenerate(old, slug) {
    if (this.#isBusy || !old?.id) return;
    this.#dropRefused(old.node);
    const detached = this.#branch.detachFrom(old.node);
    const view = this.#branch.addVersionOf(old);
    const model = slug ?? this.#composer.model;
    this.#composer.focus();
    try {
      await this.#show(Generation.fromRequest(`/api/messages/${old.id}/regenerate/`, { model }), view);
    } catch (error) {
      this.#branch.remove(view.node);
      this.#branch.reattach(detached);
      this.#presenter.showRefusal(old, error, { retry: () => this.#regenerate(old, slug) });
    }
  }

  /**
   * Lets the model go on with a completion that ended early, in the same place.
   * @param {CompletionView} view
   */
  async #continue(view) {
    if (this.#isBusy || !view.id) return;
    this.#dropRefused(view.node);
    this.#composer.focus();
    try {
      await this.#show(Generation.fromRequest(`/api/messages/${view.id}/continue/`, {}), view);
    } catch (error) {
      this.#presenter.showRefusal(view, error, { retry: () => this.#continue(view) });
    }
  }

  /**
   * Deletes a message and what follows it, and shows what remains.
   * @param {HTMLElement} node
   */
  async #delete(node) {
    if (this.#isBusy) return;
    this.#dropRefused(node);
    await announceRefusal(this.#announcer, async () => {
      await deleteMessage(this.#branch, node);
      this.#showStored();
      this.#temporary.showAddress(`/c/${this.#branch.conversationId}/`);
      this.#composer.focus();
    });
  }

  /** @param {CompletionView} view */
  #tryAgain(view) {
    return view.isContinuation ? this.#continue(view) : this.#regenerate(view);
  }

  /**
   * Shows the branch through another version of a message, which keeps its place on the screen.
   * @param {HTMLElement} node
   * @param {string} id the other version
   * @param {string} buttonName the part that was clicked, to which the focus returns
   */
  async #showVersion(node, id, buttonName) {
    if (this.#isBusy) return;
    this.#dropRefused();
    let shown = node;
    await announceRefusal(this.#announcer, async () => {
      const data = await this.#scroll.keepInPlace(
        () => shown.getBoundingClientRect().top,
        async () => {
          const opened = await this.#branch.open(id);
          this.#showStored();
          shown = find(document, `.message[data-id="${CSS.escape(id)}"]`);
          return opened;
        },
      );
      this.#temporary.showAddress(`/c/${this.#branch.conversationId}/?message=${id}`);
      const button = part(shown, buttonName, HTMLButtonElement);
      (button.disabled ? find(shown, ".versions button:enabled") : button).focus({ preventScroll: true });
      this.#resume(data);
    });
  }

  #stop() {
    for (const generation of this.#running) generation.stop().catch(() => this.#composer.enableStop());
  }

  /**
   * Shows the error with which a started generation ended. The user can try again once the completion's message is
   * known to be stored.
   * @param {CompletionView} view
   * @param {StoredError} error
   * @param {Generation} generation
   */
  async #showError(view, error, generation) {
    const show = () => this.#presenter.showError(view, error, view.id ? () => this.#tryAgain(view) : null);
    show();
    if (view.id) return;
    await ignoreRefusal(async () => {
      const { message } = await generation.fetchStored();
      this.#setLeaf(view, message);
      if (view.id && !this.#isBusy) show();
    });
  }

  /**
   * Shows how completions of the branch ended. Only the last one can be tried again.
   * @param {HTMLElement | null} [first] the message at the top of the screen, unless it shows the end
   * @param {CompletionView[]} [views] those that are not shown yet
   */
  #showStored(first, views = this.#branch.completions()) {
    const { lastCompletion } = this.#branch;
    for (const view of views) {
      const canRetry = view === lastCompletion && view.id;
      this.#presenter.showStored(view, canRetry ? () => this.#tryAgain(view) : null);
      this.#renderQueue.add(view.node, () => view.render());
    }
    this.#renderQueue.start(first);
  }

  /**
   * Follows the generation that is still running in a branch, if there is one, and the one beside it.
   * @param {BranchData} data
   */
  async #resume({ running, events_url: eventsUrl, beside }) {
    if (beside) ignoreRefusal(async () => (await loadComparison()).restore(this.#comparisonPage, beside));
    if (running === null || eventsUrl === null) return;
    const view = this.#branch.findByGeneration(running) ?? this.#branch.addCompletion();
    await this.#show(Generation.fromRunning(running, eventsUrl), view);
  }
}

const data = /** @type {ChatPageData} */ (pageData());
new ChatPage(data).start(data);

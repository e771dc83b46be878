// The chat page: wires the composer, the conversation and the running generation together.
import { Refusal } from "../api.js";
import { Composer } from "../chat/composer.js";
import { Conversation } from "../chat/branch.js";
import { addConversation, installConversations } from "../chat/conversation-list.js";
import { installDrawer, installMenus } from "../chat/drawer.js";
import { edited } from "../chat/prompt-editor.js";
import { Follower } from "../generation/presenter.js";
import { Generation } from "../generation/generation.js";
import { Instructions } from "../chat/system-prompt.js";
import { Quotas } from "../quota.js";
import { inPlace, installScrolling, scrollToEnd } from "../chat/auto-scroll.js";
import { text } from "../translations.js";

const page = JSON.parse(document.getElementById("page-data").textContent);
const announcer = document.getElementById("announcer");
const jump = document.getElementById("jump");

const quotas = new Quotas(document.getElementById("quota"), page.quotas);
const follower = new Follower({ models: page.models, quotas, announcer });
const conversation = new Conversation({
  id: page.conversation,
  leaf: page.leaf,
  onRegenerate: regenerate,
  onVersion: showVersion,
  onEdit: edit,
});
const composer = new Composer({ person: page.user, onSend: send, onStop: stop, onModel: selectModel });
const instructions = new Instructions({ person: page.user, conversation: () => conversation.id });

/** The generation that this tab follows. */
let running = null;
/** Takes back a refused prompt that is still shown, and its answer's place: nothing of it is stored. */
let takeBack = null;

function dropRefused() {
  takeBack?.();
  takeBack = null;
}

function selectModel(slug) {
  const model = page.models.find((candidate) => candidate.slug === slug);
  quotas.select(model?.quota);
  document.getElementById("model-description").textContent = model?.description ?? "";
}

/** Shows `generation` in `answer` until it ends; rejects when it was not started. */
async function show(generation, answer) {
  running = generation;
  composer.running = true;
  try {
    await follower.show(generation, answer, composer.model, {
      start: ({ conversation: id, title }) => {
        if (id === null) return;
        if (id !== conversation.id) began(id, title);
        else if (location.search) history.replaceState(null, "", `/c/${id}/`);
      },
      done: ({ message }) => (conversation.leaf = answer.id = message ?? answer.id),
      error: (error) => failed(answer, error, generation),
    });
  } catch (error) {
    if (generation.id === null) throw error;
    follower.refuse(answer, error, []);
  } finally {
    running = null;
    composer.running = false;
  }
}

function began(id, title) {
  conversation.id = id;
  instructions.began();
  history.replaceState(null, "", `/c/${id}/`);
  addConversation({ id, title });
}

function bodyOf(prompt, parent) {
  const body = { model: composer.model, prompt };
  if (conversation.id === null) return instructions.text ? { ...body, system_prompt: instructions.text } : body;
  return { ...body, conversation: conversation.id, ...(parent !== null && { parent }) };
}

/** Sends a prompt: at the end of the branch, or as another version of the prompt at `place`. */
async function send(prompt, place = null) {
  if (running) return;
  dropRefused();
  const parent = place ? conversation.before(place) : conversation.leaf;
  const taken = place ? conversation.takeFrom(place) : [];
  const promptNode = conversation.addPrompt(prompt);
  const answer = conversation.addAnswer();
  if (!place) composer.sent(prompt);
  scrollToEnd();
  try {
    await show(Generation.toStart("/api/chat/", bodyOf(prompt, parent)), answer);
  } catch (refusal) {
    takeBack = () => {
      conversation.putBack(taken);
      conversation.remove(promptNode, answer.node);
    };
    if (!place) composer.keep(prompt);
    follower.refuse(answer, refusal, [
      [text("tryAgain"), () => send(prompt, place)],
      [text("edit"), () => rewrite(prompt, place)],
    ]);
    return;
  }
  if (place && answer.id) await learnVersions(answer.id);
}

/** A new version of a prompt is not called anything here; until this is known it can only be read. */
async function learnVersions(answerId) {
  try {
    await conversation.learn(answerId);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
  }
}

function rewrite(prompt, place) {
  dropRefused();
  if (place) edit(place, prompt);
  else composer.fill(prompt);
}

/** Lets a prompt be written anew; what is sent becomes another version of it. */
async function edit(node, draft = null) {
  if (running || node.classList.contains("editing")) return;
  const prompt = node.querySelector('[data-part="content"]').textContent;
  const changed = await edited(node, draft ?? prompt);
  if (changed !== null && changed !== prompt) return send(changed, node);
  node.querySelector('[data-part="edit"]').focus();
}

async function regenerate(old) {
  if (running || !old.id) return;
  dropRefused();
  const taken = conversation.takeFrom(old.node);
  const answer = conversation.addVersion(old);
  composer.focus();
  try {
    await show(Generation.toStart(`/api/messages/${old.id}/regenerate/`, { model: composer.model }), answer);
  } catch (refusal) {
    conversation.remove(answer.node);
    conversation.putBack(taken);
    follower.refuse(old, refusal, [[text("tryAgain"), () => regenerate(old)]]);
  }
}

/** Shows the branch through another version of the turn in `node`, which stays where it is on the screen. */
async function showVersion(node, id, button) {
  if (running) return;
  dropRefused();
  let [shown, data] = [node, null];
  try {
    await inPlace(
      () => shown.getBoundingClientRect().top,
      async () => {
        data = await conversation.open(id);
        showEndings();
        shown = document.querySelector(`.message[data-id="${CSS.escape(id)}"]`);
      },
    );
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    announcer.textContent = error.message;
    return;
  }
  history.replaceState(null, "", `/c/${conversation.id}/?message=${id}`);
  const used = shown.querySelector(`[data-part="${button}"]`);
  (used.disabled ? shown.querySelector(".versions button:enabled") : used).focus({ preventScroll: true });
  if (data.running) resume(data);
}

function stop() {
  running?.stop().catch(() => composer.stopFailed());
}

/** A generation that was started ended with an error. What is stored decides what can be tried again. */
async function failed(answer, { code, message }, generation) {
  const tell = () => {
    const again = answer.id && code !== "content_blocked" ? [[text("tryAgain"), () => regenerate(answer)]] : [];
    answer.fail({ message, actions: again });
  };
  tell();
  if (answer.id) return;
  try {
    const stored = await generation.stored();
    conversation.leaf = answer.id = stored.message ?? answer.id;
    if (answer.id && !running) tell();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
  }
}

/** Endings of stored answers: their notes and errors, as the template wrote them into data attributes. */
function showEndings() {
  for (const answer of conversation.answers()) {
    const { charge, finish, errorCode, errorMessage } = answer.node.dataset;
    answer.charge = follower.chargeOf(answer.model, charge);
    answer.model = follower.modelTitle(answer.model);
    if (errorCode) {
      const last = answer === conversation.lastAnswer && answer.id;
      answer.fail({
        message: errorMessage,
        actions: last && errorCode !== "content_blocked" ? [[text("tryAgain"), () => regenerate(answer)]] : [],
      });
    } else answer.finish(finish);
  }
}

async function resume({ running: id, events_url: url }) {
  const answer = conversation.ofGeneration(id) ?? conversation.addAnswer();
  await show(Generation.running(id, url), answer);
}

function install() {
  installDrawer();
  installMenus();
  installConversations(page.conversation);
  showEndings();
  selectModel(composer.model);
  for (const example of document.querySelectorAll("[data-example]")) {
    example.addEventListener("click", () => composer.fill(example.textContent.trim()));
  }
  jump.addEventListener("click", scrollToEnd);
  installScrolling((following) => (jump.hidden = following));
  if (page.running) resume(page);
  if (matchMedia("(pointer: fine)").matches) composer.focus();
}

install();

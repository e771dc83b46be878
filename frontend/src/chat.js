// The chat page: wires the composer, the conversation and the running generation together.
import { Refusal } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { addConversation, installConversations } from "./conversations.js";
import { installDrawer, installMenus } from "./drawer.js";
import { Generation } from "./generation.js";
import { Quotas } from "./quota.js";
import { installScrolling, scrollToEnd } from "./scrolling.js";
import { text } from "./strings.js";

const page = JSON.parse(document.getElementById("page-data").textContent);
const announcer = document.getElementById("announcer");
const jump = document.getElementById("jump");

const quotas = new Quotas(document.getElementById("quota"), page.quotas);
const conversation = new Conversation({ id: page.conversation, leaf: page.leaf, onRegenerate: regenerate });
const composer = new Composer({ onSend: send, onStop: stop, onModel: selectModel });

/** The generation that this tab follows. */
let running = null;
/** The refused prompt that is still shown, and its answer's place: nothing of it is stored. */
let refused = [];

function selectModel(slug) {
  const model = page.models.find((candidate) => candidate.slug === slug);
  quotas.select(model?.quota);
  document.getElementById("model-description").textContent = model?.description ?? "";
}

const quotaOf = (slug) => page.models.find((candidate) => candidate.slug === slug)?.quota;

/** Shows `generation` in `answer` until it ends; rejects when it was not started. */
async function show(generation, answer) {
  running = generation;
  composer.running = true;
  answer.running = true;
  answer.charge = "";
  let slug = composer.model;
  const tellCharge = (charge) => (answer.charge = quotas.chargeOf(quotaOf(slug), charge?.source));
  try {
    await generation.follow({
      start: ({ generation: id, conversation: conversationId, model, title }) => {
        answer.replace({});
        answer.node.dataset.generation = id;
        answer.model = composer.modelTitle((slug = model));
        if (conversationId !== null && conversationId !== conversation.id) began(conversationId, title);
      },
      message: ({ content }) => answer.appendContent(content),
      reasoning: ({ content }) => answer.appendReasoning(content),
      notice: ({ message }) => answer.notice(message),
      reset: (kept) => answer.replace(kept),
      done: ({ finish_reason: reason, message, quota, charge }) => {
        conversation.leaf = answer.id = message ?? answer.id;
        answer.finish(reason);
        tellCharge(charge);
        if (quota) quotas.update(quota);
        else quotas.refresh().catch(() => {});
        announcer.textContent = answer.text;
      },
      error: (error) => {
        tellCharge(error.charge);
        failed(answer, error, generation);
      },
      connection: (lost) => answer.notice(lost ? text("reconnecting") : ""),
    });
  } catch (error) {
    if (generation.id === null) throw error;
    showRefusal(answer, error, []);
  } finally {
    running = null;
    composer.running = false;
  }
}

function began(id, title) {
  conversation.id = id;
  history.replaceState(null, "", `/c/${id}/`);
  addConversation({ id, title });
}

async function send(prompt) {
  if (running) return;
  conversation.remove(...refused.splice(0));
  const promptNode = conversation.addPrompt(prompt);
  const answer = conversation.addAnswer();
  composer.sent(prompt);
  scrollToEnd();
  const body = { model: composer.model, prompt };
  if (conversation.id !== null) body.conversation = conversation.id;
  if (conversation.id !== null && conversation.leaf !== null) body.parent = conversation.leaf;
  try {
    await show(Generation.toStart("/api/chat/", body), answer);
  } catch (refusal) {
    refused = [promptNode, answer.node];
    composer.keep(prompt);
    const edit = () => {
      conversation.remove(...refused.splice(0));
      composer.fill(prompt);
    };
    showRefusal(answer, refusal, [
      [text("tryAgain"), () => send(prompt)],
      [text("edit"), edit],
    ]);
  }
}

async function regenerate(old) {
  if (running || !old.id) return;
  const answer = conversation.replaceAnswer(old);
  composer.focus();
  try {
    await show(Generation.toStart(`/api/messages/${old.id}/regenerate/`, { model: composer.model }), answer);
  } catch (refusal) {
    conversation.withdrawAnswer(answer, old);
    showRefusal(old, refusal, [[text("tryAgain"), () => regenerate(old)]]);
  }
}

function stop() {
  running?.stop().catch(() => composer.stopFailed());
}

/** Refusals that the same request, sent once more, would meet again. */
const final = ["quota_exhausted", "content_blocked", "prompt_too_long", "invalid_request", "forbidden", "not_found"];

function showRefusal(answer, error, actions) {
  if (!(error instanceof Refusal)) {
    answer.fail({ message: text("failed"), actions });
    throw error;
  }
  const { code, message } = error;
  let details = "";
  if (code === "quota_exhausted") {
    const time = quotas.resetTime();
    details = time && text("quotaResets", { time });
    quotas.refresh().catch(() => {});
  }
  let shown = final.includes(code) ? actions.slice(1) : actions;
  if (code === "not_authenticated") shown = [[text("logIn"), `/accounts/login/?next=${location.pathname}`]];
  if (code === "quota_exhausted") shown = [...waysToCredits(), ...shown];
  if (code === "account_incomplete") shown = [[text("account"), "/accounts/email/"], ...actions.slice(1)];
  answer.fail({ message, details, actions: shown });
  announcer.textContent = message;
}

/** Where somebody without a quota left can get more. */
function waysToCredits() {
  const inviting = text("inviteUrl") ? [[text("invite"), text("inviteUrl")]] : [];
  return [...inviting, [text("redeem"), text("usageUrl")]];
}

/** A generation that was started ended with an error. What is stored decides what can be tried again. */
async function failed(answer, { code, message }, generation) {
  const tell = () => {
    const again = answer.id && code !== "content_blocked" ? [[text("tryAgain"), () => regenerate(answer)]] : [];
    answer.fail({ message, actions: again });
  };
  tell();
  announcer.textContent = message;
  quotas.refresh().catch(() => {});
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
    answer.charge = quotas.chargeOf(quotaOf(answer.model), charge);
    answer.model = composer.modelTitle(answer.model);
    if (errorCode) {
      const last = answer === conversation.lastAnswer && answer.id;
      answer.fail({
        message: errorMessage,
        actions: last && errorCode !== "content_blocked" ? [[text("tryAgain"), () => regenerate(answer)]] : [],
      });
    } else answer.finish(finish);
  }
}

async function resume() {
  const answer = conversation.ofGeneration(page.running) ?? conversation.addAnswer();
  await show(Generation.running(page.running, page.events_url), answer);
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
  if (page.running) resume();
  if (matchMedia("(pointer: fine)").matches) composer.focus();
}

install();

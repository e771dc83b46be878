// The page of text tools: one text in, one result out. A run is kept for a while under its generation's id only, which
// this tab remembers with what was written: after a reload the result is there again, or goes on.
import { Answer } from "../generation/completion-view.js";
import { Refusal } from "../api.js";
import { Follower } from "../generation/presenter.js";
import { Generation } from "../generation/generation.js";
import { Quotas } from "../quota.js";
import { text } from "../translations.js";

/** More than any model takes; a tab's storage has bounds. */
const LONGEST_KEPT = 500_000;

const page = JSON.parse(document.getElementById("page-data").textContent);
// Somebody else may log in within the same tab.
const storageKey = `text-tools:${page.user}`;
const form = document.getElementById("tool-form");
const languageField = document.getElementById("language-field");
const { tool: tools, language, text: field, model } = form.elements;
const runButton = form.querySelector('[data-part="run"]');
const stopButton = form.querySelector('[data-part="stop"]');
const place = document.getElementById("result");

const quotas = new Quotas(document.getElementById("quota"), page.quotas);
const follower = new Follower({
  models: page.models,
  quotas,
  announcer: document.getElementById("announcer"),
});

const kept = JSON.parse(sessionStorage.getItem(storageKey) ?? "{}");
let running = null;

function keep(values) {
  sessionStorage.setItem(storageKey, JSON.stringify(Object.assign(kept, values)));
}

const chosenTool = () => form.querySelector("[name=tool]:checked");

function changed() {
  const needsLanguage = chosenTool().dataset.needsLanguage !== undefined;
  languageField.hidden = language.disabled = !needsLanguage;
  quotas.select(page.models.find(({ slug }) => slug === model.value)?.quota);
  runButton.disabled = Boolean(running) || !field.value.trim();
  const written = field.value.length > LONGEST_KEPT ? "" : field.value;
  keep({ tool: chosenTool().value, language: language.value, text: written, model: model.value });
}

function setRunning(generation) {
  running = generation;
  // A stop button that was used is disabled, and has lost the focus by that.
  const hadFocus = stopButton.disabled || [runButton, stopButton].includes(document.activeElement);
  runButton.hidden = Boolean(running);
  stopButton.hidden = !running;
  stopButton.disabled = false;
  changed();
  if (hadFocus) (running ? stopButton : runButton).focus();
}

/** An empty place for a result, instead of the last one. */
function newAnswer() {
  const node = document.getElementById("answer-template").content.firstElementChild.cloneNode(true);
  const answer = new Answer(node, { onRegenerate: run });
  place.replaceChildren(node);
  place.parentElement.hidden = false;
  return answer;
}

function forget() {
  keep({ generation: null });
  place.replaceChildren();
  place.parentElement.hidden = true;
}

/** Shows `generation` until it ends; rejects when it was not started. */
async function show(generation, answer, on = {}) {
  setRunning(generation);
  const named = (id) => (answer.id = id);
  if (generation.id) named(generation.id);
  try {
    await follower.show(generation, answer, model.value, {
      ...on,
      start({ generation: id }) {
        keep({ generation: named(id) });
      },
      error: ({ code, message }) =>
        answer.fail({ message, actions: code === "content_blocked" ? [] : [[text("tryAgain"), run]] }),
    });
  } finally {
    setRunning(null);
  }
}

async function run() {
  if (running || !form.reportValidity()) return;
  const body = { model: model.value, prompt: field.value, text_tool: chosenTool().value };
  if (!language.disabled) body.target_language = language.value;
  keep({ generation: null });
  const answer = newAnswer();
  place.scrollIntoView({ block: "nearest" });
  try {
    await show(Generation.toStart("/api/chat/", body), answer);
  } catch (refusal) {
    follower.refuse(answer, refusal, [[text("tryAgain"), run]]);
  }
}

/** The result of before a reload: the rest of it, all of it, or the word that it is no longer kept. */
async function resume() {
  const answer = newAnswer();
  const generation = Generation.running(kept.generation, `/api/generations/${kept.generation}/events/`);
  let reason = null;
  try {
    await show(generation, answer, { done: (event) => (reason = event.finish_reason) });
  } catch (error) {
    if (error instanceof Refusal && error.code === "not_found") return forget();
    follower.refuse(answer, error, []);
    return;
  }
  if (answer.text || reason !== "stop") return;
  keep({ generation: null });
  answer.notice(text("gone"));
}

function restore() {
  const choices = [...form.querySelectorAll("[name=tool]")];
  const tool = choices.find(({ value }) => value === kept.tool);
  if (tool) tool.checked = true;
  if (kept.language) language.value = kept.language;
  if ([...model.options].some(({ value, disabled }) => value === kept.model && !disabled)) model.value = kept.model;
  field.value = kept.text ?? "";
}

function install() {
  restore();
  changed();
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    run();
  });
  stopButton.addEventListener("click", () => {
    stopButton.disabled = true;
    running?.stop().catch(() => (stopButton.disabled = false));
  });
  if (kept.generation) resume();
}

install();

// The parameters that the user set for all prompts of this browser.
/** @import { Id, Parameters } from "../types.js" */

/** @param {Id} userId */
const keyOf = (userId) => `parameters:${userId}`;

/**
 * @param {Id} userId
 * @returns {Parameters}
 */
export const readParameters = (userId) => JSON.parse(localStorage.getItem(keyOf(userId)) ?? "{}");

/**
 * @param {Id} userId
 * @param {Parameters} parameters
 */
export const storeParameters = (userId, parameters) => localStorage.setItem(keyOf(userId), JSON.stringify(parameters));

/**
 * Returns the parameters to send: those that the preset does not set, and that the model takes.
 * @param {Parameters} own
 * @param {Parameters} ofPreset
 * @param {string[]} takes
 * @returns {Parameters}
 */
export function chosenParameters(own, ofPreset, takes) {
  const chosen = { ...own };
  for (const name of /** @type {(keyof Parameters)[]} */ (Object.keys(ofPreset))) delete chosen[name];
  if (!takes.includes("reasoning_effort")) delete chosen.reasoning_effort;
  return chosen;
}

/**
 * Reads the fields of a form that are named like parameters; empty ones are left out.
 * @param {HTMLFormElement} form
 * @returns {Parameters}
 */
export function parametersOf(form) {
  const values = new FormData(form);
  /** @type {Parameters} */
  const parameters = {};
  for (const name of /** @type {const} */ (["temperature", "max_tokens"])) {
    const value = String(values.get(name) ?? "").trim();
    if (value) parameters[name] = Number(value);
  }
  const effort = values.get("reasoning_effort");
  if (effort === "low" || effort === "medium" || effort === "high") parameters.reasoning_effort = effort;
  return parameters;
}

/**
 * Writes parameters into the fields of a form.
 * @param {HTMLFormElement} form
 * @param {Parameters} parameters
 */
export function showParameters(form, parameters) {
  for (const name of /** @type {const} */ (["temperature", "max_tokens", "reasoning_effort"])) {
    const field = /** @type {HTMLInputElement | HTMLSelectElement} */ (form.elements.namedItem(name));
    field.value = String(parameters[name] ?? "");
  }
}

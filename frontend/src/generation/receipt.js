// Texts of the receipt below a completion: its tokens, and how long the model reasoned.
import { formatNumber, text } from "../translations.js";
/** @import { TokensUsed } from "../types.js" */

/**
 * Names a count of tokens, and the part of it that `part` counts, when there is one.
 * @param {string} name
 * @param {string} partName
 * @param {number} count
 * @param {number} [part]
 */
const describeCount = (name, partName, count, part) =>
  part
    ? text(partName, { count: formatNumber(count), part: formatNumber(part) })
    : text(name, { count: formatNumber(count) });

/**
 * Describes the tokens of a completion; empty while they are not known.
 * @param {TokensUsed | null | undefined} usage
 */
export function describeUsage(usage) {
  if (!usage) return "";
  const input = describeCount("usageInput", "usageCached", usage.input_tokens, usage.cached_tokens);
  const output = describeCount("usageOutput", "usageReasoning", usage.output_tokens, usage.reasoning_tokens);
  return text(usage.estimated ? "usageEstimated" : "usage", { input, output });
}

/**
 * Describes how long a generation took; empty while it is not known.
 * @param {number | undefined} seconds
 */
export function describeDuration(seconds) {
  if (seconds === undefined) return "";
  const digits = seconds < 10 ? 1 : 0;
  return text("duration", { seconds: formatNumber(Number(seconds.toFixed(digits))) });
}

/**
 * Describes how long the model reasoned, in whole seconds but at least one.
 * @param {number} seconds
 */
export function describeReasoning(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return text("thoughtSeconds", { seconds: whole });
  return text("thoughtMinutes", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
}

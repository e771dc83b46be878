// Vercel's AI SDK, with each of the providers that people point at a base URL.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { PNG, counting, raised } from "./common.js";

globalThis.AI_SDK_LOG_WARNINGS = false;

/** The SDK's three ways to us; the first one, its default, calls /v1/responses. */
function ways(url, apiKey, more) {
  const given = { baseURL: `${url}/v1`, apiKey, ...more };
  const openai = createOpenAI(given);
  return [openai, openai.chat, createOpenAICompatible({ name: "rivulet", ...given }), createAnthropic(given)];
}

const each = (url, key, work) => Promise.all(ways(url, key).map(work));

export const text = (url, key) =>
  each(url, key, async (model) => {
    const answer = await generateText({ model: model("echo"), prompt: "Hello" });
    return [answer.text, answer.finishReason, answer.usage.outputTokens];
  });

export const stream = (url, key) =>
  each(url, key, async (model) => {
    const answer = streamText({ model: model("reasoning"), prompt: "Hello" });
    let streamed = "";
    for await (const delta of answer.textStream) streamed += delta;
    return [await answer.reasoningText, streamed, await answer.finishReason];
  });

export const tools = (url, key) =>
  each(url, key, async (model) => {
    const given = [];
    const weather = tool({
      inputSchema: z.object({ city: z.string(), days: z.number() }),
      execute: async (input) => {
        given.push(input);
        return "sunny";
      },
    });
    const asked = { model: model("tools"), prompt: "Hello", tools: { weather }, stopWhen: stepCountIs(2) };
    const whole = await generateText(asked);
    const streamed = streamText(asked);
    await streamed.consumeStream();
    return [given, whole.text, await streamed.text];
  });

export const image = (url, key) =>
  each(url, key, async (model) => {
    const content = [
      { type: "text", text: "What?" },
      { type: "image", image: PNG, mediaType: "image/png" },
    ];
    return (await generateText({ model: model("plain"), messages: [{ role: "user", content }] })).finishReason;
  });

export const cancel = (url, key) =>
  each(url, key, async (model) => {
    const left = new AbortController();
    const answer = streamText({ model: model("paced"), prompt: "Hello", abortSignal: left.signal, onError: () => {} });
    for await (const part of answer.fullStream) if (part.type === "text-delta") left.abort();
    const abortSignal = AbortSignal.timeout(1500);
    return raised(() => generateText({ model: model("hang"), prompt: "Hello", abortSignal }));
  });

export const errors = async (url, key) => {
  const ask = (model, given = key, more = {}) =>
    Promise.all(
      ways(url, given).map((way) =>
        raised(() => generateText({ model: way(model), prompt: "Hello", ...more }), "isRetryable"),
      ),
    );
  const parts = await each(url, key, async (model) => {
    const found = [];
    const answer = streamText({ model: model("error"), prompt: "Hello", onError: () => {} });
    for await (const part of answer.fullStream) if (part.type === "error") found.push(part.type);
    return found;
  });
  return [await ask("echo", "sk-wrong"), await ask("nope"), await ask("echo", key, { topP: 7 }), parts];
};

/** A failed call is repeated: how often, and as which error it ends. */
export const retries = async (url, key) => {
  const fetch = counting();
  const [model] = ways(url, key, { fetch });
  return [
    await raised(() => generateText({ model: model("http-400"), prompt: "Hello", maxRetries: 1 }), "reason"),
    fetch.calls,
  ];
};

export const silent = (url, key) =>
  each(url, key, async (model) => {
    const answer = streamText({ model: model("silent"), prompt: "Hello" });
    let streamed = "";
    for await (const delta of answer.textStream) streamed += delta;
    return streamed;
  });

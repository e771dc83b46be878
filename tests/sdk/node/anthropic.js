// Anthropic's client.
import Anthropic from "@anthropic-ai/sdk";

import { HELLO, PNG, counting, raised } from "./common.js";

const WEATHER = { name: "weather", input_schema: { type: "object", properties: {} } };
const ASKED = { max_tokens: 100, messages: HELLO };

const client = (baseURL, apiKey, more) => new Anthropic({ baseURL, apiKey, ...more });
const textOf = (message) => message.content.map((block) => block.text ?? "").join("");

export async function text(url, key) {
  const answer = await client(url, key).messages.create({ ...ASKED, model: "echo" });
  return [textOf(answer), answer.stop_reason, answer.usage.output_tokens, !!answer._request_id];
}

export async function stream(url, key) {
  const events = client(url, key).messages.stream({ ...ASKED, model: "reasoning" });
  let streamed = "";
  events.on("text", (delta) => (streamed += delta));
  const final = await events.finalMessage();
  return [final.content[0].thinking, textOf(final), streamed, final.usage.output_tokens];
}

export async function tools(url, key) {
  const asked = { ...ASKED, model: "tools", tools: [WEATHER] };
  const streamed = await client(url, key).messages.stream(asked).finalMessage();
  const [call] = streamed.content;
  const result = { type: "tool_result", tool_use_id: call.id, content: "sunny, 24 °C" };
  const messages = [...HELLO, { role: "assistant", content: streamed.content }, { role: "user", content: [result] }];
  return [call.input, streamed.stop_reason, textOf(await client(url, key).messages.create({ ...asked, messages }))];
}

export async function image(url, key) {
  const part = { type: "image", source: { type: "base64", media_type: "image/png", data: PNG } };
  const messages = [{ role: "user", content: [{ type: "text", text: "What?" }, part] }];
  return (await client(url, key).messages.create({ ...ASKED, model: "plain", messages })).stop_reason;
}

export async function cancel(url, key) {
  const events = await client(url, key).messages.create({ ...ASKED, model: "paced", stream: true });
  for await (const event of events) {
    if (event.type === "content_block_delta") break;
  }
  events.controller.abort();
  const signal = AbortSignal.timeout(1500);
  return raised(() => client(url, key).messages.create({ ...ASKED, model: "hang" }, { signal }));
}

export async function errors(url, key) {
  const ask = (model, more, given = key) =>
    raised(() => client(url, given).messages.create({ ...ASKED, model, ...more }), "type");
  return [
    await ask("echo", {}, "sk-wrong"),
    await ask("nope"),
    await ask("echo", { stop_sequences: [""] }),
    await raised(async () => {
      for await (const event of await client(url, key).messages.create({ ...ASKED, model: "error", stream: true }))
        void event;
    }, "type"),
  ];
}

export async function retries(url, key) {
  const fetch = counting();
  const failed = await raised(() =>
    client(url, key, { fetch }).messages.create({ ...ASKED, model: "http-400", stream: true }),
  );
  return [failed, fetch.calls];
}

export async function silent(url, key) {
  const asked = { ...ASKED, model: "silent" };
  const { messages } = client(url, key);
  return (await Promise.all([messages.stream(asked).finalMessage(), messages.create(asked)])).map(textOf);
}

// OpenAI's client: chat completions and responses.
import OpenAI from "openai";

import { HELLO, PNG, counting, raised } from "./common.js";

const TOOL = { type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } };
const FLAT_TOOL = { type: "function", name: "weather", parameters: { type: "object", properties: {} }, strict: false };

const client = (url, apiKey, more) => new OpenAI({ baseURL: `${url}/v1`, apiKey, ...more });

export async function text(url, key) {
  const answer = await client(url, key).chat.completions.create({ model: "echo", messages: HELLO });
  const response = await client(url, key).responses.create({ model: "echo", input: "Hello" });
  const { message, finish_reason: reason } = answer.choices[0];
  return [
    message.content,
    reason,
    answer.usage.total_tokens,
    !!answer._request_id,
    response.output_text,
    response.status,
  ];
}

export async function stream(url, key) {
  const options = { model: "reasoning", messages: HELLO, stream: true, stream_options: { include_usage: true } };
  let content = "";
  let thought = "";
  let usage = null;
  for await (const chunk of await client(url, key).chat.completions.create(options)) {
    content += chunk.choices[0]?.delta.content ?? "";
    thought += chunk.choices[0]?.delta.reasoning_content ?? "";
    usage = chunk.usage ?? usage;
  }
  const final = await client(url, key).responses.stream({ model: "reasoning", input: "Hello" }).finalResponse();
  return [thought, content, usage.total_tokens, final.output_text];
}

export async function tools(url, key) {
  const asked = { model: "tools", messages: HELLO, tools: [TOOL] };
  const streamed = await client(url, key).chat.completions.stream(asked).finalChatCompletion();
  const { message } = streamed.choices[0];
  const [call] = message.tool_calls;
  const result = { role: "tool", tool_call_id: call.id, content: "sunny, 24 °C" };
  const answer = await client(url, key).chat.completions.create({ ...asked, messages: [...HELLO, message, result] });
  const whole = await client(url, key).responses.create({ model: "tools", input: "Hello", tools: [FLAT_TOOL] });
  const output = { type: "function_call_output", call_id: whole.output[0].call_id, output: "rainy" };
  const input = [...HELLO, ...whole.output, output];
  const second = await client(url, key).responses.create({ model: "tools", input, tools: [FLAT_TOOL] });
  return [JSON.parse(call.function.arguments), answer.choices[0].message.content, second.output_text];
}

export async function image(url, key) {
  const part = { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } };
  const messages = [{ role: "user", content: [{ type: "text", text: "What?" }, part] }];
  return (await client(url, key).chat.completions.create({ model: "plain", messages })).choices[0].finish_reason;
}

export async function cancel(url, key) {
  const events = await client(url, key).chat.completions.create({ model: "paced", messages: HELLO, stream: true });
  let count = 0;
  for await (const chunk of events) {
    count += chunk.choices.length;
    if (count > 1) events.controller.abort();
  }
  const signal = AbortSignal.timeout(1500);
  return raised(() => client(url, key).chat.completions.create({ model: "hang", messages: HELLO }, { signal }));
}

export async function errors(url, key) {
  const ask = (model, more, given = key) =>
    raised(() => client(url, given).chat.completions.create({ model, messages: HELLO, ...more }), "code", "param");
  return [
    await ask("echo", {}, "sk-wrong"),
    await ask("nope"),
    await ask("echo", { n: 2 }),
    await raised(async () => {
      for await (const chunk of await client(url, key).chat.completions.create({
        model: "error",
        messages: HELLO,
        stream: true,
      }))
        void chunk;
    }, "code"),
  ];
}

/** How often a call is repeated after a failure of the upstream, and what a repeated call with a key returns. */
export async function retries(url, key) {
  const fetch = counting();
  const failed = await raised(() =>
    client(url, key, { fetch }).chat.completions.create({ model: "http-400", messages: HELLO, stream: true }),
  );
  const headers = { "Idempotency-Key": "from-node" };
  const ask = () => client(url, key).chat.completions.create({ model: "plain", messages: HELLO }, { headers });
  const [first, second] = [await ask(), await ask()];
  return [
    failed,
    fetch.calls,
    first.id === second.id,
    first.choices[0].message.content === second.choices[0].message.content,
  ];
}

export async function silent(url, key) {
  const asked = { model: "silent", messages: HELLO };
  const [streamed, whole, response] = await Promise.all([
    client(url, key).chat.completions.stream(asked).finalContent(),
    client(url, key).chat.completions.create(asked),
    client(url, key).responses.stream({ model: "silent", input: "Hello" }).finalResponse(),
  ]);
  return [streamed, whole.choices[0].message.content, response.output_text];
}

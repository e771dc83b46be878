"""A program with Anthropic's own client: `python -I tests/sdk/anthropic_program.py <base URL>`.

The Python of `.oracles` runs it, which has nothing of the product. It reads lines of a key and a function, and prints
one line of JSON for each.
"""

import json
import os
import sys

import anthropic

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


def text(client):
    """Return a message whole, and its usage."""
    answer = client.messages.create(model="echo", max_tokens=100, messages=HELLO)
    usage = answer.usage
    return [answer.content[0].text, answer.stop_reason, usage.input_tokens, usage.output_tokens, bool(answer.id)]


def stream(client):
    """Return the thinking, the text and the usage that the client puts together from a stream."""
    with client.messages.stream(model="reasoning", max_tokens=100, messages=HELLO) as events:
        streamed = "".join(events.text_stream)
        final = events.get_final_message()
    thought, answer = final.content
    return [thought.thinking, answer.text, streamed, final.usage.output_tokens, final.stop_reason]


def tools(client):
    """Return the input of a streamed and a whole call, and the text after its result."""
    with client.messages.stream(model="tools", max_tokens=100, messages=HELLO, tools=[WEATHER]) as events:
        streamed = events.get_final_message()
    whole = client.messages.create(model="tools", max_tokens=100, messages=HELLO, tools=[WEATHER])
    result = {"type": "tool_result", "tool_use_id": whole.content[0].id, "content": "sunny, 24 °C"}
    history = [
        *HELLO,
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in whole.content]},
        {"role": "user", "content": [result]},
    ]
    answer = client.messages.create(model="tools", max_tokens=100, messages=history, tools=[WEATHER])
    return [streamed.content[0].input, whole.content[0].input, whole.stop_reason, answer.content[0].text]


def signatures(client):
    """Pass the thinking before a call back with its result, once streamed and once whole; return the blocks' types."""
    asked = {"model": "detailed", "max_tokens": 100, "tools": [WEATHER]}
    with client.messages.stream(messages=HELLO, **asked) as events:
        streamed = events.get_final_message()
    whole = client.messages.create(messages=HELLO, **asked)
    types = []
    for answer in (streamed, whole):
        content = [block.model_dump(exclude_none=True) for block in answer.content]
        call = next(block for block in content if block["type"] == "tool_use")
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"}
        turns = [*HELLO, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
        last = client.messages.create(messages=turns, **asked)
        types.append([*(block["type"] for block in content), last.content[0].text])
    return types


def image(client):
    """Send an image."""
    content = [{"type": "text", "text": "What?"}, IMAGE]
    return client.messages.create(
        model="plain", max_tokens=100, messages=[{"role": "user", "content": content}]
    ).stop_reason


def count(client):
    """Return the number of tokens."""
    return client.messages.count_tokens(model="echo", messages=HELLO).input_tokens


def errors(client):
    """Return the class, the status and the type of each refusal, and how often an exhausted quota was asked."""
    found = []

    def attempt(asked, **body):
        try:
            answer = asked.messages.create(**{"model": "echo", "max_tokens": 100, "messages": HELLO, **body})
            found.append("".join(str(event.type) for event in answer) if body.get("stream") else answer.stop_reason)
        except anthropic.APIStatusError as error:
            found.append([type(error).__name__, error.status_code, error.body["error"]["type"], bool(error.request_id)])

    attempt(client.with_options(api_key="sk-wrong"))
    attempt(client, model="nope")
    attempt(client, stop_sequences=[""])
    attempt(client, model="http-400", stream=True)
    attempt(client, model="error", stream=True)
    for _ in range(10):
        client.messages.create(model="gpt-4-echo", max_tokens=100, messages=HELLO)
    attempt(client, model="gpt-4-echo")
    return found


def leaving(client):
    """Leave a stream after its first event, and a whole message before it."""
    events = client.messages.create(model="paced", max_tokens=100, messages=HELLO, stream=True)
    next(iter(events))
    events.close()
    hasty = client.with_options(timeout=1.5, max_retries=0)
    try:
        hasty.messages.create(model="hang", max_tokens=100, messages=HELLO)
    except anthropic.APITimeoutError:
        return True
    return False


def silent(client):
    """Return the text that comes after a long silence."""
    waiting = client.with_options(timeout=float(os.environ["READ_SECONDS"]), max_retries=0)
    with waiting.messages.stream(model="silent", max_tokens=100, messages=HELLO) as events:
        return "".join(events.text_stream)


if __name__ == "__main__":
    for line in sys.stdin:
        key, function = line.split()
        with anthropic.Anthropic(base_url=sys.argv[1], api_key=key) as client:
            print(json.dumps([function, globals()[function](client)]), flush=True)

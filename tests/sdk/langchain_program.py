"""A program with LangChain's client: `python -I tests/sdk/langchain_program.py <base URL>`.

The Python of `.oracles` runs it, which has nothing of the product. It reads lines of a key and a function, and prints
one line of JSON for each.
"""

import json
import os
import sys

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str, days: int) -> str:
    """Return the weather of a city."""
    return f"sunny in {city} for {days} days"


def models(url, key, name, **more):
    """Return the two clients of a model: of chat completions, and of responses."""
    given = {"base_url": f"{url}/v1", "api_key": key, "model": name, **more}
    return ChatOpenAI(**given, stream_usage=True), ChatOpenAI(**given, use_responses_api=True)


def text(url, key):
    """Return text and usage of whole completions."""
    answers = [model.invoke("Hello") for model in models(url, key, "echo")]
    return [[answer.text, answer.usage_metadata["total_tokens"]] for answer in answers]


def stream(url, key):
    """Return the text and the usage that the clients put together."""
    found = []
    for model in models(url, key, "reasoning"):
        whole = None
        for chunk in model.stream("Hello"):
            whole = chunk if whole is None else whole + chunk
        found.append([whole.text, whole.usage_metadata["total_tokens"]])
    return found


def tools(url, key):
    """Return the calls of tools, and the text after their results."""
    found = []
    for model in models(url, key, "tools"):
        bound = model.bind_tools([weather])
        history = [HumanMessage("Hello")]
        called = bound.invoke(history)
        results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
        found.append([called.tool_calls[0]["args"], bound.invoke([*history, called, *results]).text])
    return found


def image(url, key):
    """Send an image through both clients."""
    parts = [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    return [bool(model.invoke([HumanMessage(parts)]).text) for model in models(url, key, "plain")]


def cancel(url, key):
    """Leave streams after the first text, and whole completions before it; return the class of the time-outs."""
    for model in models(url, key, "paced"):
        chunks = model.stream("Hello")
        while not next(chunks).text:
            pass
        chunks.close()
    return [_raised(model, "Hello")[0] for model in models(url, key, "hang", timeout=1.5, max_retries=0)]


def errors(url, key):
    """Return class and code of refusals and failures."""
    found = [_raised(models(url, "sk-wrong", "echo")[0], "Hello"), _raised(models(url, key, "nope")[0], "Hello")]
    found.append(_raised(models(url, key, "echo", n=2)[0], "Hello"))
    try:
        list(models(url, key, "error")[0].stream("Hello"))
    except openai.APIError as error:
        found.append([_name(error), error.code])
    return found


def retries(url, key):
    """Return the failure after LangChain's own retries."""
    return _raised(models(url, key, "http-400", max_retries=1)[0], "Hello")


def silent(url, key):
    """Return the text that comes after a long silence."""
    model = models(url, key, "silent", timeout=float(os.environ["READ_SECONDS"]), max_retries=0)[0]
    return "".join(chunk.text for chunk in model.stream("Hello"))


def _raised(model, prompt):
    try:
        return ["nothing", model.invoke(prompt).text]
    except openai.APIError as error:
        return [_name(error), error.code]


def _name(error):
    """Return the name of OpenAI's class, from which LangChain derives its own."""
    return next(each.__name__ for each in type(error).__mro__ if each.__module__.startswith("openai"))


if __name__ == "__main__":
    for line in sys.stdin:
        key, function = line.split()
        print(json.dumps([function, globals()[function](sys.argv[1], key)]), flush=True)

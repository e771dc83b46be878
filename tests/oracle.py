"""The vendors' own SDKs, to compare with our adapters: `python -I tests/oracle.py <function> <argument>...`.

The Python of `.oracles` (`make oracles`) runs it, which has the SDKs but nothing of the product. It prints one line of
JSON. The SDKs are used for comparison only: they are unmaintained, and Spark's turns off TLS verification.
"""

import datetime
import json
import sys
from unittest import mock


def spark_urls(now, api_key, api_secret, *urls):
    """Return the URLs to which the SDK would connect at `now`."""
    from sparkai import xf_util

    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(int(now))

    with mock.patch.object(xf_util, "datetime", Frozen):
        return [xf_util.build_auth_request_url(url, "GET", api_key, api_secret) for url in urls]


def spark_answers(url, app_id, api_key, api_secret):
    """Return what the SDK's client gets: whole, streamed, and from a domain that is refused."""
    from sparkai.core.messages import ChatMessage
    from sparkai.llm.llm import ChatSparkLLM

    def ask(domain, streaming):
        client = ChatSparkLLM(
            spark_api_url=url,
            spark_app_id=app_id,
            spark_api_key=api_key,
            spark_api_secret=api_secret,
            spark_llm_domain=domain,
            streaming=streaming,
            request_timeout=60,
        )
        try:
            return client.generate([[ChatMessage(role="user", content="hello")]]).generations[0][0].text
        except Exception as error:
            return str(error)

    return [ask("lite", False), ask("lite", True), ask("lite/code:10013", False)]


def zhipu_tokens(moments, *keys):
    """Return the tokens that the SDK would make for each key at each time, a JSON list."""
    from zhipuai.core import _jwt_token

    tokens = []
    for now in json.loads(moments):
        _jwt_token.generate_token.cache_clear()
        with mock.patch.object(_jwt_token.time, "time", lambda now=now: now):
            tokens += [_jwt_token.generate_token(key) for key in keys]
    return tokens


def zhipu_answers(url, key):
    """Return what the SDK's client gets with its token and with the key itself, and from a model that is refused."""
    from zhipuai import ZhipuAI

    def ask(model, raw_key):
        client = ZhipuAI(api_key=key, base_url=url, disable_token_cache=raw_key, max_retries=0, timeout=60)
        try:
            stream = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hello"}], stream=True
            )
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        except Exception as error:
            return str(error)

    return [ask("plain", False), ask("plain", True), ask("error:1113", False)]


def gemini_answers(url, key, *models):
    """Return what the SDK's client reads from each model: text, thoughts, calls, usage and finish, or an error."""
    client = _gemini(url, key)
    return [_read_gemini(client, model, "hello") for model in models]


def gemini_round(url, key, model):
    """Return what the SDK's client gets once it has sent back the call of a model, and the result for it."""
    from google.genai import types

    client = _gemini(url, key)
    parts = [part for chunk in _gemini_chunks(client, model, "hello") for part in chunk.candidates[0].content.parts]
    calls = [part for part in parts if part.function_call]
    response = types.Part.from_function_response(name=calls[0].function_call.name, response={"output": "sunny"})
    history = [
        types.Content(role="user", parts=[types.Part(text="hello")]),
        types.Content(role="model", parts=calls),
        types.Content(role="user", parts=[response]),
    ]
    return _read_gemini(client, model, history)


def gemini_models(url, key):
    """Return the names of the models that the SDK lists."""
    client = _gemini(url, key)
    return [model.name for model in client.models.list()]


def _gemini(url, key):
    from google import genai
    from google.genai import types

    base, _, version = url.rpartition("/")
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base, api_version=version, timeout=60_000))


def _gemini_chunks(client, model, contents):
    from google.genai import types

    function = types.FunctionDeclaration(
        name="weather", description="The weather", parameters_json_schema={"type": "object", "properties": {}}
    )
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[function])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    return client.models.generate_content_stream(model=model, contents=contents, config=config)


def _read_gemini(client, model, contents):
    found = {"text": "", "thoughts": "", "calls": [], "usage": None, "finish": None, "sources": [], "blocked": None}
    try:
        for chunk in _gemini_chunks(client, model, contents):
            _add_gemini(found, chunk)
    except Exception as error:
        return {"error": str(error)}
    return found


def _add_gemini(found, chunk):
    import base64

    usage = chunk.usage_metadata
    if usage:
        counts = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        found["usage"] = [
            usage.prompt_token_count,
            counts,
            usage.cached_content_token_count,
            usage.thoughts_token_count,
        ]
    if chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
        found["blocked"] = chunk.prompt_feedback.block_reason.value
    for candidate in chunk.candidates or []:
        found["finish"] = candidate.finish_reason.value if candidate.finish_reason else found["finish"]
        grounding = candidate.grounding_metadata
        for entry in (grounding.grounding_chunks or []) if grounding else []:
            if entry.web:
                found["sources"].append([entry.web.uri, entry.web.title])
        for part in (candidate.content.parts or []) if candidate.content else []:
            if part.text:
                found["thoughts" if part.thought else "text"] += part.text
            if part.function_call:
                signature = base64.b64encode(part.thought_signature).decode() if part.thought_signature else None
                found["calls"].append([part.function_call.name, part.function_call.args, signature])


def anthropic_answers(url, key, bodies):
    """Return what the SDK's client makes of each request, a JSON list of bodies, and the models that it lists.

    It makes a message, or the class of the error.
    """
    import anthropic

    client = anthropic.Anthropic(api_key=key, base_url=url, max_retries=0, timeout=60)

    def ask(body):
        try:
            with client.messages.stream(**body) as stream:
                return stream.get_final_message().model_dump(mode="json")
        except anthropic.APIError as error:
            return {"error": type(error).__name__, "type": getattr(error, "type", None), "message": str(error)}

    return [[ask(body) for body in json.loads(bodies)], [model.id for model in client.models.list(limit=1000)]]


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))

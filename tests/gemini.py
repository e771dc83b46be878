"""A fake Gemini on loopback, which refuses requests as the vendor does.

The model's name chooses the scenario, `upstream.keys["AIza..."] = scenario` overrides it for a key. Names that begin
with `gemini-3` or are in `STRICT` want the signatures of calls back. Nothing of the product is imported here.
"""

import itertools
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.gemini_scenarios import SCENARIOS, SIGNATURE, GeminiExchange, reason_detail
from tests.loopback import Exchange, FakeServer

KEY = "AIzaFake0123456789abcdef0123456789abcde"
NO_SIGNATURE = "skip_thought_signature_validator"
INPUT_TOKENS = 1_048_576
# Scenarios that behave like models of the third generation.
STRICT = frozenset({"tool_round"})
MODELS = ("gemini-flash-latest", "gemini-2.5-pro", "echo", "plain")

_METHOD = re.compile(r"/v1beta/((?:models|tunedModels)/[^/]+):(streamGenerateContent|generateContent)")
_BODY = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent"}
_CONFIG = {
    *("temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "seed", "presencePenalty"),
    *("frequencyPenalty", "responseMimeType", "responseJsonSchema", "thinkingConfig", "responseModalities"),
}
_PART = {"text", "inlineData", "fileData", "functionCall", "functionResponse", "thoughtSignature"}


class FakeGemini(FakeServer):
    """Gemini's API under `/v1beta`. It knows `KEY` and the keys of `key`."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls=tls)
        self.keys: dict[str, str] = {}
        # How many models stand on a page of the list.
        self.page_size = 3

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1beta"

    def key(self, scenario: str) -> str:
        """Return a new key that always gets this scenario."""
        secret = f"AIza-planted-{len(self.keys):04}-0123456789abcdef"
        self.keys[secret] = scenario
        return secret

    def exchange(self, *args: Any) -> Exchange:
        return GeminiExchange(*args)

    async def handle(self, exchange: Exchange) -> None:
        assert isinstance(exchange, GeminiExchange)
        request = exchange.request
        path, _, query = request.path.partition("?")
        parameters = {name: values[-1] for name, values in parse_qs(query).items()}
        secret = request.user = request.headers.get("x-goog-api-key", "")
        method = _METHOD.fullmatch(path)
        if "key" in parameters or "authorization" in request.headers:
            await exchange.fail(400, "INVALID_ARGUMENT", "this fake wants its key in x-goog-api-key")
        elif secret != KEY and secret not in self.keys:
            text = "API key not valid. Please pass a valid API key."
            await exchange.fail(400, "INVALID_ARGUMENT", text, reason_detail("API_KEY_INVALID"))
        elif request.method == "GET" and path == "/v1beta/models":
            await self._list(exchange, int(parameters.get("pageToken", "0")))
        elif not method or request.method != "POST":
            await exchange.respond(404, b"<html>nothing here</html>", "text/html")
        else:
            await self._generate(exchange, unquote(method[1]).partition("/")[2], secret, parameters)

    async def _generate(self, exchange: GeminiExchange, model: str, secret: str, parameters: dict[str, str]) -> None:
        request = exchange.request
        request.scenario = self.keys.get(secret, model)
        exchange.calls = sum(other.scenario == request.scenario for other in self.requests)
        strict = model.startswith("gemini-3") or request.scenario.partition(":")[0] in STRICT
        if model.startswith("gone"):
            text = f"models/{model} is not found for API version v1beta, or is not supported for generateContent."
            await exchange.fail(404, "NOT_FOUND", text)
        elif wrong := next(wrongs(request.body, strict=strict), ""):
            await exchange.fail(400, "INVALID_ARGUMENT", wrong)
        elif parameters.get("alt") != "sse":
            await SCENARIOS["array"](exchange)
        else:
            await exchange.run(request.scenario)

    async def _list(self, exchange: GeminiExchange, start: int) -> None:
        rows: list[dict[str, Any]] = [
            {
                "name": f"models/{name}",
                "displayName": name.replace("-", " ").title(),
                "inputTokenLimit": INPUT_TOKENS,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for name in MODELS
        ]
        rows.insert(1, {"name": "models/text-embedding-004", "supportedGenerationMethods": ["embedContent"]})
        page: dict[str, Any] = {"models": rows[start : start + self.page_size]}
        if start + self.page_size < len(rows):
            page["nextPageToken"] = str(start + self.page_size)
        await exchange.respond(200, json.dumps(page).encode())


def wrongs(body: dict[str, Any], *, strict: bool) -> Iterator[str]:
    """Yield what the vendor would refuse of a request."""
    unknown = body.keys() - _BODY
    yield from (f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in unknown)
    config = body.get("generationConfig", {})
    for name in config.keys() - _CONFIG:
        yield f"Invalid JSON payload received. Unknown name \"{name}\" at 'generation_config': Cannot find field."
    if not isinstance(config.get("stopSequences", []), list) or not 0 <= config.get("seed", 0) < 2**31:
        yield "Invalid value at 'generation_config'"
    if not isinstance(config.get("temperature", 1), int | float) or not 0 <= config.get("temperature", 1) <= 2:
        yield "Invalid value at 'generation_config.temperature'"
    yield from _wrong_tools(body)
    yield from _wrong_turns(body.get("contents", []), strict=strict)


def _wrong_tools(body: dict[str, Any]) -> Iterator[str]:
    declared = [function for tool in body.get("tools", []) for function in tool.get("functionDeclarations", [])]
    for function in declared:
        # Both spellings are understood, as everywhere in the vendor's JSON; its SDK sends this one of them.
        if function.keys() - {"name", "description", "parameters", "parametersJsonSchema", "parameters_json_schema"}:
            yield "Invalid JSON payload received. Unknown name at 'tools[0].function_declarations[0]'"
        if not re.fullmatch(r"[A-Za-z_][\w.:-]{0,63}", function.get("name", "")):
            yield "Invalid function name."
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if calling and not declared:
        yield "Function calling config is set without function_declarations."
    if set(calling.get("allowedFunctionNames", [])) - {function["name"] for function in declared}:
        yield "allowed_function_names are not declared."


def _wrong_turns(contents: list[dict[str, Any]], *, strict: bool) -> Iterator[str]:
    if not contents:
        yield "* GenerateContentRequest.contents: contents is not specified"
    roles = [turn.get("role") for turn in contents]
    if any(role not in ("user", "model") for role in roles):
        yield "Please use a valid role: user, model."
    if any(first == second for first, second in itertools.pairwise(roles)):
        yield "Please ensure that multiturn requests alternate between user and model."
    calls: list[dict[str, Any]] = []
    for place, turn in enumerate(contents):
        parts = turn.get("parts", [])
        if not parts or any(part.keys() - _PART or part.get("text") == "" for part in parts):
            yield f"Unable to submit request because contents[{place}].parts is not valid"
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if len(responses) != len(calls):
            yield (
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        if {response.get("name") for response in responses} - {call.get("name") for call in calls}:
            yield "Please ensure that function response turn comes immediately after a function call turn."
        if not all(isinstance(response.get("response"), dict) for response in responses):
            yield "Invalid value at 'function_response.response'"
        called = [part for part in parts if "functionCall" in part]
        if strict and called and called[0].get("thoughtSignature") not in (SIGNATURE, NO_SIGNATURE):
            yield (
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                "work correctly, and missing thought_signature may lead to degraded model performance. Additional "
                f"data, function call `default_api:{called[0]['functionCall'].get('name')}`, position {place}."
            )
        calls = [part["functionCall"] for part in called]

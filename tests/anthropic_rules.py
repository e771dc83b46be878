"""The checks of Anthropic's Messages API, with the vendor's types of errors and its wording.

Nothing of the product is imported here.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# https://platform.claude.com/docs/en/api/versioning
OLD_VERSION, NEW_VERSION = "2023-06-01", "2026-10-21"
FIELDS = {
    *("model", "messages", "max_tokens", "stream", "system", "temperature", "top_p", "top_k", "stop_sequences"),
    *("thinking", "tools", "tool_choice", "metadata", "output_config", "service_tier", "cache_control", "container"),
}
# Largest `max_tokens` of a model, by its name.
LARGEST = {"small": 4_096}
OTHER_LARGEST = 64_000
ROLES = {"user", "assistant"}
MEDIA_TYPES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
ID = re.compile(r"[a-zA-Z0-9_-]+")

Complaint = tuple[str, str]


class RefusedError(Exception):
    """A check failed; the arguments are the type of the error and its message."""


def sign(thinking: str) -> str:
    """Return the signature that the vendor puts on a thought."""
    return "sig" + hashlib.sha256(f"secret {thinking}".encode()).hexdigest()


def complaint(headers: Mapping[str, str], body: Mapping[str, Any]) -> Complaint | None:
    """Return the type and the message of the refusal of a request, None for a good one."""
    try:
        _check_headers(headers, body)
        _check_fields(body)
        _check_messages(body["messages"])
        _check_calls(body["messages"])
        _check_tools(body)
        _check_thinking(body)
    except RefusedError as refused:
        return refused.args[0], refused.args[1]
    return None


def key_of(headers: Mapping[str, str]) -> str:
    """Return the key of a request; newer clients send it as a bearer token."""
    return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")


def bad(message: str) -> RefusedError:
    return RefusedError("invalid_request_error", message)


def _check_headers(headers: Mapping[str, str], body: Mapping[str, Any]) -> None:
    if not key_of(headers):
        raise RefusedError("authentication_error", "x-api-key header is required")
    version = headers.get("anthropic-version")
    if version is None:
        raise bad("anthropic-version: header is required")
    if version not in (OLD_VERSION, NEW_VERSION):
        raise bad(f'anthropic-version: "{version}" is not a valid version')
    removed = {"temperature", "top_p", "top_k"} & body.keys() if version == NEW_VERSION else ()
    if removed:
        raise bad(f"{min(removed)}: Extra inputs are not permitted")


def _check_fields(body: Mapping[str, Any]) -> None:
    if unknown := [name for name in body if name not in FIELDS]:
        raise bad(f"{unknown[0]}: Extra inputs are not permitted")
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise bad(f"{name}: Field required")
    largest = LARGEST.get(body["model"], OTHER_LARGEST)
    cap = body["max_tokens"]
    if type(cap) is not int or cap < 1:
        raise bad("max_tokens: Input should be greater than or equal to 1")
    if cap > largest:
        text = "which is the maximum allowed number of output tokens for"
        raise bad(f"max_tokens: {cap} > {largest}, {text} {body['model']}")
    if not 0 <= body.get("temperature", 0) <= 1:
        raise bad("temperature: range: 0..1")
    if not all(stop.strip() for stop in body.get("stop_sequences", ())):
        raise bad("stop_sequences: each stop sequence must contain non-whitespace")
    made = body.get("output_config", {}).get("format", {"type": "json_schema", "schema": {}})
    if made.get("type") != "json_schema" or "schema" not in made:
        raise bad("output_config.format.type: Input should be 'json_schema'")


def blocks_of(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise bad("messages: at least one message is required")
    for place, turn in enumerate(messages):
        if turn["role"] not in ROLES:
            raise bad(
                f'messages: Unexpected role "{turn["role"]}". The Messages API accepts a top-level `system` parameter, '
                'not "system" as an input message role.'
            )
        if turn["role"] != ("user", "assistant")[place % 2]:
            rule = 'roles must alternate between "user" and "assistant", but found multiple'
            first = 'messages: first message must use the "user" role'
            raise bad(f'messages: {rule} "{turn["role"]}" roles in a row' if place else first)
        for at, block in enumerate(blocks_of(turn)):
            _check_block(f"messages.{place}.content.{at}", block)
    last = blocks_of(messages[-1])[-1]
    if messages[-1]["role"] == "assistant" and last.get("text", "") != last.get("text", "").rstrip():
        raise bad("messages: final assistant content cannot end with trailing whitespace")


def _check_block(path: str, block: Mapping[str, Any]) -> None:
    match block["type"]:
        case "text":
            if not block["text"].strip():
                raise bad("messages: text content blocks must contain non-whitespace text")
        case "image":
            _check_image(path, block["source"])
        case "tool_use":
            if not isinstance(block["input"], dict):
                raise bad(f"{path}.tool_use.input: Input should be a valid dictionary")
            if not ID.fullmatch(block["id"]):
                raise bad(f"{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        case "thinking":
            if block.get("signature") != sign(block["thinking"]):
                raise bad(f"{path}: Invalid `signature` in `thinking` block")
        case "tool_result" | "redacted_thinking":
            pass
        case kind:
            raise bad(f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags")


def _check_image(path: str, source: Mapping[str, Any]) -> None:
    if source["type"] == "url":
        if not source["url"].startswith("https://"):
            raise bad(f"{path}.image.source.url.url: Only HTTPS URLs are supported.")
    elif source["type"] != "base64" or source["media_type"] not in MEDIA_TYPES:
        raise bad(f"{path}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', …")


def _ids(turn: Mapping[str, Any], kind: str, name: str) -> list[str]:
    return [block[name] for block in blocks_of(turn) if block["type"] == kind]


def _pairs(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any], Mapping[str, Any]]]:
    nothing = {"role": "", "content": []}
    for place, turn in enumerate(messages):
        yield place, messages[place - 1] if place else nothing, turn


def _check_calls(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that results follow their calls directly, each once, in front of other content."""
    for place, before, turn in _pairs([*messages, {"role": "user", "content": []}]):
        called = _ids(before, "tool_use", "id")
        returned = _ids(turn, "tool_result", "tool_use_id")
        if missing := [one for one in called if one not in returned]:
            raise bad(
                f"messages.{place - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )
        if unknown := [one for one in returned if one not in called]:
            raise bad(
                f"messages.{place}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {unknown[0]}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        kinds = [block["type"] for block in blocks_of(turn)]
        if kinds[: len(returned)] != ["tool_result"] * len(returned):
            raise bad(f"messages.{place}: `tool_result` blocks must come first")


def _check_tools(body: Mapping[str, Any]) -> None:
    tools, choice = body.get("tools", ()), body.get("tool_choice")
    for place, tool in enumerate(tools):
        if tool.get("type", "custom") == "custom" and tool.get("input_schema", {}).get("type") != "object":
            raise bad(f"tools.{place}.custom.input_schema.type: Field required")
    if choice is not None and not tools:
        raise bad("tool_choice: tool_choice may only be specified while providing tools")
    if choice is not None and choice["type"] not in ("auto", "any", "tool", "none"):
        raise bad("tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    if not tools and any(_ids(turn, "tool_use", "id") for turn in body["messages"]):
        raise bad("tools: Requests which include `tool_use` or `tool_result` blocks must define tools")


def _check_thinking(body: Mapping[str, Any]) -> None:
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] not in ("enabled", "adaptive"):
        return
    about = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
    if body.get("temperature", 1) != 1:
        raise bad(f"`temperature` may only be set to 1 when thinking is enabled. {about}")
    if not 0.95 <= body.get("top_p", 1) <= 1:
        raise bad("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        raise bad("Thinking may not be enabled when tool_choice forces tool use.")
    if thinking["type"] == "adaptive":
        return
    if thinking["budget_tokens"] < 1024:
        raise bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if thinking["budget_tokens"] >= body["max_tokens"]:
        raise bad(f"`max_tokens` must be greater than `thinking.budget_tokens`. {about}")
    messages = body["messages"]
    if _ids(messages[-1], "tool_result", "tool_use_id"):
        first = blocks_of(messages[-2])[0]["type"]
        if first not in ("thinking", "redacted_thinking"):
            raise bad(
                f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                f"`{first}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block."
            )

"""The finish words of vendors and relays, by family.

Words come from other APIs, in any case, with `_`, `-` or a space, some with a detail behind a colon.
"""

from collections.abc import Mapping
from typing import Literal

from providers.wire.base import FinishReason

Family = FinishReason | Literal["failed"]

_WORDS: Mapping[Family, tuple[str, ...]] = {
    "stop": ("stop", "end_turn", "eos", "eos_token", "stop_sequence", "stop_token", "complete", "completed", "end"),
    "length": (
        *("length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_length", "model_length"),
        *("model_context_window_exceeded", "context_length_exceeded", "token_limit", "truncated", "incomplete"),
    ),
    # OpenAI, Zhipu, Gemini, Anthropic, Bedrock.
    "content_filter": (
        *("content_filter", "content_filtered", "sensitive", "safety", "image_safety", "recitation", "refusal"),
        *("blocklist", "prohibited_content", "spii", "moderation", "guardrail_intervened", "blocked"),
    ),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call", "function_calls"),
    # Zhipu, DeepSeek, OpenRouter; engines such as vLLM that were stopped, overloaded or evicted; Gemini.
    "failed": (
        *("network_error", "insufficient_system_resource", "error", "abort", "aborted", "cancelled", "canceled"),
        *("failed", "failure", "server_error", "internal_error", "timeout", "overloaded", "engine_overloaded"),
        *("malformed_function_call", "unexpected_tool_call"),
    ),
}
_FAMILIES: Mapping[str, Family] = {word: family for family, words in _WORDS.items() for word in words}
# Of several reasons the one furthest to the right counts: text that was cut must not look complete.
SEVERITY: tuple[FinishReason, ...] = ("stop", "tool_calls", "length", "content_filter")


def normalized(word: str) -> str:
    """Return a finish word without its detail, in the spelling of the tables."""
    return word.partition(":")[0].strip().lower().replace("-", "_").replace(" ", "_")


def family(word: str) -> Family | None:
    """Return the family of a normalized finish word, None for an unknown one."""
    return _FAMILIES.get(word)

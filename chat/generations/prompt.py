"""Pure functions that build a prompt from a branch, cut to the model's context."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from providers.wire.base import PromptMessage, prompt_tokens, trim

# Tokens left for a completion when the model's row has no `max_tokens`.
COMPLETION_TOKENS = 1024
# Tokens of the shortest completion worth a request; with less room the upstream refuses the prompt as too long.
MIN_COMPLETION_TOKENS = 16


def build(
    context_tokens: int, parameters: Mapping[str, Any], system_prompt: str, turns: Iterable[PromptMessage]
) -> tuple[tuple[PromptMessage, ...], dict[str, Any]]:
    """Return the messages to send and the parameters, capped.

    `turns` are oldest first; empty ones (a completion that never came) are left out.
    """
    messages = [PromptMessage("system", system_prompt)] if system_prompt else []
    messages += [turn for turn in turns if turn.content.strip() or turn.parts]
    trimmed = trim(messages, context_tokens - room(context_tokens, parameters))
    return trimmed, capped(context_tokens, parameters, trimmed)


def room(context_tokens: int, parameters: Mapping[str, Any]) -> int:
    """Return the tokens of the context that stay free for the completion."""
    return int(min(parameters.get("max_tokens") or COMPLETION_TOKENS, context_tokens // 4))


def capped(context_tokens: int, parameters: Mapping[str, Any], messages: Sequence[PromptMessage]) -> dict[str, Any]:
    """Return the parameters with `max_tokens` lowered to what the prompt leaves of the context."""
    wanted = parameters.get("max_tokens")
    if wanted is None:
        return dict(parameters)
    left = max(MIN_COMPLETION_TOKENS, context_tokens - prompt_tokens(messages))
    return {**parameters, "max_tokens": min(wanted, left)}

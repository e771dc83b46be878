"""Fields that well-known models do not take, for lists of models.

Requests are passed on all the same where a model's row says nothing, because tables age. Facts of the vendors' own
pages, November 2026; their addresses stand in `context_sizes`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from providers.context_sizes import longest_prefix
from providers.wire.base import IMAGES

_TEXT_ONLY = frozenset({IMAGES, "reasoning_effort", "verbosity"})
_NO_EFFORT = frozenset({"reasoning_effort", "verbosity"})
_NO_VERBOSITY = frozenset({"verbosity"})
_NOTHING_SEEN = frozenset({IMAGES, "verbosity"})

# By the beginning of a model's name, as in `context_sizes`. The longest one counts.
NOT_TAKEN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "gpt-3.5": _TEXT_ONLY,
        "gpt-4": _TEXT_ONLY,
        "gpt-4-turbo": _NO_EFFORT,
        "gpt-4-vision": _NO_EFFORT,
        "gpt-4o": _NO_EFFORT,
        "gpt-4.1": _NO_EFFORT,
        "gpt-4.5": _NO_EFFORT,
        "chatgpt-4o": _NO_EFFORT,
        "gpt-5": frozenset(),
        "gpt-5-chat": _NO_EFFORT,
        "gpt-oss": _NOTHING_SEEN,
        "o1": _NO_VERBOSITY,
        "o1-mini": _TEXT_ONLY,
        "o1-preview": _TEXT_ONLY,
        "o3": _NO_VERBOSITY,
        "o3-mini": _NOTHING_SEEN,
        "o4-mini": _NO_VERBOSITY,
        "claude-2": _TEXT_ONLY,
        "claude-instant": _TEXT_ONLY,
        "claude-3": _NO_EFFORT,
        "claude-3-7": _NO_VERBOSITY,
        "claude-3.7": _NO_VERBOSITY,
        "deepseek": _TEXT_ONLY,
        "deepseek-v4": _NOTHING_SEEN,
        "qwen-plus": _TEXT_ONLY,
        "qwen-turbo": _TEXT_ONLY,
        "qwen-max": _TEXT_ONLY,
        "qwen2.5": _TEXT_ONLY,
        "qwen2.5-vl": _NO_EFFORT,
        "qwen2.5-omni": _NO_EFFORT,
        "qwen3": _TEXT_ONLY,
        "qwen3-vl": _NO_EFFORT,
        "qwq": _TEXT_ONLY,
        "glm-4": _TEXT_ONLY,
        "glm-4v": _NO_EFFORT,
        "glm-4.1v": _NO_EFFORT,
        "glm-4.5": _NOTHING_SEEN,
        "glm-4.5v": _NO_VERBOSITY,
        "glm-4.6": _NOTHING_SEEN,
        "glm-4.6v": _NO_VERBOSITY,
        "glm-4.7": _NOTHING_SEEN,
        "glm-5": _NOTHING_SEEN,
        "moonshot-v1": _TEXT_ONLY,
        "kimi-k2": _TEXT_ONLY,
        "kimi-k2.5": _NO_EFFORT,
        "kimi-k2.6": _NO_EFFORT,
        "llama-2": _TEXT_ONLY,
        "llama2": _TEXT_ONLY,
        "llama-3": _TEXT_ONLY,
        "llama3": _TEXT_ONLY,
        "meta-llama-3": _TEXT_ONLY,
        "mistral-nemo": _TEXT_ONLY,
        "open-mistral-nemo": _TEXT_ONLY,
        "mixtral": _TEXT_ONLY,
        "open-mixtral": _TEXT_ONLY,
        "codestral": _TEXT_ONLY,
        "phi-4": _TEXT_ONLY,
        "command-r": _TEXT_ONLY,
    }
)


def not_taken(name: str) -> frozenset[str]:
    """Return what a model is known not to take; nothing for an unknown one."""
    return NOT_TAKEN.get(longest_prefix(name, NOT_TAKEN), frozenset())

"""Context sizes of well-known models, for models whose upstream reports none.

The sizes are those of the vendors' own pages, November 2026; operators may change them at each model. Where a vendor
offers a larger window on request only, the usual one stands here. Too small costs history, too large costs a refusal.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from providers.models import UNKNOWN_CONTEXT_TOKENS

_M = 1_048_576

# Tokens by the beginning of a model's name, in lower case and without the vendor in front. The longest one counts.
CONTEXT_TOKENS: Mapping[str, int] = MappingProxyType(
    {
        # OpenAI: https://platform.openai.com/docs/models
        "gpt-3.5-turbo": 16_385,
        "gpt-4": 8_192,
        "gpt-4-32k": 32_768,
        "gpt-4-turbo": 128_000,
        "gpt-4-1106": 128_000,
        "gpt-4-0125": 128_000,
        "gpt-4o": 128_000,
        "gpt-4.1": 1_047_576,
        "gpt-4.5": 128_000,
        "chatgpt-4o": 128_000,
        "gpt-5": 400_000,
        "gpt-5-chat": 128_000,
        "gpt-oss": 131_072,
        "o1": 200_000,
        "o1-mini": 128_000,
        "o1-preview": 128_000,
        "o3": 200_000,
        "o4-mini": 200_000,
        # Anthropic: https://docs.anthropic.com/en/docs/build-with-claude/context-windows
        "claude": 200_000,
        "claude-2.0": 100_000,
        "claude-instant": 100_000,
        "claude-opus-4-6": 1_000_000,
        "claude-opus-4.6": 1_000_000,
        "claude-opus-4-7": 1_000_000,
        "claude-opus-4.7": 1_000_000,
        "claude-opus-4-8": 1_000_000,
        "claude-opus-4.8": 1_000_000,
        "claude-opus-5": 1_000_000,
        "claude-sonnet-4-6": 1_000_000,
        "claude-sonnet-4.6": 1_000_000,
        "claude-sonnet-5": 1_000_000,
        # Google: https://ai.google.dev/gemini-api/docs/models
        "gemini": _M,
        "gemini-1.0": 32_768,
        "gemini-pro": 32_768,
        "gemini-1.5-pro": 2 * _M,
        "gemma": 8_192,
        "gemma-3": 131_072,
        # DeepSeek: https://api-docs.deepseek.com/quick_start/pricing
        "deepseek": 65_536,
        "deepseek-chat": 131_072,
        "deepseek-reasoner": 131_072,
        "deepseek-r1": 65_536,
        "deepseek-v3": 65_536,
        "deepseek-v3.1": 131_072,
        "deepseek-v3.2": 131_072,
        "deepseek-v4": 1_000_000,
        # Alibaba: https://help.aliyun.com/zh/model-studio/models
        "qwen": 32_768,
        "qwen-max": 32_768,
        "qwen-plus": 131_072,
        "qwen-turbo": 131_072,
        "qwen-flash": 1_000_000,
        "qwen-long": 1_000_000,
        "qwen2.5": 32_768,
        "qwen3": 32_768,
        "qwen3-max": 262_144,
        "qwen3-coder": 262_144,
        "qwen3-next": 262_144,
        "qwen3-235b-a22b-instruct-2507": 262_144,
        "qwen3-235b-a22b-thinking-2507": 262_144,
        "qwen3-30b-a3b-instruct-2507": 262_144,
        "qwen3-vl": 131_072,
        "qwq": 131_072,
        # Zhipu: https://docs.bigmodel.cn/cn/guide/start/model-overview
        "glm-4": 128_000,
        "glm-4-long": 1_000_000,
        "glm-4-air": 128_000,
        "glm-4.5": 131_072,
        "glm-4.5v": 65_536,
        "glm-4.6": 200_000,
        "glm-4.6v": 131_072,
        "glm-4.7": 200_000,
        "glm-4v": 8_192,
        "glm-5": 200_000,
        "glm-z1": 32_768,
        "chatglm": 8_192,
        # Moonshot: https://platform.moonshot.ai/docs/pricing/chat
        "moonshot-v1-8k": 8_192,
        "moonshot-v1-32k": 32_768,
        "moonshot-v1-128k": 131_072,
        "kimi-latest": 131_072,
        "kimi-k2": 131_072,
        "kimi-k2-0905": 262_144,
        "kimi-k2-thinking": 262_144,
        "kimi-k2-turbo": 262_144,
        "kimi-k2.5": 262_144,
        "kimi-k2.6": 262_144,
        # Meta: https://www.llama.com/docs/model-cards-and-prompt-formats
        "llama-2": 4_096,
        "llama2": 4_096,
        "llama-3": 8_192,
        "llama3": 8_192,
        "meta-llama-3": 8_192,
        "llama-3.1": 131_072,
        "llama3.1": 131_072,
        "meta-llama-3.1": 131_072,
        "llama-3.2": 131_072,
        "llama3.2": 131_072,
        "llama-3.3": 131_072,
        "llama3.3": 131_072,
        "llama-4-scout": _M,
        "llama-4-maverick": _M,
        # Mistral: https://docs.mistral.ai/getting-started/models
        "mistral": 32_768,
        "mistral-large": 131_072,
        "mistral-medium": 131_072,
        "mistral-small": 131_072,
        "mistral-nemo": 131_072,
        "open-mistral-nemo": 131_072,
        "ministral": 131_072,
        "magistral": 40_960,
        "mixtral-8x7b": 32_768,
        "mixtral-8x22b": 65_536,
        "open-mixtral-8x22b": 65_536,
        "codestral": 262_144,
        "devstral": 131_072,
        "pixtral": 131_072,
        # xAI: https://docs.x.ai/docs/models
        "grok-2": 131_072,
        "grok-3": 131_072,
        "grok-4": 256_000,
        "grok-4-fast": 2_000_000,
        "grok-4.1-fast": 2_000_000,
        "grok-4-1-fast": 2_000_000,
        "grok-code-fast": 256_000,
        # iFlytek: https://www.xfyun.cn/doc/spark/Web.html
        "spark": 8_192,
        "spark-pro-128k": 131_072,
        "spark-max-32k": 32_768,
        "spark-x": 65_536,
        # Others
        "minimax-m1": 1_000_000,
        "minimax-m2": 204_800,
        "minimax-text-01": 1_000_000,
        "hunyuan": 32_768,
        "ernie-4.5": 131_072,
        "ernie-x1": 32_768,
        "doubao-1.5": 32_768,
        "doubao-1-5": 32_768,
        "doubao-seed": 262_144,
        "step-3": 65_536,
        "command-r": 128_000,
        "command-a": 256_000,
        "phi-4": 16_384,
        "sonar": 128_000,
        "sonar-pro": 200_000,
    }
)


def of(*names: str) -> tuple[int, bool]:
    """Return the context size of a model, and whether it is only assumed."""
    return next(((tokens, False) for name in names if (tokens := _known(name))), (UNKNOWN_CONTEXT_TOKENS, True))


def _known(name: str) -> int | None:
    return CONTEXT_TOKENS.get(longest_prefix(name, CONTEXT_TOKENS))


def longest_prefix(name: str, prefixes: Iterable[str]) -> str:
    """Return the longest prefix of a model's name without its vendor; empty: none fits."""
    bare = name.lower().rpartition("/")[2].partition(":")[0]
    return max((prefix for prefix in prefixes if _begins(bare, prefix)), key=len, default="")


def _begins(name: str, prefix: str) -> bool:
    """Return whether a name begins with a prefix that ends no word in the middle."""
    rest = name[len(prefix) :]
    return name.startswith(prefix) and not (rest[:1].isalpha() and prefix[-1:].isalpha())

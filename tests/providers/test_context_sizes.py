"""Context sizes of known models, and the assumption about unknown ones."""

from typing import Any

import pytest
from structlog.typing import EventDict

from chatproject.environment import load
from providers import context_sizes, known_models, setup
from providers.models import ChatModel, Upstream


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("gpt-4", 8_192),
        ("gpt-4o-mini", 128_000),
        ("openai/gpt-4.1-nano", 1_047_576),
        ("gpt-5-mini", 400_000),
        ("o3-mini", 200_000),
        ("anthropic/claude-3.5-haiku:beta", 200_000),
        ("claude-sonnet-4-5-20250929", 200_000),
        ("models/gemini-2.5-flash", 1_048_576),
        ("deepseek-ai/DeepSeek-V3.2", 131_072),
        ("deepseek-v4-pro", 1_000_000),
        ("Qwen/Qwen3-8B", 32_768),
        ("qwen3-max-preview", 262_144),
        ("zai-org/GLM-4.6", 200_000),
        ("glm-4.5-air", 131_072),
        ("moonshotai/kimi-k2-0905-preview", 262_144),
        ("meta-llama/Llama-3.3-70B-Instruct", 131_072),
        ("llama3.2:3b", 131_072),
        ("mistral-large-latest", 131_072),
        ("x-ai/grok-4-fast", 2_000_000),
    ],
)
def test_known_models(name: str, tokens: int) -> None:
    """A model is known by the beginning of its name, whatever vendor stands in front of it."""
    assert context_sizes.of(name) == (tokens, False)


@pytest.mark.parametrize("name", ["house-model", "gptx", "claudette", "geminis", "", "models/"])
def test_unknown_models(name: str) -> None:
    """A name that only resembles a known one is unknown; the next name decides."""
    assert context_sizes.of(name) == (32_768, True)
    assert context_sizes.of(name, "gpt-4o") == (128_000, False)


def test_the_longest_beginning_counts() -> None:
    """Each row of the table counts for its own name."""
    for name, tokens in context_sizes.CONTEXT_TOKENS.items():
        assert context_sizes.of(name) == (tokens, False)


@pytest.mark.django_db
def test_presets_of_the_environment(settings: Any, log_lines: list[EventDict]) -> None:
    """Each vendor of the environment has an upstream of its own, with known context sizes where there are any."""
    settings.ENV = load({"DEEPSEEK_API_KEY": "sk-d", "OPENROUTER_API_KEYS": "sk-a,sk-b", "OPENAI_API_KEYS": "sk-o"})
    settings.MISTAKEN_SETTINGS = {"DEEPSEEK_API_KEY": "DEEPSEEK_API_KEYS"}
    settings.IGNORED_SETTINGS = {"AZURE_OPENAI_API_KEY": "AZURE_OPENAI_ENDPOINT"}
    setup.ensure_upstreams()
    found = {row.slug: (row.kind, row.base_url, row.keys.count()) for row in Upstream.objects.exclude(slug="demo")}
    assert found == {
        "openai": ("openai", "https://api.openai.com/v1", 1),
        "deepseek": ("openai", "https://api.deepseek.com", 1),
        "openrouter": ("openai", "https://openrouter.ai/api/v1", 2),
    }
    sizes = {row.slug: (row.context_tokens, row.context_assumed) for row in ChatModel.objects.all()}
    assert sizes["deepseek-v4-pro"] == (1_000_000, False)
    assert sizes["openrouter/auto"] == (32_768, True)
    assert sizes["demo"] == (32_768, False)
    (line,) = [line for line in log_lines if line.get("given") == "DEEPSEEK_API_KEY"]
    assert (line["log_level"], line["expected"]) == ("warning", "DEEPSEEK_API_KEYS")
    (line,) = [line for line in log_lines if line.get("given") == "AZURE_OPENAI_API_KEY"]
    assert (line["log_level"], line["missing"]) == ("warning", "AZURE_OPENAI_ENDPOINT")
    assert "sk-d" not in str(log_lines)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("openai/gpt-3.5-turbo", set()),
        ("gpt-4o-mini", {"images"}),
        ("gpt-5-mini", {"images", "reasoning_effort", "verbosity"}),
        ("o3-mini", {"reasoning_effort"}),
        ("glm-4-flash", set()),
        ("zai-org/GLM-4.6", {"reasoning_effort"}),
        ("a-model-of-tomorrow", {"images", "reasoning_effort", "verbosity"}),
    ],
)
def test_lists_promise_what_known_models_take(name: str, taken: set[str]) -> None:
    assert {"images", "reasoning_effort", "verbosity"} - known_models.not_taken(name) == taken

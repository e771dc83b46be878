"""Usage with its details, in the shapes in use."""

from typing import Any

import pytest

from providers.wire.base import Usage
from providers.wire.openai.fields import read_usage

COUNTS = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


@pytest.mark.parametrize(
    ("details", "cached", "reasoning"),
    [
        ({}, None, None),
        ({"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}}, 4, 3),
        ({"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}, 0, 0),
        ({"input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 3}}, 4, 3),
        ({"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}, 4, None),
        ({"cached_tokens": 4, "reasoning_tokens": 3}, 4, 3),
        ({"cache_read_input_tokens": 4, "cache_creation_input_tokens": 1}, 4, None),
        ({"prompt_tokens_details": None, "cached_tokens": "4", "reasoning_tokens": 3.0}, 4, 3),
        ({"prompt_tokens_details": {"cached_tokens": None}, "prompt_cache_hit_tokens": 4}, 4, None),
        ({"prompt_tokens_details": {"cached_tokens": 99}, "reasoning_tokens": 99}, 9, 5),
        ({"prompt_tokens_details": {"cached_tokens": -1}, "reasoning_tokens": True}, None, None),
        ({"prompt_tokens_details": [], "completion_tokens_details": "odd"}, None, None),
    ],
)
def test_details(details: dict[str, Any], cached: int | None, reasoning: int | None) -> None:
    """Cached and reasoning tokens are found in each place, and never exceed what they are part of."""
    assert read_usage({**COUNTS, **details}) == Usage(9, 5, cached, reasoning)


def test_a_cache_that_is_counted_apart() -> None:
    """Anthropic's own shape leaves cached tokens out of the input; a shape with a total does not."""
    usage = {"input_tokens": 9, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 10}

    assert read_usage(usage) == Usage(119, 5, 100)
    assert read_usage({**usage, "total_tokens": 14}) == Usage(9, 5, 9)


@pytest.mark.parametrize("count", [2**31, 2.0**40, "99999999999", -1, 1.5])
def test_counts_that_no_database_column_takes(count: object) -> None:
    """A count out of range is none: the completion must be stored."""
    assert read_usage({"prompt_tokens": count, "completion_tokens": 5}) is None

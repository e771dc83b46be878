"""chat/generations/masking.py: a long prompt is masked by the executor, before the first attempt."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chat.apps import chat
from chat.generations import masking
from providers.wire.base import PromptMessage
from tests.chat.screening.test_pipeline import listed  # noqa: F401  (a fixture)


async def test_only_long_prompts_are_masked_later(listed: Callable[..., None]) -> None:  # noqa: F811
    listed("secret")
    lexicon = chat().words.current.outgoing
    short = (PromptMessage("user", "a secret"), PromptMessage("user", "a new secret"))
    done, later = masking.mask(lexicon, short, None, new=1)
    assert ([turn.content for turn in done], later) == (["a ******", "a new secret"], None)

    long: Any = (PromptMessage("user", "secret " + "x" * masking.LARGE_CHARS), *short)
    with ThreadPoolExecutor(1) as executor:
        same, later = masking.mask(lexicon, long, executor, new=0)
        assert same is long
        assert later is not None
        found = await later(same)
    assert [turn.content[:12] for turn in found] == ["****** xxxxx", "a ******", "a new ******"]

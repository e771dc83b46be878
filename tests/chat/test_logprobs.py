"""Log probabilities of tokens: passed on for callers who ask, and never past the lists of words."""

from typing import Any

import httpx
import orjson
import pytest

from chat.apps import chat
from chat.generations import token_probs
from chat.generations.pipeline import LengthLimit, Pipeline, Screening
from chat.generations.token_probs import TokenProbs
from providers.wire.base import Delta, Finished, Withdrawn
from providers.wire.logprobs import LogProbs, read_logprobs
from tests.chat.programs import ask, chunks
from tests.chat.screening.test_pipeline import listed  # noqa: F401  (a fixture)
from tests.upstreams import FakeOpenAI

PROMPT: Any = [{"role": "user", "content": "abc def"}]


def score(token: str, *others: str) -> dict[str, Any]:
    fields = {"logprob": -0.5, "bytes": list(token.encode())}
    return {
        "token": token,
        **fields,
        "top_logprobs": [{"token": other, "logprob": -1, "bytes": None} for other in others],
    }


@pytest.mark.server
def test_they_come_streamed_and_whole(program: httpx.Client, upstream: FakeOpenAI) -> None:
    """Each token comes with its own, in the standard's fields alone; who did not ask gets none."""
    asked = {"logprobs": True, "top_logprobs": 1}
    whole = ask(program, "scored", PROMPT, **asked).json()["choices"][0]
    assert {name: upstream.requests[-1].body[name] for name in asked} == asked
    found = whole["logprobs"]["content"]
    assert [each["token"] for each in found] == ["abc", " de", "f"]
    assert set(found[0]) == {"token", "logprob", "bytes", "top_logprobs"}
    assert set(found[0]["top_logprobs"][0]) == {"token", "logprob", "bytes"}

    sent = [chunk["choices"][0] for chunk in chunks(ask(program, "scored", PROMPT, stream=True, **asked))[:-1]]
    assert [each for choice in sent if choice["logprobs"] for each in choice["logprobs"]["content"]] == found
    assert "".join(choice["delta"].get("content", "") for choice in sent) == "abc def"

    assert ask(program, "scored", PROMPT).json()["choices"][0]["logprobs"] is None
    assert all(
        chunk["choices"][0]["logprobs"] is None for chunk in chunks(ask(program, "scored", PROMPT, stream=True))[:-1]
    )


def passed(*events: Any) -> list[Any]:
    stages = Pipeline(Screening(chat().words, set(), 1000), LengthLimit(1000), None, TokenProbs(chat().words))
    return [out for event in events for out in stages.feed(event)]


def probs(*items: dict[str, Any]) -> LogProbs:
    return LogProbs(items)


def test_no_word_passes_in_them(listed: Any) -> None:  # noqa: F811
    """Those of masked text, of other text than came, and all alternatives are left out."""
    listed("secret", "cobalt")
    events = [
        *(Delta("a "), probs(score("a "))),
        *(Delta("sec"), probs(score("sec")), Delta("ret."), probs(score("ret."))),
        *(Delta("b cob."), probs(score("b cob", "c"), score(".", "alt"))),
        *(Delta("d "), probs(score("secret"))),
        *(Delta("e "), probs({**score("e "), "bytes": list(b"secret")})),
        Finished("stop"),
    ]
    out = passed(*events)
    assert "".join(each.text for each in out if isinstance(each, Delta)) == "a ******.b cob.d e "
    assert [each.items for each in out if isinstance(each, LogProbs)] == [
        (score("a "),),
        (score("b cob"), score(".")),
    ]
    assert isinstance(out[-1], Finished)


def test_withdrawn_text_takes_its_own_along(listed: Any) -> None:  # noqa: F811
    listed("secret")
    out = passed(Delta("se"), probs(score("se")), Withdrawn(), Delta("b"), probs(score("b")), Finished("stop"))
    assert [each.items for each in out if isinstance(each, LogProbs)] == [(score("b"),)]


def test_too_many_end_the_completion(listed: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """They end it like text that is too long, and held back text comes first; withdrawn ones do not count."""
    listed("secret")
    scored = probs(score("se"))
    monkeypatch.setattr(token_probs, "MOST_BYTES", 2 * scored.size)
    out = passed(Delta("x"), scored, Withdrawn(), Delta("se"), scored, scored, scored)
    assert [each.text for each in out if isinstance(each, Delta)] == ["x", "se"]
    assert [place for place, each in enumerate(out) if isinstance(each, Finished)] == [len(out) - 1]
    assert out[-1] == Finished("length")


def test_all_that_is_read_can_be_sent() -> None:
    """Half of a character, numbers that are too long and NaN become what JSON has."""
    huge = 10**400
    odd = [("\ud83d", huge, [huge]), ("b\ude00", float("nan"), [-1]), ("c", -0.5, [99])]
    given = [{"token": token, "logprob": value, "bytes": data} for token, value, data in odd]
    found = read_logprobs({"content": [{**each, "top_logprobs": [each]} for each in given]})
    assert found is not None
    sent = [{"token": token, "logprob": None, "bytes": None} for token in ("?", "b?")] + given[2:]
    assert orjson.loads(orjson.dumps(found.items)) == [{**each, "top_logprobs": [each]} for each in sent]


def test_without_words_all_pass(listed: Any) -> None:  # noqa: F811
    listed()
    assert passed(Delta("a"), probs(score("x"))) == [Delta("a"), probs(score("x"))]

"""A closing tag without an opening one: what stood before it was reasoning, however the vendor cuts its deltas."""

import time
from collections.abc import Iterable
from typing import Any

import pytest

from chat.apps import chat
from chat.generations.late_thought import LateThought, Rethought
from chat.generations.pipeline import LengthLimit, Pipeline, Screening
from providers.wire.base import Delta, Finished, Reasoning, Withdrawn
from tests.chat.screening.test_pipeline import listed  # noqa: F401  (a fixture)

STOP = Finished("stop")
THOUGHT = "No open tag thinking\n\n- one\n</think>\n\nAnswer with </think> in it."


def split(deltas: Iterable[str]) -> tuple[str, str]:
    """Return the reasoning and the content that come of deltas."""
    stage, reasoning, content = LateThought(), "", ""
    for event in [*map(Delta, deltas), STOP]:
        for out in [event] if stage.passed else stage.feed(event):
            if isinstance(out, Delta):
                content += out.text
            elif isinstance(out, Rethought):
                reasoning, content = content, ""
    return reasoning, content


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_thought_cut_anywhere(size: int) -> None:
    pieces = [THOUGHT[start : start + size] for start in range(0, len(THOUGHT), size)]
    assert split(pieces) == ("No open tag thinking\n\n- one\n", "Answer with </think> in it.")


@pytest.mark.parametrize(
    "text",
    [
        "Write `</think>` at the end.",
        "```xml\n<a>\n</think>\n```\nDone.",
        "~~~~\n```\n</think>\n~~~~\n",
        "The tag </think> closes it.",
        "Say “</think>” now.",
        "A pair: <think>x</think> y",
        "</think>",
        "a < b </thin",
        "推理模型的输出会先给出思考内容，并以</think>结尾，然后是正文。",
        "- 标签：</think>\n- *</think>*",
        "Models write\n    </think>\nthere.",
        "1. ```\n   </think>\n   ```\n> ```\n> x.</think>\n> ```\n",
        "`a.</think>b.</think>` c",
    ],
)
def test_text_about_the_tag_stays(text: str) -> None:
    assert split(text) == ("", text)
    assert split([text]) == ("", text)


@pytest.mark.parametrize("end", ["。", "！", "?", "…", "（完）", "\n  "])
def test_tag_behind_a_sentence_counts(end: str) -> None:
    assert split(f"先想一想{end}</think>好") == (f"先想一想{end}", "好")


def test_many_tags_in_code_are_read_once() -> None:
    """They took seconds of the event loop when each one had all text before it read again."""
    code = "```\n" + 'x.</think>\n"a</think>\n' * 4000
    one_line = ["a<b "] * 40_000
    for deltas in ([code], code.splitlines(keepends=True), [code.replace("\n", " ")], one_line):
        before = time.thread_time()
        assert split(deltas) == ("", "".join(deltas))
        assert time.thread_time() - before < 0.5


@pytest.mark.parametrize("before", ["", "> ", "- 1. ", "12", "x" * 20, "   \t"])
@pytest.mark.parametrize("code", ["", "`", "``", "```", "~~~", "```py"])
def test_a_long_line_counts_as_before_its_shortening(before: str, code: str) -> None:
    """A line of many pieces means the same as in one piece: its fence, its ticks and its end."""
    for middle in ("", " " * 200, "thinking " * 40, "a `b` c ``d " * 30, "thinking " * 40 + "`"):
        for end in ("", ".", "`"):
            text = f"Begin.\n{before}{code}{middle}{end}</think>\nx\n{code}\nThen.</think>Content"
            assert split(text) == split([text])


def test_opening_tag_ends_the_search() -> None:
    stage = LateThought()
    assert [out for text in ("a <th", "ink b") for out in stage.feed(Delta(text))] == [Delta("a "), Delta("<think b")]
    assert stage.passed


def test_tag_after_closed_code_counts() -> None:
    assert split(["```\nx\n```\nSo `y` it is.</think>Done"]) == ("```\nx\n```\nSo `y` it is.", "Done")


def test_reasoning_elsewhere_ends_the_search() -> None:
    """A model that marks its reasoning otherwise only writes about the tag."""
    stage = LateThought()
    assert list(stage.feed(Reasoning("hm"))) == [Reasoning("hm")]
    assert stage.passed


def test_withdrawn_text_is_forgotten() -> None:
    stage = LateThought()
    stage.feed(Delta("wrong</thi"))
    assert list(stage.feed(Withdrawn())) == [Withdrawn()]
    assert list(stage.feed(Delta("nk>"))) == [Delta("nk>")]


def test_words_are_screened_on_both_sides(listed: Any) -> None:  # noqa: F811
    """Text that is held back for a word is released before the tag, and no word reaches across it."""
    listed("secret", "day.far")
    stages = Pipeline(Screening(chat().words, set(), 1000), LengthLimit(1000), LateThought())
    fed = [Delta("a secret day.</th"), Delta("ink>far"), Delta(" secret"), STOP]
    passed = [out for event in fed for out in stages.feed(event)]
    place = passed.index(Rethought())
    assert "".join(out.text for out in passed[:place] if isinstance(out, Delta)) == "a ****** day."
    assert "".join(out.text for out in passed[place:] if isinstance(out, Delta)) == "far ******"
    assert passed[-1] == STOP

"""Issue 13.7: a large JSON body does not stop the event loop for long."""

import time

import orjson
import pytest

from chatproject.uploads import MOST_VALUES
from tests.product import ApiUser
from web.json_size import has_more_values

MIB = 2**20


@pytest.mark.parametrize("value", [0, "a", [], {}, {"a": 1}, [[1]], 'a "quoted, [text]:"', "\\", "你好，"])
def test_values_are_counted_at_their_limit(value: object) -> None:
    """A list is within its own count of values, and beyond one less."""
    text = orjson.dumps([value] * 100)
    bare = orjson.dumps(value)
    structure = 100 + 100 * {b"[]": 1, b"{}": 1, b'{"a":1}': 2, b"[[1]]": 2}.get(bare, 0)
    assert not has_more_values(text, structure)
    assert has_more_values(text, structure - 1)


def test_separators_in_strings_do_not_count() -> None:
    """A long text full of punctuation, and many escaped quotes, are one value."""
    assert not has_more_values(orjson.dumps({"prompt": '[{,:"\\' * 100_000}), 10)


@pytest.mark.parametrize("text", [b'"' + b'\\"' * MIB, b'["' * 10 + b'"' + b"\\" * MIB, b'{"a":"' + b",[" * MIB])
def test_broken_json_is_counted_in_linear_time(text: bytes) -> None:
    """A string without an end costs no more than one with an end."""
    began = time.monotonic()
    has_more_values(text, 1)
    assert time.monotonic() - began < 5


@pytest.mark.server
@pytest.mark.parametrize("path", ["/api/chat/", "/v1/chat/completions", "/api/tokens/"])
def test_a_body_of_too_many_values_is_refused(api_user: ApiUser, path: str) -> None:
    """A body with too many values gets 400 before it is parsed."""
    body = b'{"messages":[' + b"[]," * (MOST_VALUES // 2 + 1) + b"[]]}"
    refused = api_user.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400, refused.text

"""The messages of wire adapters can be translated."""

import ast
from pathlib import Path

import pytest
from django.utils import translation

from providers import status_texts

WIRE = Path(__file__).resolve().parents[2] / "providers" / "wire"
# Classes that make a failure; their first argument is its message.
MAKING = {"Row", "UpstreamFailed", "UpstreamTimeout", "ContentBlocked", "PromptTooLong"}


def test_every_message_of_an_adapter_is_marked() -> None:
    """Messages are marked with `gettext_noop`, imported as `_`, so that their translation is required."""
    nodes = (node for path in WIRE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    making = [node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKING]
    assert len(making) > 25
    assert [ast.unparse(call) for call in making if isinstance(call.args[0], ast.Constant)] == []


@pytest.mark.parametrize("reason", ["", "Something else."])
def test_a_reason_without_a_translation_stays_as_it_is(reason: str) -> None:
    """Reasons with figures in them have no translation."""
    with translation.override("zh-hans"):
        assert status_texts.in_words(reason) == reason

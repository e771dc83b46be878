"""The messages of wire adapters are in the catalogue of translations."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation

from providers import status_texts
from tests.test_translations import OURS, entries

WIRE = Path(__file__).resolve().parents[2] / "providers" / "wire"
# Functions that make a failure, with the position of the argument that is its message.
MAKING = {"Row": 1, "_network": 1, "_misconfigured": 0, "UpstreamFailed": 0, "UpstreamTimeout": 0} | {
    "ContentBlocked": 0,
    "PromptTooLong": 0,
}


def messages() -> Iterator[str]:
    """Yield the literal messages of all failures that adapters make, marked with `gettext_noop` or not."""
    for path in WIRE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            place = MAKING.get(getattr(node.func, "id", ""), 99) if isinstance(node, ast.Call) else 99
            if isinstance(node, ast.Call) and len(node.args) > place:
                message = node.args[place]
                if isinstance(message, ast.Call) and getattr(message.func, "id", "") == "gettext_noop":
                    message = message.args[0]
                text = message.value if isinstance(message, ast.Constant) else constants.get(getattr(message, "id", ""))
                if isinstance(text, str):
                    yield text


def test_every_message_of_an_adapter_is_translated() -> None:
    """Operators read each failure in their own language."""
    found = set(messages())
    assert len(found) > 25
    assert found - {entry.key.singular for entry in entries(OURS)} == set()


@pytest.mark.parametrize("reason", ["", "Something else."])
def test_a_reason_without_a_translation_stays_as_it_is(reason: str) -> None:
    """Reasons with figures in them have no translation."""
    with translation.override("zh-hans"):
        assert status_texts.in_words(reason) == reason

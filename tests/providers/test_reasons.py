"""What wire adapters report is known to the catalogues of translations."""

import ast
from collections.abc import Iterator
from pathlib import Path

from django.utils import translation

from providers import status_texts

WIRE = Path(__file__).resolve().parents[2] / "providers" / "wire"
# Which argument of what makes a failure is its message.
MAKING = {"Row": 1, "_network": 1, "_misconfigured": 0, "UpstreamFailed": 0, "UpstreamTimeout": 0} | {
    "ContentBlocked": 0,
    "PromptTooLong": 0,
}


def messages() -> Iterator[str]:
    """Yield the literal messages of all failures that adapters make."""
    for path in WIRE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        words = {
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
                text = message.value if isinstance(message, ast.Constant) else words.get(getattr(message, "id", ""))
                if isinstance(text, str):
                    yield text


def test_it_works() -> None:
    """Every message of the adapters can be translated."""
    found = set(messages())
    assert len(found) > 25
    assert found - status_texts.REASONS == set()


def test_other_reasons() -> None:
    """A reason that is not known, such as one with figures in it, is shown as it is."""
    with translation.override("zh-hans"):
        assert status_texts.shown("Something else.") == "Something else."

"""locale/: every text has a Chinese translation, and the catalogues are complete. gettext is not needed."""

import ast
import gettext as stdlib
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import allauth
import django
import pytest
import rest_framework
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext, ngettext
from django.utils.translation.template import templatize

from quotas.errors import QuotaExhausted

ROOT: Path = settings.BASE_DIR
OURS = ROOT / "locale/zh_Hans/LC_MESSAGES/django.po"
# All catalogues; the others contain our translations of texts in packages.
CATALOGUES = sorted((ROOT / "locale").rglob("*.po"))
SOURCES = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
# Chinese words to avoid, because the glossary has others: 你, 账号, 登录, 邮箱, 对话.
AVOIDED = re.compile("您|帐|账户|登陆|登出|电子邮件|Email|E-mail|会话|聊天")

# How each function takes its texts: `c`ontext, `s`ingular, `p`lural.
CALLS = {"_": "s", "gettext": "s", "ngettext": "sp", "pgettext": "cs", "npgettext": "csp"}
CALLS |= {f"{name}_lazy": takes for name, takes in CALLS.items() if name != "_"} | {"gettext_noop": "s"}
# `templatize` makes such calls of the tags that translate, and blanks out all else.
IN_TEMPLATE = re.compile(r"""\b(_|n?p?gettext)\(((?:\s*u?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\s*,?)+)""")
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}|%%")


class Key(NamedTuple):
    """The key of a text in a catalogue."""

    context: str
    singular: str


class Entry(NamedTuple):
    """One entry of a catalogue; `fuzzy` means that a translator has to check it."""

    key: Key
    plural: str
    texts: list[str]
    fuzzy: bool


def entries(path: Path) -> list[Entry]:
    """Read a .po file without its header and its comments."""
    found = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            keyword, quote, rest = line.partition('"')
            name = keyword.strip() or name
            fields[name] = fields.get(name, "") + ast.literal_eval(quote + rest)
        if fields.get("msgid"):
            texts = [text for name, text in fields.items() if name.startswith("msgstr")]
            fuzzy = any(line.startswith("#,") and "fuzzy" in line for line in block.splitlines())
            key = Key(fields.get("msgctxt", ""), fields["msgid"])
            found.append(Entry(key, fields.get("msgid_plural", ""), texts, fuzzy))
    return found


def used() -> set[Key]:
    """Return the texts in our packages and templates."""
    found: set[Key] = set()
    for folder in SOURCES:
        for path in folder.rglob("*.py"):
            found.update(in_python(path))
    for folder in (ROOT, *SOURCES):
        for path in (folder / "templates").rglob("*.*"):
            found.update(in_template(path))
    return found


def in_python(path: Path) -> Iterator[Key]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            takes = CALLS.get(getattr(node.func, "id", getattr(node.func, "attr", "")), "")
            arguments = node.args[: len(takes)]
            assert all(isinstance(argument, ast.Constant) for argument in arguments), (
                f"{path}:{node.lineno}: only a literal can be collected"
            )
            if takes:
                yield made_of(takes, [argument.value for argument in arguments if isinstance(argument, ast.Constant)])


def in_template(path: Path) -> Iterator[Key]:
    for name, literals in IN_TEMPLATE.findall(templatize(path.read_text(encoding="utf-8"), origin=str(path))):
        texts = ast.literal_eval(f"({literals.rstrip().rstrip(',')},)")
        yield made_of(CALLS[name], texts)


def made_of(takes: str, texts: Iterable[object]) -> Key:
    given = dict(zip(takes, texts, strict=False))
    return Key(str(given.get("c", "")), str(given["s"]))


def named(path: Path) -> str:
    return path.relative_to(ROOT / "locale").parts[0] + "-" + path.parent.parent.name


every_catalogue = pytest.mark.parametrize("path", CATALOGUES, ids=named)


def test_a_text_is_in_the_active_language() -> None:
    """A text is translated to the active language."""
    with translation.override("zh-hans"):
        assert gettext("Log in") == "登录"
    with translation.override("en"):
        assert gettext("Log in") == "Log in"


def test_every_string_is_translated() -> None:
    """Every text of a package or template is in the catalogue; `make messages` adds it."""
    assert used() - {entry.key for entry in entries(OURS)} == set()


def test_no_unused_text_is_kept() -> None:
    """The catalogue has no unused text; `make messages` removes it."""
    assert {entry.key for entry in entries(OURS)} - used() == set()


@every_catalogue
def test_no_translation_is_empty_or_fuzzy(path: Path) -> None:
    """Each text has a checked translation."""
    assert [entry.key for entry in entries(path) if entry.fuzzy or not all(entry.texts)] == []


@every_catalogue
def test_placeholders_are_kept(path: Path) -> None:
    """A translation has exactly the placeholders of its text."""

    def fields(text: str) -> Counter[str]:
        return Counter(PLACEHOLDER.findall(text))

    wrong = [
        (text, entry.plural or entry.key.singular)
        for entry in entries(path)
        for text in entry.texts
        if fields(text) != fields(entry.plural or entry.key.singular)
    ]
    assert wrong == []


@every_catalogue
def test_the_compiled_catalogue_is_in_step(path: Path) -> None:
    """The .mo file has exactly the texts of the .po file; `make messages` compiles it."""
    data = path.with_suffix(".mo").read_bytes()
    assert struct.unpack("<2I", data[:4] + data[8:12]) == (0x950412DE, len(entries(path)) + 1)
    with path.with_suffix(".mo").open("rb") as file:
        compiled = stdlib.GNUTranslations(file)
    for key, plural, texts, _fuzzy in entries(path):
        match bool(key.context), bool(plural):
            case True, True:
                assert compiled.npgettext(key.context, key.singular, plural, 2) == texts[-1]
            case True, False:
                assert compiled.pgettext(*key) == texts[0]
            case False, True:
                assert compiled.ngettext(key.singular, plural, 2) == texts[-1]
            case _:
                assert compiled.gettext(key.singular) == texts[0]


@every_catalogue
def test_chinese_uses_the_glossary(path: Path) -> None:
    """Each thing has one word in Chinese too."""
    if path.parent.parent.name == "zh_Hans":
        assert [text for entry in entries(path) for text in entry.texts if AVOIDED.search(text)] == []


def test_the_catalogues_are_used() -> None:
    """Every catalogue is where Django looks, ours before those for packages."""
    assert [ROOT / "locale", ROOT / "locale/packages"] == settings.LOCALE_PATHS


def test_texts_of_packages_exist() -> None:
    """Each text that we translate for a package exists in that package."""
    # Their catalogues of English hold every text; of DRF's only the translated ones are installed.
    english = [*Path(django.__file__).parent.rglob("en/LC_MESSAGES/django*.po")]
    english += Path(allauth.__file__).parent.rglob("en/LC_MESSAGES/django.po")
    known = {entry.key for path in english for entry in entries(path)}
    compiled = Path(rest_framework.__file__).parent / "locale/zh_Hans/LC_MESSAGES/django.mo"
    with compiled.open("rb") as file:
        drf = stdlib.GNUTranslations(file)
    for path in CATALOGUES:
        if path != OURS:
            unknown = [entry.key for entry in entries(path) if entry.key not in known]
            assert [key for key in unknown if drf.gettext(key.singular) == key.singular] == []


def test_pages_and_mails_of_packages_use_the_glossary() -> None:
    """What allauth's templates show has our words in Chinese too."""
    folder = Path(allauth.__file__).parent / "templates"
    shown = {key for name in ("account", "mfa") for path in (folder / name).rglob("*.*") for key in in_template(path)}
    assert len(shown) > 100
    with translation.override("zh-hans"):
        assert [key for key in shown if AVOIDED.search(gettext(key.singular))] == []


def test_a_page_is_in_the_active_language() -> None:
    """A page is rendered in the active language."""
    with translation.override("zh-hans"):
        assert "<h1>页面不存在</h1>" in render_to_string("404.html")
    with translation.override("en"):
        assert "<h1>This page does not exist</h1>" in render_to_string("404.html")


def test_a_refusal_is_translated_when_shown() -> None:
    """A refusal is translated when it is rendered, not when it is created."""
    refusal = QuotaExhausted()
    with translation.override("zh-hans"):
        assert refusal.body()["message"] == "该模型的额度已用完。邀请朋友可获得额外次数。"
    with translation.override("en"):
        assert str(refusal.body()["message"]).startswith("Your quota for this model is used up.")


@pytest.mark.parametrize(("count", "english"), [(1, "1 key is in use again."), (2, "2 keys are in use again.")])
def test_plurals_follow_the_language(count: int, english: str) -> None:
    """Chinese has one form for all numbers, English has two."""
    forms = ("%(count)d key is in use again.", "%(count)d keys are in use again.")
    with translation.override("zh-hans"):
        assert ngettext(*forms, count) % {"count": count} == f"已恢复使用 {count} 个密钥。"
    with translation.override("en"):
        assert ngettext(*forms, count) % {"count": count} == english


def test_texts_of_packages_use_our_translations() -> None:
    """Texts of Django and allauth use our translations, also where they have none."""
    with translation.override("zh-hans"), pytest.raises(ValidationError) as refused:
        validate_password("x7-q")
    assert refused.value.messages == ["密码太短，至少需要 10 个字符。"]
    with translation.override("zh-hans"):
        assert gettext("Sign Out") == "退出登录"
    with translation.override("en"):
        assert gettext("Sign Out") == "Log out"

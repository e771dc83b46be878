"""Lists of sensitive words as files: one word per line, or CSV with a header."""

import codecs
import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from chat.screening import folding
from chat.screening.models import MOST_CHARS, MOST_REPLACEMENT_CHARS, Action, ListVersion, SensitiveWord
from chat.screening.schemas import ImportedWords
from web import spreadsheets

COLUMNS = ("word", "action", "scope", "category", "enabled", "replacement", "groups")
MOST_CATEGORY_CHARS = 50
# Words in the list at most, because every process compiles all of them.
MOST_WORDS = 500_000
# Rejected lines after which the whole file is refused.
MOST_REJECTED = 20_000
# Rows stored in one transaction; other writers run in between.
BATCH = 1_000
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_FLAGS = {"": True, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

Values = Mapping[str, str]
Line = tuple[int, Values]


class NotAList(Exception):  # noqa: N818
    """The whole file is refused; the user sees the reason."""


class NotAWord(Exception):  # noqa: N818
    """One line is refused."""


def text_of(data: bytes) -> str:
    """Decode a file by its byte order mark, else as UTF-8 or GB 18030."""
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    for encoding in (marked,) if marked else ("utf-8", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise NotAList(_("The file is not text in UTF-8 or GB 18030."))


def plain_lines(text: str, defaults: Values) -> Iterator[Line]:
    """Yield the numbered lines of a plain list, with `defaults` for the other columns."""
    return ((number, {**defaults, "word": line}) for number, line in enumerate(_lines(text), 1))


def csv_lines(text: str) -> Iterator[Line]:
    """Yield the rows of a CSV file by the columns of its header."""
    rows = csv.reader(_lines(text))
    try:
        columns = [name.strip().lower() for name in next(rows, [])]
        if "word" not in columns or not set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
            raise NotAList(_("The first line must name the columns: word,action,scope,category."))
        for row in rows:
            texts = map(spreadsheets.text_of, row)
            yield rows.line_num, dict(zip([*columns, "too_many"], texts, strict=False))
    except csv.Error as error:
        raise NotAList(_("The file is not valid CSV.")) from error


def is_csv(text: str) -> bool:
    """Whether the first line of a text is our CSV header."""
    first = next(_lines(text), "").lower().split(",")
    return len(first) > 1 and "word" in (name.strip(' "\r\n') for name in first)


def _lines(text: str) -> Iterator[str]:
    """Yield lines one by one, because a list of them would need much memory."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def add(lines: Iterable[Line]) -> ImportedWords:
    """Store the new words and leave existing ones unchanged. Repeating is safe.

    Nothing is stored if NotAList is raised. A database error may leave a part of the list stored.
    """
    report: ImportedWords = {"created": 0, "duplicates": 0, "rejected": []}
    known_lines, new = set[str](), dict[str, SensitiveWord]()
    known_groups, groups = dict(Group.objects.values_list("name", "pk")), dict[str, set[int]]()
    for number, values in lines:
        # Folding is slow, so a repeated line is recognised before it.
        if (raw := values.get("word", "")) in known_lines:
            report["duplicates"] += 1
            continue
        try:
            word, limited = _word(values), _groups(values, known_groups)
        except NotAWord as refusal:
            report["rejected"].append({"line": number, "reason": str(refusal)})
            if len(report["rejected"]) > MOST_REJECTED:
                raise NotAList(_("Too many lines are not valid words.")) from refusal
            continue
        known_lines.add(raw)
        report["duplicates"] += word.key in new
        if limited and word.key not in new:
            groups[word.key] = limited
        new.setdefault(word.key, word)
    count = SensitiveWord.objects.count() + len(new)
    if count > MOST_WORDS:
        count -= sum(SensitiveWord.objects.filter(key__in=keys).count() for keys in _batches(new))
        if count > MOST_WORDS:
            raise NotAList(_("The list may have at most %(most)s words.") % {"most": MOST_WORDS})
    for keys in _batches(new):
        created = SensitiveWord.objects.add_new([new[key] for key in keys], groups)
        report["created"] += created
        report["duplicates"] += len(keys) - created
    ListVersion.publish_change()
    return report


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    left = iter(keys)
    while batch := list(islice(left, BATCH)):
        yield batch


def _word(values: Values) -> SensitiveWord:
    text, category = values.get("word", "").strip(), values.get("category", "").strip()
    key = folding.key(text)
    if not text:
        raise NotAWord(_("empty"))
    if len(text) > MOST_CHARS:
        raise NotAWord(_("longer than %(most)s characters") % {"most": MOST_CHARS})
    if not key:
        raise NotAWord(_("no visible characters"))
    replacement = values.get("replacement", "").strip()
    if "\0" in text + category + replacement:
        raise NotAWord(_("contains a NUL character"))
    if len(category) > MOST_CATEGORY_CHARS:
        raise NotAWord(_("category longer than %(most)s characters") % {"most": MOST_CATEGORY_CHARS})
    if len(replacement) > MOST_REPLACEMENT_CHARS:
        raise NotAWord(_("replacement longer than %(most)s characters") % {"most": MOST_REPLACEMENT_CHARS})
    if "too_many" in values:
        raise NotAWord(_("more fields than columns"))
    action = _choice(values, "action", SensitiveWord.Action.values, SensitiveWord.Action.BLOCK)
    if action == Action.REPLACE and not replacement:
        raise NotAWord(_("no replacement"))
    scope = _choice(values, "scope", SensitiveWord.Scope.values, SensitiveWord.Scope.BOTH)
    enabled = _FLAGS[_choice(values, "enabled", _FLAGS, "1")]
    rule = {"action": action, "scope": scope, "category": category, "replacement": replacement, "enabled": enabled}
    return SensitiveWord(word=text, key=key, **rule)


def _groups(values: Values, known: Mapping[str, int]) -> set[int]:
    """Return the ids of the groups that a line names."""
    names = {name.strip() for name in next(csv.reader([values.get("groups", "")], delimiter=";"), [])} - {""}
    for name in names - known.keys():
        raise NotAWord(_("unknown group “%(name)s”") % {"name": name})
    return {known[name] for name in names}


def _choice(values: Values, name: str, choices: Iterable[str], default: str) -> str:
    value = values.get(name, "").strip().lower() or default
    if value not in choices:
        raise NotAWord(_("unknown %(column)s") % {"column": name})
    return value


def _joined(names: list[str]) -> str:
    """Return names parted by semicolons, with quotes around those that contain one."""
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="").writerow(names)
    return out.getvalue()


def as_csv(words: Iterable[SensitiveWord]) -> str:
    """Write a CSV list for `add`, with the byte order mark that spreadsheets need."""
    groups = defaultdict[int, list[str]](list)
    through = SensitiveWord.groups.through.objects.order_by("group__name")
    for word_id, name in through.values_list("sensitiveword_id", "group__name"):
        groups[word_id].append(name)
    rows = (
        [
            *(word.word, word.action, word.scope, word.category, int(word.enabled), word.replacement),
            _joined(groups[word.pk]) if word.pk in groups else "",
        ]
        for word in words
    )
    out = io.StringIO()
    csv.writer(out).writerows([COLUMNS, *(map(spreadsheets.cell, row) for row in rows)])
    return "\ufeff" + out.getvalue()

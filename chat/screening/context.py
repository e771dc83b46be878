"""The text around a hit, as much of it as staff need to judge it.

Nothing is stored for this: it is read from the conversation while that exists. Texts of refused prompts were never
stored, unless HIT_EXCERPT_CHARS lets their hits keep an excerpt.
"""

from typing import NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from chat.apps import chat
from chat.models import Generation, Hit, SensitivePattern, SensitiveWord
from chat.screening.edits import MASK

# Characters shown on each side of what was found.
SHOWN_CHARS = 400
# Hits whose categories are looked at, because the moderation service has its own.
LATEST = 1_000
# Characters of a text that are searched for the place.
SEARCHED_CHARS = 200_000
_TITLES = {
    "prompt": gettext_lazy("Prompt"),
    "system": gettext_lazy("System prompt"),
    "completion": gettext_lazy("Completion"),
    "reasoning": gettext_lazy("Reasoning"),
}
Place = tuple[int, int]


class Shown(NamedTuple):
    """A part of a text: what was found, and the text around it."""

    title: str
    before: str
    found: str
    after: str
    begins: bool
    ends: bool


def categories() -> list[str]:
    """Return the names of categories in use, and of the latest hits."""
    latest = Hit.objects.order_by("-pk").values_list("category", flat=True)[:LATEST]
    found = set(latest) - {""}
    for rules in (SensitiveWord, SensitivePattern):
        found.update(rules.objects.order_by().exclude(category="").values_list("category", flat=True).distinct())
    return sorted(found)


def texts_around(hit: Hit) -> list[Shown]:
    """Return the parts of the texts in which the hit is.

    Where its place is unknown, this is the beginning of the likely text.
    """
    if hit.excerpt:
        return [_around(_("Refused prompt"), hit.excerpt, _place(hit, hit.excerpt) or (0, 0))]
    texts = {name: text for name, text in _texts(hit).items() if text}
    places = {name: place for name, text in texts.items() if (place := _place(hit, text))}
    # Without a place, the first text is the likely one.
    shown = places or dict.fromkeys(list(texts)[:1], (0, 0))
    return [_around(str(_TITLES[name]), texts[name], place) for name, place in shown.items()]


def _texts(hit: Hit) -> dict[str, str]:
    related = ("message__parent", "part_of__parent", "conversation")
    row = Generation.objects.select_related(*related).filter(pk=hit.generation_id).first()
    if row is None:
        return {}
    if hit.direction == Hit.Direction.OUTPUT:
        return dict(zip(("completion", "reasoning"), row.texts(), strict=True))
    message = row.text_message()
    question = message.parent if message else None
    system_prompt = row.conversation.system_prompt if row.conversation else ""
    return {"prompt": question.content if question else "", "system": system_prompt}


def _place(hit: Hit, text: str) -> Place | None:
    """Return where a hit is in a stored text, by today's words or the mask."""
    if hit.source != Hit.Source.SERVICE:
        words = chat().words.for_user(hit.user_id).current
        lexicon = words.incoming if hit.direction == Hit.Direction.INPUT else words.outgoing
        for match in lexicon.find(text[:SEARCHED_CHARS]):
            if (match.term.source, match.term.id) == (hit.source, hit.word_id):
                return match.start, match.end + 1
    if hit.source == Hit.Source.WORD:
        word = SensitiveWord.objects.filter(pk=hit.word_id).values_list("word", flat=True).first()
        mask = MASK * len(word or "")
        if mask and (at := text.find(mask, 0, SEARCHED_CHARS)) >= 0:
            return at, at + len(mask)
    if hit.direction == Hit.Direction.OUTPUT and hit.action == Hit.Action.BLOCK:
        return len(text), len(text)  # it was cut there
    return None


def _around(title: str, text: str, place: Place) -> Shown:
    start, end = place
    first, last = max(0, start - SHOWN_CHARS), min(len(text), end + SHOWN_CHARS)
    return Shown(title, text[first:start], text[start:end], text[end:last], first == 0, last == len(text))

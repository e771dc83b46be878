"""Go on with a message whose completion ended early.

The upstream gets the branch with the unfinished turn, and then an instruction that is not stored. All vendors take
that, while several refuse a prompt that ends with a turn of the assistant. The continuation begins where the last
characters can be the beginning of a sensitive word: these are screened together with what follows.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext_lazy as _

from chat import sources, storage
from chat.errors import Conflict, PromptTooLong
from chat.generations import prompt
from chat.models import Generation, Message
from chat.screening.folding import start_of_letters
from chat.screening.lexicon import Lexicon
from chat.screening.stream import Screen
from providers.wire.base import PromptMessage, estimate_tokens, message_tokens, prompt_tokens
from providers.wire.sources import MAX_SOURCES
from providers.wire.turns import joined
from web.refusals import NotFound

INSTRUCTION = (
    "Continue your last message exactly where it stopped, even in the middle of a word, a sentence, a list or a code"
    " block, in the same language and format. Do not repeat any of it, and do not add an introduction or a comment."
)
# Characters of the earlier text that are screened again: more than a sensitive word with all separators can have.
SEAM_CHARS = 2_000
# Tokens of the unfinished turn that the upstream gets at least; with less it could not continue.
MIN_PARTIAL_TOKENS = 64
# Characters that the estimate counts as one token at most.
CHARS_PER_TOKEN = 4

Turns = list[PromptMessage]


class NotContinuable(Conflict):
    text = _("Only an answer that ended early can be continued.")


def find(user_id: int, message_id: int) -> Message:
    """Return a user's message that a generation may continue; raise NotFound or NotContinuable."""
    own = Message.objects.filter(conversation__user_id=user_id, role=Message.Role.ASSISTANT)
    message = own.select_related("conversation", "generation").filter(id=message_id).first()
    if message is None:
        raise NotFound
    if not _ended_early(getattr(message, "generation", None)):
        raise NotContinuable
    return message


def _ended_early(row: Generation | None) -> bool:
    """Return whether a message's latest generation can be continued.

    A continuation that failed can be, because the text before it ended early.
    """
    if row is None or row.status == Generation.Status.RUNNING:
        return False
    failed_again = row.status == Generation.Status.FAILED and row.is_continuation
    return failed_again or row.status == Generation.Status.INTERRUPTED or row.finish_reason in {"length", "cancelled"}


def seam_start(lexicon: Lexicon, text: str) -> int:
    """Return where the last characters begin that can be the beginning of a sensitive word.

    They begin where a word may: the end of "grass" is not taken for a word of its own.
    """
    if lexicon.empty:
        return len(text)
    tail = text[-SEAM_CHARS:]
    # A word that was listed after the text had been shown must not end all continuations of it.
    start = max((match.end + 1 for match in lexicon.find(tail)), default=0)
    screen = Screen(lexicon)
    screen.feed(tail[start:], lexicon)
    begins = len(tail) - screen.holding if screen.is_holding else start_of_letters(tail, start)
    return len(text) - len(tail) + begins


def begin(message: Message, lexicon: Lexicon) -> tuple[dict[str, Any], str]:
    """Take the message over; return its new generation's fields, and the characters repeated."""
    earlier: Generation = message.generation
    start = seam_start(lexicon, message.content)
    fields = earlier.hand_over(message, content_from=start)
    earlier.save(update_fields=["message", "part_of", "content_until", "reasoning_until"])
    return fields, message.content[start:]


def turns(given: Turns) -> Turns:
    """Return the prompt's turns for a branch that ends with the message.

    A message without text has nothing to go on with, so its prompt is sent once more.
    """
    return [*given, PromptMessage("user", INSTRUCTION)] if given[-1].content.strip() else given[:-1]


def build(
    context_tokens: int, parameters: Mapping[str, Any], system_prompt: str, given: Turns
) -> tuple[tuple[PromptMessage, ...], dict[str, Any]]:
    """Return messages and parameters to send, with only the end of a long unfinished turn."""
    if given[-1] != PromptMessage("user", INSTRUCTION):
        return prompt.build(context_tokens, parameters, system_prompt, given)
    *earlier, partial, instruction = given
    room = prompt.room(context_tokens, parameters)
    needed = [PromptMessage("system", system_prompt), *_question(earlier), instruction]
    left = context_tokens - room - prompt_tokens(needed) - message_tokens(PromptMessage("assistant", ""))
    if left < min(MIN_PARTIAL_TOKENS, estimate_tokens(partial.content)):
        raise PromptTooLong
    sent, capped = prompt.build(
        context_tokens,
        parameters,
        system_prompt,
        [*earlier, replace(partial, content=_end_of(partial.content, left)), instruction],
    )
    # Joined here, because a prompt that must stay whole is sent as it is.
    return joined(sent), capped


def _question(earlier: Turns) -> list[PromptMessage]:
    """Return the turns from the last prompt on."""
    prompts = [place for place, turn in enumerate(earlier) if turn.role == "user"]
    return earlier[prompts[-1] if prompts else 0 :]


def _end_of(text: str, tokens: int) -> str:
    """Return the end of a text that has at most so many tokens."""
    text = text[-tokens * CHARS_PER_TOKEN :]
    while (surplus := estimate_tokens(text) - tokens) > 0:
        text = text[max(1, surplus) :]
    return text


def stored(row: Generation, part: Mapping[str, Any], *, is_cut: bool) -> tuple[dict[str, Any], int]:
    """Return the message's fields with this part, and by how many bytes they grow.

    A part that is cut before a sensitive word also takes the word's beginning in the earlier text away. The user's
    other writers wait until this transaction ends.
    """
    storage.lock(row.user_id)
    message = Message.objects.filter(pk=row.message_id or 0).first()
    if message is None:
        return dict(part), 0
    content, reasoning = row.whole(message, part["content"], part["reasoning"])
    if is_cut:
        content = content[: row.content_from + len(part["content"])]
    seconds = [value for value in (message.reasoning_seconds, part["reasoning_seconds"]) if value is not None]
    cited = _merged(message.sources, part["sources"])
    whole = {
        "content": content,
        "reasoning": reasoning,
        "sources": cited,
        "reasoning_seconds": sum(seconds) if seconds else None,
    }
    size = storage.size_of(content, reasoning, cited)
    return whole, size - storage.size_of(message.content, message.reasoning, message.sources)


def _merged(old: str, new: str) -> str:
    """Return both lists of pages as one."""
    pages = {page["url"]: page for page in [*sources.decode(old), *sources.decode(new)]}
    return sources.encode(list(pages.values())[:MAX_SOURCES])

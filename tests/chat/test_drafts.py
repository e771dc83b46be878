"""Drafts: a write stores only new text, and their readers find all of it, on both databases."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chat.generations import drafts, finish, left_drafts
from chat.generations.drafts import Draft
from chat.generations.models import DraftPiece, NewPiece
from chat.models import Conversation, Generation, Message, StorageUse
from runtime import database
from tests import factories, servers

# What an end without a charge stores.
ENDED: dict[str, Any] = {"status": "interrupted", "charge": {"amount": 0}}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def user(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Any]:
    """A user in each of the databases."""
    if request.param == "sqlite":
        request.getfixturevalue("db")
        yield factories.user()
        return
    server: servers.Postgres = request.getfixturevalue("postgres")
    with django_db_blocker.unblock(), servers.connected(server.migrated_database()):
        yield factories.user()


def running(user: Any, *, kept: bool = True, **values: Any) -> Generation:
    """Return a running generation of a user, with a message if it is kept."""
    model = factories.chat_model(None, of=factories.quota(daily_limit=5))
    if kept:
        conversation = Conversation.objects.create(user=user, title="x")
        message = Message.objects.create(conversation=conversation, role="assistant", content="", model="m")
        values |= {"conversation": conversation, "message": message}
    return factories.generation(user, model, **values)


def write(draft: Draft) -> list[str]:
    """Store what a draft lacks, as a flush does."""
    version, piece = draft.version, draft.new_piece()
    ended = drafts.save([piece])
    draft.note_stored(piece, version)
    return ended


def stored(row: Generation) -> tuple[str, str]:
    (found,) = drafts.current(Generation.objects.filter(id=row.id))
    return found.texts()


def pieces() -> list[tuple[str, str]]:
    return list(DraftPiece.objects.order_by("number").values_list("content", "reasoning"))


def test_a_write_stores_the_new_text(user: Any) -> None:
    """Pieces are the new text, readers get the whole; withdrawn text is gone, and so are its pieces."""
    row = running(user)
    draft = Draft(row.id)
    draft.add_reasoning("Hm")
    write(draft)
    for text in ("It ", "works."):
        draft.add_content(text)
        write(draft)
    assert pieces() == [("", "Hm"), ("It ", ""), ("works.", "")]
    assert stored(row) == ("It works.", "Hm")

    draft.withdraw()
    write(draft)
    assert (pieces(), stored(row)) == ([], ("", ""))
    draft.add_content("Hm\n")
    write(draft)
    draft.rethink()
    draft.add_content("New")
    write(draft)
    assert (pieces(), stored(row)) == ([("New", "Hm\n")], ("New", "Hm\n"))


def test_a_write_after_a_failure(user: Any) -> None:
    """A write that may have been stored is repeated with what came since, and nothing is there twice."""
    row = running(user)
    draft = Draft(row.id)
    draft.add_content("It ")
    drafts.save([draft.new_piece()])  # its result was lost
    draft.add_content("works.")
    write(draft)
    draft.add_content("!")
    write(draft)
    assert (pieces(), stored(row)) == ([("It works.", ""), ("!", "")], ("It works.!", ""))


def test_text_withdrawn_during_a_write(user: Any) -> None:
    """Text that is withdrawn while it is being stored is replaced by the next write."""
    row = running(user)
    draft = Draft(row.id)
    draft.add_content("void")
    version, piece = draft.version, draft.new_piece()
    draft.withdraw()
    draft.add_content("good")
    drafts.save([piece])
    draft.note_stored(piece, version)
    write(draft)
    assert stored(row) == ("good", "")


def test_text_and_last_event_belong_together(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece that is stored between the reads of a row and of its pieces gives no reader the text twice."""
    row, texts, late = running(user), DraftPiece.texts, [NewPiece("", 1, 2, "works.", "")]
    drafts.save([NewPiece(row.id, 0, 1, "It ", "")])

    def texts_after_a_write(generations: Any) -> Any:
        drafts.save([replace(piece, generation=row.id) for piece in late])
        late.clear()
        return texts(generations)

    monkeypatch.setattr(DraftPiece, "texts", texts_after_a_write)
    (found,) = drafts.current(Generation.objects.filter(id=row.id))
    assert (found.last_event, found.content) == (2, "It works.")


def test_the_end_of_a_dead_process(user: Any) -> None:
    """The reaper keeps all text of the draft, and deletes the pieces."""
    row = running(user)
    for number, text in enumerate(("It ", "works.")):
        drafts.save([NewPiece(row.id, number, number + 1, text, "")])
    (found,) = drafts.current(Generation.objects.filter(id=row.id))
    ended = finish.store(finish.of_stored(found, "interrupted", error={"code": "interrupted"}))
    assert (ended.status, ended.last_event) == ("interrupted", finish.RESUME_JUMP + 2)
    assert Message.objects.get(pk=row.message_id).content == "It works."
    assert (pieces(), stored(row)) == ([], ("It works.", ""))


def test_nothing_is_stored_after_the_end(user: Any) -> None:
    """The owner learns that its generation has ended; text of others is stored."""
    ended, row = running(user, kept=False, **ENDED), running(user, kept=False)
    found = drafts.save([NewPiece(ended.id, 0, 1, "late", ""), NewPiece(row.id, 0, 1, "text", "")])
    assert (found, stored(row)) == ([ended.id], ("text", ""))
    assert not DraftPiece.objects.filter(generation_id=ended.id).exists()


def test_messages_have_the_draft(user: Any) -> None:
    """A message whose generation runs shows its draft; one that ends meanwhile is read again."""
    row = running(user)
    drafts.save([NewPiece(row.id, 0, 1, "text", "")])
    (message,) = Message.objects.filter(pk=row.message_id).select_related("generation")
    drafts.fill_messages([message])
    assert message.generation.content == "text"

    (message,) = Message.objects.filter(pk=row.message_id).select_related("generation")
    drafts.fill([row])
    finish.store(finish.of_stored(row, "completed", finish_reason="cancelled"))
    drafts.fill_messages([message])
    assert (message.content, message.generation.status) == ("text", "completed")


@pytest.mark.parametrize("kept", [True, False])
def test_what_the_previous_release_left(user: Any, kept: bool) -> None:
    """Text that such a process lost at the end of another one's generation is restored and counted, once."""
    row = running(user, kept=kept)
    drafts.save([NewPiece(row.id, 0, 1, "It works.", "Hm")])
    Generation.objects.filter(id=row.id).update(**ENDED)
    left_drafts.restore()
    left_drafts.restore()
    assert (pieces(), stored(row)) == ([], ("It works.", "Hm"))
    use = StorageUse.objects.get(user_id=user.pk)
    assert use.conversations + use.unkept == len("It works.Hm")


def test_left_pieces_of_whole_texts_are_deleted(user: Any) -> None:
    """Text that is stored already stays as it is, and pieces of deleted generations go."""
    row = running(user, kept=False, content="whole", **ENDED)
    DraftPiece.objects.create(generation_id=row.id, number=0, content="wh", reasoning="")
    DraftPiece.objects.create(generation_id="0" * 32, number=0, content="gone", reasoning="")
    left_drafts.restore()
    assert (pieces(), stored(row)) == ([], ("whole", ""))


def test_a_flush_that_fails_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts that could not be stored stay dirty; those that have ended are left out."""

    async def broken(*_given: object) -> None:
        raise OSError

    draft, ended = Draft("a"), Draft("b")
    draft.add_content("x")
    ended.add_content("x")
    ended.closed = True
    monkeypatch.setattr(database, "run", broken)
    with pytest.raises(OSError):
        asyncio.run(drafts.flush([draft, ended]))
    assert (draft.dirty, draft.new_piece().content, ended.written) == (True, "x", False)

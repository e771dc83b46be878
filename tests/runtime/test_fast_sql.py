"""Rows written and read with cached SQL are equal to those of the ORM."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.forms.models import model_to_dict

from accounts.models import User
from chat.models import Conversation, Generation, Message, new_generation_id
from quotas.models import Reservation
from runtime import fast_sql
from tests import factories, servers

ODD = "Grüße, 你好 \U0001f600 100% %s \"quoted\" 'text' \\ \n; --"
pytestmark = pytest.mark.server


@pytest.fixture(params=["sqlite", "postgresql"])
def user(request: pytest.FixtureRequest, tmp_path: Any, django_db_blocker: Any) -> Iterator[User]:
    """A user in a new database of each kind."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").migrated_database()
    else:
        url = servers.migrated_sqlite(tmp_path)
    with django_db_blocker.unblock(), servers.connected(url):
        yield factories.user("alice")


def columns(row: Any) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_an_inserted_row_is_found_by_the_orm(user: User) -> None:
    """The ORM finds an inserted row with equal columns and relations."""
    conversation = fast_sql.insert(Conversation(user=user, title=ODD[:20], system_prompt=ODD, pinned=True))
    question = fast_sql.insert(Message(conversation=conversation, role="user", content=ODD))
    response = fast_sql.insert(Message(conversation=conversation, parent_id=question.id, role="assistant", model="m"))
    for row in (conversation, question, response):
        assert columns(row) == columns(type(row).objects.get(pk=row.pk))
        assert not row._state.adding
    assert response.parent == question
    question.content = "changed"
    question.save()
    assert Message.objects.get(pk=question.pk).content == "changed"


def test_a_new_row_is_that_of_the_constructor(user: User) -> None:
    """It has equal columns, defaults and relations, is stored as one of the ORM, and can be changed there."""
    conversation = fast_sql.insert(fast_sql.new(Conversation, user=user, title="t"))
    values = {"conversation": conversation, "role": "user", "created_at": conversation.created_at}
    row, expected = fast_sql.new(Message, **values), Message(**values)
    assert columns(row) == columns(expected)
    assert row._state.adding
    assert row.conversation is conversation
    assert row.attached == expected.attached
    row.content = ODD
    row.save()
    assert columns(row) == columns(Message.objects.get(pk=row.pk))
    assert fast_sql.new(Generation).pk != fast_sql.new(Generation).pk  # functions run each time


def test_update_changes_exactly_the_matching_rows(user: User) -> None:
    """Only the rows of the condition change, each kind of column as the ORM writes it."""
    generation = _generation(user)
    other = _generation(user)
    before = columns(Generation.objects.get(pk=other.pk))
    values = {"status": "failed", "error": {"code": ODD}, "charge": {"amount": 0}, "input_tokens": None}
    assert fast_sql.update(Generation, values, "id = %s AND status = 'running'", [generation.pk]) == 1
    assert fast_sql.update(Generation, values, "id = %s AND status = 'running'", [generation.pk]) == 0
    stored = Generation.objects.get(pk=generation.pk)
    assert {name: getattr(stored, name) for name in values} == values
    assert columns(Generation.objects.get(pk=other.pk)) == before
    assert Generation.objects.filter(input_tokens=None, error__isnull=False).count() == 1


def test_read_returns_the_orms_row(user: User) -> None:
    """A row is equal to the one that the ORM reads; a missing one is None."""
    for stored, known in (
        (fast_sql.read(User, user.pk), User.objects.get(pk=user.pk)),
        (fast_sql.read(User, str(user.pk)), User.objects.get(pk=user.pk)),
        (fast_sql.read(Generation, (row := _generation(user)).pk), Generation.objects.get(pk=row.pk)),
    ):
        assert stored
        assert columns(stored) == columns(known)
        assert model_to_dict(stored) == model_to_dict(known)
    assert fast_sql.read(User, 0) is fast_sql.read(User, None) is None


def test_constraints_raise_integrity_errors(user: User) -> None:
    """A violated constraint raises the same exception as the ORM."""
    first = _generation(user, idempotency_key="k")
    with pytest.raises(IntegrityError), transaction.atomic():
        _generation(user, idempotency_key="k")
    assert Generation.objects.get() == first


def _generation(user: User, **values: Any) -> Generation:
    row_id = new_generation_id()
    reservation = Reservation.objects.create(
        user=user, quota=factories.quota(), day=date(2026, 11, 21), source="daily", reference=row_id
    )
    owned = {"user": user, "quota": reservation.quota, "reservation": reservation, "model": "m", "process": "p"}
    return fast_sql.insert(Generation(id=row_id, **owned, **values))

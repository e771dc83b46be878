"""Fill a PostgreSQL database with users and what they leave behind, by `generate_series`."""

from dataclasses import dataclass
from typing import Any

from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models import NOT_PROVIDED, Model

from accounts.models import ApiToken, User
from chat.models import Conversation, Generation, Hit, Message, SensitiveWord
from quotas.models import (
    CreditBalance,
    DailyUsage,
    Invitation,
    LedgerEntry,
    Quota,
    RedeemBatch,
    RedeemCode,
    Reservation,
)

# What a column without a value of its own gets, by the type of its field; `n` counts the rows.
_OF_TYPE = {
    "CharField": "''",
    "TextField": "''",
    "SlugField": "''",
    "EmailField": "''",
    "BooleanField": "false",
    "DateTimeField": "now() - n * interval '17 seconds'",
    "DateField": "current_date - n % 300",
    "JSONField": "'{}'::jsonb",
}


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows of the largest kinds there are; the others follow from these."""

    users: int
    conversations: int
    entries: int


def fill(size: Size) -> None:
    """Fill all tables that grow with use. The database may hold what `setup` stores, and no user."""
    quota, word = Quota.objects.create(slug="filled", title="Filled"), SensitiveWord.objects.first()
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SET synchronous_commit = off")
    users, entries = size.users, size.entries
    user, before = f"1001 + n % {users}", f"1001 + (n + 7) % {users}"
    name = "'person' || n"
    _insert(User, users, id="1000 + n", username=name, email=f"{name} || '@example.org'",
            invite_code="lpad(to_hex(n), 10, '0')", is_active="true")  # fmt: skip
    _insert(EmailAddress, users, user_id=user, email=f"{name} || '@example.org'", verified="true", primary="true")
    _insert(ApiToken, users, user_id=user, name="'laptop ' || n", digest="lpad(to_hex(n), 64, '0')")
    if apps.is_installed("allauth.usersessions"):  # the previous release has no such table
        sessions = apps.get_model("usersessions", "UserSession")
        _insert(sessions, users, user_id=user, ip="'10.0.0.1'::inet", session_key="to_hex(n)")
    _insert(Conversation, size.conversations, user_id=user, title="'Talk ' || n || ' about ' || md5(n::text)")
    _insert(Message, 2 * size.conversations, conversation_id=f"1 + n / 2 % {size.conversations}", role="'user'",
            content="'question ' || n")  # fmt: skip
    _insert(Reservation, entries, user_id=user, quota_id=quota.pk, source="'daily'", status="'settled'",
            reference="lpad(to_hex(n), 32, '0')", ended_at="now()")  # fmt: skip
    _insert(LedgerEntry, entries, user_id=user, quota_id=quota.pk, source="'daily'", amount="-1",
            reason="CASE WHEN n % 10 = 0 THEN 'manual' ELSE 'stop' END",
            reference="lpad(to_hex(n), 32, '0')")  # fmt: skip
    _insert(LedgerEntry, users, user_id=user, quota_id=quota.pk, source="'credit'", amount="5", reason="'gift ' || n")
    _insert(Generation, size.conversations, id="lpad(to_hex(n), 32, '0')", user_id=user, reservation_id="n",
            quota_id=quota.pk, conversation_id="n", model="'model' || n % 5", upstream="'up' || n % 3",
            status="'completed'", finish_reason="'stop'", finished_at="now()", language="'en'",
            charge="""'{"amount": 1, "source": "daily"}'::jsonb""")  # fmt: skip
    _insert(DailyUsage, users, user_id=user, quota_id=quota.pk, used="3")
    _insert(CreditBalance, users, user_id=user, quota_id=quota.pk, credits="5")
    _insert(Invitation, users // 2, inviter_id=user, invited_id=before, status="'pending'")
    _insert(RedeemBatch, users // 100, note="'batch ' || n")
    _insert(RedeemCode, users, batch_id=f"1 + n % {users // 100}", quota_id=quota.pk, credits="5",
            code="upper(lpad(to_hex(n), 20, '0'))")  # fmt: skip
    _insert(SensitiveWord, users // 5, word="'bad' || n", key="'bad' || n", action="'block'", scope="'both'")
    word = SensitiveWord.objects.order_by("pk").last()
    hit = {"user_id": user, "word_id": word.pk if word else 0, "direction": "'input'"}
    if hasattr(Hit, "verdict"):  # the previous release has no such column
        hit["verdict"] = "CASE WHEN n = 1 THEN 'confirmed' ELSE 'open' END"
    _insert(Hit, entries, **hit)
    _insert(LogEntry, users, user_id=user, object_repr="'row ' || n", action_flag="2", content_type_id="1")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _insert(table: type[Model], rows: int, /, **values: Any) -> None:
    """Insert so many rows; other columns get their default, null, or a value of their type."""
    columns, expressions = [], []
    for field in table._meta.concrete_fields:
        given = values.pop(field.column, None)
        if given is None and (field.primary_key or field.null):
            continue
        if given is None and field.has_default() and not callable(field.default) and field.default is not NOT_PROVIDED:
            given = _literal(field.default)
        columns.append(connection.ops.quote_name(field.column))
        expressions.append(str(given if given is not None else _OF_TYPE.get(field.get_internal_type(), "0")))
    assert not values, values
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table._meta.db_table} ({', '.join(columns)}) "
            f"SELECT {', '.join(expressions)} FROM generate_series(1, {rows}) AS rows(n)"
        )


def _literal(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return "'" + str(value).replace("'", "''") + "'"

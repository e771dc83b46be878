"""Count the bytes of texts and attachments that a user keeps.

This happens in the transaction that stores or deletes the texts.

`StorageUse` has one row per user. Each writer changes that row before the texts, so its lock orders all writers of one
user, and the sums stay exact. Push channels count their own bytes (`Channel.kept_bytes`); a check of the limit adds
them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypeVar, get_args

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Func, IntegerField, Model, QuerySet

T = TypeVar("T", bound=Model)

# Bytes that each conversation and each message counts beside its texts: about what an empty row takes on the disk.
ROW_BYTES = 200
# Bytes that stand for no limit.
NO_LIMIT = 2**62

# `conversations`: conversations and their messages. `unkept`: texts of ended generations without a conversation.
# `attachments`: each once, however many messages have it.
Kind = Literal["conversations", "unkept", "attachments"]
_KINDS: tuple[Kind, ...] = get_args(Kind)

_CHANNELS = "(SELECT COALESCE(SUM(kept_bytes), 0) FROM chat_channel WHERE user_id = %(user)s)"
# Plain SQL, because the ORM has no conditional upsert. `kind` is the column that grows; the others start with 0. Nearly
# all users have a row, so the cheaper UPDATE comes first: SQLite takes 64 KiB for an INSERT from a SELECT.
_INTO = "INSERT INTO chat_storageuse (user_id, conversations, unkept, attachments)"
_ROW = "%(user)s, {conversations}, {unkept}, {attachments}"
_GROW = "ON CONFLICT (user_id) DO UPDATE SET {kind} = chat_storageuse.{kind} + %(size)s"
_SUM = "chat_storageuse.conversations + chat_storageuse.unkept + chat_storageuse.attachments"
_UPDATE = "UPDATE chat_storageuse SET {kind} = {kind} + %(size)s WHERE user_id = %(user)s"
_ADD = f"{_INTO} VALUES ({_ROW}) {_GROW}"
_TAKE_AGAIN = f"{_UPDATE} AND {_SUM} + {_CHANNELS} + %(size)s <= %(limit)s"
_TAKE = f"""
{_INTO} SELECT {_ROW} WHERE {_CHANNELS} + %(size)s <= %(limit)s
{_GROW} WHERE {_SUM} + {_CHANNELS} + %(size)s <= %(limit)s
"""
_LOOK = f"""
SELECT COALESCE((SELECT {_SUM} FROM chat_storageuse WHERE user_id = %(user)s), 0) + {_CHANNELS}
"""  # noqa: S608 - made of our own names


def _by_kind(statement: str) -> Mapping[Kind, str]:
    """Return the statement for each kind, which alone grows."""
    return {
        kind: statement.format(kind=kind, **{each: "%(size)s" if each == kind else "0" for each in _KINDS})
        for kind in _KINDS
    }


_ADDS, _TAKES = (_by_kind(_UPDATE), _by_kind(_ADD)), (_by_kind(_TAKE_AGAIN), _by_kind(_TAKE))


class CountedRows(QuerySet[T]):
    """Rows of users whose bytes count in `StorageUse`."""

    kind: Kind = "conversations"

    def owned_by(self, user_id: int) -> Self:
        """Return a user's rows; all access for a caller starts here."""
        return self.filter(user_id=user_id)

    def stored_bytes(self) -> int:
        """Return what these rows count in `StorageUse`."""
        raise NotImplementedError

    def prepare_deletion(self) -> None:
        """Give the bytes back to the users, whose other writers wait from here on."""
        for user_id in sorted(set(self.values_list("user_id", flat=True))):
            lock(user_id)
            add(user_id, self.kind, -self.owned_by(user_id).stored_bytes())

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows, and give their bytes back to their users."""
        with transaction.atomic():
            self.prepare_deletion()
            return super().delete()


class Bytes(Func):
    """The bytes of a text column in UTF-8."""

    function = "OCTET_LENGTH"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)


def size_of(*texts: str) -> int:
    """Return the bytes of texts in UTF-8."""
    return sum([len(text.encode()) for text in texts])


def take(user_id: int, size: int, kind: Kind = "conversations") -> bool:
    """Count bytes that are about to be stored; return False if they exceed STORAGE_MIB_PER_USER."""
    return _change(_TAKES, kind, {"user": user_id, "size": size, "limit": _limit()})


def has_room(user_id: int, size: int) -> bool:
    """Return whether there is room for so many bytes, without counting anything."""
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, {"user": user_id})
        (used,) = cursor.fetchone()
    return bool(used + size <= _limit())


def add(user_id: int, kind: Kind, size: int) -> None:
    """Count bytes regardless of the limit, or give them back if `size` is negative."""
    if size:
        _change(_ADDS, kind, {"user": user_id, "size": size})


def lock(user_id: int) -> None:
    """Let the user's other writers wait until this transaction ends."""
    _change(_ADDS, "conversations", {"user": user_id, "size": 0})


def _change(statements: Sequence[Mapping[Kind, str]], kind: Kind, values: Mapping[str, int]) -> bool:
    """Return whether one of the statements changed the user's row; later ones are left out."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement[kind], values)
            if cursor.rowcount == 1:
                return True
    return False


def _limit() -> int:
    return int(settings.STORAGE_MIB_PER_USER * 2**20) or NO_LIMIT

"""Push channels for Python code: send, complete, error, open, and async twins prefixed with `a`.

Call them anywhere: in views and transactions (readers are woken after the commit; a rollback removes the message), in
threads, in management commands and workers. They raise InvalidRequest for an invalid user, key, event or data, and
ChannelEnded after the end. On an event loop use the async twins, because the others block on the database.
"""

import asyncio
import inspect
import json
import math
import re
from functools import partial
from typing import Any

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from chat.apps import chat
from chat.channels import store
from chat.channels.models import IDLE_SECONDS, Channel
from chat.channels.watch import OnEnd
from runtime import database
from runtime.apps import runtime
from web.refusals import InvalidRequest, TooLarge

log = structlog.get_logger("chat")

KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
EVENT = re.compile(r"[A-Za-z0-9_-]{1,100}")
# Bytes of one message's data in UTF-8, beyond which it is refused. HTTP bodies have the same limit.
MAX_DATA_BYTES = 2**20


def send(username: str, key: str, data: Any, event: str = "message") -> str:
    """Push a message to a user's channel, created if needed, and return the event's id.

    A string is sent unchanged except for NUL characters; other data as JSON, with Django's formats for dates, decimals
    and UUIDs.
    """
    return _publish(_serving_loop(), username, key, event, _text(data))


def complete(username: str, key: str) -> str:
    """End a channel for all its readers with a `complete` event."""
    return _publish(_serving_loop(), username, key, "complete", "{}", Channel.Ending.COMPLETE)


def error(username: str, key: str, message: str) -> str:
    """End a channel for all its readers with an `error` event that carries `message`."""
    return _publish(_serving_loop(), username, key, "error", _json({"message": message}), Channel.Ending.ERROR)


async def asend(username: str, key: str, data: Any, event: str = "message") -> str:
    return await _apublish(username, key, event, _text(data))


async def acomplete(username: str, key: str) -> str:
    return await _apublish(username, key, "complete", "{}", Channel.Ending.COMPLETE)


async def aerror(username: str, key: str, message: str) -> str:
    return await _apublish(username, key, "error", _json({"message": message}), Channel.Ending.ERROR)


def open(  # noqa: A001
    username: str, key: str, timeout_seconds: float = IDLE_SECONDS, on_end: OnEnd | None = None
) -> None:
    """Set a channel's idle limit, after which readers are disconnected, and watch how it ends.

    A thread of this process calls `on_end` once with "complete", "error" or "timeout", as long as the process lives; at
    once if the channel has already ended. A timeout ends the watch, not the channel: later messages are stored and
    replayed as usual.
    """
    if not 0 < timeout_seconds < math.inf:
        raise InvalidRequest(details={"timeout_seconds": [_("This value is not valid.")]})
    if inspect.iscoroutinefunction(on_end):
        raise TypeError("on_end must be a plain function, because a thread calls it")
    row = store.connect(_checked_user_id(username, key), key)
    row.timeout_seconds = timeout_seconds
    row.save(update_fields=["timeout_seconds"])
    if on_end is not None:
        transaction.on_commit(partial(chat().channels.ends.add, row.pk, row.last_event, timeout_seconds, on_end))
    _notify_on_commit(row.pk, _serving_loop())


async def aopen(username: str, key: str, timeout_seconds: float = IDLE_SECONDS, on_end: OnEnd | None = None) -> None:
    await database.run(open, username, key, timeout_seconds, on_end)


def _publish(
    loop: asyncio.AbstractEventLoop | None, username: str, key: str, event: str, data: str, ending: str = ""
) -> str:
    if not EVENT.fullmatch(event):
        raise InvalidRequest(details={"event": [_("Letters, digits, “_” and “-”, at most 100.")]})
    try:
        size = len(data.encode())
    except UnicodeEncodeError as failure:  # half a surrogate pair
        raise InvalidRequest(details={"data": [_("This value is not valid.")]}) from failure
    if size > MAX_DATA_BYTES:
        raise TooLarge
    user_id = _checked_user_id(username, key)
    channel_id, number = store.append(user_id, key, event, data, ending)
    line = "push channel ended" if ending else "push sent"
    transaction.on_commit(partial(log.info, line, user=user_id, channel=key, number=number, bytes=size))
    _notify_on_commit(channel_id, loop)
    return f"{key}:{number}"


async def _apublish(username: str, key: str, event: str, data: str, ending: str = "") -> str:
    return await database.run(_publish, asyncio.get_running_loop(), username, key, event, data, ending)


def _checked_user_id(username: str, key: str) -> int:
    """Return the id of an active user; raise InvalidRequest if user or key is invalid."""
    if not KEY.fullmatch(key):
        raise InvalidRequest(details={"key": [_("Letters, digits and “. _ : -”, at most 128.")]})
    user_id = User.objects.filter(username=username, is_active=True).values_list("pk", flat=True).first()
    if user_id is None:
        raise InvalidRequest(details={"user": [_("There is no such user.")]})
    return user_id


def _text(data: Any) -> str:
    if isinstance(data, Promise):
        data = str(data)
    # PostgreSQL cannot store NUL in text.
    return data.replace("\0", "") if isinstance(data, str) else _json(data)


def _json(data: Any) -> str:
    try:
        return json.dumps(data, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as failure:
        raise InvalidRequest(details={"data": [_("This value is not valid.")]}) from failure


def _serving_loop() -> asyncio.AbstractEventLoop | None:
    loop = runtime().process.loop
    return loop if loop is not None and loop.is_running() else None


def _notify_on_commit(channel_id: int, loop: asyncio.AbstractEventLoop | None) -> None:
    transaction.on_commit(partial(chat().channels.notify, channel_id, loop), robust=True)

"""Push channels for Python code: send, complete, error, open, and the same for async code.

Call them anywhere: in views and transactions (readers are woken after the commit; a rollback takes the message back),
in threads, in management commands and workers. They raise InvalidRequest for a user, key, event or data that will not
do, and ChannelEnded after the end. From an event loop use the ones with `a`; the others speak to the database at once.
"""

import asyncio
import inspect
import json
import math
import re
import threading
from functools import partial
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from chat.channels import feeds, store, watch
from chat.channels.models import IDLE_SECONDS, Channel
from runtime import database
from runtime.apps import runtime
from web.refusals import InvalidRequest, TooLarge

KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
EVENT = re.compile(r"[A-Za-z0-9_-]{1,100}")
# Of one message, as UTF-8; HTTP bodies end there too.
MAX_DATA_BYTES = 2**20

# Scripts without an event loop wake others one at a time: they share one client of Redis.
_waking = threading.Lock()


def send(username: str, key: str, data: Any, event: str = "message") -> str:
    """Push a message to a user's channel, made if new, and return the event's id.

    A string is sent as it is, without NUL; anything else as JSON, as Django writes dates, decimals and UUIDs.
    """
    return _publish(_serving_loop(), username, key, event, _text(data))


def complete(username: str, key: str) -> str:
    """End a channel for all its readers with a `complete` event."""
    return _publish(_serving_loop(), username, key, "complete", "{}", Channel.Ending.COMPLETE)


def error(username: str, key: str, message: str) -> str:
    """End a channel for all its readers with an `error` event that says `message`."""
    return _publish(_serving_loop(), username, key, "error", _json({"message": message}), Channel.Ending.ERROR)


async def asend(username: str, key: str, data: Any, event: str = "message") -> str:
    return await _apublish(username, key, event, _text(data))


async def acomplete(username: str, key: str) -> str:
    return await _apublish(username, key, "complete", "{}", Channel.Ending.COMPLETE)


async def aerror(username: str, key: str, message: str) -> str:
    return await _apublish(username, key, "error", _json({"message": message}), Channel.Ending.ERROR)


def open(  # noqa: A001
    username: str, key: str, timeout_seconds: float = IDLE_SECONDS, on_end: watch.OnEnd | None = None
) -> None:
    """Set after how many seconds without a message readers are sent away, and hear how the channel ends.

    `on_end` is called once with "complete", "error" or "timeout", by a thread of this process and only while this
    process lives. A time-out ends the waiting, not the channel: messages that come later are kept and replayed as
    usual. With a channel that has ended `on_end` is called at once.
    """
    if not 0 < timeout_seconds < math.inf:
        raise InvalidRequest(details={"timeout_seconds": [_("This value is not valid.")]})
    if inspect.iscoroutinefunction(on_end):
        raise TypeError("on_end is called by a thread: it must be a plain function")
    user_id = _checked(username, key)
    row = store.set_idle_limit(user_id, key, timeout_seconds)
    if on_end is not None:
        transaction.on_commit(partial(watch.add, row.pk, row.last_event, timeout_seconds, on_end))
    _announce(row.pk, _serving_loop())


async def aopen(
    username: str, key: str, timeout_seconds: float = IDLE_SECONDS, on_end: watch.OnEnd | None = None
) -> None:
    await database.run(open, username, key, timeout_seconds, on_end)


# --- storing ---------------------------------------------------------------------------------------------------------


def _publish(
    loop: asyncio.AbstractEventLoop | None, username: str, key: str, event: str, data: str, ending: str = ""
) -> str:
    if not EVENT.fullmatch(event):
        raise InvalidRequest(details={"event": [_("Letters, digits, “_” and “-”, at most 100.")]})
    if _bytes(data) > MAX_DATA_BYTES:
        raise TooLarge
    channel_id, number = store.append(_checked(username, key), key, event, data, ending)
    _announce(channel_id, loop)
    return f"{key}:{number}"


async def _apublish(username: str, key: str, event: str, data: str, ending: str = "") -> str:
    return await database.run(_publish, asyncio.get_running_loop(), username, key, event, data, ending)


def _checked(username: str, key: str) -> int:
    """Return the id of a user who may read."""
    if not KEY.fullmatch(key):
        raise InvalidRequest(details={"key": [_("Letters, digits and “. _ : -”, at most 128.")]})
    user_id = User.objects.filter(username=username, is_active=True).values_list("pk", flat=True).first()
    if user_id is None:
        raise InvalidRequest(details={"user": [_("There is no such user.")]})
    return user_id


def _bytes(data: str) -> int:
    try:
        return len(data.encode())
    except UnicodeEncodeError as failure:  # half a surrogate pair
        raise InvalidRequest(details={"data": [_("This value is not valid.")]}) from failure


def _text(data: Any) -> str:
    if isinstance(data, Promise):
        data = str(data)
    # PostgreSQL has no NUL in texts, and no reader any use for it.
    return data.replace("\0", "") if isinstance(data, str) else _json(data)


def _json(data: Any) -> str:
    try:
        return json.dumps(data, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as failure:
        raise InvalidRequest(details={"data": [_("This value is not valid.")]}) from failure


# --- waking ----------------------------------------------------------------------------------------------------------


def _serving_loop() -> asyncio.AbstractEventLoop | None:
    loop = runtime().process.loop
    return loop if loop is not None and loop.is_running() else None


def _announce(channel_id: int, loop: asyncio.AbstractEventLoop | None) -> None:
    """Wake readers and watches once what was written can be seen. A wake-up that fails is made good by polling."""
    transaction.on_commit(partial(_wake, channel_id, loop), robust=True)


def _wake(channel_id: int, loop: asyncio.AbstractEventLoop | None) -> None:
    watch.look()
    topic = feeds.topic(channel_id)
    if loop is not None:
        asyncio.run_coroutine_threadsafe(runtime().broker.publish(topic), loop)
        return
    with _waking:
        asyncio.run(_wake_from_a_script(topic))


async def _wake_from_a_script(topic: str) -> None:
    await runtime().broker.publish(topic)
    await runtime().redis.aclose()

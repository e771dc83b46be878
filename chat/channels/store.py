"""Push channels as the database has them: connect, append, read, prune. Everything here is synchronous.

The database is the only truth: a number is given to a message by an UPDATE of the channel's row, inside the
transaction that stores the message. Whoever comes second, in this process or another, waits for that row, so numbers
rise by one and become visible in their order.
"""

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Max
from django.utils import timezone

from chat.channels.models import IDLE_SECONDS, Channel, ChannelMark, ChannelMessage
from chat.errors import ChannelEnded
from chat.events.log import WRITE_BYTES
from web.refusals import ServiceUnavailable

# A channel that is still open is kept for so long after its last message.
LIFETIME = timedelta(days=1)
# What one channel keeps; beyond either, the oldest messages go, and whoever has not seen them gets a `reset`.
MAX_MESSAGES = 10_000
MAX_BYTES = 8 * 2**20
# Dropping takes a tenth at once, so that it is not done for every message.
KEPT_SHARE = 0.9

CONNECT_ATTEMPTS = 20
READ_MESSAGES = 500
PRUNE_CHANNELS = 50

# Lines of server-sent events end with these and with nothing else; U+2028 is text.
LINE_END = re.compile("\r\n|\r|\n")
# `data: ` and the line feed, around each line.
LINE_OVERHEAD = 7


def encode(key: str, message: ChannelMessage) -> bytes:
    """Return one server-sent event: one `data:` line for each line of the message."""
    lines = "".join(f"data: {line}\n" for line in LINE_END.split(message.data))
    return f"id: {key}:{message.number}\nevent: {message.event}\n{lines}\n".encode()


def size_of(data: str) -> int:
    """Return how many bytes `data` is on the wire: line ends cost more there than here."""
    return len(data.encode()) + LINE_OVERHEAD * len(LINE_END.split(data))


# --- writing ---------------------------------------------------------------------------------------------------------


def connect(user_id: int, key: str) -> Channel:
    """Return the channel of (user, key): a new one where there is none, or where the last one has had its time."""
    for _attempt in range(CONNECT_ATTEMPTS):
        found = Channel.objects.filter(user_id=user_id, key=key).first()
        if found and found.expires_at > timezone.now():
            return found
        # Others may begin, renew or prune it at the same moment: then there is something new to look at.
        with suppress(IntegrityError):
            row = _renew(found.pk) if found else _begin(user_id, key)
            if row:
                return row
    raise ServiceUnavailable


@transaction.atomic
def _begin(user_id: int, key: str) -> Channel:
    row = Channel.objects.create(user_id=user_id, key=key, expires_at=timezone.now() + LIFETIME)
    # Read after the row was inserted: the insert waited for whoever was pruning the same key.
    mark = ChannelMark.objects.filter(user_id=user_id).values_list("number", flat=True).first()
    if mark is not None:
        # One more, so that not even the id of the very last event fits into the new channel.
        row.base = row.dropped_until = row.last_event = mark + 1
        row.save(update_fields=["base", "dropped_until", "last_event"])
    return row


@transaction.atomic
def _renew(channel_id: int) -> Channel | None:
    """Let a channel that has had its time begin again, above its numbers so far; None when it is not there any more."""
    now, base = timezone.now(), F("last_event") + 1
    fresh = {"kept_bytes": 0, "ending": "", "timeout_seconds": IDLE_SECONDS}
    expired = Channel.objects.filter(pk=channel_id, expires_at__lte=now)
    if expired.update(
        base=base, dropped_until=base, last_event=base, created_at=now, expires_at=now + LIFETIME, **fresh
    ):
        ChannelMessage.objects.filter(channel_id=channel_id).delete()
    return Channel.objects.filter(pk=channel_id).first()


def append(user_id: int, key: str, event: str, data: str, ending: str = "") -> tuple[int, int]:
    """Store a message, with `ending` the last one; return the channel's id and the message's number.

    Raises ChannelEnded. Inside a transaction of the caller's, other senders to this channel wait until that has ended.
    """
    now = timezone.now()
    keep = timedelta(seconds=settings.CHANNEL_RETENTION_SECONDS) if ending else LIFETIME
    size = size_of(data)
    open_one = Channel.objects.filter(user_id=user_id, key=key, ending="", expires_at__gt=now)
    with transaction.atomic():
        while not open_one.update(
            last_event=F("last_event") + 1, kept_bytes=F("kept_bytes") + size, ending=ending, expires_at=now + keep
        ):
            if connect(user_id, key).ending:
                raise ChannelEnded
        row = Channel.objects.get(user_id=user_id, key=key)
        row.messages.create(number=row.last_event, event=event, data=data, size=size)
        if row.last_event - row.dropped_until > MAX_MESSAGES or row.kept_bytes > MAX_BYTES:
            _drop_oldest(row)
    return row.pk, row.last_event


def set_idle_limit(user_id: int, key: str, seconds: float) -> Channel:
    """Return the channel of (user, key), made if new, with another idle limit."""
    row = connect(user_id, key)
    row.timeout_seconds = seconds
    row.save(update_fields=["timeout_seconds"])
    return row


def _drop_oldest(row: Channel) -> None:
    """Make room; the newest message always stays."""
    until, kept = row.dropped_until, row.kept_bytes
    sizes = row.messages.order_by("number").values_list("number", "size")
    for number, size in sizes.filter(number__lt=row.last_event):
        if row.last_event - until <= MAX_MESSAGES * KEPT_SHARE and kept <= MAX_BYTES * KEPT_SHARE:
            break
        until, kept = number, kept - size
    row.messages.filter(number__lte=until).delete()
    row.dropped_until, row.kept_bytes = until, kept
    row.save(update_fields=["dropped_until", "kept_bytes"])


# --- reading ---------------------------------------------------------------------------------------------------------


def read(channel_id: int, after: int) -> tuple[Channel | None, list[ChannelMessage]]:
    """Return the channel as it is now, None when it is gone, and what it keeps after event `after`: some of it.

    The first message is not number `after` + 1 when that one is no longer kept.
    """
    row = Channel.objects.filter(pk=channel_id).first()
    if row is None or row.last_event <= after:
        return row, []
    unread = row.messages.filter(number__gt=after, number__lte=row.last_event).order_by("number")
    end = _end_of_slice(unread.values_list("number", "size")[:READ_MESSAGES])
    return row, list(unread.filter(number__lte=end).only("number", "event", "data", "channel_id"))


def _end_of_slice(sizes: Iterable[tuple[int, int]]) -> int:
    """Return the number of the last message that is read at once: messages may be a mebibyte each."""
    end = total = 0
    for number, size in sizes:
        end, total = number, total + size
        if total >= WRITE_BYTES:
            break
    return end


def standings(channel_ids: Collection[int]) -> dict[int, tuple[int, float, str]]:
    """Return last event, idle limit and ending of those channels that are still there."""
    rows = Channel.objects.filter(pk__in=channel_ids).values_list("pk", "last_event", "timeout_seconds", "ending")
    return {pk: (last_event, timeout, ending) for pk, last_event, timeout, ending in rows}


# --- pruning ---------------------------------------------------------------------------------------------------------


def prune() -> None:
    """Delete the channels that have had their time, a few in each transaction."""
    expired = Channel.objects.filter(expires_at__lte=timezone.now()).values_list("pk", flat=True)
    while channel_ids := list(expired[:PRUNE_CHANNELS]):
        _remove(channel_ids)


def _remove(channel_ids: Collection[int]) -> None:
    """Delete those of these channels that have expired, and remember how far their numbers went."""
    with transaction.atomic():
        rows = Channel.objects.filter(pk__in=channel_ids, expires_at__lte=timezone.now())
        locked = list(rows.order_by("pk").select_for_update().values_list("pk", flat=True))
        numbered = Channel.objects.filter(pk__in=locked, last_event__gt=0).order_by("user_id")
        for user_id, number in numbered.values_list("user_id").annotate(number=Max("last_event")):
            ChannelMark.objects.get_or_create(user_id=user_id, defaults={"number": number})
            ChannelMark.objects.filter(user_id=user_id, number__lt=number).update(number=number)
        Channel.objects.filter(pk__in=locked).delete()

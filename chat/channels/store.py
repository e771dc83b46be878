"""Reads and writes push channels in the database: connect, append, read, prune. Everything is synchronous.

A message gets its number from an UPDATE of the channel's row, in the transaction that stores the message. A second
writer, in this process or another, waits for that row, so numbers have no gaps and become visible in order.
"""

import re
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Max
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import queue_writes
from chat.channels.models import IDLE_SECONDS, Channel, ChannelMark, ChannelMessage
from chat.errors import ChannelEnded
from chat.events.log import WRITE_BYTES
from web.refusals import ServiceUnavailable, TooManyRequests

# How long an open channel is kept after its last message.
LIFETIME = timedelta(days=1)
# Messages and bytes that one channel keeps. Beyond either the oldest go, and readers without them get a `reset`.
MAX_MESSAGES = 10_000
MAX_BYTES = 8 * 2**20
# The share of both limits that remains after dropping, so that not every message causes another drop.
KEPT_SHARE = 0.9
# Channels that one user may have; a further one is refused with 429 until one expires.
MOST_CHANNELS = 200
# Seconds to wait after that refusal: ended channels expire after CHANNEL_RETENTION_SECONDS.
FULL_RETRY_SECONDS = 60

# Attempts to find or create a channel while other writers change it, before `connect` raises ServiceUnavailable.
CONNECT_ATTEMPTS = 20
# Messages that one read returns at most.
READ_MESSAGES = 500
# Channels deleted in one transaction.
PRUNE_CHANNELS = 50

# The only line ends of server-sent events; U+2028 is text.
LINE_END = re.compile("\r\n|\r|\n")
# Bytes of `data: ` and the line feed around each line.
LINE_OVERHEAD = 7

# The last event, the idle limit in seconds, and the ending of a channel.
State = tuple[int, float, str]


def encode(key: str, message: ChannelMessage) -> bytes:
    """Encode a message as a server-sent event, with one `data:` line per line."""
    lines = "".join(f"data: {line}\n" for line in LINE_END.split(message.data))
    return f"id: {key}:{message.number}\nevent: {message.event}\n{lines}\n".encode()


def connect(user_id: int, key: str) -> Channel:
    """Return the channel of (user, key); create it if missing, renew it if expired.

    Raises TooManyRequests when the user has too many channels.
    """
    for _attempt in range(CONNECT_ATTEMPTS):
        found = Channel.objects.filter(user_id=user_id, key=key).first()
        if found and found.expires_at > timezone.now():
            return found
        # If another writer creates, renews or prunes it at the same moment, the next attempt sees the new state.
        with suppress(IntegrityError):
            row = _renew(found.pk) if found else _create(user_id, key)
            if row:
                return row
    raise ServiceUnavailable


@transaction.atomic
def _create(user_id: int, key: str) -> Channel:
    now = timezone.now()
    queue_writes(user_id)
    if Channel.objects.filter(user_id=user_id, expires_at__gt=now).count() >= MOST_CHANNELS:
        raise TooManyRequests(_("This user has too many push channels."), retry_after=FULL_RETRY_SECONDS)
    row = Channel.objects.create(user_id=user_id, key=key, expires_at=now + LIFETIME)
    # Read after the insert, because the insert waits for a transaction that is pruning the same key.
    mark = ChannelMark.objects.filter(user_id=user_id).values_list("number", flat=True).first()
    if mark is not None:
        # One more, so that the id of the pruned channel's last event is not valid in the new channel either.
        row.base = row.dropped_until = row.last_event = mark + 1
        row.save(update_fields=["base", "dropped_until", "last_event"])
    return row


@transaction.atomic
def _renew(channel_id: int) -> Channel | None:
    """Restart an expired channel, empty and above its old numbers; None if it was deleted."""
    now, base = timezone.now(), F("last_event") + 1
    fresh = {"kept_bytes": 0, "ending": "", "timeout_seconds": IDLE_SECONDS}
    expired = Channel.objects.filter(pk=channel_id, expires_at__lte=now)
    if expired.update(
        base=base, dropped_until=base, last_event=base, created_at=now, expires_at=now + LIFETIME, **fresh
    ):
        ChannelMessage.objects.filter(channel_id=channel_id).delete()
    return Channel.objects.filter(pk=channel_id).first()


def append(user_id: int, key: str, event: str, data: str, ending: str = "") -> tuple[int, int]:
    """Store a message, with `ending` the last one; return channel id and number.

    Raises ChannelEnded. Inside the caller's transaction, other writers to this channel wait until it ends.
    """
    now = timezone.now()
    keep = timedelta(seconds=settings.CHANNEL_RETENTION_SECONDS) if ending else LIFETIME
    size = len(data.encode()) + LINE_OVERHEAD * len(LINE_END.split(data))
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


def _drop_oldest(row: Channel) -> None:
    """Delete the oldest messages down to KEPT_SHARE; the newest one always stays."""
    until, kept = row.dropped_until, row.kept_bytes
    sizes = row.messages.order_by("number").values_list("number", "size")
    for number, size in sizes.filter(number__lt=row.last_event):
        if row.last_event - until <= MAX_MESSAGES * KEPT_SHARE and kept <= MAX_BYTES * KEPT_SHARE:
            break
        until, kept = number, kept - size
    row.messages.filter(number__lte=until).delete()
    row.dropped_until, row.kept_bytes = until, kept
    row.save(update_fields=["dropped_until", "kept_bytes"])


def read(channel_id: int, after: int) -> tuple[Channel | None, list[ChannelMessage]]:
    """Return the channel, None if deleted, and a slice of its messages after `after`.

    If message `after` + 1 was dropped, the slice begins with the oldest one that is stored.
    """
    row = Channel.objects.filter(pk=channel_id).first()
    if row is None or row.last_event <= after:
        return row, []
    unread = row.messages.filter(number__gt=after, number__lte=row.last_event).order_by("number")
    end = total = 0
    for number, size in unread.values_list("number", "size")[:READ_MESSAGES]:
        end, total = number, total + size
        if total >= WRITE_BYTES:
            break
    return row, list(unread.filter(number__lte=end).only("number", "event", "data", "channel_id"))


def states(channel_ids: Collection[int]) -> dict[int, State]:
    """Return the states of those channels that still exist."""
    rows = Channel.objects.filter(pk__in=channel_ids).values_list("pk", "last_event", "timeout_seconds", "ending")
    return {pk: (last_event, timeout, ending) for pk, last_event, timeout, ending in rows}


def prune() -> None:
    """Delete the expired channels, a few per transaction, and store their highest numbers as marks."""
    expired = Channel.objects.filter(expires_at__lte=timezone.now()).values_list("pk", flat=True)
    while channel_ids := list(expired[:PRUNE_CHANNELS]):
        with transaction.atomic():
            # Use may have renewed some of them.
            rows = Channel.objects.filter(pk__in=channel_ids, expires_at__lte=timezone.now())
            locked = list(rows.order_by("pk").select_for_update().values_list("pk", flat=True))
            numbered = Channel.objects.filter(pk__in=locked, last_event__gt=0).order_by("user_id")
            for user_id, number in numbered.values_list("user_id").annotate(number=Max("last_event")):
                ChannelMark.objects.get_or_create(user_id=user_id, defaults={"number": number})
                ChannelMark.objects.filter(user_id=user_id, number__lt=number).update(number=number)
            Channel.objects.filter(pk__in=locked).delete()

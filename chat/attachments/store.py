"""Store attachments, find those of messages, and delete unused ones."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.utils import timezone

from chat import storage
from chat.attachments import schemas
from chat.attachments.decoder.results import Decoded
from chat.attachments.models import NAME_CHARS, Attachment, AttachmentContent, MessageAttachment
from chat.errors import StorageFull
from providers.wire.base import IMAGE_TOKENS, estimate_tokens
from web.refusals import NotFound

if TYPE_CHECKING:
    from chat.models import Message

# How long an attachment is kept for a prompt that may be sent yet.
UNUSED_LIFETIME = timedelta(days=1)
# Attachments deleted in one transaction, so that other writers do not wait long; the next time takes further ones.
DELETED_AT_ONCE = 50
# Plain SQL, because each prompt of a conversation asks this, few have attachments, and the ORM takes ten times as long.
_ANY = """
SELECT 1 FROM chat_message m JOIN chat_messageattachment a ON a.message_id = m.id WHERE m.conversation_id = %s LIMIT 1
"""


def save(user_id: int, name: str, decoded: Decoded) -> Attachment:
    """Store an attachment; raise StorageFull when the user would keep too much."""
    with transaction.atomic():
        if not storage.take(user_id, len(decoded.content) + storage.ROW_BYTES, "attachments"):
            raise StorageFull
        row = unsaved(user_id, name, decoded)
        row.save()
        AttachmentContent.objects.create(attachment=row, data=decoded.content)
    return row


def unsaved(user_id: int, name: str, decoded: Decoded) -> Attachment:
    """Return the row of an attachment without storing it."""
    is_text = decoded.kind == "text"
    text = decoded.content.decode() if is_text else ""
    return Attachment(
        user_id=user_id,
        name=name[-NAME_CHARS:],
        kind=decoded.kind,
        media_type=decoded.media_type,
        size=len(decoded.content),
        chars=len(text),
        tokens=estimate_tokens(text) if is_text else IMAGE_TOKENS,
    )


def owned(user_id: int, attachment_id: int) -> Attachment:
    """Return a user's attachment; raise NotFound."""
    row = Attachment.objects.owned_by(user_id).filter(pk=attachment_id).first()
    if row is None:
        raise NotFound
    return row


def owned_with_content(user_id: int, attachment_id: int) -> tuple[Attachment, bytes]:
    row = owned(user_id, attachment_id)
    return row, content_of([row.pk]).get(row.pk, b"")


def content_of(ids: Iterable[int]) -> dict[int, bytes]:
    rows = AttachmentContent.objects.filter(pk__in=[*ids]).values_list("pk", "data")
    return {pk: bytes(data) for pk, data in rows}  # PostgreSQL's driver returns a view of memory


def delete(user_id: int, attachment_id: int) -> None:
    """Delete a user's attachment, from its messages too; raise NotFound."""
    owned(user_id, attachment_id)
    Attachment.objects.owned_by(user_id).filter(pk=attachment_id).delete()


def delete_unused() -> None:
    """Delete some of the attachments that have no message, or no user.

    Those without a message are kept for a day, for a prompt that may be sent yet.
    """
    old = Attachment.objects.filter(created_at__lt=timezone.now() - UNUSED_LIFETIME).order_by("created_at")
    ids = list(old.unused().values_list("pk", flat=True)[:DELETED_AT_ONCE])
    # Asked again, because a prompt may have got one meanwhile.
    Attachment.objects.filter(pk__in=ids).unused().delete()
    orphans = list(Attachment.objects.without_user().values_list("pk", flat=True)[:DELETED_AT_ONCE])
    Attachment.objects.filter(pk__in=orphans).delete()


def by_message(links: Iterable[MessageAttachment]) -> dict[int, list[Attachment]]:
    found: dict[int, list[Attachment]] = {}
    for link in links:
        found.setdefault(link.message_id, []).append(link.attachment)
    return found


def of_conversation(conversation_id: int) -> Mapping[int, Sequence[Attachment]]:
    """Return the attachments of each message that has any, in their order."""
    with connection.cursor() as cursor:
        cursor.execute(_ANY, [conversation_id])
        if cursor.fetchone() is None:
            return {}
    links = MessageAttachment.objects.filter(message__conversation_id=conversation_id)
    return by_message(links.select_related("attachment").order_by("pk"))


def of_message(message_id: int) -> list[Attachment]:
    """Return the attachments of a message, in their order."""
    links = MessageAttachment.objects.filter(message_id=message_id).select_related("attachment").order_by("pk")
    return [link.attachment for link in links]


def link(message_id: int, ids: Sequence[int]) -> int:
    """Give a message these attachments, without those deleted meanwhile; return how many."""
    # Locked, because a deletion at this moment would fail the whole transaction at its commit.
    rows = Attachment.objects.select_for_update().filter(pk__in=ids).order_by("pk")
    found = set(rows.values_list("pk", flat=True))
    kept = [pk for pk in ids if pk in found]
    MessageAttachment.objects.bulk_create(MessageAttachment(message_id=message_id, attachment_id=pk) for pk in kept)
    return len(kept)


def note_on(messages: Iterable["Message"], conversation_id: int) -> None:
    """Give each message of a conversation the list of its attachments."""
    found = of_conversation(conversation_id)
    for message in messages:
        message.attached = found.get(message.pk, ())


def representation(row: Attachment) -> schemas.Attachment:
    return {
        "id": row.pk,
        "name": row.name,
        "kind": "image" if row.kind == Attachment.Kind.IMAGE else "text",
        "media_type": row.media_type,
        "bytes": row.size,
        "chars": row.chars,
    }

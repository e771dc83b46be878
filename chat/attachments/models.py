"""The tables of attachments: their facts, their content, and the messages that have them."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Count, Exists, OuterRef, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.storage import ROW_BYTES, CountedRows

# Characters of a file's name that are kept.
NAME_CHARS = 255


class AttachmentQuerySet(CountedRows["Attachment"]):
    kind = "attachments"

    def unused(self) -> "AttachmentQuerySet":
        """Return the attachments that no stored message has."""
        return self.filter(~Exists(MessageAttachment.objects.stored().filter(attachment=OuterRef("pk"))))

    def without_user(self) -> "AttachmentQuerySet":
        """Return the attachments of users that a process of the previous release has deleted."""
        return self.filter(~Exists(get_user_model().objects.filter(pk=OuterRef("user"))))

    def used_only_by(self, messages: models.QuerySet[Any]) -> "AttachmentQuerySet":
        """Return the attachments of these messages that no other message has."""
        links = MessageAttachment.objects.stored().filter(attachment=OuterRef("pk"))
        theirs = messages.order_by().values("pk")
        return self.filter(Exists(links.filter(message__in=theirs)), ~Exists(links.exclude(message__in=theirs)))

    def stored_bytes(self) -> int:
        """Return what these attachments count in `StorageUse`."""
        found = self.aggregate(bytes=Sum("size"), rows=Count("pk"))
        return (found["bytes"] or 0) + ROW_BYTES * int(found["rows"])


class Attachment(models.Model):
    """A picture or text that a user has uploaded for prompts.

    Its content is in a table of its own, so that lists never read it.
    """

    class Kind(models.TextChoices):
        IMAGE = "image", _("image")
        TEXT = "text", _("text")

    # Without a constraint, because a process of the previous release deletes users without these rows.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="attachments",
        db_constraint=False,
        verbose_name=_("user"),
    )
    name = models.CharField(_("name"), max_length=NAME_CHARS)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    media_type = models.CharField(_("media type"), max_length=100)
    # Bytes of the content, and characters if it is a text.
    size = models.PositiveIntegerField(_("bytes"))
    chars = models.PositiveIntegerField(_("characters"), default=0)
    # The estimate by which prompts are cut to the model's context.
    tokens = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(_("created"), default=timezone.now, db_index=True)

    objects: ClassVar[AttachmentQuerySet] = AttachmentQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")

    def __str__(self) -> str:
        return self.name


class AttachmentContent(models.Model):
    """The bytes of an attachment: PNG, JPEG or WebP, or text in UTF-8."""

    attachment = models.OneToOneField(Attachment, models.CASCADE, primary_key=True, related_name="content")
    data = models.BinaryField()

    class Meta:
        verbose_name = _("content of an attachment")
        verbose_name_plural = _("contents of attachments")

    def __str__(self) -> str:
        return str(self.attachment_id)


class MessageAttachmentQuerySet(models.QuerySet["MessageAttachment"]):
    def stored(self) -> "MessageAttachmentQuerySet":
        """Return the rows whose message is still stored."""
        # A column of the message, because with its key alone the tables are not joined.
        return self.filter(message__created_at__isnull=False)


class MessageAttachment(models.Model):
    """An attachment of a message; versions of a prompt may share it."""

    # Without a constraint, because a process of the previous release deletes messages without these rows.
    message = models.ForeignKey("chat.Message", models.CASCADE, related_name="attachment_links", db_constraint=False)
    attachment = models.ForeignKey(Attachment, models.CASCADE, related_name="links")

    objects: ClassVar[MessageAttachmentQuerySet] = MessageAttachmentQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("attachment of a message")
        verbose_name_plural = _("attachments of messages")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["message", "attachment"], name="attachment_once_per_message")
        ]

    def __str__(self) -> str:
        return f"{self.message_id}: {self.attachment_id}"

"""The main tables: conversations, their messages as a tree, generations, text tools and stored bytes."""

import secrets
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.models import Sum
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat import storage

# Django looks for an app's models here.
from chat.announcements.models import Announcement as Announcement
from chat.attachments.models import Attachment as Attachment
from chat.attachments.models import AttachmentContent as AttachmentContent
from chat.attachments.models import MessageAttachment as MessageAttachment
from chat.channels.models import Channel as Channel
from chat.channels.models import ChannelMark as ChannelMark
from chat.channels.models import ChannelMessage as ChannelMessage
from chat.generations.models import EARLIER_PARTS, MessagePart
from chat.generations.models import DraftPiece as DraftPiece
from chat.openai.models import KeptResponse as KeptResponse
from chat.presets.models import Preset as Preset
from chat.screening.hits import Hit as Hit
from chat.screening.models import AllowedPhrase as AllowedPhrase
from chat.screening.models import ListVersion as ListVersion
from chat.screening.models import RefusalText as RefusalText
from chat.screening.models import SensitivePattern as SensitivePattern
from chat.screening.models import SensitiveWord as SensitiveWord
from chat.sharing.models import Share as Share
from chat.stats.models import DailyAnswers as DailyAnswers
from chat.storage import ROW_BYTES, Bytes, CountedRows
from quotas.models import Quota, Reservation

TITLE_CHARS = 255
# How long an idempotency key stands for its generation.
KEY_LIFETIME = timedelta(hours=24)
# Turns of a branch that are read at most; the context of every model is smaller.
BRANCH_TURNS = 2_000
# Ended generations whose text is not in a message of a conversation.
HAS_TEXT = models.Q(finished_at__isnull=False) & (~models.Q(content="") | ~models.Q(reasoning=""))


def new_generation_id() -> str:
    """Return 32 hexadecimal digits that cannot be guessed, increasing with time for the index."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def default_language() -> str:
    return settings.LANGUAGE_CODE


class ConversationQuerySet(CountedRows["Conversation"]):
    def listed_for(self, user_id: int) -> "ConversationQuerySet":
        """Return a user's conversations but for the temporary ones."""
        return self.owned_by(user_id).filter(temporary=False)

    def stored_bytes(self) -> int:
        """Return what these conversations and their messages count in `StorageUse`."""
        own = self.aggregate(bytes=Sum(Bytes("title") + Bytes("system_prompt") + ROW_BYTES))
        within = self.order_by()
        return (
            (own["bytes"] or 0)
            + Message.objects.filter(conversation__in=within).stored_bytes()
            + Share.objects.filter(conversation__in=within).stored_bytes()
        )

    def prepare_deletion(self) -> None:
        """Also delete the attachments that only these conversations have."""
        super().prepare_deletion()
        Message.objects.filter(conversation__in=self.order_by()).delete_attachments()


class Conversation(models.Model):
    """An ordered history of messages, owned by one user."""

    # `conversations_of_user` begins with it.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, db_index=False, related_name="conversations", verbose_name=_("user")
    )
    title = models.CharField(_("title"), max_length=TITLE_CHARS)
    system_prompt = models.TextField(_("system prompt"), blank=True)
    pinned = models.BooleanField(_("pinned"), default=False)
    archived = models.BooleanField(_("archived"), default=False)
    # The upstream's moderation refuses further prompts in this conversation (Spark's code 10019).
    blocked = models.BooleanField(_("blocked by the vendor"), default=False)
    # In no list, search, export or share, and deleted a day after its last message.
    temporary = models.BooleanField(_("temporary"), default=False, db_default=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("last used"), default=timezone.now)

    objects: ClassVar[ConversationQuerySet] = ConversationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "archived", "-pinned", "-updated_at", "-id"], name="conversations_of_user"),
            models.Index(fields=["updated_at"], name="temporary_conversations", condition=models.Q(temporary=True)),
        ]

    def __str__(self) -> str:
        return self.title

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the conversation, and give its bytes back to its user."""
        with transaction.atomic():
            Conversation.objects.filter(pk=self.pk).prepare_deletion()
            return super().delete(*args, **kwargs)


class MessageQuerySet(models.QuerySet["Message"]):
    def stored_bytes(self) -> int:
        """Return what these messages count in `StorageUse`."""
        each = Bytes("content") + Bytes("reasoning") + Bytes("sources") + ROW_BYTES
        return self.aggregate(bytes=Sum(each))["bytes"] or 0

    def delete_attachments(self) -> None:
        """Delete the attachments that only these messages have, which are about to be deleted."""
        Attachment.objects.used_only_by(self).delete()

    def branch(self, leaf_id: int) -> list["Message"]:
        """Return the turns from the root to `leaf_id`, oldest first; two queries for any length."""
        table = Message._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(
                f"WITH RECURSIVE branch(id, parent_id, depth) AS ("  # noqa: S608
                f" SELECT id, parent_id, 1 FROM {table} WHERE id = %s"
                f" UNION ALL SELECT m.id, m.parent_id, b.depth + 1 FROM {table} m JOIN branch b ON m.id = b.parent_id"
                f" WHERE b.depth < %s) SELECT id FROM branch ORDER BY depth DESC",
                [leaf_id, BRANCH_TURNS],
            )
            ids = [row[0] for row in cursor.fetchall()]
        found = self.select_related("generation").in_bulk(ids)
        return [found[id_] for id_ in ids if id_ in found]


class Message(models.Model):
    """One turn; a regenerated completion or edited prompt is a sibling of its first version."""

    class Role(models.TextChoices):
        USER = "user", _("user")
        ASSISTANT = "assistant", _("assistant")

    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="messages", verbose_name=_("conversation")
    )
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")
    role = models.CharField(_("role"), max_length=10, choices=Role.choices)
    content = models.TextField(_("content"), blank=True)
    reasoning = models.TextField(_("reasoning"), blank=True)
    # The pages that the completion cites, as `chat.sources` encodes them.
    sources = models.TextField(_("sources"), blank=True, default="", db_default="")
    reasoning_seconds = models.FloatField(_("seconds of reasoning"), null=True, blank=True)
    model = models.CharField(_("model"), max_length=100, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    # Its attachments, on rows that are shown; see `chat.attachments.store.note_on`.
    attached: Sequence[Attachment] = ()

    objects: ClassVar[MessageQuerySet] = MessageQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=models.Q(role__in=["user", "assistant"]), name="message_role")
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.pk}"


class TextTool(models.Model):
    """An instruction for prompts in two languages; an empty one falls back to the other."""

    slug = models.SlugField(_("slug"), max_length=50, unique=True)
    title_en = models.CharField(_("title (English)"), max_length=100, blank=True)
    title_zh = models.CharField(_("title (Chinese)"), max_length=100, blank=True)
    instruction_en = models.TextField(
        _("instruction (English)"),
        blank=True,
        max_length=4000,
        help_text=_(
            "{target_language} stands for the chosen language, {text} for the text, which otherwise comes last."
        ),
    )
    instruction_zh = models.TextField(_("instruction (Chinese)"), blank=True, max_length=4000)
    position = models.IntegerField(_("position in lists"), default=0)
    enabled = models.BooleanField(_("enabled"), default=True)

    class Meta:
        verbose_name = _("text tool")
        verbose_name_plural = _("text tools")

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        """Refuse a tool without an instruction, or with {target_language} in only one language."""
        if not (self.instruction_en.strip() or self.instruction_zh.strip()):
            raise ValidationError({"instruction_en": _("An instruction is needed in one language at least.")})
        given = [text for text in (self.instruction_en, self.instruction_zh) if text.strip()]
        if len({"{target_language}" in text for text in given}) > 1:
            raise ValidationError({"instruction_en": _("Both instructions name {target_language}, or none does.")})

    @property
    def needs_target_language(self) -> bool:
        return "{target_language}" in self.instruction_en + self.instruction_zh

    def title(self, chinese: bool) -> str:
        return (chinese and self.title_zh) or self.title_en or self.title_zh or self.slug

    def instruction(self, chinese: bool) -> str:
        texts = (self.instruction_zh, self.instruction_en) if chinese else (self.instruction_en, self.instruction_zh)
        return next((text for text in texts if text.strip()), "")


class GenerationQuerySet(models.QuerySet["Generation"]):
    def owned_by(self, user_id: int) -> "GenerationQuerySet":
        """Return a user's generations; all access for a caller starts here."""
        return self.filter(user_id=user_id)

    def stored_bytes(self) -> int:
        """Return what the texts of these generations count in `StorageUse`."""
        return self.aggregate(bytes=Sum(Bytes("content") + Bytes("reasoning") + Bytes("sources")))["bytes"] or 0

    def running(self) -> "GenerationQuerySet":
        return self.filter(status=Generation.Status.RUNNING)

    def by_key(self, user_id: int, key: str) -> "Generation | None":
        """Return the generation of a user's idempotency key; None if unknown or older than KEY_LIFETIME."""
        row = self.filter(user_id=user_id, idempotency_key=key).select_related("conversation").first()
        if row and row.created_at < timezone.now() - KEY_LIFETIME:
            self.filter(pk=row.pk).update(idempotency_key=None)
            return None
        return row


class Generation(MessagePart):
    """One run that produces one assistant message, or continues one.

    While it runs, its owner process stores new text about once a second as a `DraftPiece`. At its end the text moves to
    the message; without a conversation it stays here until it expires.
    """

    class Status(models.TextChoices):
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        INTERRUPTED = "interrupted", _("interrupted")
        FAILED = "failed", _("failed")

    id = models.CharField(primary_key=True, max_length=32, default=new_generation_id, editable=False)
    # `one_generation_per_key` begins with it.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, db_index=False, related_name="generations", verbose_name=_("user")
    )
    conversation = models.ForeignKey(
        Conversation, models.SET_NULL, null=True, related_name="generations", verbose_name=_("conversation")
    )
    message = models.OneToOneField(Message, models.SET_NULL, null=True, related_name="generation")
    quota = models.ForeignKey(Quota, models.PROTECT, db_index=False, related_name="+", verbose_name=_("quota"))
    # RESTRICT allows deleting both together with their user, and neither alone.
    reservation = models.OneToOneField(Reservation, models.RESTRICT, related_name="+")
    model = models.CharField(_("model"), max_length=100)
    # What the user chose for it: temperature, max_tokens, reasoning_effort.
    parameters: "models.JSONField[dict[str, Any] | None, dict[str, Any] | None]" = models.JSONField(null=True)
    # The language of the user when the generation began. Our texts in events are in this language for all readers.
    language = models.CharField(max_length=16, default=default_language)
    upstream = models.CharField(_("upstream"), max_length=100, blank=True)
    status = models.CharField(_("status"), max_length=12, choices=Status.choices, default=Status.RUNNING)
    finish_reason = models.CharField(_("finish reason"), max_length=20, null=True)
    # The refusal texts of what ended it with `content_filter`, in Chinese and English, as they were then.
    filter_texts: "models.JSONField[list[str] | None, list[str] | None]" = models.JSONField(null=True)
    content = models.TextField(_("content"), blank=True)
    reasoning = models.TextField(_("reasoning"), blank=True)
    sources = models.TextField(_("sources"), blank=True, default="", db_default="")
    input_tokens = models.PositiveIntegerField(_("input tokens"), null=True)
    output_tokens = models.PositiveIntegerField(_("output tokens"), null=True)
    # Parts of the input and of the output, where the upstream reported them.
    cached_tokens = models.PositiveIntegerField(_("cached tokens"), null=True)
    reasoning_tokens = models.PositiveIntegerField(_("reasoning tokens"), null=True)
    # Seconds from the first reasoning to the first content, or to the end.
    reasoning_seconds = models.FloatField(_("seconds of reasoning"), null=True)
    usage_estimated = models.BooleanField(_("usage is estimated"), default=False)
    charge: "models.JSONField[dict[str, Any] | None, dict[str, Any] | None]" = models.JSONField(_("charge"), null=True)
    error: "models.JSONField[dict[str, Any] | None, dict[str, Any] | None]" = models.JSONField(_("error"), null=True)
    # The caller's quota at the end, stored so that `done` is the same at every replay.
    quota_after: "models.JSONField[dict[str, Any] | None, dict[str, Any] | None]" = models.JSONField(null=True)
    last_event = models.BigIntegerField(default=0)
    process = models.CharField(_("process"), max_length=32)
    # False: a call of /v1, which counts towards MAX_ACTIVE_API_CALLS.
    counted = models.BooleanField(default=True, help_text="counts towards MAX_ACTIVE_GENERATIONS")
    # The id of the API token that started it, for the usage of the token.
    token_id = models.BigIntegerField(null=True, editable=False)
    idempotency_key = models.CharField(max_length=255, null=True)
    request_digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True)
    # Its end, if it counts towards MAX_UNCHARGED_PER_HOUR.
    uncharged_at = models.DateTimeField(null=True)

    objects: ClassVar[GenerationQuerySet] = GenerationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "idempotency_key"], name="one_generation_per_key"),
            models.CheckConstraint(
                condition=models.Q(status="running") | models.Q(charge__isnull=False), name="ended_means_charged_or_not"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            EARLIER_PARTS,
            models.Index(fields=["user"], name="running_generations", condition=models.Q(status="running")),
            models.Index(
                fields=["user", "uncharged_at"],
                name="uncharged_generations",
                condition=models.Q(uncharged_at__isnull=False),
            ),
            models.Index(fields=["finished_at"], name="texts_to_expire", condition=HAS_TEXT),
            models.Index(
                fields=["created_at"], name="keys_to_expire", condition=models.Q(idempotency_key__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.id

    def texts(self) -> tuple[str, str]:
        """Return content and reasoning of this generation as they were read.

        A running one has them from `chat.generations.drafts`.
        """
        message = self.text_message() if self.status != self.Status.RUNNING else None
        return self.part(message.content, message.reasoning) if message else (self.content, self.reasoning)

    def stored_sources(self) -> str:
        """Return the pages that an ended generation cites, as `chat.sources` encodes them."""
        message = self.text_message()
        return message.sources if message else self.sources


class StorageUse(models.Model):
    """The bytes of texts and attachments that a user keeps; `chat.storage` counts them."""

    # Without a constraint, because a process of the previous release deletes users without these rows.
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+", db_constraint=False
    )
    conversations = models.BigIntegerField(default=0)
    unkept = models.BigIntegerField(default=0)
    attachments = models.BigIntegerField(default=0, db_default=0)
    recounted_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        verbose_name = _("storage use")
        verbose_name_plural = _("storage use")

    def __str__(self) -> str:
        return f"{self.user_id}: {self.conversations} + {self.unkept} + {self.attachments}"

    @classmethod
    def recount(cls, user_id: int) -> None:
        """Count the texts themselves. Repeating is safe, also while the user writes."""
        with transaction.atomic():
            storage.lock(user_id)
            cls.objects.filter(user_id=user_id).update(
                conversations=Conversation.objects.owned_by(user_id).stored_bytes()
                + Preset.objects.owned_by(user_id).stored_bytes(),
                unkept=Generation.objects.owned_by(user_id).filter(HAS_TEXT).stored_bytes(),
                attachments=Attachment.objects.owned_by(user_id).stored_bytes(),
                recounted_at=timezone.now(),
            )

"""The announcements that hold now, in memory: a page costs no query for them."""

import hashlib
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from chat.announcements.models import Announcement
from providers import access
from runtime.ttl_cache import TTLCache
from web import limited_markdown

# Seconds for which the copy is used. An admin's change takes effect within five in every process.
SECONDS = 3.0
# Seconds for which a user's groups are used again, and users whose groups are kept at most.
GROUP_SECONDS, MOST_USERS = 30.0, 10_000
# The most urgent come first.
_ORDER = tuple(reversed(Announcement.Severity.values))


@dataclass(frozen=True, slots=True)
class Shown:
    """An announcement.

    `key` changes with its texts, so that a changed one is shown again after it was closed.
    """

    id: int
    key: str
    severity: str
    audience: str
    groups: frozenset[int]
    starts_at: datetime
    ends_at: datetime | None
    texts: tuple[str, str]

    @property
    def text(self) -> str:
        """The text in the active language, in Markdown."""
        english, chinese = self.texts
        return (chinese or english) if (get_language() or "").startswith("zh") else (english or chinese)

    @property
    def html(self) -> SafeString:
        return limited_markdown.render(self.text)

    def holds(self, now: datetime) -> bool:
        return self.starts_at <= now and (self.ends_at is None or now < self.ends_at)


class LiveAnnouncements(TTLCache[list[Shown]]):
    """The announcements of this process, and the groups of users who saw one for groups."""

    def __init__(self) -> None:
        super().__init__(_load, SECONDS)
        self._groups: dict[int, TTLCache[frozenset[int]]] = {}

    def for_user(self, user_id: int | None) -> list[Shown]:
        """Return what a user sees, or a visitor (None)."""
        now = timezone.now()
        current = [shown for shown in self.current() if shown.holds(now)]
        if user_id is None:
            return [shown for shown in current if shown.audience == Announcement.Audience.ALL]
        by_group = any(shown.audience == Announcement.Audience.GROUPS for shown in current)
        groups: Set[int] = self._groups_of(user_id) if by_group else frozenset()
        return [shown for shown in current if shown.audience != Announcement.Audience.GROUPS or shown.groups & groups]

    def _groups_of(self, user_id: int) -> frozenset[int]:
        if len(self._groups) >= MOST_USERS:
            self._groups.clear()
        kept = self._groups.setdefault(user_id, TTLCache(lambda: access.groups_of(user_id), GROUP_SECONDS))
        return kept.current()


def _load() -> list[Shown]:
    rows = Announcement.objects.filter(Q(ends_at=None) | Q(ends_at__gt=timezone.now()))
    found = [_shown(row) for row in rows.prefetch_related("groups").order_by("-starts_at", "-id")]
    return sorted(found, key=lambda shown: _ORDER.index(shown.severity))


def _shown(row: Announcement) -> Shown:
    texts = (row.text_en.strip(), row.text_zh.strip())
    digest = hashlib.sha256("\0".join([row.severity, *texts]).encode()).hexdigest()[:8]
    groups = frozenset(group.pk for group in row.groups.all())
    return Shown(row.pk, f"{row.pk}-{digest}", row.severity, row.audience, groups, row.starts_at, row.ends_at, texts)

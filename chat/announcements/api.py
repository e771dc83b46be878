"""REST of announcements: for users and visitors; and the rows, for staff."""

from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from typing_extensions import TypedDict

from chat.announcements.live import Shown
from chat.announcements.models import Announcement
from chat.apps import chat
from web.bodies import DateTimeField, NamedRow
from web.openapi import Operation
from web.staff import StaffRows, StaffSerializer


class AnnouncementRow(TypedDict):
    id: int
    key: str
    severity: str
    text: str
    html: str
    starts_at: str
    ends_at: str | None


class Announcements(APIView):
    permission_classes = (AllowAny,)

    @Operation(
        "Accounts",
        "The announcements of staff",
        "Without a proof those for visitors. `text` is in the caller's language: Markdown with bold, italic, code and "
        "links only; `html` is the same. `key` changes with the text: keep it to hide what the user has closed.",
        proof="open",
        returns=list[AnnouncementRow],
    )
    def get(self, request: Request) -> Response:
        user_id = request.user.pk if request.user.is_authenticated else None
        return Response([_row(shown) for shown in chat().announcements.for_user(user_id)])


def _row(shown: Shown) -> AnnouncementRow:
    return AnnouncementRow(
        id=shown.id,
        key=shown.key,
        severity=shown.severity,
        text=shown.text,
        html=shown.html,
        starts_at=timezone.localtime(shown.starts_at).isoformat(),
        ends_at=timezone.localtime(shown.ends_at).isoformat() if shown.ends_at else None,
    )


class AnnouncementSerializer(StaffSerializer):
    groups = NamedRow(slug_field="name", queryset=Group.objects.all(), many=True, required=False)
    starts_at = DateTimeField(required=False)
    ends_at = DateTimeField(allow_null=True, required=False)

    class Meta:
        model = Announcement
        fields = ("id", "text_en", "text_zh", "severity", "audience", "groups", "starts_at", "ends_at")


class AnnouncementRows(StaffRows):
    """`/api/admin/announcements/`."""

    model, serializer_class = Announcement, AnnouncementSerializer

    def get_queryset(self) -> QuerySet[Announcement]:
        return Announcement.objects.prefetch_related("groups").order_by("pk")

    def changed(self) -> None:
        chat().announcements.changed()

"""REST for staff: quotas, redeem codes, and credits given by hand."""

from typing import Any

from django.contrib.admin.models import ADDITION
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from providers.models import ChatModel
from quotas import ledger, redeem_codes, schemas
from quotas.apps import quotas_app
from quotas.models import LedgerEntry, Quota, RedeemCode
from quotas.statements import MOST
from web.bodies import DateTimeField, NamedRow, StrictSerializer
from web.openapi import Operation
from web.refusals import Conflict, Forbidden, InvalidRequest
from web.staff import OPERATIONS, StaffRows, StaffSerializer, with_query


class QuotaSlug(NamedRow[Quota]):
    def __init__(self) -> None:
        super().__init__(slug_field="slug", queryset=Quota.objects.all())


class QuotaRow(StaffSerializer):
    """A quota. Naming a model here takes it out of its earlier quota."""

    models = NamedRow(slug_field="slug", queryset=ChatModel.objects.all(), many=True, required=False)

    class Meta:
        model = Quota
        fields = ("id", "slug", "title", "models", "daily_limit", "inviter_credits", "invitee_credits")

    def create(self, validated_data: dict[str, Any]) -> Quota:
        return self.update(Quota(), validated_data)

    def update(self, instance: Quota, validated_data: dict[str, Any]) -> Quota:
        for name in validated_data.keys() - {"models"}:
            setattr(instance, name, validated_data[name])
        instance.save()
        if "models" in validated_data:
            instance.cover(validated_data["models"])
        return instance

    def to_representation(self, instance: Quota) -> dict[str, Any]:
        ordered = sorted(instance.models.all(), key=lambda model: (model.position, model.slug))
        return {**super().to_representation(instance), "models": [model.slug for model in ordered]}


class Quotas(StaffRows):
    """`/api/admin/quotas/`."""

    model, serializer_class = Quota, QuotaRow

    def get_queryset(self) -> QuerySet[Quota]:
        return Quota.objects.prefetch_related("models").order_by("pk")

    def changed(self) -> None:
        quotas_app().snapshot.changed()


class BatchBody(StrictSerializer):
    quota = QuotaSlug()
    credits = serializers.IntegerField(min_value=1, max_value=redeem_codes.MOST_CREDITS)
    count = serializers.IntegerField(min_value=1, max_value=redeem_codes.MOST_AT_ONCE)
    expires_at = DateTimeField(allow_null=True, default=None)
    note = serializers.CharField(max_length=200, allow_blank=True, default="")


class CodeRow(StaffSerializer):
    """A code. Only unused codes can be changed."""

    code = serializers.CharField(source="grouped", read_only=True)
    quota = QuotaSlug()
    credits = serializers.IntegerField(min_value=1, max_value=redeem_codes.MOST_CREDITS)
    expires_at = DateTimeField(allow_null=True, required=False)
    redeemed_by = serializers.SlugRelatedField[Model](slug_field="username", read_only=True, allow_null=True)

    class Meta:
        model = RedeemCode
        fields = ("id", "batch", "code", "quota", "credits", "expires_at", "redeemed_by", "redeemed_at")
        read_only_fields = ("batch", "redeemed_at")

    def update(self, instance: RedeemCode, validated_data: dict[str, Any]) -> RedeemCode:
        _require_unused(instance)
        changed: RedeemCode = super().update(instance, validated_data)
        return changed


class RedeemCodes(StaffRows):
    """`/api/admin/redeem-codes/`: POST makes a batch; `?batch=` lists the codes of one."""

    model, serializer_class = RedeemCode, CodeRow
    operations = OPERATIONS | {"list": with_query(batch=str)}

    def get_queryset(self) -> QuerySet[RedeemCode]:
        rows = RedeemCode.objects.select_related("quota", "redeemed_by").order_by("pk")
        batch = self.request.query_params.get("batch")
        if batch is None:
            return rows
        if not (batch.isascii() and batch.isdigit() and len(batch) < 19):
            raise InvalidRequest(details={"batch": [_("There is no batch with this number.")]})
        return rows.filter(batch_id=int(batch))

    @Operation(
        "Staff",
        "Create a batch of codes",
        body=BatchBody,
        example={"quota": "standard", "credits": 5, "count": 10},
        returns={201: schemas.CodeBatch},
    )
    @transaction.atomic
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        body = BatchBody.of(request)
        codes = redeem_codes.make(
            body["quota"], body["credits"], body["count"], body["expires_at"], request.user.pk, body["note"]
        )
        self._note(codes[0].batch, ADDITION, {"added": {}})
        return Response(schemas.CodeBatch(codes=[code.grouped() for code in codes]), status=201)

    def perform_destroy(self, instance: Model) -> None:
        _require_unused(instance)
        super().perform_destroy(instance)


def _require_unused(code: Any) -> None:
    if code.redeemed_at:
        raise Conflict(_("This code was redeemed and cannot be changed."))


def may_credit(actor: AbstractUser, target: AbstractUser) -> bool:
    """Return whether staff may grant credits to this account: to their own only as superusers."""
    return actor.is_superuser or actor.pk != target.pk


class GrantRow(StaffSerializer):
    """Credits that staff give, or take back with a negative amount, down to zero."""

    user = NamedRow(slug_field="username", queryset=get_user_model()._default_manager.all())
    quota = QuotaSlug()
    amount = serializers.IntegerField(min_value=-MOST, max_value=MOST)

    class Meta:
        model = LedgerEntry
        fields = ("id", "user", "quota", "amount", "reason", "created_at")
        read_only_fields = ("created_at",)

    def create(self, validated_data: dict[str, Any]) -> LedgerEntry:
        user, quota = validated_data["user"], validated_data["quota"]
        if not may_credit(self.context["request"].user, user):
            raise Forbidden(_("Only a superuser can change the credits of their own account."))
        ledger.grant(user.pk, quota.pk, validated_data["amount"], validated_data["reason"])
        # Other transactions that change this balance wait for this one, so the newest grant is its own.
        return LedgerEntry.objects.filter(user=user, quota=quota, reference="").latest("id")


class Credits(StaffRows):
    """`/api/admin/credits/`: every grant, newest first; rows are only added."""

    model, serializer_class = LedgerEntry, GrantRow
    operations = OPERATIONS | {"list": with_query(user=str)}

    def get_queryset(self) -> QuerySet[LedgerEntry]:
        rows = LedgerEntry.objects.filter(reference="").select_related("user", "quota").order_by("-pk")
        user = self.request.query_params.get("user") if self.action == "list" else None
        return rows if user is None else rows.filter(user__username=user)

"""REST for staff: upstreams and keys. Models, which also belong to quotas, are in `quotas.models_api`."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from providers import health_display
from providers.apps import providers_app
from providers.fields import unmasked
from providers.models import ApiKey, Upstream
from providers.schemas import Headers, Query, UpstreamDeadlinesRow
from web.bodies import NamedRow
from web.staff import StaffRows, StaffSerializer

_SECRET_CHARS = 4_096


class UpstreamRow(StaffSerializer):
    """An upstream. A masked header or query value that comes back keeps the stored one."""

    headers = Headers(required=False)
    query = Query(required=False)
    deadlines = UpstreamDeadlinesRow(required=False)

    class Meta:
        model = Upstream
        fields = ("id", "slug", "kind", "base_url", "proxy", "headers", "query", "deadlines", "enabled")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name in ("headers", "query"):
            if name in attrs:
                stored = getattr(self.instance, name) if self.instance else {}
                try:
                    attrs[name] = unmasked(attrs[name], stored)
                except ValidationError as error:
                    raise ValidationError({name: error.messages}) from error
        return super().validate(attrs)

    def create(self, validated_data: dict[str, Any]) -> Upstream:
        return Upstream.objects.create(**validated_data)

    def update(self, instance: Upstream, validated_data: dict[str, Any]) -> Upstream:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save()
        return instance


class KeyRow(StaffSerializer):
    """A key with a write-only secret; setting `status` to `ok` deletes its troubles."""

    upstream = NamedRow(slug_field="slug", queryset=Upstream.objects.all())
    secret = serializers.CharField(write_only=True, max_length=_SECRET_CHARS)
    status = serializers.ChoiceField(choices=("ok", "cooling", "quarantined"), required=False)
    status_reason = serializers.CharField(read_only=True)
    cooldown_until = serializers.DateTimeField(read_only=True, allow_null=True)

    class Meta:
        model = ApiKey
        fields = (
            *("id", "upstream", "secret", "last4", "enabled", "max_concurrency"),
            *("status", "status_reason", "cooldown_until"),
        )
        read_only_fields = ("last4",)

    def to_representation(self, instance: ApiKey) -> dict[str, Any]:
        now = health_display.of_key(instance)
        until = self.fields["cooldown_until"].to_representation(now.cooldown_until) if now.cooldown_until else None
        state = {"status": now.status, "status_reason": now.reason, "cooldown_until": until}
        return {**super().to_representation(instance), **state}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        key: ApiKey = self.instance or ApiKey()
        upstream = attrs.get("upstream") or key.upstream
        if key.pk and upstream != key.upstream:
            raise ValidationError(
                {"upstream": _("A key stays with its upstream. Add it to the other upstream instead.")}
            )
        if key.pk and attrs.get("status", "ok") not in {"ok", health_display.of_key(key).status}:
            raise ValidationError({"status": _("Only ok can be set.")})
        if "secret" in attrs:
            try:
                attrs["secret"] = key.checked(attrs["secret"], upstream)
            except ValidationError as error:
                raise ValidationError({"secret": error.messages}) from error
        return super().validate(attrs)

    def create(self, validated_data: dict[str, Any]) -> ApiKey:
        return self.update(ApiKey(), validated_data)

    def update(self, instance: ApiKey, validated_data: dict[str, Any]) -> ApiKey:
        for name in ("upstream", "enabled", "max_concurrency"):
            if name in validated_data:
                setattr(instance, name, validated_data[name])
        if "secret" in validated_data:
            instance.replace_secret(validated_data["secret"])
        if instance.pk and validated_data.get("status") == "ok":
            instance.troubles.all().delete()
        instance.save()
        return instance


class Upstreams(StaffRows):
    """`/api/admin/upstreams/`."""

    model, serializer_class = Upstream, UpstreamRow

    def changed(self) -> None:
        providers_app().configuration.changed()


class Keys(StaffRows):
    """`/api/admin/keys/`."""

    model, serializer_class = ApiKey, KeyRow

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.select_related("upstream").prefetch_related("troubles").order_by("pk")

    def changed(self) -> None:
        providers_app().configuration.changed()

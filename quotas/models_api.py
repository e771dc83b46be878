"""REST for staff: models, not in `providers`, because that package knows no quotas."""

from typing import Any

from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from providers.apps import providers_app
from providers.models import ChatModel, Route, Upstream
from quotas import setup
from quotas.apps import quotas_app
from quotas.models import Quota, QuotaModel
from web.bodies import NamedRow, StrictSerializer
from web.staff import StaffRows, StaffSerializer

_MOST = 2**31 - 1


class RouteRow(StrictSerializer):
    upstream = NamedRow(slug_field="slug", queryset=Upstream.objects.all())
    upstream_model = serializers.CharField(max_length=200)
    priority = serializers.IntegerField(min_value=0, max_value=_MOST, default=0)
    weight = serializers.IntegerField(min_value=1, max_value=_MOST, default=1)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if self.root is self:
            return super().run_validation(data)
        # A route is replaced as a whole, even in a PATCH of its model.
        alone = RouteRow(data=data)
        alone.is_valid(raise_exception=True)
        return alone.validated_data


class ModelRow(StaffSerializer):
    """A model. `quota` null: none; left out of a new model: a default one."""

    quota = NamedRow(slug_field="slug", queryset=Quota.objects.all(), required=False, allow_null=True)
    groups = NamedRow(slug_field="name", queryset=Group.objects.all(), many=True, required=False)
    routes = RouteRow(many=True, required=False)
    allowed_tool_types = serializers.ListField(child=serializers.CharField(max_length=64), required=False)

    class Meta:
        model = ChatModel
        fields = (
            *("id", "slug", "title", "description", "quota", "context_tokens", "parameters", "enabled"),
            *("groups", "allowed_tool_types", "think_tags", "routes"),
        )

    def to_representation(self, instance: ChatModel) -> dict[str, Any]:
        link: QuotaModel | None = getattr(instance, "quota_link", None)
        routes = sorted(instance.routes.all(), key=lambda route: (route.priority, route.pk))
        shown: dict[str, Any] = super().to_representation(instance)
        return {
            **shown,
            "quota": link.quota.slug if link else None,
            "groups": sorted(shown["groups"]),
            "routes": RouteRow(routes, many=True).data,
        }

    def validate_routes(self, routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        ways = [(route["upstream"].pk, route["upstream_model"]) for route in routes]
        if len(set(ways)) < len(ways):
            raise serializers.ValidationError(_("A model has one route only to the same name of the same upstream."))
        return routes

    def create(self, validated_data: dict[str, Any]) -> ChatModel:
        model = self.update(ChatModel(), validated_data)
        if "quota" not in validated_data:
            setup.assign_models()
        return model

    def update(self, instance: ChatModel, validated_data: dict[str, Any]) -> ChatModel:
        apart = {"quota", "groups", "routes"}
        for name in validated_data.keys() - apart:
            setattr(instance, name, validated_data[name])
        instance.save()
        if "groups" in validated_data:
            instance.groups.set(validated_data["groups"])
        if "routes" in validated_data:
            instance.routes.all().delete()
            Route.objects.bulk_create(Route(model=instance, **route) for route in validated_data["routes"])
        if "quota" in validated_data:
            if quota := validated_data["quota"]:
                QuotaModel.objects.update_or_create(model=instance, defaults={"quota": quota})
            else:
                QuotaModel.objects.filter(model=instance).delete()
        instance.refresh_from_db()  # or it would remember the quota of before
        return instance


class ChatModels(StaffRows):
    """`/api/admin/models/`."""

    model, serializer_class = ChatModel, ModelRow

    def get_queryset(self) -> QuerySet[ChatModel]:
        rows = ChatModel.objects.select_related("quota_link__quota").prefetch_related("groups", "routes__upstream")
        return rows.order_by("pk")

    def changed(self) -> None:
        providers_app().configuration.changed()
        quotas_app().snapshot.changed()

"""REST for staff: models, not in `providers`, because that package knows no quotas."""

from typing import Any

from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from providers import context_sizes, validation
from providers.apps import providers_app
from providers.models import ChatModel, Route, Upstream
from providers.schemas import DeadlinesRow, Names
from quotas import setup
from quotas.apps import quotas_app
from quotas.models import Quota, QuotaModel
from web.bodies import NamedRow, StrictSerializer
from web.staff import StaffRows, StaffSerializer

_MOST = 2**31 - 1


class PassedOverRow(StrictSerializer):
    """Describes the requests that passed a route over since it last served one."""

    since = serializers.DateTimeField()
    requests = serializers.IntegerField(min_value=0)
    reason = serializers.CharField(allow_blank=True)

    def to_representation(self, instance: Any) -> Any:
        return None  # a route shows these columns itself


class RouteRow(StrictSerializer):
    """A route. `learned` and `passed_over` are shown only when there is something.

    An empty object clears the first, null the second; any other value leaves it, so that a row can be sent back.
    """

    upstream = NamedRow(slug_field="slug", queryset=Upstream.objects.all())
    upstream_model = serializers.CharField(max_length=200)
    priority = serializers.IntegerField(min_value=0, max_value=_MOST, default=0)
    weight = serializers.IntegerField(min_value=1, max_value=_MOST, default=1)
    parameters = serializers.DictField(default=dict)
    drop = Names(default=list)
    deadlines = DeadlinesRow(default=dict)
    learned = serializers.DictField(required=False)
    passed_over = PassedOverRow(required=False, allow_null=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not any(shown["deadlines"].values()):
            del shown["deadlines"]
        del shown["passed_over"]
        if not shown["learned"]:
            del shown["learned"]
        if instance.passed_over_since:
            shown["passed_over"] = {
                "since": timezone.localtime(instance.passed_over_since).isoformat(),
                "requests": instance.passed_over,
                "reason": instance.passed_over_reason,
            }
        return shown

    def validate_parameters(self, values: dict[str, Any]) -> dict[str, Any]:
        return validation.parameters(values)

    def validate_drop(self, names: list[str]) -> list[str]:
        return validation.dropped(names)

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
    takes = Names(required=False, allow_null=True)
    allowed_tool_types = Names(required=False)
    deadlines = DeadlinesRow(required=False)

    class Meta:
        model = ChatModel
        fields = (
            *("id", "slug", "title", "description", "quota", "context_tokens", "parameters", "enabled"),
            *("groups", "takes", "allowed_tool_types", "think_tags", "deadlines", "routes"),
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
        names = [route["upstream_model"] for route in validated_data.get("routes", ())]
        tokens, assumed = context_sizes.of(*names, validated_data["slug"])
        model = self.update(ChatModel(context_tokens=tokens, context_assumed=assumed), validated_data)
        if "quota" not in validated_data:
            setup.assign_models()
        return model

    def update(self, instance: ChatModel, validated_data: dict[str, Any]) -> ChatModel:
        apart = {"quota", "groups", "routes"}
        for name in validated_data.keys() - apart:
            setattr(instance, name, validated_data[name])
        if "context_tokens" in validated_data:
            instance.context_assumed = False
        instance.save()
        if "groups" in validated_data:
            instance.groups.set(validated_data["groups"])
        if "routes" in validated_data:
            _replace_routes(instance, validated_data["routes"])
        if "quota" in validated_data:
            if quota := validated_data["quota"]:
                QuotaModel.objects.update_or_create(model=instance, defaults={"quota": quota})
            else:
                QuotaModel.objects.filter(model=instance).delete()
        instance.refresh_from_db()  # or it would remember the quota of before
        return instance


def _replace_routes(model: ChatModel, given: list[dict[str, Any]]) -> None:
    """Replace the routes of a model; one that stays keeps what was learned about it."""
    rows = {(route.upstream_id, route.upstream_model): route for route in model.routes.all()}
    for values in given:
        route = rows.pop((values["upstream"].pk, values["upstream_model"]), None) or Route(model=model)
        cleared = {name: values.pop(name, True) for name in ("learned", "passed_over")}
        for name, value in values.items():
            setattr(route, name, value)
        if not cleared["learned"]:
            route.learned = {}
        if cleared["passed_over"] is None:
            route.passed_over_since, route.passed_over, route.passed_over_reason = None, 0, ""
        route.save()
    model.routes.filter(pk__in=[route.pk for route in rows.values()]).delete()


class ChatModels(StaffRows):
    """`/api/admin/models/`."""

    model, serializer_class = ChatModel, ModelRow

    def get_queryset(self) -> QuerySet[ChatModel]:
        rows = ChatModel.objects.select_related("quota_link__quota").prefetch_related("groups", "routes__upstream")
        return rows.order_by("pk")

    def changed(self) -> None:
        providers_app().configuration.changed()
        quotas_app().snapshot.changed()

"""Decide which models a user may use.

A model without groups is open to all users. A model with groups is reserved to their members; this holds for staff too.
"""

from collections.abc import Collection

from django.contrib.auth.models import Group

from providers.models import ChatModel
from providers.snapshot import Configuration, ModelConfig


def groups_of(user_id: int) -> frozenset[int]:
    """Return the ids of a user's groups; one query."""
    return frozenset(Group.objects.filter(user=user_id).values_list("id", flat=True))


def may_use(user_id: int, model: ModelConfig) -> bool:
    """Return whether a user may use a model; query groups only for a reserved one."""
    return not model.groups or model.open_to(groups_of(user_id))


def usable(configuration: Configuration, user_id: int) -> list[ModelConfig]:
    """Return the enabled models that a user may use, in the order of lists."""
    models = list(configuration.models().values())
    groups = groups_of(user_id) if any(model.groups for model in models) else frozenset()
    return [model for model in models if model.open_to(groups)]


def disable_reserved(groups: Collection[Group]) -> list[str]:
    """Disable the models that only these groups may use; return their slugs.

    Call it before the groups are deleted. Because a model without groups is open to all users, the models would
    otherwise become open. The caller then calls `changed`.
    """
    reserved = ChatModel.objects.filter(groups__in=groups, enabled=True)
    shared = ChatModel.objects.filter(groups__in=Group.objects.exclude(pk__in=[group.pk for group in groups]))
    slugs = sorted(set(reserved.exclude(pk__in=shared.values("pk")).values_list("slug", flat=True)))
    ChatModel.objects.filter(slug__in=slugs).update(enabled=False)
    return slugs

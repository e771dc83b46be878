"""Who may use which model: one with groups is reserved to their members, whoever else they are."""

from typing import Any

import structlog
from django.contrib.auth.models import Group

from providers import table
from providers.models import ChatModel
from providers.table import ModelConfig

log = structlog.get_logger("providers")


def groups_of(user_id: int) -> frozenset[int]:
    """Return the ids of a user's groups; one query."""
    return frozenset(Group.objects.filter(user=user_id).values_list("id", flat=True))


def may_use(user_id: int, model: ModelConfig) -> bool:
    """Whether a user may use a model; asks the database only when the model is reserved."""
    return not model.groups or model.open_to(groups_of(user_id))


def usable(user_id: int) -> list[ModelConfig]:
    """Return the enabled models that a user may use, in the order of lists; asks once, and only if any is reserved."""
    models = list(table.models().values())
    groups = groups_of(user_id) if any(model.groups for model in models) else frozenset()
    return [model for model in models if model.open_to(groups)]


def close_reserved(instance: Group, **_signal: Any) -> None:
    """Take models out of use whose last group is about to be deleted: without groups they would be everybody's.

    The group leaves its models here and not with the deletion, so that of several that go together one is the last.
    """
    theirs = ChatModel.objects.filter(groups=instance)
    shared = ChatModel.objects.filter(groups__in=Group.objects.exclude(pk=instance.pk))
    alone = theirs.filter(enabled=True).exclude(pk__in=shared.values("pk"))
    for slug in alone.values_list("slug", flat=True):
        log.warning("model disabled with its last group", model=slug, group=instance.name)
    alone.update(enabled=False)
    ChatModel.groups.through.objects.filter(group=instance).delete()
    table.changed()

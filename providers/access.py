"""Who may use which model: one with groups is reserved to their members, whoever else they are."""

from collections.abc import Collection

from django.contrib.auth.models import Group

from providers import snapshot
from providers.models import ChatModel
from providers.snapshot import ModelConfig


def groups_of(user_id: int) -> frozenset[int]:
    """Return the ids of a user's groups; one query."""
    return frozenset(Group.objects.filter(user=user_id).values_list("id", flat=True))


def may_use(user_id: int, model: ModelConfig) -> bool:
    """Whether a user may use a model; asks the database only when the model is reserved."""
    return not model.groups or model.open_to(groups_of(user_id))


def usable(user_id: int) -> list[ModelConfig]:
    """Return the enabled models that a user may use, in the order of lists; asks once, and only if any is reserved."""
    models = list(snapshot.models().values())
    groups = groups_of(user_id) if any(model.groups for model in models) else frozenset()
    return [model for model in models if model.open_to(groups)]


def close_reserved(groups: Collection[Group]) -> list[str]:
    """Take models out of use that only these groups may use, which are about to go; return their slugs.

    Without groups they would be everybody's.
    """
    theirs = ChatModel.objects.filter(groups__in=groups)
    shared = ChatModel.objects.filter(groups__in=Group.objects.exclude(pk__in=[group.pk for group in groups]))
    alone = theirs.filter(enabled=True).exclude(pk__in=shared.values("pk"))
    slugs = sorted(set(alone.values_list("slug", flat=True)))
    ChatModel.objects.filter(slug__in=slugs).update(enabled=False)
    snapshot.changed()
    return slugs

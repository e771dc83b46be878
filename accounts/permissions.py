"""What staff may do to accounts: never more than they may themselves, and never lock everybody out.

Superusers may change every account. Other staff may change ordinary accounts only, not those of staff, and give or take
only groups whose permissions they all have. Nobody disables or deletes themselves, so a superuser always remains.
"""

from collections.abc import Iterable

from django.contrib.auth.models import Group
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from web.refusals import Forbidden


def may_change(actor: User, target: User) -> bool:
    return actor.is_superuser or not (target.is_staff or target.is_superuser)


def may_remove(actor: User, target: User) -> bool:
    """Whether the actor may disable or delete this account."""
    return actor.pk != target.pk and may_change(actor, target)


def missing_for(actor: User, groups: Iterable[Group]) -> list[Group]:
    """Return the groups that would give somebody a permission that the actor does not have."""
    if actor.is_superuser:
        return []
    own = actor.get_all_permissions()
    return [group for group in groups if not _permissions(group) <= own]


def require_change(actor: User, target: User) -> None:
    """Raise Forbidden unless the actor may change this account."""
    if not may_change(actor, target):
        raise Forbidden(_("Only superusers may change the accounts of staff."))


def require_removal(actor: User, target: User) -> None:
    """Raise Forbidden unless the actor may disable or delete this account."""
    require_change(actor, target)
    if actor.pk == target.pk:
        raise Forbidden(_("You cannot disable or delete your own account."))
    if target.is_superuser:
        _require_another(target)


def _require_another(target: User) -> None:
    """Let superusers who remove each other at the same moment queue: the later one finds nobody left."""
    others = User.objects.select_for_update().filter(is_superuser=True, is_active=True).exclude(pk=target.pk)
    if not others.order_by("pk").values_list("pk", flat=True):
        raise Forbidden(_("The last superuser stays."))


def require_groups(actor: User, groups: Iterable[Group]) -> None:
    """Raise Forbidden when one of the groups gives more than the actor has."""
    if missing_for(actor, groups):
        raise Forbidden(_("A group gives permissions that you do not have."))


def _permissions(group: Group) -> set[str]:
    rows = group.permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in rows}

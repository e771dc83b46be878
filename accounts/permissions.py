"""Rules for staff who change accounts.

No staff user grants more rights than their own, or removes the last superuser. Superusers may change every account.
Other staff may change ordinary accounts, but not those of staff, and may assign or remove only groups whose permissions
they all have. No user can disable or delete their own account, and staff who can see redeem codes cannot redeem
any. `quotas.staff.may_credit` has the rule about credits.
"""

from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from web.refusals import Forbidden

# Permissions that let staff read unused codes.
_CODE_RIGHTS = tuple(
    f"quotas.{right}" for right in ("view_redeemcode", "change_redeemcode", "add_redeemcode", "add_redeembatch")
)


def may_change(actor: User, target: User) -> bool:
    return actor.is_superuser or not (target.is_staff or target.is_superuser)


def may_remove(actor: User, target: User) -> bool:
    return actor.pk != target.pk and may_change(actor, target)


def groups_beyond(actor: User, groups: Iterable[Group]) -> list[Group]:
    """Return the groups with a permission that the actor does not have."""
    if actor.is_superuser:
        return []
    return [group for group in groups if beyond(actor, group.permissions.select_related("content_type"))]


def beyond(actor: User, wanted: Iterable[Permission]) -> list[Permission]:
    """Return the permissions that the actor does not have."""
    if actor.is_superuser:
        return []
    own = actor.get_all_permissions()
    return [one for one in wanted if f"{one.content_type.app_label}.{one.codename}" not in own]


def may_redeem(user: User) -> bool:
    """Return whether the user cannot see or make redeem codes, or is a superuser."""
    return user.is_superuser or not (user.is_staff and any(map(user.has_perm, _CODE_RIGHTS)))


def require_change(actor: User, target: User) -> None:
    if not may_change(actor, target):
        raise Forbidden(_("Only superusers may change the accounts of staff."))


def require_removal(actor: User, target: User) -> None:
    """Raise Forbidden unless the actor may disable or delete this account."""
    require_change(actor, target)
    if actor.pk == target.pk:
        raise Forbidden(_("You cannot disable or delete your own account."))
    require_another_superuser(target)


def require_another_superuser(target: User) -> None:
    """Raise Forbidden for the last superuser. Belongs inside the transaction of the removal."""
    if target.is_superuser:
        # Locked, so that concurrent removals queue.
        others = User.objects.select_for_update().filter(is_superuser=True, is_active=True).exclude(pk=target.pk)
        if not others.order_by("pk").values_list("pk", flat=True):
            raise Forbidden(_("The last superuser cannot be disabled or deleted."))


def require_groups(actor: User, groups: Iterable[Group]) -> None:
    if groups_beyond(actor, groups):
        raise Forbidden(_("A group gives permissions that you do not have."))

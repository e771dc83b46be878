"""Admin pages of sign-up: invitations, groups by redeem code, approval."""

from typing import Any, TypeVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts import approval, permissions
from accounts.models import BatchGroup, SignupCode, User

Row = TypeVar("Row", bound=Model)


class ActorForm(forms.ModelForm[Any]):
    """A form that knows the admin who fills it in."""

    actor: User


class ActorAdmin(admin.ModelAdmin[Row]):
    """An admin page whose form knows its `actor`."""

    def get_form(self, request: HttpRequest, obj: Row | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"actor": request.user})


def _checked(actor: Any, groups: list[Group]) -> None:
    """Raise ValidationError for a group that the actor may not assign."""
    if permissions.groups_beyond(actor, groups):
        raise ValidationError(_("A group gives permissions that you do not have."))


class SignupCodeForm(ActorForm):
    def clean_code(self) -> str:
        return str(self.cleaned_data["code"]).strip().upper()

    def clean_groups(self) -> Any:
        groups = self.cleaned_data["groups"]
        # Also those that it has, because more uses or a later end give them to more users.
        before = self.instance.groups.all() if self.instance.pk else ()
        _checked(self.actor, [*groups, *before])
        return groups


@admin.register(SignupCode)
class SignupCodeAdmin(ActorAdmin[SignupCode]):
    """Invite a class, a team or one user by a link."""

    form = SignupCodeForm
    list_display = ("code", "note", "used", "expires_at", "approves", "created_at")
    list_filter = ("expires_at", "groups")
    search_fields = ("code", "note")
    fields = ("code", "note", "groups", "most_uses", "expires_at", "approves", "used", "link")
    readonly_fields = ("used", "link")
    filter_horizontal = ("groups",)
    ordering = ("-created_at",)

    @admin.display(description=_("used"), ordering="uses")
    def used(self, code: SignupCode) -> str:
        return f"{code.uses} / {code.most_uses}"

    @admin.display(description=_("link"))
    def link(self, code: SignupCode) -> str:
        return f"{reverse('account_signup')}?invite={code.code}" if code.pk else "–"


class BatchGroupForm(ActorForm):
    def clean_group(self) -> Any:
        _checked(self.actor, [self.cleaned_data["group"]])
        return self.cleaned_data["group"]


@admin.register(BatchGroup)
class BatchGroupAdmin(ActorAdmin[BatchGroup]):
    """Give users who redeem a code of a batch a group beside the credits."""

    form = BatchGroupForm
    list_display = ("batch", "group")
    list_select_related = ("batch", "group")


class ApprovalActions(admin.ModelAdmin[User]):
    """The action that approves waiting accounts."""

    actions = ("approve",)

    @admin.action(description=_("Approve the accounts"), permissions=["change"])
    def approve(self, request: HttpRequest, users: QuerySet[User]) -> None:
        count = sum(approval.approve(request, user) for user in users if permissions.may_change(request.user, user))  # type: ignore[arg-type]
        text = ngettext("%(count)d account was approved.", "%(count)d accounts were approved.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

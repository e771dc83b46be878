"""Admin pages of accounts."""

from typing import Any, ClassVar, cast

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList, ChangeListSearchForm
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from accounts import approval, deletion, permissions
from accounts.audit import admin as audit_admin  # noqa: F401  (Django looks for admin pages only here)
from accounts.ledger_page import LedgerPage
from accounts.models import ApiToken, PageText, User
from accounts.signup_admin import ApprovalActions
from accounts.token_limits import with_use
from accounts.token_usage import with_usage
from providers.admin import ReservingGroupAdmin
from web.large_tables import LargeTable

# Characters of a searched text in the lists of the admin.
MOST_SEARCH_CHARS = 100


def _site_name() -> str:
    return str(settings.SITE_NAME)


admin.site.site_header = admin.site.site_title = lazy(_site_name, str)()
# allauth's login page, so that one rate limit covers both.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


class BoundedSearchForm(ChangeListSearchForm):
    """The search field of all lists of the admin.

    A longer text gets a message, and the list is shown without a search.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[SEARCH_VAR] = forms.CharField(required=False, strip=False, max_length=MOST_SEARCH_CHARS)


ChangeList.search_form_class = BoundedSearchForm
# Tables of other packages. E-mail addresses and social logins are shown on the page of their user.
admin.site.unregister(
    [
        Authenticator,
        EmailAddress,
        SocialAccount,
        SocialApp,
        SocialToken,
        UserSession,
        BlacklistedToken,
        OutstandingToken,
    ]
)


TOKEN_LIMITS = ("expires_at", "allowed_models", "daily_limit", "requests_per_minute")
TOKEN_FIGURES = ("used_today", "recent_answers", "recent_tokens")


class _ReadOnlyInline(admin.TabularInline[Any, User]):
    """Rows that staff can read and delete, but not add or change."""

    extra = 0
    fields: ClassVar[Any] = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class _TokenFigures:
    """Columns with what a token used, for the two places that show tokens."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return with_usage(with_use(super().get_queryset(request)))  # type: ignore[misc]

    @admin.display(description=_("answers today"))
    def used_today(self, token: Any) -> int:
        return int(token.used_today)

    @admin.display(description=_("answers in 30 days"))
    def recent_answers(self, token: Any) -> int:
        return int(token.recent_answers)

    @admin.display(description=_("tokens read and written in 30 days"))
    def recent_tokens(self, token: Any) -> int:
        return int(token.recent_tokens)


class ApiTokenInline(_TokenFigures, _ReadOnlyInline):
    model = ApiToken
    fields = ("name", "created_at", "last_used_at", *TOKEN_LIMITS, *TOKEN_FIGURES)


class SocialAccountInline(_ReadOnlyInline):
    model = SocialAccount
    fields = ("provider", "uid", "date_joined", "last_login")


class EmailAddressInline(admin.TabularInline[EmailAddress, User]):
    """E-mail addresses of a user; an admin may mark one as verified."""

    model = EmailAddress
    extra = 0
    fields = ("email", "verified", "primary")


class StaffUserForm(UserChangeForm[User]):
    """The change form of an account, with the rules of `permissions`."""

    # The admin who changes the account.
    actor: User

    def clean_username(self) -> str:
        return _checked_name(self.instance, self.cleaned_data["username"])

    def clean_groups(self) -> Any:
        groups = self.cleaned_data["groups"]
        if permissions.groups_beyond(self.actor, set(groups) ^ set(self.instance.groups.all())):
            raise ValidationError(_("A group gives permissions that you do not have."))
        return groups

    def clean_is_active(self) -> bool:
        active: bool = self.cleaned_data["is_active"]
        if not active and self.instance.pk == self.actor.pk:
            raise ValidationError(_("You cannot disable or delete your own account."))
        return active

    def clean_is_superuser(self) -> bool:
        superuser: bool = self.cleaned_data["is_superuser"]
        if not superuser and self.instance.pk == self.actor.pk and self.actor.is_superuser:
            raise ValidationError(_("Only another superuser can do this, so that one always remains."))
        return superuser


class NewUserForm(AdminUserCreationForm[User]):
    """Django's form of a new account, with our rules for names."""

    def clean_username(self) -> str:
        return _checked_name(self.instance, self.cleaned_data["username"])


def _checked_name(user: User, typed: str) -> str:
    name = User.normalize_username(typed)
    if problem := user.name_problem(name):
        raise ValidationError(str(problem))
    return name


@admin.register(User)
class UserAdmin(ApprovalActions, LedgerPage):
    form = StaffUserForm
    add_form = NewUserForm
    list_display = (
        "username",
        "email",
        "is_active",
        "is_staff",
        "date_joined",
        "last_login",
        "invited_by",
        "abuse_count",
    )
    list_filter = ("is_active", "awaits_approval", "is_staff", "is_superuser", "groups", "date_joined")
    list_select_related = ("invited_by",)
    search_fields = ("username", "email", "invite_code", "first_name", "last_name")
    ordering = ("-date_joined",)
    readonly_fields = (
        "date_joined",
        "last_login",
        "invite_code",
        "invited_by",
        "signup_code",
        "abuse_count",
        "stated_age",
    )
    inlines = (EmailAddressInline, SocialAccountInline, ApiTokenInline)
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Personal info"), {"fields": ("email", "first_name", "last_name")}),
        (
            _("Permissions"),
            {"fields": ("is_active", "awaits_approval", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (_("Moderation"), {"fields": ("abuse_count",)}),
        (_("Invitations"), {"fields": ("invite_code", "invited_by", "signup_code")}),
        (_("Dates"), {"fields": ("date_joined", "last_login", "stated_age")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).filter(deletion_requested_at=None)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "awaits_approval" in form.changed_data and not obj.awaits_approval:
            approval.announce(request, obj)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        deletion.request(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            deletion.request(user)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return self.inlines if obj else ()

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"actor": request.user})

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        flags = () if _actor(request).is_superuser else ("is_staff", "is_superuser", "user_permissions")
        return (*super().get_readonly_fields(request, obj), *flags)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and (not obj or permissions.may_change(_actor(request), obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (not obj or permissions.may_remove(_actor(request), obj))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # Only the accounts: `deletion` takes what belongs to them, which staff may see and delete in part only. The
        # action that deletes several accounts checks the permission once, not for each account.
        protected_users = {str(user) for user in objs if not permissions.may_remove(_actor(request), user)}
        return [str(user) for user in objs], {User._meta.verbose_name_plural: len(objs)}, protected_users, []


class StaffGroupForm(forms.ModelForm[Group]):
    """The form of a group, with the rules of `permissions`.

    `actor` is the admin who changes it.
    """

    actor: User

    def clean_permissions(self) -> Any:
        chosen = self.cleaned_data["permissions"]
        before = self.instance.permissions.all() if self.instance.pk else ()
        if permissions.beyond(self.actor, set(chosen) ^ set(before)):
            raise ValidationError(_("You cannot grant or withdraw permissions that you do not have."))
        return chosen


admin.site.unregister(Group)


@admin.register(Group)
class StaffGroupAdmin(ReservingGroupAdmin):
    """Groups. Staff change only those whose permissions they all have, as they assign only those."""

    form = StaffGroupForm

    def get_form(self, request: HttpRequest, obj: Group | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"actor": request.user})

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_change_group(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_change_group(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        deletable, counts, missing, protected = super().get_deleted_objects(objs, request)
        # The action that deletes several groups checks the permission once, not for each group.
        beyond = {str(group) for group in objs if not _may_change_group(request, group)}
        return deletable, counts, {*missing, *beyond}, protected


def _may_change_group(request: HttpRequest, group: Group | None) -> bool:
    return group is None or not permissions.groups_beyond(_actor(request), [group])


@admin.register(ApiToken)
class ApiTokenAdmin(_TokenFigures, LargeTable[ApiToken]):
    list_display = ("name", "user", "created_at", "last_used_at", *TOKEN_LIMITS, *TOKEN_FIGURES)
    list_select_related = ("user",)
    contained = ("name",)
    ordering = ("-id",)
    fields = ("name", "user", "created_at", "last_used_at", *TOKEN_LIMITS, *TOKEN_FIGURES)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False


@admin.register(PageText)
class PageTextAdmin(admin.ModelAdmin[PageText]):
    """Edit the texts of the pages `/privacy/` and `/terms/`."""

    list_display = ("kind", "updated_at")


def _actor(request: HttpRequest) -> User:
    return cast("User", request.user)

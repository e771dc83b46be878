"""People in the admin, and its login: allauth's page, so that there is one door with one rate limit."""

from typing import TYPE_CHECKING, Any, ClassVar

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from accounts.models import ApiToken, User

if TYPE_CHECKING:
    Inline = admin.TabularInline[Any, User]
    TokenBase = admin.ModelAdmin[ApiToken]
    UserBase = DjangoUserAdmin[User]
else:  # Django's own classes take no parameters
    Inline, TokenBase, UserBase = admin.TabularInline, admin.ModelAdmin, DjangoUserAdmin

admin.site.site_header = admin.site.site_title = "Rivulet"
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# Rows that others keep for themselves; addresses and social logins are shown with their user.
admin.site.unregister([EmailAddress, SocialAccount, SocialApp, SocialToken, BlacklistedToken, OutstandingToken])


class _Shown(Inline):
    """Rows that can be looked at and deleted only."""

    extra = 0
    fields: ClassVar[Any] = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ApiTokenInline(_Shown):
    model = ApiToken
    fields = ("name", "created_at", "last_used_at")


class SocialAccountInline(_Shown):
    model = SocialAccount
    fields = ("provider", "uid", "date_joined", "last_login")


class EmailAddressInline(Inline):
    """Where an admin confirms an address by hand."""

    model = EmailAddress
    extra = 0
    fields = ("email", "verified", "primary")


@admin.register(User)
class UserAdmin(UserBase):
    list_display = ("username", "email", "is_active", "is_staff", "date_joined", "last_login", "invited_by")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups", "date_joined")
    list_select_related = ("invited_by",)
    search_fields = ("username", "email", "invite_code", "first_name", "last_name")
    ordering = ("-date_joined",)
    readonly_fields = ("date_joined", "last_login", "invite_code", "invited_by", "abuse_count")
    inlines = (EmailAddressInline, SocialAccountInline, ApiTokenInline)
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Person"), {"fields": ("email", "first_name", "last_name")}),
        (_("May do"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        (_("Moderation"), {"fields": ("abuse_count",)}),
        (_("Invitations"), {"fields": ("invite_code", "invited_by")}),
        (_("Dates"), {"fields": ("date_joined", "last_login")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return self.inlines if obj else ()


@admin.register(ApiToken)
class ApiTokenAdmin(TokenBase):
    list_display = ("name", "user", "created_at", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("name", "user__username", "user__email")
    fields = ("name", "user", "created_at", "last_used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

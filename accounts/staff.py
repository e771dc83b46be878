"""Staff REST API for accounts. The rules are in `permissions`."""

from collections.abc import Iterable
from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.utils import filter_users_by_email
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from accounts import approval, deletion, permissions
from accounts.models import User
from web.bodies import NamedRow
from web.staff import StaffRows, StaffSerializer


class UserRow(StaffSerializer):
    groups = NamedRow(slug_field="name", queryset=Group.objects.all(), many=True, required=False)

    class Meta:
        model = User
        fields = ("id", "username", "email", "is_active", "awaits_approval", "groups")
        extra_kwargs = {"awaits_approval": {"write_only": True}}

    def to_representation(self, instance: User) -> dict[str, Any]:
        body: dict[str, Any] = super().to_representation(instance)
        return {**body, "groups": sorted(body["groups"])}

    def validate_username(self, value: str) -> str:
        name = User.normalize_username(value)
        if problem := (self.instance or User()).name_problem(name):
            raise serializers.ValidationError(str(problem))
        return name

    def validate_email(self, value: str) -> str:
        address = value.lower()
        if address and self._belongs_to_another(filter_users_by_email(address)):
            raise serializers.ValidationError(_("A user is already registered with this email address."))
        return address

    def _belongs_to_another(self, users: Iterable[User]) -> bool:
        return any(user != self.instance for user in users)

    def create(self, validated_data: dict[str, Any]) -> User:
        actor, groups = self.context["request"].user, validated_data.pop("groups", [])
        permissions.require_groups(actor, groups)
        user = User(**validated_data)
        user.set_unusable_password()  # the user requests one by mail, or an admin sets it
        user.save()
        user.groups.set(groups)
        _set_address(user)
        return user

    def update(self, instance: User, validated_data: dict[str, Any]) -> User:
        actor = self.context["request"].user
        permissions.require_change(actor, instance)
        if instance.is_active and not validated_data.get("is_active", True):
            permissions.require_removal(actor, instance)
        if "groups" in validated_data:
            permissions.require_groups(actor, set(instance.groups.all()) ^ set(validated_data["groups"]))
        address_changed = validated_data.get("email", instance.email) != instance.email
        waited = instance.awaits_approval
        user: User = super().update(instance, validated_data)
        if waited and not user.awaits_approval:
            approval.announce(self.context["request"]._request, user)
        if address_changed:
            _set_address(user)
        return user


def _set_address(user: User) -> None:
    """Make the address that staff entered the account's own, unverified until the user confirms it."""
    EmailAddress.objects.filter(user=user, primary=True).delete()
    if user.email:
        EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"primary": True})


class Users(StaffRows):
    model, serializer_class = User, UserRow

    def get_queryset(self) -> QuerySet[User]:
        return User.objects.filter(deletion_requested_at=None).prefetch_related("groups").order_by("pk")

    def perform_destroy(self, instance: Model) -> None:
        permissions.require_removal(self.request.user, instance)  # type: ignore[arg-type]
        deletion.request(instance)  # type: ignore[arg-type]

"""JSON of accounts, tokens and invitations, as the views return it."""

from typing import NotRequired

from typing_extensions import TypedDict

from quotas.schemas import Quota
from web.schemas import Count, Time


class Tokens(TypedDict):
    access: str
    refresh: str


class Account(TypedDict):
    id: int
    username: str
    email: str


class Registered(Tokens):
    user: Account


class Me(Account):
    invite_code: str
    invite_url: str
    quotas: list[Quota]


class AccountDeletion(TypedDict):
    password: NotRequired[str]


class Terms(TypedDict):
    version: str | None
    url: str | None
    accepted: bool


class Session(TypedDict):
    id: int
    device: str
    address: str
    created_at: Time
    last_seen_at: Time
    current: bool


class SecurityEvent(TypedDict):
    id: int
    kind: str
    at: Time
    address: str
    device: str
    detail: str
    times: Count


class ApiToken(TypedDict):
    id: int
    name: str
    created_at: Time
    last_used_at: Time | None
    expires_at: Time | None
    models: list[str] | None
    daily_limit: Count | None
    requests_per_minute: Count | None
    used_today: Count


class NewApiToken(ApiToken):
    token: str


class Ticket(TypedDict):
    ticket: str
    expires_in: Count


class InvitedUser(TypedDict):
    username: str
    joined_at: Time
    credited: bool


class Invitations(TypedDict):
    code: str
    url: str
    invited: list[InvitedUser]
    pending: Count
    earned: Count


class Redeemed(TypedDict):
    quota: str
    credits: Count

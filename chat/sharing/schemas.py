"""The JSON of shares."""

from typing_extensions import TypedDict

from web.schemas import Time


class NewShare(TypedDict):
    id: int
    url: str
    expires_at: Time | None


class ListedShare(TypedDict):
    id: int
    url: str
    title: str
    conversation: int
    created_at: Time
    expires_at: Time | None

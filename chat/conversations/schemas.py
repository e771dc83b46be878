"""JSON of lists of conversations, exports and imports."""

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from chat.schemas import Conversation
from web.schemas import Count, Time


class Match(TypedDict):
    message: int
    excerpt: str


class FoundConversation(Conversation):
    match: NotRequired[Match | None]


class ConversationPage(TypedDict):
    results: list[FoundConversation]
    next: str | None


@with_config(ConfigDict(extra="allow"))
class Export(TypedDict):
    format: Literal["rivulet"]
    version: int
    exported_at: NotRequired[Time]
    conversations: list[dict[str, Any]]


class LeftOut(TypedDict):
    conversation: str
    what: str
    count: Count


class Imported(TypedDict):
    conversations: Count
    messages: Count
    left_out: NotRequired[list[LeftOut]]

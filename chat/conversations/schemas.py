"""JSON of lists of conversations, exports and imports."""

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from chat.schemas import Conversation
from web.schemas import Count, Time


class ConversationPage(TypedDict):
    results: list[Conversation]
    next: str | None


@with_config(ConfigDict(extra="allow"))
class Export(TypedDict):
    format: Literal["rivulet"]
    version: int
    exported_at: NotRequired[Time]
    conversations: list[dict[str, Any]]


class Imported(TypedDict):
    conversations: Count
    messages: Count

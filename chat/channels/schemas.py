"""JSON of push channels; their events are in `chat.events.schemas`."""

from typing_extensions import TypedDict


class Pushed(TypedDict):
    id: str


class Playing(TypedDict):
    events: str

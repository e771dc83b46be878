"""Define the JSON of attachments."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from web.schemas import Count


class Attachment(TypedDict):
    id: int
    name: str
    kind: Literal["image", "text"]
    media_type: str
    bytes: Count
    chars: Annotated[int, Field(ge=0, description="Characters of a text; 0 for an image.")]


class Upload(TypedDict):
    file: Annotated[str, Field(json_schema_extra={"format": "binary"})]

"""Define the JSON of attachments."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from chat.events.schemas import MessageFile


class Attachment(MessageFile):
    pass


class Upload(TypedDict):
    file: Annotated[str, Field(json_schema_extra={"format": "binary"})]

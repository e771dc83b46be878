"""JSON bodies of REST views: strict, bounded in depth, and a clear 400 for anything else."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser


class JSONParser(BaseParser):
    """orjson refuses what Python's parser lets through: NaN, lone surrogates, nesting without end."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return orjson.loads(stream.read() or b"{}")
        except orjson.JSONDecodeError as error:
            raise ParseError from error

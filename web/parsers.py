"""The strict JSON parser of REST views; other bodies get a clear 400."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser


class JSONParser(BaseParser):
    """Parse with orjson, because Python's parser accepts NaN, lone surrogates and endless nesting."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return orjson.loads(stream.read() or b"{}")
        except orjson.JSONDecodeError as error:
            raise ParseError from error

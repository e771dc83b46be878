"""From the bytes of a Gemini stream to our events.

It is as tolerant as that of OpenAI-shaped streams: text after a finish reason goes on, and of several reasons the most
severe holds. Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

from providers.wire.base import Event, FinishReason, Reasoning, Usage, as_object, as_objects
from providers.wire.gemini.stream import ResponseParser
from providers.wire.images import inline_image
from providers.wire.openai.decoder import Decoder, Dialect
from providers.wire.openai.errors import BLOCKED
from providers.wire.openai.fields import MAX_TOKENS, count
from providers.wire.openai.finish_words import Family

log = logging.getLogger(__name__)

# Words that `finish_words` does not know, or that mean something else here. `OTHER` says that the model stopped for a
# reason that the vendor does not name: the text is neither whole nor filtered, so another try is worth more.
FINISH_REASONS: Mapping[str, Family] = {
    "LANGUAGE": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "OTHER": "failed",
    "MALFORMED_RESPONSE": "failed",
    "MISSING_THOUGHT_SIGNATURE": "failed",
    "TOO_MANY_TOOL_CALLS": "failed",
}
_UNSPECIFIED = frozenset({"FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"})
# The vendor's words; anything else is not repeated to users.
_WORD = re.compile(r"[A-Z_]{1,64}")
# Keys of a part that are no content.
_MARKS = frozenset({"thought", "thoughtSignature", "text"})


class GeminiDecoder(Decoder):
    """Decodes one stream. A call arrives whole, perhaps with a signature that belongs to it."""

    def __init__(self, dialect: Dialect, *, with_tools: bool, with_think_tags: bool) -> None:
        self._response = ResponseParser()
        super().__init__(dialect, self._response, with_tools=with_tools, with_think_tags=with_think_tags)
        self._count = 0
        # Whether parts without text were logged, which is done once.
        self._has_skipped = False

    def feed(self, data: bytes) -> list[Event]:
        events = super().feed(data)
        self.ended = self.ended or self._response.closed
        return events

    def _reason(self) -> FinishReason:
        """Return the finish reason; the vendor has no word for calls."""
        reason = super()._reason()
        return "tool_calls" if self._tools and self._with_tools and reason == "stop" else reason

    def _chunk(self, chunk: dict[str, Any], out: list[Event]) -> None:
        candidates = as_objects(chunk.get("candidates"))
        for candidate in candidates:
            self._payload = True
            self._candidate(candidate, out)
        if (usage := read_usage_metadata(chunk.get("usageMetadata"))) is not None:
            self._payload = True
            self.usage = usage
        blocked = as_object(chunk.get("promptFeedback")).get("blockReason")
        if isinstance(blocked, str) and blocked not in _UNSPECIFIED and not candidates:
            code = blocked if _WORD.fullmatch(blocked) else "blocked"
            self._fail(BLOCKED.error(vendor_code=code, status=200))

    def _candidate(self, candidate: dict[str, Any], out: list[Event]) -> None:
        for part in as_objects(as_object(candidate.get("content")).get("parts")):
            self._part(part, out)
        self._cite(as_object(candidate.get("groundingMetadata")), out)
        reason = candidate.get("finishReason")
        if isinstance(reason, str) and reason and reason not in _UNSPECIFIED:
            self._finish(reason)

    def _part(self, part: dict[str, Any], out: list[Event]) -> None:
        text, call = part.get("text"), part.get("functionCall")
        if isinstance(text, str) and text:
            if part.get("thought") is True:
                self._add(Reasoning, text, out)
            else:
                self._content(text, out)
        if isinstance(call, dict):
            self._tools = self.progressed = True
            if self._with_tools:
                self._tool_calls([self._piece(call, part.get("thoughtSignature"))], out)
        elif image := _image(part):
            self._add_images([image], out)
        elif not self._has_skipped and (kinds := part.keys() - _MARKS):
            self._has_skipped = True
            log.warning("parts of a completion skipped, such as %s", min(kinds)[:40])

    def _piece(self, call: dict[str, Any], signature: object) -> dict[str, Any]:
        """Return a call in OpenAI's shape; the signature stands where Google's OpenAI-compatible API has it."""
        piece: dict[str, Any] = {
            "index": self._count,
            "id": call.get("id"),
            "type": "function",
            "function": {"name": call.get("name"), "arguments": as_object(call.get("args"))},
        }
        self._count += 1
        if isinstance(signature, str) and signature:
            piece["extra_content"] = {"google": {"thought_signature": signature}}
        return piece

    def _cite(self, grounding: dict[str, Any], out: list[Event]) -> None:
        places = (place for entry in as_objects(grounding.get("groundingChunks")) for place in entry.values())
        for place in places:
            page = as_object(place)
            self._sources.add(page.get("uri"), page.get("title"))
        if self._sources.changed:
            self._flush(out)
            out.append(self._sources.event())


def _image(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the image that a part is; None for others, and for sketches."""
    given = as_object(part.get("inlineData"))
    media_type, data = given.get("mimeType"), given.get("data")
    if part.get("thought") is True or not (isinstance(media_type, str) and isinstance(data, str)):
        return None
    return inline_image(media_type, data) if media_type.startswith("image/") else None


def read_usage_metadata(fields: object) -> Usage | None:
    """Return the usage that the vendor counted, None without any.

    Thoughts are part of its output, cached tokens of its input.
    """
    given = as_object(fields)
    prompt, cached = count(given.get("promptTokenCount")), count(given.get("cachedContentTokenCount"))
    candidates, thoughts = count(given.get("candidatesTokenCount")), count(given.get("thoughtsTokenCount"))
    if prompt is None:
        return None
    read = prompt + (count(given.get("toolUsePromptTokenCount")) or 0)
    made = (candidates or 0) + (thoughts or 0)
    return Usage(min(read, MAX_TOKENS), min(made, MAX_TOKENS), cached, thoughts)

"""Encode requests for Spark, and decode its frames into our events.

No I/O happens here: the adapter has the connection, the signature and the clocks. The format is
https://www.xfyun.cn/doc/spark/Web.html (request and response).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from providers.wire.base import JSON, ChatRequest, Delta, Event, Finished, PromptMessage, Reasoning, Withdrawn
from providers.wire.errors import ProviderError, broken_stream
from providers.wire.openai.citations import add_listed
from providers.wire.openai.fields import read_usage
from providers.wire.sources import SourceList
from providers.wire.spark.errors import HISTORY_NOT_CLEARED, OUTPUT_BLOCKED, TENDS_TO_VIOLATE, failure, number, sid_of

log = logging.getLogger(__name__)

MAX_COMPLETION_BYTES = 2**25

_LAST = 2
_SEPARATOR = "\n\n"


def request_frame(request: ChatRequest, app_id: str, uid: str, *, system: bool) -> bytes:
    """Return the one frame that asks; without `system` the model takes no system message.

    The parameter `patch_id` names the resource of a fine-tuned model, or several in a list.
    """
    chat = {name: value for name, value in request.parameters.items() if name not in ("n", "web_search", "patch_id")}
    if request.token_cap_field == "none":  # noqa: S105  (a field name, no secret)
        chat.pop("max_tokens", None)
    chat = {"domain": request.model, **chat, "tools": [web_search(request.parameters)]}
    text = [{"role": turn.role, "content": turn.content} for turn in turns(request.messages, system=system)]
    return orjson.dumps(
        {
            "header": {"app_id": app_id, "uid": uid, **_patch(request.parameters.get("patch_id"))},
            "parameter": {"chat": {name: value for name, value in chat.items() if name not in request.drop}},
            "payload": {"message": {"text": text}},
        }
    )


def _patch(resources: JSON) -> dict[str, JSON]:
    return {"patch_id": resources if isinstance(resources, list) else [resources]} if resources else {}


def web_search(parameters: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the web search tool, which is on only with the parameter `web_search`.

    It is always sent, because the vendor switches it on by default. When the parameter is a mapping, it holds the
    vendor's further options.
    """
    wanted = parameters.get("web_search")
    options: dict[str, JSON] = {"enable": True, **wanted} if isinstance(wanted, dict) else {"enable": bool(wanted)}
    return {"type": "web_search", "web_search": options}


def turns(messages: Sequence[PromptMessage], *, system: bool) -> list[PromptMessage]:
    """Return the prompt with alternating turns of user and assistant.

    The first and the last turn are the user's. System messages become one message at the front, or the beginning of the
    first user message when the model takes no `system` message.
    """
    instructions = _SEPARATOR.join(message.content for message in messages if message.role == "system")
    found = _merged(message for message in messages if message.role != "system" and message.content)
    if found and found[0].role == "assistant":
        del found[0]
    if found and found[-1].role == "assistant":
        del found[-1]
    if not instructions:
        return found
    if system and found:
        return [PromptMessage("system", instructions), *found]
    return _merged([PromptMessage("user", instructions), *found])


def _merged(messages: Iterable[PromptMessage]) -> list[PromptMessage]:
    merged: list[PromptMessage] = []
    for message in messages:
        if merged and merged[-1].role == message.role:
            message = PromptMessage(message.role, merged.pop().content + _SEPARATOR + message.content)
        merged.append(message)
    return merged


class Decoder:
    """Decodes the frames of one completion.

    `complete` after the last text, `ended` when nothing that follows could matter; `sid` is the vendor's id of the
    request, `started` whether any event came of it.
    """

    def __init__(self) -> None:
        self.complete = False
        self.ended = False
        self.sid = ""
        self.started = False
        self._visible = False
        self._tends_to_violate = False
        self._withdrawn = False
        self._bytes = 0
        self._sources = SourceList()

    @property
    def enough(self) -> bool:
        """Whether the stream may end here, properly or not."""
        return self.complete or (self._tends_to_violate and self._visible)

    def feed(self, frame: bytes) -> list[Event]:
        """Return the events of one frame; raise the failure that it reports."""
        self._bytes += len(frame)
        if self._bytes > MAX_COMPLETION_BYTES:
            raise _broken("answer_too_large")
        parsed = _parsed(frame)
        header = parsed.get("header")
        if not isinstance(header, dict):
            raise _broken("bad_frame")
        if not self.sid:
            self.sid = sid_of(header)
        # The code first: a frame that reports a failure has status 2 as well.
        if (code := number(header.get("code"))) and self._verdict(code, header):
            return []
        payload = parsed.get("payload")
        return self._payload(payload) if isinstance(payload, dict) else []

    def flush(self) -> list[Event]:
        """Return the last events, `Finished` at the end; raise the stream's failure instead."""
        if self._withdrawn:
            return [Withdrawn(), Finished("content_filter")]
        if self._tends_to_violate:
            if not self._visible:
                raise failure(TENDS_TO_VIOLATE, self.sid)
            return [Finished("content_filter", ends_conversation=True)]
        if not self.complete:
            raise _broken("truncated")
        return [Finished("stop")]

    def _verdict(self, code: object, header: dict[str, Any]) -> bool:
        """Handle a code other than 0: raise, or return whether the frame has nothing else."""
        match code:
            case _ if code == HISTORY_NOT_CLEARED:
                log.warning("the upstream did not clear its history, sid %s", self.sid)
            case _ if code == OUTPUT_BLOCKED and self._visible:
                self._withdrawn = self.ended = True
            case _ if code == TENDS_TO_VIOLATE:
                self._tends_to_violate = True
                self.complete = self.complete or number(header.get("status")) == _LAST
                return False
            case _ if not self.complete:
                raise failure(code, self.sid)
        return True

    def _payload(self, payload: dict[str, Any]) -> list[Event]:
        events: list[Event] = []
        choices = payload.get("choices")
        if "plugins" in payload:  # the pages that a search has found; such a frame has no `choices`
            add_listed(payload["plugins"], self._sources)
            if self._sources.changed:
                events.append(self._sources.event())
        if isinstance(choices, dict):
            listed = choices.get("text")
            for text in listed if isinstance(listed, list) else ():
                self._text(text, events)
            if number(choices.get("status")) == _LAST:
                self.complete = True
        usage = payload.get("usage")
        if isinstance(usage, dict) and (counted := read_usage(usage.get("text"))):
            events.append(counted)
        if events:
            self.started = True
        return events

    def _text(self, text: object, events: list[Event]) -> None:
        if not isinstance(text, dict):
            return
        thought, content = text.get("reasoning_content"), text.get("content")
        for kind, piece in ((Reasoning, thought), (Delta, content)):
            if isinstance(piece, int | float) and not isinstance(piece, bool):
                piece = str(piece)
            if piece and isinstance(piece, str):
                events.append(kind(piece))
                self._visible = self._visible or not piece.isspace()


def _parsed(frame: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(frame)
    except orjson.JSONDecodeError:
        # Raised below: the decoder's error carries the whole frame.
        parsed = None
    if not isinstance(parsed, dict):
        raise _broken("bad_json")
    return parsed


def _broken(vendor_code: str) -> ProviderError:
    return broken_stream(vendor_code, status=101)

"""Zhipu's legacy v3 (`chatglm_turbo` and its siblings): raw text in server-sent events.

The vendor no longer documents it, so it serves only users who still have access. Tokens and codes are those of v4.

All characters after `data:` are text, even a leading space, as before an English word. The standard would have a reader
drop that space. A relay between us and the vendor may write the stream anew, with an additional space after every
colon. The line `event:` shows whether it did, because a space there can mean nothing else.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any
from urllib.parse import quote

from providers.wire.base import (
    JSON,
    ChatRequest,
    Delta,
    Event,
    FinishReason,
    FirstRun,
    OfferedModel,
    PromptMessage,
    json_object,
)
from providers.wire.base import gettext_noop as _
from providers.wire.errors import broken_stream
from providers.wire.net.sse import SSEEvent, SSEParser
from providers.wire.openai.decoder import Decoder
from providers.wire.openai.errors import Complaint, read_complaint
from providers.wire.openai.fields import read_usage
from providers.wire.zhipu.adapter import V3_MODELS, Zhipu, attempt_id, clamp
from providers.wire.zhipu.errors import MODERATED, plain_code

log = logging.getLogger(__name__)

BASE_URL = "https://open.bigmodel.cn/api/paas/v3"

# The fields that v3 accepts; it refuses all others. `meta` describes the characters of `characterglm`.
_FIELDS = frozenset({"temperature", "top_p", "ref", "meta"})
_SUCCESS, _INTERRUPTED = "SUCCESS", "interrupted"


class ZhipuV3(Zhipu):
    """A provider for v3, which takes the token without `Bearer` and never the key itself."""

    title = _("Zhipu ChatGLM (v3, legacy)")
    example_base_url = BASE_URL
    options = frozenset()
    path = "/model-api"
    known_models = tuple(OfferedModel(name) for name in sorted(V3_MODELS))
    takes = frozenset({"top_p"})
    finish_reasons: Mapping[str, FinishReason] = {_SUCCESS: "stop", _INTERRUPTED: "content_filter"}
    withdrawn_reasons = frozenset({_INTERRUPTED}) | MODERATED

    @classmethod
    def first_run(cls, settings: Mapping[str, Any]) -> Iterable[FirstRun]:
        """Return the upstream of ZHIPU_API_KEYS for the legacy models, none without any.

        Without ZHIPU_V3_BASE_URL its address is v4's with the last segment replaced.
        """
        keys, pairs = settings["ZHIPU_API_KEYS"], settings["ZHIPU_MODELS"]
        models = tuple(pair for pair in pairs if pair[1] in V3_MODELS)
        base_url = settings["ZHIPU_V3_BASE_URL"] or settings["ZHIPU_BASE_URL"].removesuffix("/v4") + "/v3"
        if keys and models:
            yield FirstRun("zhipu-v3", base_url, settings["ZHIPU_PROXY"] or "", keys, models)

    def address(self, request: ChatRequest) -> str:
        return f"{self.base_url}{self.path}/{quote(request.model, safe='')}/sse-invoke"

    def headers(self, key: str | None) -> dict[str, str]:
        headers = super().headers(key)
        return {name: value.removeprefix("Bearer ") for name, value in headers.items()}

    def body(self, request: ChatRequest) -> dict[str, JSON]:
        """Return the JSON body; without `incremental` every event would repeat the whole text."""
        given = {**request.parameters, **request.extras}
        parameters = {name: value for name, value in given.items() if name in _FIELDS}
        for name in parameters.keys() & {"temperature", "top_p"}:
            # Both ends of these ranges are refused.
            parameters[name] = clamp(parameters[name], 0.01, 0.99)
        return {
            **parameters,
            "prompt": alternating(request.messages),
            "incremental": True,
            "request_id": attempt_id(request),
        }

    def decoder(self, request: ChatRequest) -> Decoder:
        return V3Decoder(self, request)


class RawTextParser(SSEParser):
    """Keeps a leading space of `data`, unless the writer puts one after every colon."""

    def __init__(self) -> None:
        super().__init__()
        self._spaced = False

    def _is_one_event(self, chunk: bytes) -> bool:
        return False

    def _lines(self, chunk: bytes) -> list[bytes]:
        return [self._kept(line) for line in super()._lines(chunk)]

    def _kept(self, line: bytes) -> bytes:
        if line.startswith(b"event:"):
            self._spaced = line.startswith(b"event: ")
        elif line.startswith(b"data:") and not self._spaced:
            return b"data: " + line[5:]
        return line


class V3Decoder(Decoder):
    """Decodes one stream of v3; text in `add` is text, whatever it looks like."""

    def __init__(self, zhipu: ZhipuV3, request: ChatRequest) -> None:
        super().__init__(zhipu, RawTextParser())
        self._zhipu = zhipu
        self._request = request
        self._started = False

    def _event(self, event: SSEEvent, out: list[Event]) -> None:
        match event.type:
            case "add":
                self._started = self._started or bool(event.data)
                self._add(Delta, event.data, out)
            case "finish":
                self._close(event)
            case "interrupted":
                self.usage = read_usage(json_object(event.fields.get("meta", "")).get("usage")) or self.usage
                self._finish(_INTERRUPTED)
                self.ended = True
            case "error" | "message":
                self._refused(event)
            case other:
                log.warning("unknown event %r passed over", other[:40])

    def _close(self, event: SSEEvent) -> None:
        meta = json_object(event.fields.get("meta", ""))
        self.usage = read_usage(meta.get("usage")) or self.usage
        if meta.get("task_status") in (None, _SUCCESS):
            self._finish(_SUCCESS)
            self.ended = True
        else:
            self._fail(broken_stream("task_status"))

    def _refused(self, event: SSEEvent) -> None:
        """Handle an `error` event, or a nameless one: a failure before the model has begun."""
        complaint = _complaint(event)
        if event.type == "message" and not event.data.strip():
            return
        if event.type == "message" and not complaint.enveloped:
            self._fail(broken_stream("bad_event"))
        elif self._started:
            self._fail(self._zhipu.classify(complaint))
        else:
            self._failure = self._zhipu.refusal(self._request, complaint)
            self.ended = True


def alternating(messages: Sequence[PromptMessage]) -> list[JSON]:
    """Return the prompt with alternating turns of user and assistant.

    The first and the last turn are the user's. System messages go in front of the first turn of the user. Neighbours of
    one role become one turn.
    """
    ordered = sorted(messages, key=lambda message: message.role != "system")
    grouped = groupby(ordered, key=lambda message: "assistant" if message.role == "assistant" else "user")
    turns = [(role, "\n\n".join(message.content for message in group)) for role, group in grouped]
    users = [place for place, (role, _) in enumerate(turns) if role == "user"] or [0]
    return [{"role": role, "content": content} for role, content in turns[users[0] : users[-1] + 1]]


def _complaint(event: SSEEvent) -> Complaint:
    complaint = read_complaint(200, event.data.encode(), {"x-request-id": event.id})
    return complaint if complaint.code else replace(complaint, code=plain_code(event.data))

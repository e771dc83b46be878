"""Serve calls of /v1 in every shape: start the generation, and respond through its relay.

Three rules of our own hold for all shapes. Nothing is stored as a conversation. When the caller leaves, the upstream is
stopped, but see `keyed.py` for calls with an idempotency key. The status is sent when the upstream's first text
arrives, or after `HOLD_SECONDS`.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from accounts.auth import Caller, aauthenticate_bearer, require_may_chat
from chat import bodies, representation
from chat.apps import chat
from chat.events.sse import SourceStream
from chat.generations.request import GenerationRequest
from chat.openai import errors
from chat.openai.bodies import new_text
from chat.openai.keyed import Reply
from chat.openai.relay import Relay, Whole
from providers.wire.base import PromptMessage
from web import disconnect
from web.refusals import InvalidRequest

# Seconds that the status waits for the first text; after that clients and proxies need a response.
HOLD_SECONDS = 10.0
# Bytes of a body from which on its texts are screened in a thread of their own.
LARGE_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class ApiCall:
    """Holds a call in the form that generations need.

    `names` has the names that its own shape gives to some of these fields.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    parameters: dict[str, Any]
    extras: dict[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    # The text that words may block; empty: the user's last turn.
    prompt: str = ""


async def caller_of(request: HttpRequest) -> Caller:
    """Return the caller of a call that costs something."""
    caller = await aauthenticate_bearer(request)
    require_may_chat(caller)
    return caller


async def serve(request: HttpRequest, caller: Caller, call: ApiCall, relay: Relay) -> HttpResponseBase:
    """Generate, and respond with the relay's stream, or with its body.

    A further call with the same idempotency key gets the response to the first one.
    """
    key, keyed, client = bodies.idempotency_key(request), chat().keyed_calls, disconnect.client_of(request)
    recording = keyed.record(relay) if key else None
    reply: Reply = recording.reader() if recording else relay
    # Before the start, so that a caller that leaves meanwhile stops the run too.
    client.on_disconnect(reply.leave)
    generation_request = GenerationRequest(
        caller.user.pk,
        call.model,
        call.prompt or new_text(call.messages),
        parameters=call.parameters,
        idempotency_key=key,
        body=request.path.encode() + b" " + request.body if key else b"",
        kept=False,
        is_api_call=True,
        is_large=len(request.body) > LARGE_BYTES,
        messages=call.messages,
        extras=call.extras,
        token=caller.token,
    )
    try:
        started = await chat().generations.start(generation_request, recording or relay)
    except InvalidRequest as refusal:
        refusal.details = {_named(call, name): reasons for name, reasons in (refusal.details or {}).items()}
        raise
    headers = representation.quota_headers(started.reservation)
    if started.attempts is not None:
        return await _response(caller, call, relay, reply, headers)
    # Such callers count as readers, because no limit of running calls counts them.
    streams = chat().streams
    streams.check(caller.user.pk)
    streams.count(caller.user.pk, +1)
    try:
        reply = await keyed.join(started.row, relay)
        client.on_disconnect(reply.leave)
        return await _response(caller, call, relay, reply, headers)
    finally:
        streams.count(caller.user.pk, -1)


async def _response(
    caller: Caller, call: ApiCall, relay: Relay, reply: Reply, headers: dict[str, str]
) -> HttpResponseBase:
    stream = RelayStream(chat().streams, caller.user.pk, reply)
    if reply is relay:
        stream.let_write(relay)  # no other caller reads it
    if not isinstance(relay, Whole):
        await stream.hold(HOLD_SECONDS)
        if reply.failure and not reply.started:
            await reply.settled()
            raise _failed(call, reply.failure)
        return stream.response(headers)
    async for _bytes in stream.events():
        pass  # keep-alive comments need a response that has begun
    if reply.failure or not reply.at_end:
        if reply.failure:
            await reply.settled()
        raise _failed(call, reply.failure or errors.interrupted())
    return HttpResponse(reply.content, content_type="application/json", headers=headers)


def json_response(body: Mapping[str, Any]) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), content_type="application/json")


def _failed(call: ApiCall, failure: Mapping[str, Any]) -> errors.Failed:
    details = dict(failure.get("details", {}))
    if param := details.get("param"):
        details["param"] = _named(call, param)
    return errors.Failed({**failure, "details": details})


def _named(call: ApiCall, name: str) -> str:
    return call.names.get(name, name)


class RelayStream(SourceStream):
    """The caller's side of a relay. A caller that is cut off counts as left."""

    _source: Reply
    # One line each, because some clients take an empty line for the end of an event.
    keep_alive, opening = b": ping\n", b": open\n"

    async def hold(self, seconds: float) -> None:
        """Wait for the first text or the end, for `seconds` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self._source.started or self._source.at_end):
                    self._woken.clear()
                    await self._woken.wait()

    def close(self, last_data: bytes = b"") -> None:
        """End with an error, so that clients know that the completion is not whole."""
        super().close(self._source.failure_event(errors.interrupted()))

    def _opening(self) -> bytes:
        return self._source.take() or self.opening

"""Push channels over HTTP: read your own, publish to any, play the payment example."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import structlog
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.urls.converters import StringConverter
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from accounts.auth import aauthenticate, authenticate
from chat import bodies
from chat.apps import chat
from chat.bodies import Text
from chat.channels import feeds, push, schemas, store
from chat.channels.models import Channel
from chat.events.schemas import PUSH
from chat.events.sse import Stream, no_more_events
from runtime import database
from web.methods import methods
from web.openapi import Operation
from web.own_pages import require_own_page
from web.refusals import Forbidden

log = structlog.get_logger("chat")


class KeyConverter(StringConverter):
    """Match a valid channel key in a route; other paths give 404."""

    regex = push.KEY.pattern


class UserBody(BaseModel):
    """Name the owner of the channel by username."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    user: Text


class MessageBody(UserBody):
    data: Any
    event: Annotated[StrictStr, Field(pattern=f"^(?:{push.EVENT.pattern})$")] = "message"


class ErrorBody(UserBody):
    message: StrictStr


class PushStream(Stream):
    """Stream a push channel's stored and new events until it ends or is idle."""

    def __init__(self, user_id: int, row: Channel, position: feeds.Position, own_feeds: feeds.Feeds) -> None:
        super().__init__(chat().streams, user_id)
        self._row, self._position, self._feeds = row, position, own_feeds
        self._follower: feeds.Follower | None = None
        self._left = False
        self._last_data_at = time.monotonic()

    async def _take(self) -> bytes:
        if self._follower is None:  # not earlier, because a response that is never read would never call `_leave`
            self._follower = self._feeds.follow(self._row, self._position, self._wake_task)
            log.info("push reader connected", user=self.user_id, channel=self._row.key, after=self._position.after)
        data = await self._follower.take()
        if data:
            self._last_data_at = time.monotonic()
        return data

    def _at_end(self) -> bool:
        return self._follower is not None and (self._follower.at_end or self._idle_seconds_left() <= 0)

    def _idle_seconds_left(self) -> float:
        limit = self._follower.idle_limit if self._follower else self._row.timeout_seconds
        return self._last_data_at + limit - time.monotonic()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._idle_seconds_left()):
                await self._woken.wait()

    def _leave(self) -> None:
        if self._follower is not None and not self._left:
            self._left = True
            self._follower.leave()
            log.info("push reader left", user=self.user_id, channel=self._row.key)


@Operation(
    "Push channels",
    "Read one of the caller's channels",
    "The events that are kept, then those to come.",
    returns={200: PUSH, 204: None},
    query={"last_event_id": str},
    headers=("Last-Event-ID",),
    refuses=(429,),
    proof="ticket",
)
async def get_events(request: HttpRequest, key: str) -> HttpResponseBase:
    user_id, row = await database.run(_connect, request, key)
    # A reconnecting EventSource repeats its first query, so its header is newer.
    position = feeds.position(row, request.headers.get("Last-Event-ID") or request.GET.get("last_event_id", ""))
    if row.ending and position == (row.last_event, False):
        return no_more_events()
    chat().streams.check(user_id)
    return PushStream(user_id, row, position, chat().channels.feeds).response()


def _connect(request: HttpRequest, key: str) -> tuple[int, Channel]:
    user_id = authenticate(request, tickets=True).user.pk
    return user_id, store.connect(user_id, key)


@Operation(
    "Push channels",
    "Push a message into a user's channel",
    body=MessageBody,
    example={"user": "alice", "event": "paying", "data": {"status": "paying"}},
    returns={202: schemas.Pushed},
    refuses=(409, 429),
)
async def post_message(request: HttpRequest, key: str) -> HttpResponseBase:
    return await _publish(
        request, MessageBody, lambda body: push.send(body.user, key, body.data, body.event), status=202
    )


@Operation(
    "Push channels",
    "End a channel",
    body=UserBody,
    example={"user": "alice"},
    returns=schemas.Pushed,
    refuses=(409, 429),
)
async def post_complete(request: HttpRequest, key: str) -> HttpResponseBase:
    return await _publish(request, UserBody, lambda body: push.complete(body.user, key))


@Operation(
    "Push channels",
    "End a channel with an error",
    body=ErrorBody,
    example={"user": "alice", "message": "The card was declined."},
    returns=schemas.Pushed,
    refuses=(409, 429),
)
async def post_error(request: HttpRequest, key: str) -> HttpResponseBase:
    return await _publish(request, ErrorBody, lambda body: push.error(body.user, key, body.message))


async def _publish(
    request: HttpRequest, shape: type[bodies.T], send: Callable[[bodies.T], str], status: int = 200
) -> JsonResponse:
    """Publish the body of a request whose caller may publish to other users' channels."""

    def publish() -> str:
        if not authenticate(request).user.has_perm("chat.publish_channel"):
            raise Forbidden
        return send(bodies.from_json(request, shape))

    return JsonResponse({"id": await database.run(publish)}, status=status)


@Operation("Push channels", "Play the payment example", returns={202: schemas.Playing}, refuses=(409, 429))
async def get_payment(request: HttpRequest, key: str) -> HttpResponseBase:
    """Play the example into the caller's channel; refuse other sites' pages, because this GET writes."""
    caller = await aauthenticate(request)
    if caller.via == "session":
        require_own_page(request)
    await chat().payment_demo.start(caller.user.get_username(), key)
    return JsonResponse({"events": reverse("push-events", args=[key])}, status=202)


events = methods(GET=get_events)
message = methods(POST=post_message)
complete = methods(POST=post_complete)
error = methods(POST=post_error)
play_payment = methods(GET=get_payment)

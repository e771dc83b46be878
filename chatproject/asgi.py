"""The ASGI application: pages and REST through Django's usual handler, event streams through a lean one.

Which handler takes a request is decided by `urls.stream_urlpatterns`. Both number and log each request, bound its body,
and answer with `X-Request-ID`.
"""

import asyncio
import io
import os
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, closing, suppress
from typing import IO, Any, cast

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
django.setup(set_prefix=False)

# Django must be set up before anything that touches models is imported.
import structlog  # noqa: E402
from asgiref.sync import sync_to_async  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core import signals  # noqa: E402
from django.core.exceptions import RequestAborted  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.exception import convert_exception_to_response  # noqa: E402
from django.http import HttpResponseBase  # noqa: E402
from django.http.response import ResponseHeaders  # noqa: E402
from django.urls import URLResolver, set_script_prefix  # noqa: E402
from django.urls.exceptions import Resolver404  # noqa: E402
from django.urls.resolvers import RegexPattern  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402

from chat.events.sse import EventStreamResponse  # noqa: E402
from chatproject.urls import stream_urlpatterns  # noqa: E402
from runtime.apps import runtime  # noqa: E402
from runtime.executor import Lanes, thread_count  # noqa: E402
from web import disconnect  # noqa: E402

log = structlog.get_logger("request")

# Whoever has not taken a page by then is let go.
SEND_SECONDS = 120
# What is handed to a connection at once; more than a log gives to a reader in one piece, but for snapshots.
SLICE_BYTES = 128 * 1024
# What follows these in a path is a secret: it is not logged.
SECRET_PATHS = ("/accounts/password/reset/key/", "/accounts/confirm-email/")

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def read_bounded(scope: Scope, receive: Receive) -> IO[bytes]:
    """Read a request body; past the limit the rest is thrown away and the scope says so, for a refusal in due order.

    What is as large as only imports may be waits in a file: anybody can send it, before it is known who they are.
    """
    limit, body = settings.MAX_BODY_BYTES, cast("IO[bytes]", io.BytesIO())
    if scope["path"] in settings.IMPORT_PATHS:
        limit, body = settings.MAX_IMPORT_BYTES, tempfile.SpooledTemporaryFile(limit)  # noqa: SIM115
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            body.close()
            raise RequestAborted
        if body.tell() + len(message.get("body", b"")) > limit:
            scope["body_too_large"] = True
            body.seek(0)
            body.truncate()
            limit = -1
        elif limit >= 0:
            body.write(message.get("body", b""))
        more = message.get("more_body", False)
    body.seek(0)
    return body


class PageHandler(ASGIHandler):
    """Django as it is, in one of a few threads that keep their database connection.

    A lane is held while the answer is made, never while a body comes in or an answer goes out: slow and silent clients
    cost memory, not threads.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lanes: Lanes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with await read_bounded(scope, receive) as body:
            request, answer = self.create_request(scope, body)
            content = b"" if request is None and answer is not None else None
            if request is not None:
                if self._lanes is None:
                    self._lanes = Lanes(4 if thread_count() == 1 else thread_count())
                async with self._lanes.take():
                    answer, content = await self._answer(scope, request)
        if answer is not None:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(answer, content or b"", send)

    async def _answer(self, scope: Scope, request: Any) -> tuple[HttpResponseBase, bytes]:
        """Make the whole answer, with the signals around it that Django's own handler sends."""
        set_script_prefix(scope.get("root_path", "") or "/")
        await signals.request_started.asend(sender=self.__class__, scope=scope)
        answer = await self.run_get_response(request)
        content = await sync_to_async(_content)(answer)
        await sync_to_async(answer.close)()
        return answer, content

    async def _send(self, answer: HttpResponseBase, content: bytes, send: Send) -> None:
        await send(_start(answer))
        await send({"type": "http.response.body", "body": content})


def _start(answer: HttpResponseBase) -> Message:
    headers = [(name.lower().encode("ascii"), value.encode("latin1")) for name, value in answer.items()]
    headers += [(b"set-cookie", cookie.OutputString().encode("ascii")) for cookie in answer.cookies.values()]
    return {"type": "http.response.start", "status": answer.status_code, "headers": headers}


def _content(answer: Any) -> bytes:
    """Return the body; static files are streamed in pieces that only a thread may read."""
    return b"".join(answer.streaming_content) if answer.streaming else bytes(answer.content)


class StreamHandler(ASGIHandler):
    """The lean handler: native-async middleware, no threads, no signals; the caller's leaving cancels the view.

    What Django's request signals do for threads (old connections, query log) `runtime.database.run` does where threads
    are used.
    """

    def load_middleware(self, is_async: bool = True) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        handler = self._get_response_async  # type: ignore[attr-defined]
        for path in reversed(settings.STREAM_MIDDLEWARE):
            handler = convert_exception_to_response(import_string(path)(handler))
        self._middleware_chain = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        set_script_prefix(scope.get("root_path", "") or "/")
        request, refused = self.create_request(scope, await read_bounded(scope, receive))
        if request is None:
            if refused is not None:
                await self.send_response(refused, send)
            return
        answering = asyncio.current_task()
        leaving = asyncio.create_task(self._cancel_when_left(receive, disconnect.of(request), answering))
        try:
            with closing(request):
                answer = await self.run_get_response(request)
            # The stream may stay open for long, and nothing of the request is needed any more.
            answer._resource_closers.clear()  # type: ignore[attr-defined]
            del request
            await self.send_response(answer, send)
        except asyncio.CancelledError:
            if not leaving.done() or leaving.cancelled():
                raise
        finally:
            leaving.cancel()

    async def send_response(self, response: HttpResponseBase, send: Send) -> None:
        """Send event streams without the layers that Django puts around each piece of a streamed body."""
        if not isinstance(response, EventStreamResponse):
            await super().send_response(response, send)
            return
        try:
            await send(_start(response))
            response.headers = ResponseHeaders({})  # they are on their way; the stream may stay open for long
            async with aclosing(response.events) as events:
                async for data in events:
                    # A snapshot may be megabytes, shared by many readers: not each of them is to hold a copy of it.
                    for start in range(0, len(data), SLICE_BYTES):
                        piece = data[start : start + SLICE_BYTES]
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            response.leave()

    @staticmethod
    async def _cancel_when_left(
        receive: Receive, caller: disconnect.Presence, answering: "asyncio.Task[Any] | None"
    ) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        # Not left to the view: a cancellation may find it where it cannot be cancelled.
        caller.leave()
        if answering is not None:
            answering.cancel()


class Application:
    """Composition: number the request, choose the handler, log one line at the end."""

    def __init__(self) -> None:
        self._pages, self._streams = PageHandler(), StreamHandler()
        self._stream_routes = URLResolver(RegexPattern(r"^/"), stream_urlpatterns)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served here, not {scope['type']}")
        await runtime().process.start()
        scope["request_id"] = request_id = uuid.uuid4().hex
        started, status = time.monotonic(), 0

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            # A caller who leaves before the request is whole wants no answer.
            with suppress(RequestAborted):
                await self._handler(scope["path"])(scope, receive, numbered)
        finally:
            log.info(
                "request",
                request_id=request_id,
                method=scope["method"],
                path=_loggable(scope["path"]),
                status=status,
                duration_ms=round((time.monotonic() - started) * 1000, 1),
            )

    def _handler(self, path: str) -> ASGIHandler:
        try:
            self._stream_routes.resolve(path)
        except Resolver404:
            return self._pages
        return self._streams


def _loggable(path: str) -> str:
    return next((f"{prefix}…" for prefix in SECRET_PATHS if path.startswith(prefix)), path)


application = Application()

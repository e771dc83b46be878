"""The ASGI application: Django's handler for pages and REST, a lean one for event streams.

`urls.stream_urlpatterns` decides which handler gets a request. Both log each request, limit its body, and send
`X-Request-ID`.
"""

import asyncio
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, closing, suppress
from functools import cache
from http import HTTPStatus
from typing import Any

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
from django.http.request import split_domain_port, validate_host  # noqa: E402
from django.http.response import ResponseHeaders  # noqa: E402
from django.urls import URLResolver, set_script_prefix  # noqa: E402
from django.urls.exceptions import Resolver404  # noqa: E402
from django.urls.resolvers import RegexPattern  # noqa: E402
from django.utils.log import log_response  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402
from django.utils.translation import gettext_lazy as _  # noqa: E402
from prometheus_client import Counter  # noqa: E402

from accounts.auth import USER_IN_SCOPE  # noqa: E402
from chat.events.sse import EventStreamResponse  # noqa: E402
from chatproject import response_headers  # noqa: E402
from chatproject.uploads import Receive, Scope, Uploads  # noqa: E402
from chatproject.urls import stream_urlpatterns  # noqa: E402
from runtime.apps import runtime  # noqa: E402
from runtime.executor import QueueFull, ViewThreads, database_thread_count  # noqa: E402
from runtime.http import ANOTHER_PROCESS, DIRECT, MAY_ASK_ANOTHER, PROXIED  # noqa: E402
from runtime.metrics import EXECUTOR_WAITING  # noqa: E402
from web import disconnect  # noqa: E402
from web.refusals import TooManyRequests  # noqa: E402

log = structlog.get_logger("request")

RESPONSES = Counter("rivulet_responses", "Responses, by the class of their status", ["status"])

# Seconds a client may take to read a page; then it is disconnected.
SEND_SECONDS = 120
# Bytes that are passed to a connection at once; only snapshots are longer.
SLICE_BYTES = 128 * 1024
# Threads for requests that hash a password. One hash runs at a time; the others use the database or send mail.
PASSWORD_THREADS = 4
# Such requests that may wait, in all and from one address; a further one is refused with 429.
MOST_LOGINS_WAITING, MOST_LOGINS_OF_CLIENT = 200, 50
# Seconds to wait after that refusal.
LOGIN_RETRY_SECONDS = 10
# In the log line of a request that was refused for its Host header.
WRONG_HOST = "the Host header is not in ALLOWED_HOSTS"
# Paths whose rest is a secret, which is left out of the log.
SECRET_PATHS = ("/accounts/password/reset/key/", "/accounts/confirm-email/")

# A request id that is taken over from a trusted proxy.
REQUEST_ID = re.compile(r"[A-Za-z0-9._=:+/-]{1,128}", re.ASCII)

# The key in the ASGI scope for the view of an event stream's route.
_MATCH = "rivulet.match"

Message = Mapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


@cache
def _responses(hundreds: int) -> Counter:
    return RESPONSES.labels(f"{hundreds}xx")


def _without_spare_slashes(path: str) -> str:
    """Return the path without the empty parts that mistyped base URLs of /v1 cause."""
    parts = [*filter(None, path.split("/"))]
    return "/".join(["", *parts]) if parts[:1] == ["v1"] else path


def _request_id(scope: Scope) -> str:
    """Return the valid id that a trusted proxy gave, else a new one."""
    if PROXIED in scope.get("extensions", {}):
        given = str(dict(scope["headers"]).get(b"x-request-id", b""), "latin1")
        if REQUEST_ID.fullmatch(given):
            return given
    return secrets.token_hex(16)


def _may_ask_another(scope: Scope) -> bool:
    """Return whether a trusted proxy may send the request on to another process."""
    return PROXIED in scope.get("extensions", {}) and MAY_ASK_ANOTHER in dict(scope["headers"])


def _without_redirect(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() != ANOTHER_PROCESS.lower().encode()]


def _has_wrong_host(scope: Scope) -> bool:
    host, _port = split_domain_port(dict(scope["headers"]).get(b"host", b"").decode("latin1"))
    return not validate_host(host, settings.ALLOWED_HOSTS)


class PageHandler(ASGIHandler):
    """Django's handler, in one of a few threads that keep their database connection.

    A request holds a thread while its view runs, but not while its body is read or its response is sent: slow clients
    cost memory instead of threads. Requests that hash a password have threads of their own, so that many logins at once
    delay nothing but each other.
    """

    def __init__(self, uploads: Uploads) -> None:
        super().__init__()
        self._uploads = uploads
        self._threads = ViewThreads(max(4, database_thread_count()))
        self._password_threads: ViewThreads | None = None
        runtime().metrics.gauge(EXECUTOR_WAITING.labels("views"), self._threads.waiting)
        runtime().metrics.gauge(EXECUTOR_WAITING.labels("logins"), self._waiting_logins)

    def _waiting_logins(self) -> int:
        return self._password_threads.waiting() if self._password_threads else 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with await self._uploads.read(scope, receive) as body:
            request, response = self.create_request(scope, body)
            content = b"" if request is None and response is not None else None
            if request is not None:
                response, content = await self._in_thread(scope, receive, request)
        if response is not None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(_start(response))
                await send({"type": "http.response.body", "body": content or b""})

    async def _in_thread(self, scope: Scope, receive: Receive, request: Any) -> tuple[HttpResponseBase, bytes]:
        if scope["method"] in {"POST", "DELETE"} and settings.PASSWORD_PATHS.match(scope["path"]):
            if self._password_threads is None:
                self._password_threads = ViewThreads(PASSWORD_THREADS, MOST_LOGINS_WAITING, MOST_LOGINS_OF_CLIENT)
            address, _port = scope.get("client") or ("", 0)
            try:
                async with self._password_threads.acquire(address):
                    await _abort_if_disconnected(receive)
                    return await self._respond(scope, request)
            except QueueFull:
                scope["refusal"] = TooManyRequests(
                    _("Too many users are logging in at the moment. Please try again shortly."),
                    retry_after=LOGIN_RETRY_SECONDS,
                )
        async with self._threads.acquire():
            return await self._respond(scope, request)

    async def _respond(self, scope: Scope, request: Any) -> tuple[HttpResponseBase, bytes]:
        """Return the whole response; send the same signals as Django's own handler."""
        set_script_prefix(scope.get("root_path", "") or "/")
        await signals.request_started.asend(sender=self.__class__, scope=scope)
        response = await self.run_get_response(request)
        content = await sync_to_async(_content)(response)
        await sync_to_async(response.close)()
        return response, content


async def _abort_if_disconnected(receive: Receive) -> None:
    """Raise RequestAborted if the client has disconnected.

    A rest of the body is discarded.
    """
    receiving = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    if not receiving.done():
        receiving.cancel()
    elif receiving.result()["type"] == "http.disconnect":
        raise RequestAborted


def _start(response: HttpResponseBase) -> Message:
    headers = [(name.lower().encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    headers += [(b"set-cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


def _content(response: Any) -> bytes:
    """Return the body. Runs in a thread, because static files are read from disk."""
    return b"".join(response.streaming_content) if response.streaming else bytes(response.content)


class StreamHandler(ASGIHandler):
    """The lean handler: async middleware only, no threads, no signals.

    It cancels the view when the client disconnects. Django's request signals close old connections and reset the query
    log; `runtime.database.run` does both in the threads that need it.
    """

    def __init__(self, uploads: Uploads) -> None:
        super().__init__()
        self._uploads = uploads

    async def run_get_response(self, request: Any) -> HttpResponseBase:
        """Return the response of middleware and view.

        Django's own would use a thread to log each refused request, and sets the root URLconf, which is the default.
        """
        response: Any = await self._middleware_chain(request)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)
        return response  # type: ignore[no-any-return]

    async def _view_response(self, request: Any) -> HttpResponseBase:
        """Call the view that `Application` found when it chose this handler.

        All these views are async, without transactions and templates, and refusals are rendered by the middleware. So
        nothing else of Django's method applies; it would use a thread for each refusal.
        """
        request.resolver_match = match = request.scope[_MATCH]
        response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
        return response

    def load_middleware(self, is_async: bool = True) -> None:
        handler: Any = self._view_response
        for path in reversed(settings.STREAM_MIDDLEWARE):
            handler = convert_exception_to_response(import_string(path)(handler))
        self._middleware_chain = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if root_path := scope.get("root_path"):
            set_script_prefix(root_path)
        body = await self._uploads.read(scope, receive)
        request, error_response = self.create_request(scope, body)
        if request is None:
            body.close()
            if error_response is not None:
                await self.send_response(error_response, send)
            return
        serving = asyncio.current_task()
        watcher = asyncio.create_task(self._cancel_on_disconnect(receive, disconnect.client_of(request), serving))
        try:
            with closing(request):
                response = await self.run_get_response(request)
            del request  # free it now: the stream may stay open for long and does not need it
            if isinstance(response, EventStreamResponse):
                response.connect(scope.get("extensions", {}).get(DIRECT))
                await self._send_events(response, scope, send)
            else:
                await self.send_response(response, send)
        except asyncio.CancelledError:
            if not watcher.done() or watcher.cancelled():
                raise
        finally:
            watcher.cancel()

    async def send_response(self, response: HttpResponseBase, send: Send) -> None:
        """Send a response that is no event stream."""
        if not response.streaming:
            response.headers.setdefault("Content-Length", str(len(response.content)))  # type: ignore[attr-defined]
        await super().send_response(response, send)

    @staticmethod
    async def _send_events(response: EventStreamResponse, scope: Scope, send: Send) -> None:
        """Send an event stream without Django's wrappers around each chunk."""
        try:
            await send(_start(response))
            # Free the headers of both, because the stream may stay open for long.
            scope["headers"], response.headers = (), ResponseHeaders({})
            async with aclosing(response.events) as events:
                async for data in events:
                    # Slices, because a snapshot of megabytes is shared by many readers and must not be copied for each.
                    for start in range(0, len(data), SLICE_BYTES):
                        piece = data[start : start + SLICE_BYTES]
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            response.leave()

    @staticmethod
    async def _cancel_on_disconnect(
        receive: Receive, client: disconnect.Client, serving: "asyncio.Task[Any] | None"
    ) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        # Run the callbacks too, because a view may be in a part that is shielded from cancellation.
        client.disconnect()
        if serving is not None:
            serving.cancel()


class Application:
    """Give each request an id, choose its handler, and log one line at its end."""

    def __init__(self) -> None:
        uploads = Uploads()
        self._pages, self._streams = PageHandler(uploads), StreamHandler(uploads)
        # Of all responses to event streams' routes, encoded once.
        self._stream_headers = response_headers.constant()
        self._stream_routes = URLResolver(RegexPattern(r"^/"), stream_urlpatterns)
        # Matches of the routes without parameters, by path: most requests come there.
        paths = (f"/{route.pattern}" for route in stream_urlpatterns if not route.pattern.converters)
        self._matches = {path: self._stream_routes.resolve(path) for path in paths}
        self._tracing = runtime().tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"Only HTTP requests are supported, not {scope['type']!r}")
        await runtime().process.start()
        scope["path"] = _without_spare_slashes(scope["path"])
        scope["request_id"] = request_id = _request_id(scope)
        # The client's address as TRUSTED_PROXIES determines it; None for a Unix socket.
        client = (scope.get("client") or [None])[0]
        # For all lines that are logged in this request's context.
        structlog.contextvars.bind_contextvars(request_id=request_id, client=client)
        started, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if runtime().drain.active and not _may_ask_another(scope):
                    message = {**message, "headers": _without_redirect(message["headers"])}
                constants = self._stream_headers if _MATCH in scope else ()
                message = {**message, "headers": response_headers.completed(scope, message["headers"], constants)}
            await send(message)

        try:
            # A client that disconnects before its request is complete gets no response.
            with suppress(RequestAborted):
                await self._handler(scope)(scope, receive, send_with_headers)
        finally:
            scope.get("extensions", {}).pop(DIRECT, None)  # it refers to the scope
            path = scope["path"]
            if status:
                _responses(status // 100).inc()
            log.info(
                "request",
                request_id=request_id,
                method=scope["method"],
                path=next((f"{prefix}…" for prefix in SECRET_PATHS if path.startswith(prefix)), path),
                status=status,
                client=client,
                user=scope.get(USER_IN_SCOPE),
                duration_ms=round((time.monotonic() - started) * 1000, 1),
                **({"hint": WRONG_HOST} if status == HTTPStatus.BAD_REQUEST and _has_wrong_host(scope) else {}),
            )

    def _handler(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        try:
            match = scope[_MATCH] = self._matches.get(scope["path"]) or self._stream_routes.resolve(scope["path"])
        except Resolver404:
            return self._pages
        return self._streams if self._tracing is None else self._tracing.traced(match.route, self._streams)


application = Application()

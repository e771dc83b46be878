"""Make OpenTelemetry traces of requests, and export them to a collector.

Only imported when OTEL_EXPORTER_OTLP_ENDPOINT is set. Standards: https://opentelemetry.io/docs/specs/otlp/ (over HTTP),
https://www.w3.org/TR/trace-context/. Spans hold ids, names of the configuration, codes, durations and counts; never
texts, names of users, keys or addresses.
"""

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.re import parse_env_headers

from runtime.metrics import SPANS_LOST

log = structlog.get_logger("runtime")

# Spans that wait for the collector; further ones are dropped and counted. A span takes about 2 KiB.
MOST_WAITING = 4_096
# Spans in one export, and seconds to collect them.
BATCH_SPANS, BATCH_SECONDS = 512, 1.0
# Seconds that the end of the process waits for the last export. One may take ten, or OTEL_EXPORTER_OTLP_TIMEOUT.
STOP_SECONDS = 2.0
# Routes that are asked all the time and say nothing.
UNTRACED = frozenset({"healthz", "readyz", "metrics"})
# Methods that a span may name; others are what a caller invents.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Headers that a trace is continued by.
HEADERS = ("traceparent", "tracestate")

_PROPAGATOR = TraceContextTextMapPropagator()

Scope = dict[str, Any]
Send = Callable[[Any], Awaitable[None]]
Handler = Callable[[Scope, Any, Send], Awaitable[None]]


class Tracing:
    """The tracer of this process, and the spans of its requests."""

    def __init__(self, endpoint: str, headers: str, service: str, instance: str) -> None:
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", headers=parse_env_headers(headers, liberal=True))
        self._queue = SpanQueue(exporter)
        resource = Resource.create({SERVICE_NAME: service, SERVICE_INSTANCE_ID: instance})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._queue)
        self.tracer = provider.get_tracer("rivulet")

    def traced(self, route: str, handle: Handler) -> Handler:
        """Return a handler with a span for each request to a route."""
        return handle if route in UNTRACED else partial(self._request, route, handle)

    async def _request(self, route: str, handle: Handler, scope: Scope, receive: Any, send: Send) -> None:
        """Handle a request in a span, which continues the caller's trace if it sent one."""
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        span = self.tracer.start_span(
            f"{method} /{route}",
            context=_context_of(dict(scope["headers"])),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": f"/{route}", "request_id": scope["request_id"]},
        )
        structlog.contextvars.bind_contextvars(trace_id=format(span.get_span_context().trace_id, "032x"))

        async def send_and_note(message: Any) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                span.set_attribute("http.response.status_code", status)
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.set_status(StatusCode.ERROR)
            await send(message)

        # No exception is recorded, because its text may be a user's.
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            await handle(scope, receive, send_and_note)

    def stop(self) -> None:
        """Export what waits, for STOP_SECONDS at most. Blocks."""
        self._queue.shutdown()


def headers_of(span: Span) -> dict[str, str]:
    """Return the headers that make an upstream continue the trace of a span."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers, set_span_in_context(span))
    return headers


def _context_of(headers: Mapping[bytes, bytes]) -> Context:
    """Return the caller's context; a new one if there is none or it is invalid."""
    given = {name: str(headers.get(name.encode(), b""), "latin1") for name in HEADERS}
    return _PROPAGATOR.extract(given, Context())


class SpanQueue(SpanProcessor):
    """A bounded queue of ended spans, and the thread that exports them.

    Because the SDK's own processor drops spans without counting them, and waits for up to half a minute at its end.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._spans: list[ReadableSpan] = []
        self._ending = self._is_away = False
        self._thread: threading.Thread | None = None

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, from any thread."""
        if not (span.context and span.context.trace_flags.sampled):
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._export_all, name="spans", daemon=True)
                self._thread.start()
            if len(self._spans) >= MOST_WAITING or self._ending:
                SPANS_LOST.inc()
                return
            self._spans.append(span)
            is_full = len(self._spans) >= BATCH_SPANS
        if is_full:
            self._wake.set()

    def shutdown(self) -> None:
        """Export what waits; give up after STOP_SECONDS."""
        with self._lock:
            self._ending = True
        self._wake.set()
        if self._thread:
            self._thread.join(STOP_SECONDS)
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: spans are exported within BATCH_SECONDS anyway."""
        return True

    def _export_all(self) -> None:
        while not (self._ending and not self._spans):
            self._wake.wait(BATCH_SECONDS)
            self._wake.clear()
            while batch := self._take():
                self._export(batch)
                if len(batch) < BATCH_SPANS:
                    break

    def _take(self) -> list[ReadableSpan]:
        with self._lock:
            batch, self._spans = self._spans[:BATCH_SPANS], self._spans[BATCH_SPANS:]
        return batch

    def _export(self, batch: Sequence[ReadableSpan]) -> None:
        try:
            is_away = self._exporter.export(batch) is not SpanExportResult.SUCCESS
        except Exception as error:  # a thread that ends would lose all further spans
            log.exception("spans not exported", error=type(error).__name__)
            is_away = True
        if is_away:
            SPANS_LOST.inc(len(batch))
        if is_away != self._is_away:
            self._is_away = is_away
            log.warning("the collector of traces does not take spans" if is_away else "the collector takes spans again")

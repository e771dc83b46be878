"""A collector of OpenTelemetry traces on a loopback socket: OTLP over HTTP, decoded by OpenTelemetry's own messages."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.readers import wait_until


class Span:
    """One span as it arrived."""

    def __init__(self, span: Any, service: str) -> None:
        self.name, self.service = span.name, service
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.kind, self.is_error = span.kind, span.status.code == 2
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = {pair.key: _value(pair.value) for pair in span.attributes}
        self.events = list(span.events)


class Collector:
    """Takes exports in a thread, and keeps their spans and their bytes."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        self.received = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    collector._take(body, {name.lower(): value for name, value in self.headers.items()})
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no more connections."""
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body: bytes, headers: dict[str, str]) -> None:
        self.received += body
        self.headers.append(headers)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(_value(pair.value) for pair in resource.resource.attributes if pair.key == "service.name")
            spans = [Span(span, service) for scope in resource.scope_spans for span in scope.spans]
            # A batch whose response was late comes again.
            known = {span.id for span in self.spans}
            self.spans += [span for span in spans if span.id not in known]

    def trace(self, trace: str, count: int) -> list[Span]:
        """Wait for so many spans of a trace; return them in the order of their begin."""
        wait_until(lambda: len(self._of(trace)) >= count)
        return sorted(self._of(trace), key=lambda span: span.start)

    def _of(self, trace: str) -> list[Span]:
        return [span for span in list(self.spans) if span.trace == trace]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)

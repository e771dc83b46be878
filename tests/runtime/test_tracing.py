"""Traces: what a collector gets of a completion, and that a missing collector changes nothing."""

import json
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.apps import runtime
from runtime.metrics import SPANS_LOST
from tests import servers
from tests.collector import Collector, Span
from tests.product import ApiUser, Product, connected, read_events
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server

PROMPT = "A secret question"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(upstream: FakeOpenAI, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiUser]:
    """A user of a product with traces, two keys and two upstreams, of which one continues traces."""
    variables = {
        **connected(upstream, unsteady="flaky:1:http_500"),
        "OPENAI_API_KEYS": "sk-test-0123456789abcdef,sk-test-fedcba9876543210",
        "DEEPSEEK_BASE_URL": upstream.base_url,
        "DEEPSEEK_API_KEYS": "sk-test-vendor",
        "DEEPSEEK_MODELS": "vendor=plain",
        "TRACEPARENT_UPSTREAMS": "openai",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20collectors-token",
        "OTEL_SERVICE_NAME": "rivulet-test",
    }
    with Product(tmp_path_factory.mktemp("traces"), **variables) as running:
        yield running.register("traced-user")


def complete(user: ApiUser, model: str, headers: dict[str, str] | None = None) -> tuple[str, str]:
    """Complete a prompt within a new trace; return the ids of the trace and of the caller's span."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    sent = {"Accept": "text/event-stream", "traceparent": f"00-{trace}-{span}-01", **(headers or {})}
    body = {"model": model, "prompt": f"{PROMPT} {trace}"}
    with user.client.stream("POST", "/api/chat/", json=body, headers=sent) as response:
        *_others, last = read_events(response)
    assert last.name == "done", last.data
    return trace, span


def children(spans: list[Span], parent: str) -> list[str]:
    return [span.name for span in spans if span.parent == parent]


def lines(product: Product, trace: str) -> set[str]:
    """Return the events of the log lines of a trace."""
    found = [
        json.loads(line) for line in product.output.splitlines(keepends=True) if trace in line and line.endswith("\n")
    ]
    return {line["event"] for line in found if line["trace_id"] == trace}


def test_without_a_collector_nothing_is_loaded() -> None:
    """Without OTEL_EXPORTER_OTLP_ENDPOINT, as here, no module of the SDK is imported, by redis-py neither."""
    loaded = {name for name, module in sys.modules.items() if name.startswith("opentelemetry.sdk") and module}
    assert (runtime().tracing, loaded & {"opentelemetry.sdk.trace", "opentelemetry.sdk.metrics"}) == (None, set())
    assert "runtime.tracing" not in sys.modules


def test_a_completion_is_a_tree_of_spans(traced: ApiUser, collector: Collector, upstream: FakeOpenAI) -> None:
    """The caller's span has the request, it the start and the generation, and that the attempt and the finish."""
    trace, caller = complete(traced, "plain")
    request, start, generation, attempt, finish = spans = collector.trace(trace, 5)
    assert children(spans, caller) == [request.name] == ["POST /api/chat/"]
    assert children(spans, request.id) == ["start", "generation"]
    assert children(spans, generation.id) == ["attempt", "finish"]
    assert (request.kind, attempt.kind) == (2, 3)  # of a server, of a client
    assert request.attributes["http.response.status_code"] == 200
    assert start.attributes["rivulet.outcome"] == "started"
    assert attempt.attributes["gen_ai.provider.name"] == "openai"
    about = generation.attributes
    assert (about["rivulet.outcome"], about["gen_ai.request.model"]) == ("completed", "plain")
    assert about["gen_ai.usage.output_tokens"] > 0
    assert about["rivulet.time_to_first_delta_ms"] > 0
    assert len({span.attributes["request_id"] for span in spans}) == 1
    assert start.end <= attempt.start <= attempt.end <= finish.start <= finish.end <= generation.end
    assert {span.service for span in spans} == {"rivulet-test"}
    assert not any(span.is_error or span.events for span in spans)
    wait_until(lambda: lines(traced.product, trace) >= {"request", "generation"})
    (asked,) = upstream.asked(f"{PROMPT} {trace}")
    assert asked.headers["traceparent"] == f"00-{trace}-{attempt.id}-01"


def test_a_failed_attempt_is_a_span_of_its_own(traced: ApiUser, collector: Collector) -> None:
    """A request that another key makes good has two attempts, of which the first names its failure."""
    trace, _caller = complete(traced, "unsteady")
    attempts = [span for span in collector.trace(trace, 6) if span.name == "attempt"]
    assert [span.is_error for span in attempts] == [True, False]
    assert [span.attributes["rivulet.attempt"] for span in attempts] == [1, 2]
    assert attempts[0].attributes["error.type"] == "upstream_error"
    assert attempts[0].attributes["http.response.status_code"] == 500


def test_a_failed_generation_is_an_error_in_each_of_its_spans(traced: ApiUser, collector: Collector) -> None:
    """A call of /v1 whose upstream fails has the code in its generation and attempt, and the status in its request."""
    trace = secrets.token_hex(16)
    body = {"model": "error", "messages": [{"role": "user", "content": PROMPT}]}
    headers = {"traceparent": f"00-{trace}-{'2' * 16}-01"}
    failed = traced.client.post("/v1/chat/completions", json=body, headers=headers)
    request, start, generation, attempt, finish = collector.trace(trace, 5)
    assert (request.name, request.is_error) == ("POST /v1/chat/completions", failed.status_code >= 500)
    assert request.attributes["http.response.status_code"] == failed.status_code
    assert (start.is_error, generation.is_error, attempt.is_error, finish.is_error) == (False, True, True, False)
    assert generation.attributes["error.type"] == attempt.attributes["error.type"] == "upstream_error"
    assert generation.attributes["rivulet.outcome"] == finish.attributes["rivulet.outcome"] == "failed"


def test_vendors_get_no_ids_unasked(traced: ApiUser, collector: Collector, upstream: FakeOpenAI) -> None:
    """An upstream that is not named in TRACEPARENT_UPSTREAMS learns nothing of the trace."""
    trace, _caller = complete(traced, "vendor", {"tracestate": "tenant=inside"})
    collector.trace(trace, 5)
    (asked,) = upstream.asked(f"{PROMPT} {trace}")
    assert {"traceparent", "tracestate"} & set(asked.headers) == set()


def test_refusals_say_their_code(traced: ApiUser, collector: Collector) -> None:
    """A refused prompt has a start with the code, no generation, and nothing that the caller sent."""
    trace = secrets.token_hex(16)
    body = {"model": f"no-{PROMPT}", "prompt": PROMPT}
    refused = traced.client.post("/api/chat/", json=body, headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})
    assert refused.status_code == 400
    request, start = collector.trace(trace, 2)
    assert (request.attributes["http.response.status_code"], start.attributes["rivulet.outcome"]) == (
        400,
        "invalid_request",
    )


def test_spans_hold_nothing_of_users(traced: ApiUser, collector: Collector) -> None:
    """No prompt, completion, name, address, token or key is exported; a wrong `traceparent` begins a trace."""
    _trace, _caller = complete(traced, "echo", {"traceparent": "00-wrong", "User-Agent": "an-agent"})
    wait_until(lambda: any("echo" in span.attributes.values() for span in list(collector.spans)))
    secrets_sent = (PROMPT, "traced-user", "an-agent", "127.0.0.1", "sk-test", traced.access, "collectors-token")
    assert [secret for secret in secrets_sent if secret.encode() in collector.received] == []
    assert {headers["authorization"] for headers in collector.headers} == {"Bearer collectors-token"}


def test_probes_are_not_traced(traced: ApiUser, collector: Collector) -> None:
    """Requests of probes and of Prometheus make no spans."""
    for path in ("/healthz", "/readyz", "/metrics"):
        assert traced.client.get(path).status_code in {200, 403}
    later, _caller = complete(traced, "plain")
    collector.trace(later, 5)
    assert not [span for span in list(collector.spans) if "/healthz" in span.name or "/metrics" in span.name]


def _with_a_hanging_collector() -> list[float]:
    """Make more spans than may wait; return how many were lost, and the seconds that spans and the end took."""
    from runtime.tracing import BATCH_SPANS, MOST_WAITING, Tracing

    with socket.create_server(("127.0.0.1", 0)) as collector:
        tracing = Tracing(f"http://127.0.0.1:{collector.getsockname()[1]}", "", "hanging", "one")
        began = time.monotonic()
        for _ in range(MOST_WAITING + 2 * BATCH_SPANS):
            tracing.tracer.start_span("span").end()
        made = time.monotonic()
        tracing.stop()
        return [SPANS_LOST._value.get(), made - began, time.monotonic() - made]


def test_a_hanging_collector_holds_up_nothing(tmp_path: Path) -> None:
    """Spans that a collector does not read are dropped and counted; neither they nor the process's end wait for it."""
    (found,) = servers.in_processes(
        _with_a_hanging_collector,
        [[]],
        servers.environment(
            "", tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="120"
        ),
    )
    lost, seconds, end_seconds = found
    assert lost >= 512
    assert seconds < 60  # an export takes its time-out
    assert end_seconds < 60


def test_a_missing_collector_changes_nothing(traced: ApiUser, collector: Collector) -> None:
    """Without a collector completions go on as before, lost spans are counted, and the process ends normally."""
    collector.close()
    for _ in range(2):
        complete(traced, "plain")
    metrics = traced.product.client()
    wait_until(lambda: "\nrivulet_spans_lost_total 0.0" not in metrics.get("/metrics").text)
    wait_until(lambda: "does not take spans" in traced.product.output)
    assert traced.product.stop() == 0

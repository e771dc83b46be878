"""Metrics: what a used product reports, that no user can make labels, and sums over workers that have ended."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from runtime.metrics import forget_worker
from tests.product import ApiUser, Product, connected
from tests.readers import wait_until
from tests.servers import ROOT
from tests.upstreams import FakeOpenAI

SERIES = re.compile(r"^(rivulet_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def figures(product: Product) -> dict[str, float]:
    """Return the value of each of our series, by its name with labels."""
    text = product.client().get("/metrics").text
    return {f"{name}{{{labels}}}": float(value) for name, labels, value in SERIES.findall(text)}


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product that no other test has used."""
    with Product(tmp_path_factory.mktemp("metrics"), **connected(upstream)) as running:
        yield running


@pytest.fixture(scope="module")
def user(product: Product) -> ApiUser:
    """A user who completed, failed and was refused."""
    api_user = product.register("metrics")
    for model in ("plain", "error"):
        api_user.answer("Hello", model)
    assert api_user.client.post("/api/chat/", json={"model": "nothing", "prompt": "Hello"}).status_code == 400
    assert api_user.client.get("/api/conversations/0/").status_code == 404
    assert api_user.client.get("/v1/models/nothing").status_code == 404
    return api_user


@pytest.mark.server
def test_a_used_product_reports_all_figures(product: Product, user: ApiUser) -> None:
    """Generations, tokens, failures, refusals, keys and executors are reported with their labels."""
    found = figures(product)
    route = 'model="plain",upstream="openai"'
    for name in ("rivulet_time_to_first_delta_seconds_count", "rivulet_generation_duration_seconds_count"):
        assert found[f"{name}{{{route}}}"] >= 1
    for kind in ("input", "output"):
        assert found[f'rivulet_tokens_total{{kind="{kind}",{route}}}'] >= 1
    assert found['rivulet_generation_failures_total{blame="upstream",code="upstream_error"}'] >= 1
    assert found['rivulet_attempt_failures_total{blame="upstream",upstream="openai"}'] >= 1
    assert found['rivulet_refusals_total{code="invalid_request"}'] >= 1
    assert found['rivulet_refusals_total{code="not_found"}'] >= 1
    assert found['rivulet_responses_total{status="4xx"}'] >= 3
    assert sum(found[f'rivulet_keys{{state="{state}",upstream="openai"}}'] for state in ("ok", "suspect")) == 1
    assert found['rivulet_circuits{state="ok",upstream="openai"}'] >= 10
    assert found["rivulet_processes{}"] == 1
    assert found["rivulet_tasks{}"] > 1  # a timer, and that of the request
    assert found["rivulet_database_away{}"] == found["rivulet_redis_away{}"] == 0
    executors = ("attachments", "database", "logins", "searches", "views", "writes")
    assert all(f'rivulet_executor_waiting{{executor="{name}"}}' in found for name in executors)


@pytest.mark.server
def test_running_generations_are_counted(product: Product, user: ApiUser) -> None:
    """A generation counts as running until it has ended."""
    before = figures(product)["rivulet_generations_running{}"]
    generation = user.ask("Hello", "hang")["id"]
    assert figures(product)["rivulet_generations_running{}"] == before + 1
    user.stop(generation)
    wait_until(lambda: figures(product)["rivulet_generations_running{}"] == before)


@pytest.mark.contract("deploy/")
@pytest.mark.server
def test_dashboard_and_alerts_name_what_is_reported(product: Product, user: ApiUser) -> None:
    """Each name and label value in the dashboard and the alert rules is one that the product reports."""
    dashboard = json.loads((ROOT / "deploy/grafana/rivulet.json").read_text())
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"][0]["rules"]
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [rule["expr"] for rule in rules]
    used = {name for expression in expressions for name in re.findall(r"\brivulet_\w+", expression)}
    text = product.client().get("/metrics").text
    declared = {
        f"{name}{suffix}"
        for name, kind in re.findall(r"^# TYPE (rivulet_\w+) (\w+)$", text, re.MULTILINE)
        for suffix in (("_bucket", "_count", "_sum") if kind == "histogram" else ("",))
    }
    assert used <= declared
    # What the product reports and no panel shows would be found by no operator.
    unseen = {name for name in declared if not name.endswith(("_created", "_count", "_sum", "_bucket"))} - used
    assert not unseen
    labels = {name for names in re.findall(r"^rivulet_\w+\{(.*)\}", text, re.MULTILINE) for name in _labels(names)}
    for expression in expressions:
        grouped = {name for names in re.findall(r"by \(([^)]*)\)", expression) for name in re.split(r", *", names)}
        matched = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
        assert (grouped | matched) - {"job", "instance"} <= labels | {"vendor_code", "result"}, expression


def _labels(text: str) -> list[str]:
    return re.findall(r"(\w+)=\"", text)


@pytest.mark.server
def test_no_user_makes_labels(product: Product, user: ApiUser) -> None:
    """Names, paths, methods and codes that a caller invents make no series."""
    before = set(figures(product))
    client, invented = user.client, "invented-by-a-user"
    client.post("/api/chat/", json={"model": invented, "prompt": "Hello"})
    client.post("/api/chat/", json={"model": "plain", "prompt": "Hello", invented: 1})
    client.post("/v1/chat/completions", json={"model": invented, "messages": [{"role": "user", "content": "x"}]})
    client.get(f"/{invented}/", headers={"X-Request-ID": invented, "User-Agent": invented})
    client.request(invented.upper(), "/api/me/")
    with client.stream("GET", f"/sse/{invented}/", params={invented: 1}) as response:
        assert response.status_code == 200
    after = set(figures(product))
    assert not [series for series in after if invented in series.lower()]
    assert {series.partition("{")[0] for series in after} == {series.partition("{")[0] for series in before}


def _write(path: Path, name: str, value: float) -> None:
    values = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    values.write_value(mmap_key(name, name, [], [], "help"), value, 0.0)  # type: ignore[no-untyped-call]
    values.close()  # type: ignore[no-untyped-call]


def test_ended_workers_leave_counts_and_no_gauges(tmp_path: Path) -> None:
    """The counts of ended workers stay in the sums, in one file; their gauges are gone."""
    for pid in (1, 2, 3):
        _write(tmp_path / f"counter_{pid}.db", "served", pid)
        _write(tmp_path / f"gauge_livesum_{pid}.db", "running", 10.0)
        _write(tmp_path / f"gauge_livemax_{pid}.db", "away", 1.0)
    for pid in (1, 2):
        forget_worker(pid, tmp_path)
    files = {path.name for path in tmp_path.glob("*.db")}
    assert files == {"counter_ended.db", "counter_3.db", "gauge_livesum_3.db", "gauge_livemax_3.db"}
    found = MultiProcessCollector(None, str(tmp_path)).collect()  # type: ignore[no-untyped-call]
    assert {sample.name: sample.value for metric in found for sample in metric.samples} == {
        "served": 6.0,
        "running": 10.0,
        "away": 1.0,
    }

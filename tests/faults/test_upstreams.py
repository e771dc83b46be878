"""Every fault of an upstream, over every protocol, through the started product: reported in time, free, forgotten."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import offers
from tests.misbehaviour import FAULTS, HUGE, Fault, full_address
from tests.product import ApiUser, Event, Product, text_of
from tests.spark import FakeSpark
from tests.spark_http import FakeSparkHTTP
from tests.upstreams import FakeOpenAI
from tests.zhipu import FakeZhipu

pytestmark = pytest.mark.server

# Each fault runs into one clock at most; all others of its upstream are long, because a fake that stands still for a
# moment would run into them.
CLOCKS = {"UPSTREAM_CONNECT_SECONDS": "1.5", "UPSTREAM_FIRST_SECONDS": "2", "UPSTREAM_IDLE_SECONDS": "2"}
LONG = {"connect_seconds": 80.0, "first_seconds": 80.0, "idle_seconds": 80.0}
# Up to three attempts, each as long as its clock, and the pauses between them; below the long clocks.
IN_TIME = 60.0
AT_ONCE = 15
MAX_GROWTH = 20 * 1024 * 1024


@dataclass
class Scene:
    """A product connected to a fake of each protocol, and a user who asks."""

    product: Product
    api_user: ApiUser
    fakes: Mapping[str, Any]

    def memory(self, name: str) -> int:
        """Return `VmRSS` or its peak `VmHWM`, in bytes."""
        status = Path(f"/proc/{self.product.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) * 1024

    def forget_peak(self) -> None:
        """Let the peak begin anew."""
        Path(f"/proc/{self.product.pid}/clear_refs").write_text("5")

    def connections(self) -> int:
        """Return how many sockets of the product are connected, or connecting, to one of the fakes."""
        ports = {fake.port for fake in self.fakes.values()}
        folder = Path(f"/proc/{self.product.pid}/fd")
        ours = {str(link.readlink()) for link in folder.iterdir() if link.is_symlink()}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(f"socket:[{row[9]}]" in ours and int(row[2].partition(":")[2], 16) in ports for row in rows)


def named(protocol: str, name: str) -> str:
    return f"{protocol}-{name}".replace(" ", "-")


def clocks_for(fault: Fault) -> dict[str, float]:
    """Return the clocks that are not those of CLOCKS."""
    if fault.vendor_code == "total_timeout":
        return {**LONG, "total_seconds": 3.0}
    short = fault.vendor_code.replace("_timeout", "_seconds")
    return {name: seconds for name, seconds in LONG.items() if name != short}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Scene]:
    """A product that offers each fault as a model, and a plain model for each protocol."""
    with ExitStack() as stack:
        kinds = {"openai": FakeOpenAI, "spark": FakeSpark, "spark_http": FakeSparkHTTP, "zhipu": FakeZhipu}
        fakes = {kind: stack.enter_context(fake.in_thread()) for kind, fake in kinds.items()}
        addresses = {kind: fake.base_url for kind, fake in fakes.items()}
        fakes["zhipu_v3"], addresses["zhipu_v3"] = fakes["zhipu"], fakes["zhipu"].v3_url
        elsewhere = stack.enter_context(full_address())
        product = stack.enter_context(Product(tmp_path_factory.mktemp("faults"), **offers.environment(), **CLOCKS))
        with offers.database(product, django_db_blocker):
            for (protocol, name), fault in FAULTS.items():
                base_url, key = addresses[protocol], fakes[protocol].key(fault.does)
                if not fault.does:
                    base_url = base_url.replace(urlsplit(base_url).netloc, elsewhere)
                offers.offer(named(protocol, name), protocol, base_url, key, **clocks_for(fault))
            for protocol, base_url in addresses.items():
                offers.offer(named(protocol, "plain"), protocol, base_url, fakes[protocol].key("plain"), **LONG)
        api_user = product.register("alice")
        offers.wait_for(api_user, named("zhipu_v3", "plain"))
        yield Scene(product, api_user, fakes)


@dataclass(frozen=True)
class Calm:
    """The resources of the product after a completion over each protocol: connections to keep, and bytes of memory."""

    connections: int
    memory: int


@pytest.fixture(scope="module")
def calm(scene: Scene) -> Calm:
    """The product before any fault, when it has answered as many at once as there will be faults."""
    answers = offers.ask_together(scene.api_user, [named(protocol, "plain") for protocol in scene.fakes] * AT_ONCE)
    assert {events[-1].name for events in answers.values()} == {"done"}
    time.sleep(0.5)
    return Calm(scene.connections(), scene.memory("VmRSS"))


@pytest.fixture(scope="module")
def met(scene: Scene, calm: Calm) -> Mapping[str, list[Event]]:
    """All faults that are no flood, at once."""
    models = [named(protocol, name) for protocol, name in FAULTS if name not in HUGE]
    return offers.ask_together(scene.api_user, models)


def check(scene: Scene, fault: Fault, events: list[Event]) -> None:
    """The reader receives the failure in time, and keeps the text; nothing is charged."""
    last = events[-1]
    assert (last.name, last.data["code"]) == ("error", fault.code)
    assert last.data["details"]["vendor_code"] == fault.vendor_code
    assert text_of(events) == fault.shown
    row = scene.api_user.generation(events[0].data["generation"])
    assert (row["status"], row["content"], row["charge"]["amount"]) == ("failed", fault.shown, 0)
    took = datetime.fromisoformat(row["finished_at"]) - datetime.fromisoformat(row["created_at"])
    assert took.total_seconds() < IN_TIME


@pytest.mark.contract("setting: UPSTREAM_CONNECT_SECONDS")
@pytest.mark.parametrize(("protocol", "name"), [place for place in FAULTS if place[1] not in HUGE])
def test_faults(scene: Scene, met: Mapping[str, list[Event]], protocol: str, name: str) -> None:
    """Each fault ends as a typed error in time, its text kept, nothing charged."""
    check(scene, FAULTS[protocol, name], met[named(protocol, name)])


@pytest.mark.parametrize(("protocol", "name"), [place for place in FAULTS if place[1] in HUGE])
def test_floods(scene: Scene, calm: Calm, protocol: str, name: str) -> None:
    """200 MB without an end cost the process less than 20 MiB, at no moment more."""
    before = scene.memory("VmRSS")
    scene.forget_peak()
    events = scene.api_user.answer("Hello", named(protocol, name))
    assert scene.memory("VmHWM") - before < MAX_GROWTH
    check(scene, FAULTS[protocol, name], events)


def test_nothing_is_left(scene: Scene, calm: Calm, met: Mapping[str, list[Event]]) -> None:
    """No connection is left but those kept for the next answer, nor the memory; answers come and cost as before."""
    deadline = time.monotonic() + 60
    while scene.connections() > calm.connections or any(fake.open_streams for fake in scene.fakes.values()):
        assert time.monotonic() < deadline, "connections are left"
        time.sleep(0.05)
    assert scene.memory("VmRSS") - calm.memory < MAX_GROWTH
    answers = offers.ask_together(scene.api_user, [named(protocol, "plain") for protocol in scene.fakes])
    assert {events[-1].name for events in answers.values()} == {"done"}
    assert scene.api_user.quota()["used_today"] == (AT_ONCE + 1) * len(scene.fakes)

"""SIGHUP to a process that serves alone: new code, and no request refused or stream cut meanwhile."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nginx import front, nginx
from tests.product import ApiUser, Product, connected, text_of
from tests.readers import wait_until
from tests.runtime.test_workers import workers_of
from tests.servers import free_port
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server


@contextmanager
def asking_on(url: str, api_user: ApiUser) -> Iterator[list[int]]:
    """Ask through nginx and directly, in kept and in new connections, and collect the statuses."""
    statuses: list[int] = []
    ending = threading.Event()
    headers = {"Authorization": f"Bearer {api_user.access}"}
    options: dict[str, Any] = {"trust_env": False, "verify": False, "timeout": 60}

    def ask() -> None:
        with httpx.Client(base_url=url, headers=headers, **options) as kept:
            while not ending.is_set():
                prompt = {"model": "plain", "prompt": "Hello"}
                statuses.append(kept.post("/api/chat/", json=prompt).status_code)
                statuses.append(httpx.get(f"{api_user.product.url}/healthz", **options).status_code)
                statuses.append(api_user.client.get("/api/me/").status_code)
                ending.wait(0.2)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        ending.set()
        thread.join()


def lines(product: Product, event: str) -> int:
    return product.output.count(f'"{event}"')


def reload(product: Product, statuses: list[int]) -> None:
    """Reload, and return when the new process has served."""
    before, reloaded = set(workers_of(product)), lines(product, "retiring")
    product.stop_soon(signal.SIGHUP)
    wait_until(lambda: lines(product, "retiring") > reloaded, 60)
    assert set(workers_of(product)) - before
    served = len(statuses)
    wait_until(lambda: len(statuses) > served + 9, 60)


@pytest.mark.contract("deploy/")
def test_a_reload_refuses_and_cuts_nothing(upstream: FakeOpenAI, tmp_path: Path) -> None:
    """Requests and a stream go on across two reloads; the process keeps its id, port and exit code."""
    port = free_port()
    with Product(tmp_path, **connected(upstream, steady="paced:250:50")) as product:
        api_user, reader = product.register("asks"), product.register("reads")
        with (
            nginx(tmp_path, front(tmp_path, product.url.rpartition(":")[2], port)),
            asking_on(f"http://127.0.0.1:{port}", api_user) as statuses,
            reader.asking("Hello", "steady") as events,
        ):
            generation = next(events).data["generation"]
            for _reload in range(2):
                reload(product, statuses)
            received = list(events)
        assert received[-1].name == "done"
        assert set(statuses) == {200, 202}
        stored = reader.generation(generation)
        assert (stored["status"], stored["content"]) == ("completed", text_of(received))
        reader.client.close()
        # The first process has ended its connections and serves no more; it is the supervisor of the newest.
        wait_until(lambda: len(workers_of(product)) == 1, 90)
        product.stop_soon()
        product.wait_for_death(60)
        assert product.stop() == 0
        ends = [json.loads(line) for line in product.output.splitlines() if '"generation"' in line]
        assert {end["outcome"] for end in ends} == {"completed"}

"""The shipped Caddyfile at work: real Caddy, with TLS by its own authority, in front of the product."""

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import conftest
from tests.paused import PAUSE, PausedUpstream, read_one_by_one
from tests.product import Product, connected, read_events
from tests.readers import wait_until
from tests.servers import ROOT, _await, _stop, find, free_port

CADDYFILE = ROOT / "deploy/caddy/Caddyfile"
# What a test adds: own ports and folder, loopback only, and certificates that no one else has to trust.
OPTIONS = """{{
	admin off
	default_bind 127.0.0.1
	http_port {http}
	https_port {https}
	local_certs
	skip_install_trust
	storage file_system {home}
}}
"""

pytestmark = [pytest.mark.server, pytest.mark.contract("deploy/")]


class Caddy:
    """A running Caddy with its folder."""

    def __init__(self, home: Path) -> None:
        self.home, self.http, self.https = home, free_port(), free_port()

    @property
    def trust(self) -> ssl.SSLContext:
        """A context that believes its authority."""
        return ssl.create_default_context(cafile=str(self.home / "pki/authorities/local/root.crt"))

    def client(self, token: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"https://localhost:{self.https}"
        return httpx.Client(base_url=url, headers=headers, verify=self.trust, trust_env=False, timeout=30)

    def protocol(self) -> str | None:
        """Return the protocol that it prefers, once it serves with a certificate."""
        trust = self.trust
        trust.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", self.https)) as raw,
            trust.wrap_socket(raw, server_hostname="localhost") as secure,
        ):
            return secure.selected_alpn_protocol()

    def configuration(self, ports: tuple[str, ...]) -> str:
        """Return the shipped file for this machine and its Caddy, with the lines for several hosts if there are."""
        text = CADDYFILE.read_text()
        if len(ports) > 1:
            text = re.sub(r"(?m)^\t\t# (?=(?:lb_policy|health_|\tHost|\}))", "\t\t", text)
        if _version() < (2, 7):
            text = re.sub(r"request_buffers \S+", "buffer_requests", text)
        text = text.replace("127.0.0.1:8000", " ".join(f"127.0.0.1:{port}" for port in ports))
        text = text.replace("/var/log/caddy", str(self.home)).replace("chat.example.org", "localhost")
        return OPTIONS.format(http=self.http, https=self.https, home=self.home) + text

    @property
    def logged(self) -> str:
        """All that it has written, to its own log and to the one of requests."""
        return "".join(path.read_text() for path in (self.home / "output", self.home / "rivulet.log"))


@contextmanager
def caddy(home: Path, *ports: str, **changes: str) -> Iterator[Caddy]:
    """Run it in front of processes at these ports; `changes` are values in its file."""
    if find("caddy") is None:
        conftest._missing("Caddy is not installed: apt-get install caddy")
    made = Caddy(home)
    text = made.configuration(ports)
    for name, value in changes.items():
        text = re.sub(rf"\b{name} \S+", f"{name} {value}", text)
    (home / "Caddyfile").write_text(text)
    command = [str(find("caddy")), "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={"HOME": str(home)})
    try:
        _await(made.protocol, process, home / "output")
        yield made
    finally:
        _stop(process)


def _version() -> tuple[int, ...]:
    command = [str(find("caddy")), "version"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in version.split()[0].lstrip("v").split(".")[:2])


def port_of(product: Product) -> str:
    return product.url.rpartition(":")[2]


def requests(product: Product, **fields: Any) -> list[dict[str, Any]]:
    """Return the product's log lines about requests with these fields."""
    found = (json.loads(line) for line in product.output.splitlines() if line.startswith("{"))
    return [line for line in found if line["event"] == "request" and line.items() >= fields.items()]


def test_deltas_pass_one_by_one(product: Product, upstream: PausedUpstream, tmp_path: Path) -> None:
    """Over TLS deltas come one by one, as they do for programs, large imports pass, and the metrics are hidden."""
    api_user = product.register("behind-caddy")
    with caddy(tmp_path, port_of(product)) as front, front.client(api_user.access) as client:
        assert front.protocol() == "h2"
        moved = httpx.get(f"http://localhost:{front.http}/tools/?a=1", trust_env=False)
        assert (moved.status_code, moved.headers["Location"]) == (308, "https://localhost/tools/?a=1")
        deltas = [f"{number} " for number in range(20)]
        assert read_one_by_one(client, upstream, deltas) == deltas
        assert client.get("/metrics").status_code == 403
        assert client.get("/accounts/login/").headers["Content-Encoding"] == "gzip"
        kind = {"Content-Type": "application/json"}
        assert client.post("/api/import/", content=b" " * 32 * 2**20, headers=kind).status_code == 400
        refused = client.post("/api/import/", content=b" " * (32 * 2**20 + 1), headers=kind)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "prompt_too_long")


def test_callers_are_known_and_their_secrets_are_not_logged(product: Product, tmp_path: Path) -> None:
    """The product gets the address and an id from Caddy, whatever a client claims; logs hold no ticket or code."""
    with caddy(tmp_path, port_of(product)) as front, front.client() as client:
        claims = {"X-Forwarded-For": "203.0.113.9", "X-Request-ID": "mine", "X-Rivulet-Another": "1"}
        found = client.get("/api/me/?ticket=hidden", headers=claims)
        client.get("/accounts/password/reset/key/hidden/")
        client.get("/s/hidden", headers={"Cookie": "sessionid=hidden", "Authorization": "Bearer hidden"})
        number = found.headers["X-Request-ID"]
        assert number != "mine"
        wait_until(lambda: bool(requests(product, request_id=number, path="/api/me/", client="127.0.0.1")))
        wait_until(lambda: front.logged.count('"handled request"') == 3)
        assert "hidden" not in front.logged
        assert "/accounts/password/reset/key/" in front.logged


def test_without_a_process_the_refusal_is_ours(tmp_path: Path) -> None:
    """While no process replies, clients get our envelope and when to come back, and no ticket is logged."""
    with caddy(tmp_path, str(free_port()), lb_try_duration="0.1s") as front, front.client() as client:
        refused = client.post("/api/chat/?ticket=hidden", json={"prompt": "Hello"})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.headers["Content-Type"] == "application/json"
        assert refused.json()["error"]["code"] == "service_unavailable"
        assert refused.json()["request_id"]
        wait_until(lambda: '"handled request"' in front.logged)
        assert "hidden" not in front.logged


def test_a_draining_host_is_left(product: Product, upstream: PausedUpstream, tmp_path: Path) -> None:
    """Prompts go to the other of two hosts, and the streams of the draining one run to their end."""
    api_user = product.register("drained-by-caddy")
    prompts = [PAUSE.join(f"{host} {number}" for number in range(3)) for host in "ab"]
    with (
        Product(product.var_dir, is_set_up=True, **connected(upstream), DRAIN_SECONDS="120") as other,
        caddy(tmp_path, port_of(product), port_of(other)) as front,
        front.client(api_user.access) as client,
    ):
        readers, headers = [], {"Accept": "text/event-stream"}
        for prompt in prompts:
            body = {"model": "paused", "prompt": prompt}
            readers.append(client.stream("POST", "/api/chat/", json=body, headers=headers))
        with readers[0] as first, readers[1] as second:
            streams = [read_events(answer) for answer in (first, second)]
            begun = [[next(stream), next(stream)] for stream in streams]
            other.stop_soon()
            wait_until(lambda: '"draining"' in other.output)
            replies: list[httpx.Response] = []

            def others_only() -> bool:
                body, claim = {"model": "plain", "prompt": "Hello"}, {"X-Rivulet-Another": "1"}
                replies.extend(client.post("/api/chat/", json=body, headers=claim) for _ask in range(10))
                return all(reply.status_code == 202 for reply in replies[-10:])

            wait_until(others_only)
            refused = [reply.json()["error"]["code"] for reply in replies if reply.status_code != 202]
            assert set(refused) <= {"service_unavailable"}
            for prompt, stream, events in zip(prompts, streams, begun, strict=True):
                for _delta in range(2):
                    upstream.go_on(prompt)
                events += stream
                assert events[-1].name == "done"
        wait_until(lambda: bool(requests(other, path="/api/chat/", status=200)))

"""The files of deploy/ at work: real nginx in front of the product, and in front of a vendor."""

import itertools
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from tests.product import Product, connected, read_events, text_of
from tests.servers import ROOT, find, free_port
from tests.upstreams import FakeOpenAI

HTTP = """
{user} worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{ client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u;
  scgi_temp_path {home}/s; access_log {home}/access.log; {inside} }}
"""


@contextmanager
def nginx(home: Path, inside: str) -> Iterator[None]:
    configuration = home / "nginx.conf"
    # Started by root, nginx would run its workers as a user who may not write into our folder.
    user = "user root;" if os.getuid() == 0 else ""
    configuration.write_text(HTTP.format(home=home, inside=inside, user=user))
    command = [str(find("nginx")), "-c", str(configuration)]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            time.sleep(0.3)
            yield
        finally:
            process.terminate()
            process.wait(10)


def front(home: Path, product_port: str, port: int) -> str:
    text = (ROOT / "deploy/nginx/rivulet.conf").read_text().replace("/var/log/nginx", str(home))
    return text.replace("app:8000", f"127.0.0.1:{product_port}").replace("listen 80;", f"listen 127.0.0.1:{port};")


@pytest.mark.contract("deploy/")
@pytest.mark.server
def test_deltas_pass_nginx_one_by_one(product: Product, tmp_path: Path) -> None:
    """Through nginx the deltas come one by one, large imports pass, and the metrics are hidden."""
    port = free_port()
    with nginx(tmp_path, front(tmp_path, product.url.rpartition(":")[2], port)):
        api_user = product.register("behind-nginx")
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {api_user.access}"},
            trust_env=False,
            timeout=30,
        )
        with client:
            headers, times = {"Accept": "text/event-stream"}, []
            body = {"model": "quick", "prompt": "Hello"}
            with client.stream("POST", "/api/chat/", json=body, headers=headers) as answer:
                events = []
                for event in read_events(answer):
                    times.append(time.monotonic())
                    events.append(event)
            assert events[-1].name == "done"
            assert text_of(events) == api_user.generation(events[0].data["generation"])["content"]
            # 20 deltas, 10 ms apart: gathered by a buffer they would all come at once.
            assert sum(later - earlier > 0.004 for earlier, later in itertools.pairwise(times)) >= 10
            assert client.get("/metrics").status_code == 403
            assert client.get("/healthz").status_code == 200
            large = client.post(
                "/api/import/", content=b" " * (31 * 2**20), headers={"Content-Type": "application/json"}
            )
            assert large.status_code == 400


class WithOneRelease(BaseHTTPRequestHandler):
    """Answers with the files of its release; others are not found."""

    def do_GET(self) -> None:
        self.send_response(200 if f".{self.server.server_port}." in self.path else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.mark.contract("deploy/")
@pytest.mark.server
def test_static_files_of_both_releases_are_found(tmp_path: Path) -> None:
    """During an upgrade a process that lacks a static file is passed over; other pages are asked for once."""
    port, releases = free_port(), [HTTPServer(("127.0.0.1", 0), WithOneRelease) for _release in range(2)]
    for release in releases:
        threading.Thread(target=release.serve_forever, args=(0.01,), daemon=True).start()
    old, new = (str(release.server_port) for release in releases)
    text = front(tmp_path, old, port).replace("max_fails=0;", f"max_fails=0; server 127.0.0.1:{new} max_fails=0;")
    with nginx(tmp_path, text), httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        found = [client.get(f"/static/chat.{name}.js").status_code for name in (old, new) * 2]
        assert found == [200] * 4
        assert client.get("/static/chat.js").status_code == 404
        assert {client.get(f"/chat.{old}.js").status_code for _ask in range(2)} == {200, 404}
    for release in releases:
        release.shutdown()
        release.server_close()


@pytest.mark.contract("deploy/")
@pytest.mark.server
def test_in_front_of_a_vendor(upstream: FakeOpenAI, tmp_path: Path) -> None:
    """The product reaches its vendor through nginx, and `stop` closes the vendor's stream behind it."""
    port = free_port()
    text = (ROOT / "deploy/nginx/vendor.conf").read_text()
    vendor = re.sub(r"proxy_pass https://.*;", f"proxy_pass http://127.0.0.1:{upstream.port};", text)
    vendor = vendor.replace("listen 8080;", f"listen 127.0.0.1:{port};")
    vendor = re.sub(r"\n *proxy_ssl_.*;", "", vendor)
    environment = {**connected(upstream), "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    home = tmp_path / "nginx"
    home.mkdir()
    with nginx(home, vendor), Product(tmp_path, **environment) as product:
        api_user = product.register("alice")
        assert api_user.answer("Hello", "plain")[-1].name == "done"
        with api_user.asking("Hello", "paced") as events:
            generation = next(events).data["generation"]
            next(events)
            before = len(upstream.requests)
            api_user.stop(generation)
        deadline = time.monotonic() + 5
        while upstream.requests[before - 1].closed_by_peer_at is None:
            assert time.monotonic() < deadline, "the vendor goes on answering"
            time.sleep(0.02)
        assert httpx.get(f"http://127.0.0.1:{port}/other", trust_env=False).status_code == 404
        assert not (home / "access.log").exists() or not (home / "access.log").read_text()
    assert "\n    deny all;" in text


def test_the_unit_and_the_image_name_what_exists() -> None:
    """The commands and files that the systemd unit, the Dockerfile and compose name are there."""
    unit, image = ((ROOT / "deploy" / name).read_text() for name in ("rivulet.service", "Dockerfile"))
    for text in (unit, image):
        assert "manage.py setup" in text
        assert "manage.py serve" in text
    assert "--require-hashes -r requirements.txt" in image
    compose = (ROOT / "deploy/compose.yaml").read_text()
    for path in re.findall(r"\./(nginx/\S+?):", compose):
        assert (ROOT / "deploy" / path).exists()

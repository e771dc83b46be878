"""The files of deploy/ at work: real nginx in front of the product, and in front of a vendor."""

import re
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from tests.nginx import front, nginx
from tests.paused import PausedUpstream, read_one_by_one
from tests.product import Product, connected
from tests.readers import wait_until
from tests.servers import ROOT, find, free_port
from tests.upstreams import FakeOpenAI

# Seconds in which a response has come, on a machine that stands still now and then.
SECONDS = 60


@pytest.mark.contract("deploy/")
@pytest.mark.server
def test_deltas_pass_nginx_one_by_one(product: Product, upstream: PausedUpstream, tmp_path: Path) -> None:
    """Through nginx the deltas come one by one, large imports pass, and the metrics are hidden."""
    port = free_port()
    with nginx(tmp_path, front(tmp_path, product.url.rpartition(":")[2], port)):
        api_user = product.register("behind-nginx")
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {api_user.access}"},
            trust_env=False,
            verify=False,
            timeout=SECONDS,
        )
        with client:
            deltas = [f"{number} " for number in range(20)]
            assert read_one_by_one(client, upstream, deltas) == deltas
            assert client.get("/metrics").status_code == 403
            assert client.get("/healthz").status_code == 200
            large = client.post(
                "/api/import/", content=b" " * (31 * 2**20), headers={"Content-Type": "application/json"}
            )
            assert large.status_code == 400


class AnotherProcess(BaseHTTPRequestHandler):
    """Takes prompts, as another process of the product would."""

    def do_POST(self) -> None:
        prompt = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", str(len(prompt)))
        self.end_headers()
        self.wfile.write(prompt)

    def log_message(self, *_arguments: object) -> None:
        pass


def make_certificate(home: Path) -> ssl.SSLContext:
    """Make a certificate for loopback where nginx looks for it; return a context that believes it."""
    names = ["-keyout", str(home / "rivulet.key"), "-out", str(home / "rivulet.pem")]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*new, *names, *subject], check=True, capture_output=True)
    return ssl.create_default_context(cafile=str(home / "rivulet.pem"))


@pytest.mark.contract("deploy/")
@pytest.mark.server
def test_tls_and_a_draining_process(upstream: FakeOpenAI, tmp_path: Path) -> None:
    """HTTP leads to HTTPS with HTTP/2; prompts that a draining process refuses go to another one."""
    port, trust = free_port(), make_certificate(tmp_path)
    other = HTTPServer(("127.0.0.1", 0), AnotherProcess)
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    with Product(tmp_path, **connected(upstream)) as product:
        text = front(tmp_path, product.url.rpartition(":")[2], port, " ssl http2")
        text = text.replace("max_fails=0;", f"max_fails=0; server 127.0.0.1:{other.server_port};", 1)
        api_user = product.register("drained")
        headers = {"Authorization": f"Bearer {api_user.access}"}
        with (
            nginx(tmp_path, text),
            httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "plain")), timeout=SECONDS) as plain,
            httpx.Client(
                base_url=f"https://127.0.0.1:{port}", headers=headers, verify=trust, trust_env=False, timeout=SECONDS
            ) as client,
        ):
            moved = plain.get("http://chat.example.org/tools/?a=1")
            assert (moved.status_code, moved.headers["Location"]) == (301, "https://chat.example.org/tools/?a=1")
            page = client.get("/accounts/login/")
            assert page.headers["Strict-Transport-Security"]
            assert page.headers["Content-Encoding"] in {"br", "gzip"}
            wait_until(lambda: page.headers["X-Request-ID"] in (tmp_path / "access.log").read_text())
            offering = ssl.create_default_context(cafile=str(tmp_path / "rivulet.pem"))
            offering.set_alpn_protocols(["h2", "http/1.1"])
            with (
                socket.create_connection(("127.0.0.1", port)) as raw,
                offering.wrap_socket(raw, server_hostname="127.0.0.1") as secure,
            ):
                assert secure.selected_alpn_protocol() == "h2"
            running = api_user.ask("Hello", "hang")["id"]
            prompt = {"model": "plain", "prompt": "Hello"}
            assert "generation" in client.post("/api/chat/", json=prompt).json()
            product.stop_soon()
            wait_until(lambda: '"draining"' in product.output)
            direct = api_user.client.post("/api/chat/", json=prompt)
            assert direct.status_code == 503
            assert "X-Accel-Redirect" not in direct.headers
            assert [client.post("/api/chat/", json=prompt).json() for _ask in range(4)] == [prompt] * 4
            assert client.get(f"/api/generations/{running}/").json()["status"] == "running"
        other.shutdown()
        other.server_close()


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
    both = f"fail_timeout=5s; server 127.0.0.1:{new};"
    text = front(tmp_path, old, port).replace("fail_timeout=5s;", both, 1)
    with (
        nginx(tmp_path, text),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=False, timeout=SECONDS) as client,
    ):
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
    vendor = text.replace("server api.openai.com:443;", f"server 127.0.0.1:{upstream.port};")
    vendor = vendor.replace("proxy_pass https:", "proxy_pass http:")
    vendor = vendor.replace("listen 8080;", f"listen 127.0.0.1:{port};")
    vendor = re.sub(r"\n *proxy_ssl_.*;", "", vendor)
    environment = {**connected(upstream, steady="paced:4000:50"), "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    home = tmp_path / "nginx"
    home.mkdir()
    with nginx(home, vendor), Product(tmp_path, **environment) as product:
        api_user = product.register("alice")
        assert api_user.answer("Hello", "plain")[-1].name == "done"
        with api_user.asking("Stop me behind nginx", "steady") as events:
            generation = next(events).data["generation"]
            next(events)
            api_user.stop(generation)
        upstream.closed_at("Stop me behind nginx")
        other = httpx.get(f"http://127.0.0.1:{port}/other", trust_env=False, verify=False, timeout=SECONDS)
        assert other.status_code == 404
        assert not (home / "access.log").exists() or not (home / "access.log").read_text()
    assert "\n    deny all;" in text


def test_the_main_file_is_accepted(tmp_path: Path) -> None:
    """nginx takes the main file with all others in their places, as installed."""
    make_certificate(tmp_path)
    (tmp_path / "conf.d").mkdir()
    for name in ("upstream.conf", "rivulet.conf"):
        text = (ROOT / "deploy/nginx" / name).read_text().replace("/var/log/nginx", str(tmp_path))
        (tmp_path / "conf.d" / name).write_text(text.replace("/etc/nginx/tls", str(tmp_path)))
    main = (ROOT / "deploy/nginx/nginx.conf").read_text().replace("/etc/nginx/conf.d", f"{tmp_path}/conf.d")
    (tmp_path / "nginx.conf").write_text(main.replace("/run/nginx.pid", f"{tmp_path}/pid"))
    command = [str(find("nginx")), "-t", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr

"""Real nginx with the files of deploy/nginx/, in a temporary folder and on loopback."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers import ROOT, _await, _stop, find

HTTP = """
{user} worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{ client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u;
  scgi_temp_path {home}/s; access_log {home}/access.log; {inside} }}
"""


class Nginx:
    """A running nginx with its folder."""

    def __init__(self, home: Path, inside: str) -> None:
        self._home, self._command = home, write(home, inside)
        self._addresses = re.findall(r"listen (?:127\.0\.0\.1:(\d+)|unix:([^;]+))", inside)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        with (self._home / "output").open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        for port, path in self._addresses:
            _await(lambda port=port, path=path: _connect(port, path), self._process, self._home / "output")

    def stop(self) -> None:
        if self._process:
            _stop(self._process)

    def reload(self, inside: str) -> None:
        """Use another configuration from now on; running requests end under the old one."""
        assert self._process
        before = self._workers()
        write(self._home, inside)
        self._process.send_signal(signal.SIGHUP)
        _await(lambda: self._require_change(before), self._process, self._home / "output")

    def kill_worker(self) -> None:
        """Kill the process that passes requests on, and wait until another has its place."""
        assert self._process
        before = self._workers()
        for worker in before:
            os.kill(int(worker.name), signal.SIGKILL)
        _await(lambda: self._require_change(before), self._process, self._home / "output")

    def kill(self) -> None:
        """Kill the main process and, as systemd does then, what it has left."""
        assert self._process
        workers = self._workers()
        self._process.kill()
        self._process.wait()
        for worker in workers:
            os.kill(int(worker.name), signal.SIGKILL)
        for path in (path for _port, path in self._addresses if path):
            Path(path).unlink()

    def _workers(self) -> set[Path]:
        assert self._process
        pid = self._process.pid
        return {Path(f"/proc/{child}") for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def _require_change(self, before: set[Path]) -> None:
        """Raise OSError unless new workers take the requests, and those from before take no more."""
        if not self._workers() - before:
            raise OSError("the workers are those from before")
        for worker in before & self._workers():
            if b"shutting down" not in (worker / "cmdline").read_bytes():
                raise OSError("a worker from before takes requests")


def write(home: Path, inside: str) -> list[str]:
    """Write the configuration; return the command that uses it."""
    configuration = home / "nginx.conf"
    # Started by root, nginx would run its workers as a user who may not write into our folder.
    user = "user root;" if os.getuid() == 0 else ""
    configuration.write_text(HTTP.format(home=home, inside=inside, user=user))
    command = [str(find("nginx")), "-c", str(configuration)]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    return command


@contextmanager
def nginx(home: Path, inside: str) -> Iterator[Nginx]:
    """Run nginx with this inside `http`."""
    running = Nginx(home, inside)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def _connect(port: str, path: str) -> None:
    family: Any = socket.AF_INET if port else socket.AF_UNIX
    with socket.socket(family) as probe:
        probe.connect(("127.0.0.1", int(port)) if port else path)


def front(home: Path, product_port: str, port: int, tls: str = "") -> str:
    """Return the shipped files for loopback; `tls` is what follows the port where TLS is kept."""
    text = "".join((ROOT / "deploy/nginx" / name).read_text() for name in ("upstream.conf", "rivulet.conf"))
    text = re.sub(r"\n *listen \[::\].*;", "", text).replace("/var/log/nginx", str(home))
    if not tls:
        text = re.sub(r"\n *ssl_.*;", "", text)
    text = text.replace("/etc/nginx/tls", str(home)).replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port}{tls};")
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{product_port}").replace(
        "listen 80;", f"listen unix:{home}/plain;"
    )

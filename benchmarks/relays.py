"""Relays between load and upstream: none, nginx, LiteLLM's proxy, or each entry point of the product."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.product import Product
from tests.readers import wait_until
from tests.servers import find, free_port

ROOT = Path(__file__).resolve().parent.parent
LITELLM = ROOT / ".bench" / "bin" / "litellm"
# Seconds to wait until a relay accepts connections.
START_SECONDS = 120

NGINX = """
worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }} }}
}}
"""


@dataclass(frozen=True)
class Relay:
    """An address for requests; `pids` are the processes whose CPU and memory count."""

    name: str
    port: int
    path: str
    pids: tuple[int, ...]
    token: str = ""
    prompt: bool = False

    def head(self) -> str:
        lines = [f"POST {self.path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        lines += ["Accept: text/event-stream", f"Authorization: Bearer {self.token or 'sk-bench'}"]
        return "\r\n".join(lines) + "\r\n"

    def body(self, model: str) -> str:
        messages: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        return json.dumps({"model": model, **({"prompt": "hi"} if self.prompt else messages)})

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(pid) for pid in self._process_tree())

    def memory_kib(self) -> int:
        return sum(_memory_kib(pid) for pid in self._process_tree())

    def _process_tree(self) -> list[int]:
        tree, waiting = [], list(self.pids)
        while waiting:
            pid = waiting.pop()
            tree.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
        return tree


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def pinned(command: list[str], core: int) -> list[str]:
    """Return the command bound to one core, where there are two."""
    return ["taskset", "-c", str(core), *command] if (os.cpu_count() or 1) > 1 else command


@contextmanager
def _process(command: list[str], port: int, core: int, **variables: str) -> Iterator[int]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            pinned(command, core), env={**os.environ, **variables}, stdout=log, stderr=log, cwd=ROOT
        )
        try:
            _await(port, process)
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


def _await(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


@contextmanager
def upstream(core: int = 1) -> Iterator[Relay]:
    port = free_port()
    with _process([sys.executable, "-m", "benchmarks.upstream", str(port)], port, core) as pid:
        yield Relay("upstream", port, "/v1/chat/completions", (pid,))


@contextmanager
def nginx(to: Relay) -> Iterator[Relay]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rivulet-nginx-") as home:
        configuration = Path(home, "nginx.conf")
        configuration.write_text(NGINX.format(home=home, port=port, upstream=to.port))
        with _process([str(find("nginx")), "-c", str(configuration)], port, 0) as pid:
            yield Relay("nginx", port, to.path, (pid,))


@contextmanager
def litellm(to: Relay, models: list[str]) -> Iterator[Relay]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rivulet-litellm-") as home:
        rows = [
            {
                "model_name": model,
                "litellm_params": {"model": f"openai/{model}", "api_base": _base(to), "api_key": "sk"},
            }
            for model in models
        ]
        configuration = Path(home, "litellm.yaml")
        configuration.write_text(json.dumps({"model_list": rows}))  # JSON is YAML
        command = [str(LITELLM), "--config", str(configuration), "--port", str(port), "--host", "127.0.0.1"]
        token = f"sk-{secrets.token_hex(16)}"
        with _process(command, port, 0, NO_DOCS="True", LITELLM_MASTER_KEY=token) as pid:
            yield Relay("LiteLLM", port, "/v1/chat/completions", (pid,), token)


def _base(to: Relay) -> str:
    return f"http://127.0.0.1:{to.port}/v1"


# Sensitive words that the product screens for; none of them occurs in the streams.
WORDS = 50_000


@contextmanager
def product(to: Relay, models: list[str], variables: Mapping[str, str]) -> Iterator[tuple[Product, str]]:
    """Start the product on the first core with many sensitive words; yield it with a user's token."""
    environment = {
        "OPENAI_BASE_URL": _base(to),
        "OPENAI_MODELS": ",".join(models),
        "DAILY_LIMIT_STANDARD": "100000000",
        **variables,
    }
    with tempfile.TemporaryDirectory(prefix="rivulet-bench-") as home, Product(Path(home), **environment) as running:
        if (os.cpu_count() or 1) > 1:
            for task in Path(f"/proc/{running.pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {0})
        _list_words(running)
        yield running, running.register("bench").access


def _list_words(running: Product) -> None:
    # Hangul syllables, because folding maps no two of them to the same character.
    words = "\n".join(f"{chr(0xAC00 + number % 10_000)}{chr(0xAC00 + number // 10_000)}" for number in range(WORDS))
    path, kind = "/api/admin/sensitive-words/import/", {"Content-Type": "text/plain; charset=utf-8"}
    created = running.admin().client.post(path, content=words.encode(), headers=kind)
    if created.status_code != 200 or created.json()["created"] != WORDS:
        raise RuntimeError(created.text)
    wait_until(lambda: f'"words":{WORDS}' in running.output)

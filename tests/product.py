"""The product as its own process, started by its commands and used over HTTP."""

import asyncio
import atexit
import json
import os
import queue
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx
import psycopg

from tests import launcher, servers
from tests.servers import ROOT, environment
from tests.upstreams import FakeOpenAI

READY = re.compile(r"Rivulet is ready: (http://\S+?)/$", re.MULTILINE)
SETUP_SECONDS, START_SECONDS = 120, 120
# Seconds for the last lines of a process that has ended.
OUTPUT_SECONDS = 10
PASSWORD = "correct horse battery staple"


# Models of the connected product, and their scenarios in the fake upstream.
MODELS = {
    "plain": "plain",
    "echo": "echo",
    "quick": "paced:20:10",
    "paced": "paced:100:50",
    "endless": "paced:5000:50",
    "long": "long:3000",
    "reasoning": "reasoning",
    "cited": "cited",
    "scored": "scored",
    "detailed": "detailed",
    "pictured": "pictured",
    "pictures-only": "pictures_only",
    "hang": "hang",
    "hang-after-headers": "hang_after_headers",
    "empty": "empty",
    "thinking-only": "thinking",
    "http-500": "http_500",
    "cut": "cut_mid_stream",
    "error": "error_mid_stream",
    "http-400": "http_400",
    "tools": "tool_round",
    "refuses-seed": "http_400:unsupported_parameter:seed",
    "refuses-tools": 'body:404:{"error":{"message":"No endpoints found that support tool use","code":404}}',
    "short-context": "context:1",
    "blocked": "http_400:content_policy_violation",
    "flood": "long:300000",
    "too-long": "finish:length:some text",
    "moderated": "finish:content_filter:some text",
    "gpt-4-echo": "echo",
    "org/m:free": "echo",
    "typed": "typed:8:30",
    "paused": "paused",
}


def connected(upstream: FakeOpenAI, **models: str) -> dict[str, str]:
    """Return the environment of a product that uses this upstream, with high limits."""
    offered = ",".join(f"{slug}={scenario}" for slug, scenario in {**MODELS, **models}.items())
    return {
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_KEYS": "sk-test-0123456789abcdef",
        "OPENAI_MODELS": offered,
        "DAILY_LIMIT_STANDARD": "1000000",
    }


Settings = tuple[tuple[str, str], ...]
# Variables that do not affect `manage.py setup`; products that differ only in them start as copies of one folder.
SERVING = {"VAR_DIR", "PORT", "DEBUG", "IMPATIENCE", "TRUSTED_PROXIES", "METRICS_TOKEN", "CORS_ALLOWED_ORIGINS"}
SERVING |= {"HSTS_SECONDS"}
SERVING |= {"DRAIN_SECONDS", "PROCESS_LEASE_SECONDS", "STREAM_PING_SECONDS", "CHANNEL_RETENTION_SECONDS"}
SERVING |= {"MAX_ACTIVE_GENERATIONS", "MAX_ACTIVE_API_CALLS", "API_REQUESTS_PER_MINUTE", "MAX_UNCHARGED_PER_HOUR"}
SERVING |= {
    "MAX_BODY_MIB",
    "MAX_ATTACHMENT_MIB",
    "TITLE_MODEL",
    "UPSTREAM_TOTAL_SECONDS",
    "UPSTREAM_CONNECT_SECONDS",
    "UPSTREAM_FIRST_SECONDS",
    "UPSTREAM_IDLE_SECONDS",
}


@cache
def _folder(_settings: Settings) -> Path:
    """Return the folder for what `manage.py setup` leaves with these settings; it is empty until a product left it."""
    directory = Path(tempfile.mkdtemp(prefix="rivulet-set-up-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


class Product:
    """`manage.py setup` and `manage.py serve` with an own folder. `kill` and `start` again keep folder and port.

    Setting up happens once. `is_set_up`: not at all, as another process has set up this database.
    """

    # The folder with the code.
    root = ROOT

    def __init__(self, var_dir: Path, database_url: str = "", *, is_set_up: bool = False, **variables: str) -> None:
        self.var_dir, self._is_set_up = var_dir, is_set_up
        defaults = {
            "DJANGO_SETTINGS_MODULE": "tests.product_settings",
            "PORT": str(servers.free_port()),
            "ADMIN_PASSWORD": PASSWORD,
            "LANGUAGE_CODE": "en",
            **dict.fromkeys(("MAX_ACTIVE_GENERATIONS", "MAX_ACTIVE_API_CALLS", "API_REQUESTS_PER_MINUTE"), "0"),
            "MAX_UNCHARGED_PER_HOUR": "0",
            "TRUSTED_PROXIES": "127.0.0.1",
        }
        self._environment = environment(database_url, var_dir, **{**defaults, **variables})
        self._process: launcher.Program | None = None
        self._lines: list[str] = []
        self._reader: threading.Thread | None = None
        self._is_stopping = False
        self._clients: list[httpx.Client] = []
        self.url = ""

    def manage(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a management command to its end."""
        return launcher.run(
            [str(self.root / "manage.py"), *arguments],
            {**self._environment, **variables},
            seconds=SETUP_SECONDS,
            root=self.root,
        )

    def begin(self, output: Path, *arguments: str, stdout: int | None = None) -> launcher.Program:
        """Start a management command that writes what it says to a file; return without waiting for it.

        `stdout`: where its standard output goes instead.
        """
        with output.open("wb") as file:
            command = [str(self.root / "manage.py"), *arguments]
            both = (file.fileno() if stdout is None else stdout), file.fileno()
            return launcher.start(command, self._environment, *both, root=self.root)

    def set_up(self) -> Self:
        """Set up once; a new folder becomes a copy of one that was set up with the same settings."""
        if (folder := self._folder_of_setup()) is not None:
            done = self.manage("setup")
            assert done.returncode == 0, done.stderr
            if folder:
                shutil.copytree(self.var_dir, folder, dirs_exist_ok=True)
        return self

    def start(self) -> Self:
        """Set up and serve."""
        program = "tests/impatient.py" if "IMPATIENCE" in self._environment else "manage.py"
        arguments = [str(self.root / program), "serve"]
        if (folder := self._folder_of_setup()) is not None:
            arguments = [str(self.root / "tests/first_start.py"), folder, *arguments]
        return self.serve(*arguments)

    def _folder_of_setup(self) -> str | None:
        """Return where to leave a copy of what `manage.py setup` makes, or nothing; None when that is done."""
        if self._is_set_up:
            return None
        self._is_set_up = True
        if self._environment["DATABASE_URL"] or (self.var_dir / "rivulet.sqlite3").exists():
            return ""
        self.var_dir.mkdir(parents=True, exist_ok=True)
        folder, was_empty = _folder(self._settings()), not any(self.var_dir.iterdir())
        if any(folder.iterdir()):
            shutil.copytree(folder, self.var_dir, dirs_exist_ok=True)
            return None
        servers.migrated_sqlite(self.var_dir)
        return str(folder) if was_empty else ""

    def _settings(self) -> Settings:
        """Return the variables that affect `manage.py setup`."""
        return tuple(sorted(item for item in self._environment.items() if item[0] not in SERVING))

    def serve(self, *arguments: str) -> Self:
        """Start the process with these arguments, and wait until it serves."""
        reading, writing = os.pipe()
        try:
            self._process = launcher.start(arguments, self._environment, writing, writing, root=self.root)
        finally:
            os.close(writing)
        self._lines, self._is_stopping = [], False
        first: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(reading, first), daemon=True)
        self._reader.start()
        self.url = first.get(timeout=START_SECONDS)
        assert self.url, "".join(self._lines)
        self._environment["PORT"] = self.url.rpartition(":")[2]
        return self

    def _read(self, reading: int, first: "queue.Queue[str]") -> None:
        with open(reading, encoding="utf-8") as lines:
            for line in lines:
                self._lines.append(line)
                if found := READY.search(line):
                    first.put(found[1])
        first.put("")

    @property
    def database_url(self) -> str:
        """The URL of the product's database, for `servers.connected`."""
        return self._environment["DATABASE_URL"] or f"sqlite:///{quote(str(self.var_dir / 'rivulet.sqlite3'))}"

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement on the database, as another process would; return its rows. Places of values are `?`."""
        if url := self._environment["DATABASE_URL"]:
            with psycopg.connect(url) as postgres:
                cursor = postgres.execute(statement.replace("?", "%s"), values or None)  # type: ignore[arg-type]
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.var_dir / "rivulet.sqlite3", timeout=30)) as database, database:
            return list(database.execute(statement, values))

    def wait_for_draft(self, generation: str, text: str = "") -> None:
        """Wait until the database has this text of a running generation, or any."""
        from tests.readers import wait_until  # it builds on this module

        statement = "SELECT content FROM chat_draftpiece WHERE generation_id = ? ORDER BY number"

        def is_stored() -> bool:
            stored = "".join(row[0] for row in self.sql(statement, generation))
            return stored.startswith(text) if text else bool(stored)

        wait_until(is_stored)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def output(self) -> str:
        """The output of the process so far, with its log."""
        return "".join(self._lines)

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """Kill the process with SIGKILL and wait until it has ended."""
        assert self._process
        self._process.kill()

    def wait_for_death(self, seconds: float = 30) -> None:
        """Wait until the process has ended."""
        assert self._process
        assert self._reader
        self._process.wait(seconds)
        # Its last lines may still be on their way, and a worker that outlives it may hold the pipe.
        self._reader.join(OUTPUT_SECONDS)

    def stop_soon(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self._is_stopping = self._is_stopping or number == signal.SIGTERM
        os.kill(self.pid, number)

    def stop(self, seconds: float = 60) -> int:
        """Send SIGTERM unless the process has one already, as a second one ends it at once; return the exit code."""
        assert self._process
        if self._process.poll() is None and not self._is_stopping:
            self.stop_soon()
        self.wait_for_death(seconds)
        return self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the clients, and kill the process if it runs.

        Its workers too: they would go on with their generations, seen by the tests that use the same Redis next.
        """
        for client in self._clients:
            client.close()
        if self._process:
            self._process.kill_all()

    # --- as a program ---

    def client(self, token: str = "", **options: Any) -> httpx.Client:
        """Return a client with its own connections, which the product closes."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # No TLS is used, and loading the machine's certificates for each client would take 40 ms of CPU.
        options = {"timeout": 60, "trust_env": False, "verify": False, **options}
        client = httpx.Client(base_url=self.url, headers=headers, **options)
        self._clients.append(client)
        return client

    def register(self, name: str) -> "ApiUser":
        """Create an account through the API."""
        body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
        # Registration is limited per IP address, so each user gets a different one.
        where = {"X-Forwarded-For": f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"}
        made = self.client().post("/api/auth/register/", json=body, headers=where)
        assert made.status_code == 201, made.text
        return ApiUser(self, name, made.json()["access"], made.json()["refresh"])

    def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.client().post("/api/auth/token/", json={"username": name, "password": password})

    def browser(self, name: str) -> httpx.Client:
        """Log in through the form, as a browser does; return a client with the session."""
        client = self.client(follow_redirects=True)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/accounts/login/").text)
        assert token
        fields = {"login": name, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        done = client.post("/accounts/login/", data=fields, headers={"Referer": self.url})
        assert done.url.path == "/"
        return client

    def admin(self) -> "ApiUser":
        tokens = self.log_in("admin")
        assert tokens.status_code == 200, tokens.text
        return ApiUser(self, "admin", tokens.json()["access"], tokens.json()["refresh"])


@dataclass(frozen=True)
class Event:
    """One server-sent event as a reader receives it."""

    id: str
    name: str
    data: Any

    @property
    def number(self) -> int:
        return int(self.id.rpartition(":")[2])


def _lines(response: httpx.Response) -> Iterator[str]:
    """Split at line feeds only, because httpx also splits at U+2028, which JSON texts contain."""
    rest = ""
    for text in response.iter_text():
        *lines, rest = (rest + text).split("\n")
        yield from lines


def read_events(response: httpx.Response) -> Iterator[Event]:
    """Parse an event stream; every field and event must be well-formed."""
    fields: dict[str, str] = {}
    for line in _lines(response):
        if line.startswith(":"):
            continue
        if line:
            name, _colon, value = line.partition(":")
            assert name in {"id", "event", "data", "retry"}, line
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


def text_of(events: list[Event]) -> str:
    """Return the completion as a reader has it: deltas appended, resets applied."""
    text = ""
    for event in events:
        if event.name == "message":
            text += event.data["content"]
        elif event.name == "reset":
            text = event.data["content"]
    return text


class ApiUser:
    """A user who calls the product with a token."""

    def __init__(self, product: Product, name: str, access: str, refresh: str) -> None:
        self.product, self.name, self.access, self.refresh = product, name, access, refresh
        self.client = product.client(access)

    def ask(self, prompt: str = "Hello", model: str = "demo", key: str = "", **body: Any) -> dict[str, Any]:
        """Send a prompt without waiting for the completion; return the generation."""
        answer = self.client.post("/api/chat/", json={"model": model, "prompt": prompt, **body}, headers=_key(key))
        assert answer.status_code == 202, answer.text
        return dict(answer.json()["generation"])

    @contextmanager
    def asking(
        self, prompt: str = "Hello", model: str = "demo", key: str = "", **body: Any
    ) -> Iterator[Iterator[Event]]:
        """Send a prompt and yield its stream; the end of the block closes the connection."""
        headers = {"Accept": "text/event-stream", **_key(key)}
        wanted = {"model": model, "prompt": prompt, **body}
        with self.client.stream("POST", "/api/chat/", json=wanted, headers=headers) as response:
            if response.status_code != 200:
                response.read()
            assert response.status_code == 200, response.text
            yield read_events(response)

    def answer(self, prompt: str = "Hello", model: str = "demo", **body: Any) -> list[Event]:
        """Send a prompt and read the stream to its end."""
        with self.asking(prompt, model, **body) as events:
            return list(events)

    @contextmanager
    def following(self, generation: str, after: str = "") -> Iterator[tuple[int, Iterator[Event]]]:
        headers = {"Last-Event-ID": after} if after else {}
        with self.client.stream("GET", f"/api/generations/{generation}/events/", headers=headers) as response:
            yield response.status_code, read_events(response)

    def follow(self, generation: str, after: str = "") -> list[Event]:
        with self.following(generation, after) as (status, events):
            assert status == 200
            return list(events)

    def generation(self, generation: str) -> dict[str, Any]:
        found = self.client.get(f"/api/generations/{generation}/")
        assert found.status_code == 200, found.text
        return dict(found.json())

    def ended(self, generation: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until a generation has ended and return it."""
        deadline, pause = time.monotonic() + seconds, 0.02
        while (found := self.generation(generation))["status"] == "running":
            assert time.monotonic() < deadline, "still running"
            time.sleep(pause)
            pause = min(1.3 * pause, 0.2)
        return found

    def stop(self, generation: str) -> dict[str, Any]:
        stopped = self.client.post(f"/api/generations/{generation}/stop/")
        assert stopped.status_code == 200, stopped.text
        return dict(stopped.json())

    def quota(self, slug: str = "standard") -> dict[str, Any]:
        quotas = self.client.get("/api/me/").json()["quotas"]
        return next(dict(quota) for quota in quotas if quota["slug"] == slug)

    def messages(self, conversation: int) -> list[dict[str, Any]]:
        return list(self.client.get(f"/api/conversations/{conversation}/messages/").json())


def _key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}


def post_many(
    api_user: ApiUser, bodies: list[tuple[dict[str, Any], dict[str, str]]], url: str = "/api/chat/"
) -> list[httpx.Response]:
    """Send these bodies and headers to one URL at once, each on its own connection."""

    async def send() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        headers = {"Authorization": f"Bearer {api_user.access}"}
        async with httpx.AsyncClient(
            base_url=api_user.product.url, headers=headers, limits=limits, timeout=60, trust_env=False, verify=False
        ) as client:
            posts = [client.post(url, json=body, headers=headers) for body, headers in bodies]
            return list(await asyncio.gather(*posts))

    return asyncio.run(send())

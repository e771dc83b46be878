"""Logs whose reader is slow, stopped or gone: no request waits for it."""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY

from runtime import logs
from tests.product import Product, text_of
from tests.readers import wait_until
from tests.servers import ROOT

# A pipe holds 64 KiB, some 250 lines.
REQUESTS = 500


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[int]:
    """A named pipe, `log`, that only the test reads."""
    os.mkfifo(tmp_path / "log")
    end = os.open(tmp_path / "log", os.O_RDWR | os.O_NONBLOCK)
    yield end
    os.close(end)


def read(end: int) -> str:
    data = b""
    while True:
        try:
            data += os.read(end, 1 << 20)
        except BlockingIOError:
            return data.decode()


@pytest.mark.server
def test_a_log_without_a_reader_loses_no_line(tmp_path: Path, pipe: int) -> None:
    """Without a reader of the log all requests get responses, no line is lost, and the server stops."""
    product = Product(tmp_path / "var").set_up()
    with closing(product):
        product.serve("-c", _LAUNCH.format(log=str(tmp_path / "log"), manage=str(ROOT / "manage.py")))
        alice = product.register("alice")
        request_all(product)
        assert text_of(alice.answer("Hello"))
        parts: list[str] = []

        def all_logged() -> bool:
            parts.append(read(pipe))
            return "".join(parts).count("/healthz") == REQUESTS

        wait_until(all_logged)
        assert all(json.loads(line)["event"] for line in "".join(parts).splitlines())
        request_all(product)
        assert product.stop() == 0


def request_all(product: Product) -> None:
    with product.client() as client:
        assert {client.get("/healthz").status_code for _request in range(REQUESTS)} == {200}


def test_dropped_lines_are_counted(pipe: int) -> None:
    """The queue is bounded, and a line says how many lines were dropped."""
    os.write(pipe, b"." * 65_536)
    lost_before = REGISTRY.get_sample_value("rivulet_log_lines_lost_total")
    handler = logs.BackgroundHandler(pipe)
    handler.emit(logging.makeLogRecord({"msg": "the first"}))
    wait_until(lambda: not handler._lines)  # the writer has it, and finds the pipe full
    for number in range(logs.MAX_QUEUED_LINES + 30):
        handler.emit(logging.makeLogRecord({"msg": str(number)}))
    parts = [read(pipe)]
    wait_until(lambda: bool(parts.append(read(pipe)) or "lost" in parts[-1]))
    assert REGISTRY.get_sample_value("rivulet_log_lines_lost_total") > lost_before
    handler.emit(logging.makeLogRecord({"msg": "the last"}))
    handler.stop()
    lines = "".join([*parts, read(pipe)]).lstrip(".").splitlines()
    numbers = [str(number) for number in range(logs.MAX_QUEUED_LINES)]
    assert lines == ["the first", *numbers, "30 lines lost: the log was not read", "the last"]


def test_lines_of_several_processes_stay_whole(tmp_path: Path, pipe: int) -> None:
    """Lines of processes that share a log are not mixed."""
    ends = [os.open(tmp_path / "log", os.O_RDWR) for _worker in range(3)]
    handler = [logs.BackgroundHandler(end) for end in ends]
    for number in range(3_000):
        for name, worker in zip("abc", handler, strict=True):
            worker.emit(logging.makeLogRecord({"msg": name * 200 + str(number)}))
    parts: list[str] = []
    wait_until(lambda: bool(parts.append(read(pipe)) or "".join(parts).count("\n") == 9_000))
    assert sorted("".join(parts).splitlines()) == sorted(
        f"{name * 200}{number}" for name in "abc" for number in range(3_000)
    )
    for worker, end in zip(handler, ends, strict=True):
        worker.stop()
        os.close(end)


def test_the_end_does_not_wait_for_a_full_pipe(pipe: int) -> None:
    """The end of the process waits for its log at most FLUSH_SECONDS."""
    os.write(pipe, b"." * 65_536)
    handler = logs.BackgroundHandler(pipe)
    handler.emit(logging.makeLogRecord({"msg": "never read"}))
    started = time.monotonic()
    handler.stop()
    assert logs.FLUSH_SECONDS <= time.monotonic() - started < logs.FLUSH_SECONDS + 30


@pytest.mark.parametrize("text", ["\u2028", "\x85", "中文", "\ud800", 2**70])
def test_each_line_is_one_line_for_every_reader(text: object) -> None:
    lines: list[str] = []
    loggers = structlog.get_config()["logger_factory"]
    put, loggers.put = loggers.put, lines.append
    try:
        structlog.get_logger("test").warning("odd", text=text)
    finally:
        loggers.put = put
    (line,) = "".join(lines).splitlines()
    assert json.loads(line)["text"] == text


_LAUNCH = """
import os, runpy, sys
os.dup2(os.open({log!r}, os.O_RDWR), 2)
sys.path[0], sys.argv[:] = os.path.dirname({manage!r}), [{manage!r}, "serve"]
runpy.run_path({manage!r}, run_name="__main__")
"""

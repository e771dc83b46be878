"""The supervisor, for `WORKERS` above 1: it starts and replaces the workers.

Workers are new interpreters. Each listens at the same address with its own socket, and the kernel spreads connections
among the workers that live. A worker prints a line when it is ready. On its standard input it reads one byte for "stop"
and a second for "hurry"; the end of the input means that the supervisor is dead (`serve.StopRequests`).
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import structlog
from django.conf import settings

from runtime.metrics import forget_worker
from runtime.tasks import wait_for_either

log = structlog.get_logger("runtime")

# Seconds to wait before a dead worker is replaced; doubled at each further death, up to the second figure.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# Seconds a worker must live for the pause to begin at FIRST_PAUSE_SECONDS again.
STABLE_SECONDS = 60.0
# Seconds beyond DRAIN_SECONDS until a worker that has not ended is killed; the worker's own limits are shorter.
KILL_AFTER_SECONDS = 30.0
# Exit codes of a normal end. SIGTERM kills a worker that has not yet installed its handler; it had no work to lose.
NORMAL_EXIT_CODES = (0, -signal.SIGTERM)


class Supervisor:
    """The workers of one port, and whether they are to stop."""

    def __init__(self, workers: int, port: int, metrics: str) -> None:
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._workers = [Worker(port, metrics) for _ in range(workers)]

    async def run(self, ready_line: str) -> int:
        """Start the workers, print `ready_line` once all serve, and replace them until a signal comes."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        # The first starts alone, so that an error which all would have is printed once.
        first, *others = self._workers
        if not await self._start(first) and not self._stopping.is_set():
            return await first.wait() or 1
        if not self._stopping.is_set():
            await asyncio.gather(*map(self._start, others))
            print(ready_line, flush=True)  # noqa: T201
        return max(await asyncio.gather(*map(self._keep_running, [worker for worker in self._workers if worker.pid])))

    async def _start(self, worker: "Worker") -> bool:
        serves = await worker.start()
        if self._stopping.is_set() and not worker.stop_sent:
            worker.stop()
        return serves

    def _stop(self) -> None:
        self._stopping.set()
        for worker in self._workers:
            worker.stop()

    async def _keep_running(self, worker: "Worker") -> int:
        """Replace a worker each time it ends, until all must stop; return its exit code."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            code = await self._wait(worker)
            if self._stopping.is_set():
                return 0 if code in NORMAL_EXIT_CODES else 1
            forget_worker(worker.pid, Path(self._metrics))
            if time.monotonic() - started > STABLE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.error("worker died", pid=worker.pid, code=code, replaced_in_seconds=pause)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
                return 0
            except TimeoutError:
                pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
                await self._start(worker)

    async def _wait(self, worker: "Worker") -> int:
        exited = asyncio.create_task(worker.wait())
        await wait_for_either(exited, self._stopping)
        try:
            return await asyncio.wait_for(exited, settings.DRAIN_SECONDS + KILL_AFTER_SECONDS)
        except TimeoutError:
            log.error("worker did not stop in time, killing it", pid=worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
            return await worker.wait()


class Worker:
    """A worker process, replaced by a new process at the same port when it dies."""

    def __init__(self, port: int, metrics: str) -> None:
        # `env` adds a variable to the environment, which only chatproject/environment.py may read.
        environment = ["/usr/bin/env", f"PROMETHEUS_MULTIPROC_DIR={metrics}"]
        self._command = [*environment, sys.executable, sys.argv[0], "serve", "--worker-at", str(port)]
        self._process: Process | None = None
        self.stop_sent = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self) -> bool:
        """Start a process; return whether it is ready to serve."""
        self.stop_sent = False
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
        return bool(self._process.stdout and await self._process.stdout.readline())

    def stop(self) -> None:
        """Let the process drain; a second call lets it end at once."""
        if self._process and self._process.stdin and self._process.returncode is None:
            self._process.stdin.write(b".")
            self.stop_sent = True

    async def wait(self) -> int:
        """Return the exit code when the process has ended."""
        if self._process is None:
            return 0
        if self._process.stdout:
            await self._process.stdout.read()
        return await self._process.wait()

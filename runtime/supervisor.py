"""`WORKERS` above 1: a process that serves nothing itself, and looks after those that do.

Workers are fresh interpreters. Each has a listening socket of its own for the same address, among which the kernel
spreads connections; the sockets belong to the supervisor, so that what waits in one outlives its worker. A worker reads
from its standard input what it is told (stop; hurry), or that its supervisor is dead, and prints when it is ready.
Signals reach workers also directly, from a terminal or from systemd: there they count as one "stop".
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process

import structlog
from django.conf import settings
from prometheus_client import multiprocess

log = structlog.get_logger("runtime")

# A worker that dies is replaced: at once, and when it dies again and again, after a doubling pause.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, STEADY_SECONDS = 0.5, 30.0, 60.0
# What a worker may take beyond DRAIN_SECONDS before it is killed; its own bounds are below this.
HANGING_SECONDS = 30.0
# Killed by SIGTERM before it had begun to listen for signals: nothing was lost.
IN_ORDER = (0, -signal.SIGTERM)


def supervise(listeners: list[socket.socket], ready: str) -> int:
    """Keep a worker at each socket until a signal comes; print `ready` when all serve; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="rivulet-metrics-") as metrics:
        return asyncio.run(Supervisor(listeners, metrics).run(ready))


class Supervisor:
    def __init__(self, listeners: list[socket.socket], metrics: str) -> None:
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._workers = [Worker(listener, metrics) for listener in listeners]

    async def run(self, ready: str) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        # One before the others: what keeps it from starting is said once.
        first, *others = self._workers
        if not await self._start(first) and not self._stopping.is_set():
            return await first.ended() or 1
        if not self._stopping.is_set():
            await asyncio.gather(*map(self._start, others))
            print(ready, flush=True)  # noqa: T201
        return max(await asyncio.gather(*map(self._keep, [worker for worker in self._workers if worker.pid])))

    async def _start(self, worker: "Worker") -> bool:
        serves = await worker.start()
        if self._stopping.is_set() and not worker.told:
            worker.stop()
        return serves

    def _stop(self) -> None:
        self._stopping.set()
        for worker in self._workers:
            worker.stop()

    async def _keep(self, worker: "Worker") -> int:
        """Replace a worker whenever it ends, until all are to stop; return 0 if it ended in order then."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            code = await self._ended(worker)
            if self._stopping.is_set():
                return 0 if code in IN_ORDER else 1
            multiprocess.mark_process_dead(worker.pid, self._metrics)  # type: ignore[no-untyped-call]
            if time.monotonic() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.error("worker died", pid=worker.pid, code=code, next_in_seconds=pause)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
                return 0
            except TimeoutError:
                pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
                await self._start(worker)

    async def _ended(self, worker: "Worker") -> int:
        ending = asyncio.create_task(worker.ended())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        try:
            return await asyncio.wait_for(ending, settings.DRAIN_SECONDS + HANGING_SECONDS)
        except TimeoutError:
            log.error("worker hangs", pid=worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
            return await worker.ended()


class Worker:
    """One worker process after another at the same socket."""

    def __init__(self, listener: socket.socket, metrics: str) -> None:
        self._listener, self._metrics = listener, metrics
        self._process: Process | None = None
        self.told = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self) -> bool:
        """Start a process; return whether it came to serve."""
        self.told = False
        descriptor = self._listener.fileno()
        # `env` adds to the environment without our reading it.
        command = ["/usr/bin/env", f"PROMETHEUS_MULTIPROC_DIR={self._metrics}", sys.executable, sys.argv[0]]
        self._process = await asyncio.create_subprocess_exec(
            *command, "serve", "--listener", str(descriptor), stdin=PIPE, stdout=PIPE, pass_fds=[descriptor]
        )
        return bool(self._process.stdout and await self._process.stdout.readline())

    def stop(self) -> None:
        """Tell it to drain; a second time, to hurry."""
        if self._process and self._process.stdin and self._process.returncode is None:
            self._process.stdin.write(b".")
            self.told = True

    async def ended(self) -> int:
        """Return the exit code, once there is one."""
        if self._process is None:
            return 0
        if self._process.stdout:
            await self._process.stdout.read()
        return await self._process.wait()

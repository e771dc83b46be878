"""The supervisor, which starts and replaces workers: with WORKERS above 1, or after a reload.

Workers are new interpreters. Each listens at the same address with its own socket, and the kernel spreads connections
among the workers that live. A worker prints a line when it is ready. `signals.py` lists what the supervisor writes to
it.

A reload replaces one worker after the other. The new one gets the listening socket of the old one, because closing a
socket resets the connections that wait in it. Only then does the old one retire: it accepts nothing more, serves its
connections to their end, and drains.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path

import structlog
from django.conf import settings

from runtime.metrics import forget_worker
from runtime.signals import GIVE_LISTENER, RETIRE, STOP, Requests
from runtime.tasks import wait_for_either

log = structlog.get_logger("runtime")

# Seconds to wait before a dead worker is replaced; doubled at each further death, up to the second figure.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# Seconds a worker must live for the pause to begin at FIRST_PAUSE_SECONDS again.
STABLE_SECONDS = 60.0
# Seconds beyond DRAIN_SECONDS until a worker that has not ended is killed; the worker's own limits are shorter.
KILL_AFTER_SECONDS = 30.0
# Seconds that a worker may take to hand over its listening socket, and that a new one may take to be ready.
HAND_OVER_SECONDS, START_SECONDS = 5.0, 120.0
# Exit codes of a normal end. SIGTERM kills a worker that has not yet installed its handler; it had no work to lose.
NORMAL_EXIT_CODES = (0, -signal.SIGTERM)


def announce(ready_line: str) -> None:
    """Print the line for a program that waits until this process serves."""
    try:
        print(ready_line, flush=True)  # noqa: T201
    except OSError as error:
        # That program has died or reads no more. This process has taken requests already, so it goes on; a worker
        # learns by its standard input that its supervisor died.
        log.warning("ready line not read", error=type(error).__name__)
        # Else the line would be written again when the process ends.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Supervisor:
    """The workers of one port, and what was asked of them."""

    def __init__(self, port: int, requests: Requests, metrics: str = "", listener: socket.socket | None = None) -> None:
        self._port, self._requests, self._metrics = port, requests, metrics
        # The socket of all workers, if the service manager made one.
        self._listener = listener
        # Those that serve, and those that retire.
        self._workers: list[Worker] = []
        self._watches: set[asyncio.Task[int]] = set()
        self._obeying: asyncio.Task[None] | None = None

    async def run(self, workers: int, ready_line: str) -> int:
        """Start the workers and keep them running; return the exit code.

        The line is printed once all serve.
        """
        self._requests.listen()
        # The first starts alone, so that an error which all would have is printed once.
        first, *others = [self._new_worker() for _ in range(workers)]
        self._obeying = asyncio.create_task(self._obey())
        if not await self._start(first) and not self._requests.stop.is_set():
            return await first.wait() or 1
        if not self._requests.stop.is_set():
            await asyncio.gather(*map(self._start, others))
            announce(ready_line)
        for worker in (first, *others):  # a reload watches its own
            self._watch(worker)
        return await self.finish()

    async def take_over(self, listener: socket.socket) -> bool:
        """Start one worker at the socket of this process; return whether it is ready."""
        worker = self._new_worker()
        if await self._start(worker, listener):
            self._watch(worker)
            self._obeying = asyncio.create_task(self._obey())
            return True
        self._workers.remove(worker)
        await worker.wait()
        return False

    async def finish(self) -> int:
        """Return the exit code when all workers have ended."""
        code = 0
        while self._watches:
            done, _pending = await asyncio.wait(self._watches, return_when=asyncio.FIRST_COMPLETED)
            self._watches -= done
            code = max(code, *(task.result() for task in done))
        if self._obeying:
            self._obeying.cancel()
        return code

    async def _obey(self) -> None:
        """Reload as often as asked, until all must stop; then let them hurry if asked."""
        requests = self._requests
        while not requests.stop.is_set():
            await requests.any.wait()
            requests.any.clear()
            if requests.reload.is_set() and not requests.stop.is_set():
                requests.reload.clear()
                reloading = asyncio.create_task(self._reload())
                await wait_for_either(reloading, requests.stop)
        for event in (requests.stop, requests.hurry):
            await event.wait()
            for worker in self._workers:
                worker.send(STOP)

    async def _reload(self) -> None:
        """Replace one worker after the other; stop at the first that does not start."""
        log.info("reloading")
        for old in [worker for worker in self._workers if not worker.retires]:
            listener = await old.listener()
            if listener is None or self._requests.stop.is_set():
                continue  # it died or hangs; a dead one is replaced anyway
            new = self._new_worker()
            with listener:
                is_ready = await self._start(new, listener)
            if not is_ready:
                self._workers.remove(new)
                await new.wait()
                log.error("reload failed: the new worker did not start, the old ones go on", pid=new.pid)
                return
            self._watch(new)
            old.retires = True
            old.send(RETIRE)
        log.info("reloaded")

    def _new_worker(self) -> "Worker":
        worker = Worker(self._port, self._metrics)
        self._workers.append(worker)
        return worker

    async def _start(self, worker: "Worker", listener: socket.socket | None = None) -> bool:
        serves = await worker.start(listener or self._listener)
        if self._requests.stop.is_set() and not worker.stop_sent:
            worker.send(STOP)
        return serves

    def _watch(self, worker: "Worker") -> None:
        self._watches.add(asyncio.create_task(self._keep_running(worker)))

    async def _keep_running(self, worker: "Worker") -> int:
        """Replace a worker that ends, until it must stop; return its exit code."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            code = await self._wait(worker)
            if self._metrics:
                forget_worker(worker.pid, Path(self._metrics))
            if self._requests.stop.is_set() or worker.retires:
                self._workers.remove(worker)
                return 0 if code in NORMAL_EXIT_CODES or worker.retires else 1
            if time.monotonic() - started > STABLE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.error("worker died", pid=worker.pid, code=code, replaced_in_seconds=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._requests.stop.wait(), pause)
                self._workers.remove(worker)
                return 0
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
            await self._start(worker)

    async def _wait(self, worker: "Worker") -> int:
        exited = asyncio.create_task(worker.wait())
        await wait_for_either(exited, self._requests.stop)
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
        environment = ["/usr/bin/env", f"PROMETHEUS_MULTIPROC_DIR={metrics}"] if metrics else []
        self._command = [*environment, sys.executable, sys.argv[0], "serve", "--worker-at", str(port)]
        self._process: Process | None = None
        self._socket: socket.socket | None = None
        self.stop_sent = self.retires = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self, listener: socket.socket | None = None) -> bool:
        """Start a process, at the listening socket if given; return whether it is ready."""
        self.stop_sent = False
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        passed = [listener.fileno()] if listener else []
        command = [*self._command, *(f"--listener={descriptor}" for descriptor in passed)]
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=theirs.fileno(), stdout=PIPE, pass_fds=passed
                )
        except OSError as error:  # no memory for a process, or no Python at its place during an upgrade
            log.error("no process for a worker", error=type(error).__name__)
            self._socket.close()
            self._socket = None
            return False
        try:
            async with asyncio.timeout(START_SECONDS):
                return bool(self._process.stdout and await self._process.stdout.readline())
        except TimeoutError:
            self._process.kill()
            return False

    def send(self, request: bytes) -> None:
        """Send a request to the process, if it lives."""
        if self._socket and self._process and self._process.returncode is None:
            with suppress(OSError):  # it has just ended
                self._socket.send(request)
            self.stop_sent = self.stop_sent or request == STOP

    async def listener(self) -> socket.socket | None:
        """Return a copy of the process's listening socket, None if it does not reply."""
        if self._socket is None:
            return None
        self.send(GIVE_LISTENER)
        channel, loop, received = self._socket, asyncio.get_running_loop(), asyncio.Event()
        reading = channel.fileno()
        loop.add_reader(reading, received.set)
        try:
            await asyncio.wait_for(received.wait(), HAND_OVER_SECONDS)
            descriptors = socket.recv_fds(channel, 1, 1)[1]
        except OSError as error:  # TimeoutError is one
            log.error("worker did not hand over its socket", pid=self.pid, error=type(error).__name__)
            return None
        finally:
            loop.remove_reader(reading)
        return socket.socket(fileno=descriptors[0]) if descriptors else None

    async def wait(self) -> int:
        """Return the exit code when the process has ended."""
        if self._process is None:
            return 0
        if self._process.stdout:
            await self._process.stdout.read()
        code = await self._process.wait()
        if self._socket:
            self._socket.close()
            self._socket = None
        return code

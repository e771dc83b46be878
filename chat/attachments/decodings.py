"""Decode uploads in child processes: few at a time, each within a deadline."""

import asyncio
import io
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

import structlog
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from chat.attachments.decoder.results import Decoded, File, Refused, read_results, write_files
from web.refusals import ServiceUnavailable, TooManyRequests

log = structlog.get_logger("chat")

# Child processes at a time, each of which takes a processor, and up to a GiB of memory.
AT_ONCE = 2
# Uploads of one user that are decoded or wait for it; a further one is refused.
MOST_OF_USER = 10
# Seconds that an upload waits for its turn, and seconds that its decoding may take.
WAIT_SECONDS, DECODE_SECONDS = 60.0, 45.0
RETRY_SECONDS = 5


class Decodings:
    """The decodings of this process: bounded in number, for all users together and for each."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        # One at a time for each user, so that a user with many files does not keep the others waiting.
        self._turns_of_users: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._waiting: Counter[int] = Counter()

    def waiting(self) -> int:
        """Return how many uploads are decoded or wait for it."""
        return self._waiting.total()

    async def decode(self, user_id: int, file: File) -> Decoded:
        """Return what a file became; raise Refused, TooManyRequests or ServiceUnavailable."""
        if self._waiting[user_id] >= MOST_OF_USER:
            raise TooManyRequests(
                _("Too many files at once. Please wait until the others are ready."), retry_after=RETRY_SECONDS
            )
        self._waiting[user_id] += 1
        turn = self._turns_of_users.setdefault(user_id, asyncio.Lock())
        try:
            async with asyncio.timeout(WAIT_SECONDS) as clock, turn, self._turns:
                clock.reschedule(None)
                (result,) = await _decoded([file])
        except TimeoutError as error:
            raise ServiceUnavailable(
                _("Many files are being read at the moment. Please try again shortly."), retry_after=RETRY_SECONDS
            ) from error
        finally:
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id]
        if isinstance(result, Refused):
            raise result
        return result


async def _decoded(files: Sequence[File]) -> list[Decoded | Refused]:
    child = await asyncio.create_subprocess_exec(
        *_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
    )
    try:
        async with asyncio.timeout(DECODE_SECONDS):
            output, _errors = await child.communicate(await asyncio.to_thread(write_files, files))
    except TimeoutError:
        output = b""
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await asyncio.shield(child.wait())
    return _results(output, child.returncode, len(files))


def check_all(files: Sequence[File]) -> list[Decoded | Refused]:
    """Check pictures that were decoded before, of an import; it runs in a view's thread."""
    if not files:
        return []
    try:
        done = subprocess.run(  # noqa: S603  (our own program; the files go to its standard input)
            _command(),
            input=write_files(files),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            timeout=DECODE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _results(b"", None, len(files))
    return _results(done.stdout, done.returncode, len(files))


def _results(output: bytes, code: int | None, count: int) -> list[Decoded | Refused]:
    try:
        return read_results(io.BytesIO(output))
    except ValueError:
        # Out of its processor time, memory or deadline.
        log.warning("decoding ended without a result", code=code)
        return [Refused("costly")] * count


def _command() -> list[str]:
    return [sys.executable, "-s", "-P", "-m", "chat.attachments.decoder"]


def _environment() -> dict[str, str]:
    """Return the few variables that a child needs: no secret of ours is among them."""
    return {"PYTHONPATH": str(settings.BASE_DIR), "PATH": os.defpath, "LANG": "C.UTF-8"}

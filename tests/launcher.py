"""Python programs in processes of their own, forked from one process that has imported the large packages.

A command of the product needs two seconds of CPU to start, and spends most of it on imports that are the same each
time. The launcher imports these packages once per test run. It reads no setting, and of the product it imports only
what needs none: the wire adapters and the model of the environment. Of all else it keeps the code, which each program
runs itself. So a program starts as in a new interpreter.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
# Of all packages that need no settings, those that take longest to import.
PACKAGES = [
    *("ahocorasick_rs", "cryptography.fernet", "django.contrib.admin", "django.contrib.postgres.fields", "django.test"),
    *("django.core.management", "django.db.backends.postgresql.base", "django.db.backends.sqlite3.base"),
    *("django.db.migrations.executor", "django_redis.client", "httptools", "httpx", "jsonschema", "jwt"),
    *("prometheus_client", "psycopg", "pydantic.types", "pydantic.json_schema", "redis.asyncio", "redis.sentinel"),
    *("rest_framework.serializers", "structlog", "uvicorn.server", "uvloop", "websockets.asyncio.client"),
    *("aiohappyeyeballs", "whitenoise.middleware", "chatproject.environment", "confusable_homoglyphs.categories"),
    *("django.contrib.admin.views.main", "django.db.migrations.autodetector", "django_stubs_ext.aliases"),
    *("drf_spectacular.types", "fido2.server", "PIL.ExifTags", "PIL.Image", "PIL.TiffTags", "segno.consts"),
    *("packaging.version", "uvicorn.protocols.http.httptools_impl"),
]
WIRE = "providers/wire"
# Packages whose modules need settings, most of what is left to import.
NEED_SETTINGS = ("accounts", "allauth", "chat", "providers", "quotas", "runtime", "web")
MAX_REQUEST_BYTES = 100_000


class Program:
    """A program that was started, with a process group of its own; used like `subprocess.Popen`."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self._code: int | None = None
        self.pid = int(status.recv(64))

    def wait(self, seconds: float | None = None) -> int:
        """Wait until the program has ended; return its exit code, negative after a signal."""
        if self._code is None:
            self._status.settimeout(seconds)
            try:
                self._code = int(self._status.recv(64))
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired(str(self.pid), seconds or 0) from error
            self._status.close()
        return self._code

    def poll(self) -> int | None:
        """Return the exit code, or None while the program runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill the program, and wait until it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def kill_all(self) -> None:
        """Kill the program with all processes that it has started, and wait until it has ended."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()


def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    output: int,
    errors: int,
    given: int | None = None,
    root: Path = ROOT,
) -> Program:
    """Start `python ARGUMENTS` in the root of the project, or of a copy; three are file descriptors of its streams."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = json.dumps([list(arguments), dict(environment)]).encode()
    with theirs, Path(os.devnull).open("rb") as nothing:
        streams = [nothing.fileno() if given is None else given, output, errors]
        socket.send_fds(_launcher(root), [request], [theirs.fileno(), *streams])
    return Program(ours)


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    given: str = "",
    seconds: float | None = None,
    root: Path = ROOT,
) -> "subprocess.CompletedProcess[str]":
    """Run `python ARGUMENTS` to its end, like `subprocess.run`."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given.encode())
        stdin.seek(0)
        program = start(arguments, environment, stdout.fileno(), stderr.fileno(), stdin.fileno(), root)
        try:
            code = program.wait(seconds)
        except BaseException:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            raise
        return subprocess.CompletedProcess(arguments, code, _text(stdout), _text(stderr))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def _launcher(root: Path) -> socket.socket:
    """Start the launcher of this root; return the socket for requests, whose end ends the launcher."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    variables = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with theirs:
        process = subprocess.Popen([sys.executable, "-m", "tests.launcher"], cwd=root, env=variables, stdin=theirs)
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def _serve(requests: socket.socket, codes: list[int]) -> list[str]:
    """Fork for each request; return, in the child, the arguments of its program.

    A program that leaves its exit code in `codes` ends with its exit functions, and without freeing what was imported,
    which would take 65 ms of CPU.
    """
    atexit.register(lambda: [_leave(code) for code in codes])  # the first that is registered runs last
    wire = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / WIRE).rglob("*.py"))]
    for package in PACKAGES + wire:
        import_module(package)
    sys.meta_path.insert(0, _Finder(module for package in NEED_SETTINGS for module in _modules_of(package)))
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _bury)
    while True:
        request, descriptors, *_ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 4)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            arguments, environment = json.loads(request)
            _fork_and_wait(*descriptors)
            os.chdir(ROOT)
            os.environ.clear()
            os.environ.update(environment)
            return arguments
        for descriptor in descriptors:
            os.close(descriptor)


def _modules_of(package: str) -> Iterable[tuple[str, Path]]:
    """Yield a package's modules, without migrations and the many kinds of social accounts."""
    spec = find_spec(package)
    assert spec
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    for path in [path for depth in ("*.py", "*/*.py", "*/*/*.py") for path in folder.glob(depth)]:
        inner = path.relative_to(folder.parent).with_suffix("").parts
        if "migrations" not in inner:
            yield ".".join(inner[:-1] if path.name == "__init__.py" else inner), path


class _Kept(SourceFileLoader):
    """Loads a module whose code was read before."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, str(path))
        self._code = super().get_code(name)

    def get_code(self, fullname: str) -> CodeType | None:
        return self._code


class _Finder(MetaPathFinder):
    """Finds modules without a look into folders."""

    def __init__(self, modules: Iterable[tuple[str, Path]]) -> None:
        self._loaders = {name: _Kept(name, path) for name, path in modules}

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if loader := self._loaders.get(fullname):
            return spec_from_file_location(fullname, loader.path, loader=loader)
        return None


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_program() -> None:
    match sys.argv[0]:
        case "-m":
            del sys.argv[0]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        case "-c":
            exec(sys.argv.pop(1), {"__name__": "__main__"})
        case script:
            runpy.run_path(script, run_name="__main__")


def _bury(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _fork_and_wait(status_descriptor: int, *streams: int) -> None:
    """Return in a child with these streams; report its process id and exit code to `Program`."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = socket.socket(fileno=status_descriptor)
    if pid := os.fork():
        try:
            for stream in streams:
                os.close(stream)
            status.send(b"%d" % pid)
            # The child stays a zombie until its end is read, so that no signal goes to another process with its id.
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            assert ended
            status.send(b"%d" % (ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status))
            status.recv(1)
            os.waitpid(pid, 0)
        finally:
            os._exit(0)
    status.close()
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)


if __name__ == "__main__":
    exit_codes: list[int] = []
    sys.argv = _serve(socket.socket(fileno=0), exit_codes)
    try:
        _run_program()
        exit_codes.append(0)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            exit_codes.append(end.code or 0)
        raise

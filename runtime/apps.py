from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, cast

from django.apps import AppConfig, apps
from django.conf import LazySettings, settings
from django.db import connection
from django.db.backends.signals import connection_created

from runtime import huge_pages, logs, metrics
from runtime.checkpoints import Checkpoints
from runtime.executor import DatabaseExecutor, keep_connections_by_thread
from runtime.read_replica import ReadReplica
from runtime.statement_limit import count_cut_offs
from runtime.tasks import Drain
from runtime.writer import Writer

if TYPE_CHECKING:
    from runtime.tracing import Tracing


class RuntimeConfig(AppConfig):
    """Own the long-lived objects of the process."""

    name = "runtime"
    verbose_name = "Runtime"

    def ready(self) -> None:
        # Models may only be imported once all apps are loaded. `process` has one, and the others import it.
        from runtime.process import ServingProcess  # noqa: PLC0415
        from runtime.pubsub import Broker  # noqa: PLC0415
        from runtime.redis_clients import PROBE_SECONDS, RedisClients  # noqa: PLC0415

        logs.configure("DEBUG" if settings.DEBUG else "INFO")
        # Settings have no methods to hide, for which Django looks in Python at each read of one.
        LazySettings.__getattribute__ = object.__getattribute__  # type: ignore[method-assign]
        keep_connections_by_thread()
        connection_created.connect(count_cut_offs)
        self.database = DatabaseExecutor()
        self.writer = Writer(self.database)
        self.process = ServingProcess(self.database)
        self.redis = RedisClients(settings.REDIS_URL, self.process)
        self.broker = Broker(self.redis, self.process.id)
        self.drain = Drain()
        self.tracing = _tracing(self.process.id)
        self.read_replica = ReadReplica()
        self.process.every(lambda: PROBE_SECONDS, "redis", self.redis.probe)
        # Runs what no request awaits, so that requests do not wait for it where there is one database thread.
        self.background = DatabaseExecutor(1) if connection.vendor == "sqlite" else self.database
        if connection.vendor == "sqlite":
            checkpoints = Checkpoints(self.background)
            self.process.every(checkpoints.seconds, "checkpoints", checkpoints.make)
        if size := huge_pages.large_page_bytes():
            self.process.every(lambda: huge_pages.SECONDS, "huge pages", huge_pages.HugePages(size).enlarge)
        self.metrics = metrics.Metrics(self.database)
        self.metrics.gauge(metrics.PROCESSES, lambda: 1)
        self.metrics.gauge(metrics.REDIS_AWAY, lambda: self.redis.away)
        self.metrics.gauge(metrics.DATABASE_AWAY, lambda: self.process.lacks_heartbeat)
        self.metrics.gauge(metrics.TASKS, self.process.count_tasks)
        self.metrics.gauge(metrics.EXECUTOR_WAITING.labels("database"), self.database.waiting)
        self.metrics.gauge(metrics.EXECUTOR_WAITING.labels("writes"), self.writer.waiting)
        if settings.WORKERS > 1:
            self.process.every(lambda: metrics.READ_SECONDS, "metrics", self.metrics.read_now_and_then)

    def read_ahead(self, read: Callable[[], None]) -> bool:
        """Let another thread run `read`; return whether it will.

        It will in a process that serves.
        """
        if self.process.loop is None or not self.process.loop.is_running():
            return False
        self.background.submit(read)
        return True


def _tracing(instance: str) -> "Tracing | None":
    """Return the tracer if a collector is set.

    Its packages cost memory, so other processes do not import them.
    """
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return None
    from runtime.tracing import Tracing  # noqa: PLC0415

    headers, service = settings.OTEL_EXPORTER_OTLP_HEADERS, settings.OTEL_SERVICE_NAME
    return Tracing(settings.OTEL_EXPORTER_OTLP_ENDPOINT, headers, service, instance)


@cache
def runtime() -> RuntimeConfig:
    """Return the owner of the process's objects; only edges call this.

    Edges are views, admin pages, commands, middleware and app configurations. All other code is given what it needs.
    """
    return cast("RuntimeConfig", apps.get_app_config("runtime"))

from django.apps import AppConfig
from django.conf import settings

from runtime import logs


class RuntimeConfig(AppConfig):
    name = "runtime"
    verbose_name = "Runtime"

    def ready(self) -> None:
        from runtime import process, redis_clients  # noqa: PLC0415  (process has a model)

        logs.configure("DEBUG" if settings.DEBUG else "INFO")
        process.every(lambda: redis_clients.PROBE_SECONDS, "redis", redis_clients.probe)

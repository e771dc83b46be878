from django.apps import AppConfig
from django.conf import settings

from runtime import logs


class RuntimeConfig(AppConfig):
    name = "runtime"
    verbose_name = "Runtime"

    def ready(self) -> None:
        logs.configure("DEBUG" if settings.DEBUG else "INFO")

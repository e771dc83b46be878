from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from runtime.apps import runtime


class ProvidersConfig(AppConfig):
    name = "providers"
    verbose_name = _("Providers")

    def ready(self) -> None:
        from providers import concurrency  # noqa: PLC0415  (models may only be imported once all apps are there)

        runtime().process.every(lambda: concurrency.RENEW_SECONDS, "attempts of keys", concurrency.renew)

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ProvidersConfig(AppConfig):
    name = "providers"
    verbose_name = _("Providers")

    def ready(self) -> None:
        from providers import concurrency  # noqa: PLC0415  (models may only be imported once all apps are there)
        from runtime import process  # noqa: PLC0415

        process.every(lambda: concurrency.RENEW_SECONDS, "attempts of keys", concurrency.renew)

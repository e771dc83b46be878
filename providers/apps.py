from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ProvidersConfig(AppConfig):
    name = "providers"
    verbose_name = _("Providers")

    def ready(self) -> None:
        from providers import slots  # noqa: PLC0415  (models may only be imported once all apps are there)
        from runtime import process  # noqa: PLC0415

        process.every(lambda: slots.RENEW_SECONDS, "attempts of keys", slots.renew)

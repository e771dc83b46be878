from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from runtime.apps import runtime


class QuotasConfig(AppConfig):
    name = "quotas"
    verbose_name = _("Quotas")

    def ready(self) -> None:
        # Models may only be imported once all apps are there.
        from providers.apps import providers_app  # noqa: PLC0415
        from quotas import hints, setup  # noqa: PLC0415

        providers_app().catalogue.on_added(setup.assign_models)
        # What could not be told while Redis was away.
        runtime().process.every(lambda: 1.0, "counters", hints.flush)

from functools import cache
from typing import cast

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _

from runtime.apps import runtime


class QuotasConfig(AppConfig):
    """The owner of what this process keeps about quotas."""

    name = "quotas"
    verbose_name = _("Quotas")

    def ready(self) -> None:
        # Models can be imported only after all apps are loaded.
        from providers.apps import providers_app  # noqa: PLC0415
        from quotas import group_use, hints, setup, snapshot  # noqa: PLC0415

        self.snapshot = snapshot.QuotaSnapshot(runtime().read_ahead)
        self.hints = hints.QuotaHints(runtime().redis, runtime().process, self.snapshot)
        providers_app().catalogue.on_added(setup.assign_models)
        providers_app().alerts.watch(group_use.SOURCE)


@cache
def quotas_app() -> QuotasConfig:
    """Return the config that owns the snapshot and the counters."""
    return cast(QuotasConfig, apps.get_app_config("quotas"))

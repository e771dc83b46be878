"""Own the long-lived objects of this package.

Views, admin pages and commands look the objects up here.
"""

from functools import cache
from typing import TYPE_CHECKING, cast

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _

from runtime.apps import runtime

if TYPE_CHECKING:
    from providers.adapters import Adapters
    from providers.alerts.watch import Alerts
    from providers.catalogue import Catalogue
    from providers.health import Health
    from providers.keys import KeyPool
    from providers.routing import Routing
    from providers.snapshot import Configuration


class ProvidersConfig(AppConfig):
    name = "providers"
    verbose_name = _("Providers")

    pool: "KeyPool"
    configuration: "Configuration"
    adapters: "Adapters"
    health: "Health"
    routing: "Routing"
    catalogue: "Catalogue"
    alerts: "Alerts"

    def ready(self) -> None:
        # Models may only be imported once all apps are there.
        from providers.adapters import Adapters  # noqa: PLC0415
        from providers.alerts.watch import CHECK_SECONDS, Alerts  # noqa: PLC0415
        from providers.catalogue import Catalogue  # noqa: PLC0415
        from providers.concurrency import RENEW_SECONDS, ConcurrencyLimits  # noqa: PLC0415
        from providers.health import Health  # noqa: PLC0415
        from providers.keys import KeyPool  # noqa: PLC0415
        from providers.routing import Routing  # noqa: PLC0415
        from providers.snapshot import Configuration  # noqa: PLC0415
        from providers.state_metrics import StateCollector  # noqa: PLC0415

        limits = ConcurrencyLimits(runtime().redis)
        self.pool = KeyPool(limits)
        self.configuration = Configuration(self.pool, runtime().read_ahead)
        self.adapters = Adapters()
        self.health = Health(self.configuration, self.adapters, self.pool)
        self.routing = Routing(self.configuration, self.pool, self.adapters, self.health)
        self.catalogue = Catalogue(self.configuration, self.pool)
        self.alerts = Alerts(runtime().process)
        runtime().process.every(lambda: CHECK_SECONDS, "alerts", self.alerts.check)
        runtime().metrics.share(StateCollector(self.configuration), self.configuration.models)
        runtime().process.every(lambda: RENEW_SECONDS, "attempts of keys", limits.renew)


@cache
def providers_app() -> ProvidersConfig:
    """Return the running app, which owns the objects."""
    return cast("ProvidersConfig", apps.get_app_config("providers"))

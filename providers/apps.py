from django.apps import AppConfig
from django.db.models.signals import pre_delete
from django.utils.translation import gettext_lazy as _


class ProvidersConfig(AppConfig):
    name = "providers"
    verbose_name = _("Providers")

    def ready(self) -> None:
        # Models may only be imported once all apps are there.
        from django.contrib.auth.models import Group  # noqa: PLC0415

        from providers import access, slots  # noqa: PLC0415
        from runtime import process  # noqa: PLC0415

        pre_delete.connect(access.close_reserved, Group)
        process.every(lambda: slots.RENEW_SECONDS, "attempts of keys", slots.renew)

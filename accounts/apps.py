from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")

    def ready(self) -> None:
        # Imported here, because they need models, which cannot be imported before the apps are ready.
        import_module("accounts.housekeeping").register()
        import_module("accounts.claims").register()
        import_module("accounts.limits").register()
        import_module("accounts.recent_login").register()
        import_module("accounts.security_log").register()

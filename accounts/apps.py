import threading
from collections.abc import Collection
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _

from runtime.apps import runtime
from runtime.ttl_cache import TTLCache

if TYPE_CHECKING:
    from accounts.deletion import Deletions
    from accounts.identities import Identities
    from accounts.sessions import SessionActivity


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")

    one_hash_at_a_time: threading.Lock
    identities: "Identities"
    deletions: "Deletions"
    session_activity: "SessionActivity"
    page_texts: TTLCache[Collection[str]]

    def ready(self) -> None:
        self.one_hash_at_a_time = threading.Lock()
        # Imported here, because they need models, which cannot be imported before the apps are ready.
        import_module("accounts.housekeeping").register()
        import_module("accounts.audit.recording").register()
        import_module("accounts.claims").register()
        import_module("accounts.limits").register()
        import_module("accounts.oidc").register()
        import_module("accounts.recent_login").register()
        import_module("accounts.security_log").register()
        import_module("accounts.sessions").register()
        self.session_activity = import_module("accounts.sessions").SessionActivity()
        self.identities = import_module("accounts.identities").Identities()
        self.identities.register()
        self.page_texts = TTLCache(import_module("accounts.page_texts").kinds, 0)
        self.deletions = import_module("accounts.deletion").Deletions(runtime().process)


@cache
def accounts() -> AccountsConfig:
    """Return the owner of the package's objects; only edges call this."""
    return cast("AccountsConfig", apps.get_app_config("accounts"))

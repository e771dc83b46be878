import threading
from typing import TYPE_CHECKING, cast

from django.apps import AppConfig, apps
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from runtime.apps import runtime

if TYPE_CHECKING:
    from chat.channels.hub import Channels
    from chat.channels.payment_demo import PaymentDemo
    from chat.screening.live import LiveWords


class ChatConfig(AppConfig):
    """Builds and owns the long-lived objects of this package, one set per process."""

    name = "chat"
    verbose_name = _("Chat")

    words: "LiveWords"
    channels: "Channels"
    payment_demo: "PaymentDemo"
    import_slot: threading.Semaphore

    def ready(self) -> None:
        # Models may only be imported once all apps are there.
        from chat import housekeeping  # noqa: PLC0415
        from chat.channels.hub import Channels  # noqa: PLC0415
        from chat.channels.payment_demo import PaymentDemo  # noqa: PLC0415
        from chat.conversations.transfer_api import IMPORTS_AT_ONCE  # noqa: PLC0415
        from chat.events import sse  # noqa: PLC0415
        from chat.generations import drafts, service  # noqa: PLC0415
        from chat.screening.live import LiveWords  # noqa: PLC0415

        self.words = LiveWords()
        self.channels = Channels(runtime().broker, runtime().redis)
        self.payment_demo = PaymentDemo()
        self.import_slot = threading.BoundedSemaphore(IMPORTS_AT_ONCE)
        process, drain = runtime().process, runtime().drain
        process.every(lambda: drafts.FLUSH_SECONDS, "drafts", service.flush)
        process.every(lambda: min(10.0, settings.PROCESS_LEASE_SECONDS / 3), "reap", service.reap)
        process.every(lambda: sse.TICK_SECONDS, "ping", sse.ping_idle)
        process.every(lambda: sse.DISABLED_CHECK_SECONDS, "disabled users", sse.cut_off_disabled)
        process.every(lambda: 1.0, "channels", housekeeping.bound_logs)
        process.every(self.channels.feeds.poll_seconds, "push channels", self.channels.feeds.poll)
        process.every(housekeeping.prune_seconds, "prune push channels", housekeeping.prune_channels)
        process.every(lambda: 300.0, "expiry", housekeeping.expire)
        process.every(lambda: 5.0, "texts", housekeeping.expire_texts)
        process.every(self.words.check_seconds, "sensitive words", self.words.check)
        drain.on_drain(service.drain_runs)
        drain.on_drain(self.payment_demo.finish)
        drain.on_drain(service.outbox.finish)
        drain.on_drain(sse.close_all)


def chat() -> ChatConfig:
    """Return the owner of this package's objects; for views, admin, commands and model hooks only."""
    return cast(ChatConfig, apps.get_app_config("chat"))

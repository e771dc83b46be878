import threading
from functools import cache, partial
from typing import TYPE_CHECKING, cast

from django.apps import AppConfig, apps
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from providers.apps import providers_app
from quotas.apps import quotas_app
from runtime import database
from runtime.apps import runtime
from runtime.metrics import EXECUTOR_WAITING

if TYPE_CHECKING:
    from chat.generations.traces import Traces


class ChatConfig(AppConfig):
    """Builds and owns the long-lived objects of this package, one set per process."""

    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        # Models may only be imported once all apps are there.
        from chat import deletion, housekeeping, retention  # noqa: PLC0415
        from chat.announcements.live import LiveAnnouncements  # noqa: PLC0415
        from chat.attachments.decodings import Decodings  # noqa: PLC0415
        from chat.attachments.store import delete_unused  # noqa: PLC0415
        from chat.channels import hub, payment_demo, store  # noqa: PLC0415
        from chat.conversations.searches import Searches  # noqa: PLC0415
        from chat.conversations.transfer_api import IMPORTS_AT_ONCE  # noqa: PLC0415
        from chat.events import sse  # noqa: PLC0415
        from chat.generations import drafts, service  # noqa: PLC0415
        from chat.openai import kept, keyed  # noqa: PLC0415
        from chat.screening.live import LiveWords  # noqa: PLC0415

        process, broker, redis, drain = runtime().process, runtime().broker, runtime().redis, runtime().drain
        self.words = LiveWords()
        self.announcements = LiveAnnouncements()
        self.streams = sse.OpenStreams()
        routing = providers_app().routing
        self.decodings = Decodings()
        self.generations = service.Generations(
            self.words, quotas_app().hints, drain, process, broker, redis, routing, self.decodings, _traces()
        )
        providers_app().alerts.watch(self.generations.moderation.source())
        self.keyed_calls = keyed.KeyedCalls(broker, process)
        self.channels = hub.Channels(broker, redis)
        self.payment_demo = payment_demo.PaymentDemo()
        self.searches = Searches()
        self.import_slot = threading.BoundedSemaphore(IMPORTS_AT_ONCE)
        process.every(lambda: drafts.FLUSH_SECONDS, "drafts", self.generations.flush)
        process.every(lambda: min(10.0, settings.PROCESS_LEASE_SECONDS / 3), "reap", self.generations.reap)
        process.every(lambda: 1.0, "event logs", self.generations.bound_logs)
        process.every(lambda: sse.TICK_SECONDS, "ping", self.streams.ping_idle)
        process.every(lambda: sse.DISABLED_CHECK_SECONDS, "disabled users", self.streams.cut_off_disabled)
        process.every(self.channels.feeds.poll_seconds, "push channels", self.channels.feeds.poll)
        # Pruning only frees space: use renews expired channels.
        prune = partial(database.run, store.prune)
        process.every(lambda: min(60.0, max(1.0, settings.CHANNEL_RETENTION_SECONDS)), "prune push channels", prune)
        process.every(lambda: 300.0, "expiry", partial(database.run, housekeeping.expire))
        expire_temporary = partial(database.run, housekeeping.expire_temporary)
        process.every(lambda: 60.0, "temporary conversations", expire_temporary)
        process.every(lambda: 60.0, "retention", retention.delete_old)
        process.every(lambda: 60.0, "unused attachments", partial(database.run, delete_unused))
        process.every(lambda: 5.0, "texts", partial(database.run, housekeeping.expire_texts))
        process.every(lambda: 30.0, "kept responses", partial(database.run, kept.expire))
        process.every(lambda: 60.0, "stored bytes", housekeeping.recount_storage)
        process.every(self.words.check_seconds, "sensitive words", self.words.check)
        self._report_gauges()
        deletion.register()
        self._join_drain()

    def _join_drain(self) -> None:
        """Name what ends before the process does, in this order."""
        drain = runtime().drain
        drain.waits_while(lambda: self.generations.is_busy)
        drain.on_drain(self.generations.drain)
        drain.on_drain(self.keyed_calls.finish)
        drain.on_drain(self.payment_demo.finish)
        drain.on_drain(self.generations.outbox.finish)
        drain.on_drain(self.streams.close_all)

    def _report_gauges(self) -> None:
        from chat.generations import ends  # noqa: PLC0415

        metrics = runtime().metrics
        metrics.gauge(ends.RUNNING, lambda: self.generations.running)
        metrics.gauge(ends.QUEUED, lambda: self.generations.queued)
        metrics.gauge(EXECUTOR_WAITING.labels("attachments"), self.decodings.waiting)
        metrics.gauge(EXECUTOR_WAITING.labels("searches"), self.searches.waiting)


def _traces() -> "Traces | None":
    """Return what makes the spans of generations, if traces are on."""
    if (tracing := runtime().tracing) is None:
        return None
    from chat.generations.traces import Traces  # noqa: PLC0415

    return Traces(tracing, settings.TRACEPARENT_UPSTREAMS)


@cache
def chat() -> ChatConfig:
    """Return the owner of this package's objects.

    Only entry points call this: views, admin, commands, model hooks, the push API.
    """
    return cast("ChatConfig", apps.get_app_config("chat"))

from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from runtime.apps import runtime


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        # Models may only be imported once all apps are there.
        from chat import housekeeping  # noqa: PLC0415
        from chat.channels import feeds, payment_demo  # noqa: PLC0415
        from chat.events import sse  # noqa: PLC0415
        from chat.generations import drafts, service  # noqa: PLC0415
        from chat.screening import live  # noqa: PLC0415

        process, drain = runtime().process, runtime().drain
        process.every(lambda: drafts.FLUSH_SECONDS, "drafts", service.flush)
        process.every(lambda: min(10.0, settings.PROCESS_LEASE_SECONDS / 3), "reap", service.reap)
        process.every(lambda: sse.TICK_SECONDS, "ping", sse.ping_idle)
        process.every(lambda: sse.DISABLED_CHECK_SECONDS, "disabled users", sse.cut_off_disabled)
        process.every(lambda: 1.0, "channels", housekeeping.bound_logs)
        process.every(feeds.poll_seconds, "push channels", feeds.poll)
        process.every(housekeeping.prune_seconds, "prune push channels", housekeeping.prune_channels)
        process.every(lambda: 300.0, "expiry", housekeeping.expire)
        process.every(lambda: 5.0, "texts", housekeeping.expire_texts)
        process.every(live.pause, "sensitive words", live.follow)
        drain.on_drain(service.drain_runs)
        drain.on_drain(payment_demo.play_out)
        drain.on_drain(service.outbox.finish)
        drain.on_drain(sse.close_all)

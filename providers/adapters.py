"""The adapters of one process, made when first needed and kept with their connections."""

from dataclasses import replace

from providers.addresses import admitting
from providers.snapshot import UpstreamConfig
from providers.wire.base import Endpoint, Provider


def new_adapter(upstream: UpstreamConfig) -> Provider:
    """Return an adapter of its own for this upstream, to be closed by the caller."""
    admits = None if upstream.trusted else admitting()
    return upstream.adapter(replace(upstream.endpoint, admits=admits))


class Adapters:
    """Owns the adapters of this process, one for each way to reach an upstream."""

    def __init__(self) -> None:
        self._adapters: dict[tuple[str, Endpoint, bool], Provider] = {}

    def of(self, upstream: UpstreamConfig) -> Provider:
        """Return the one adapter for this configuration; its connections are shared by all keys."""
        way = (upstream.kind, upstream.endpoint, upstream.trusted)
        if way not in self._adapters:
            self._adapters[way] = new_adapter(upstream)
        return self._adapters[way]

    async def aclose(self) -> None:
        """Close the connections to all upstreams; the next stream opens new ones."""
        adapters = list(self._adapters.values())
        self._adapters.clear()
        for adapter in adapters:
            await adapter.aclose()

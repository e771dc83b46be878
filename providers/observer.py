"""Observers of the calls that a request sends upstream; traces are one."""

from providers.snapshot import RouteConfig
from providers.wire.base import ChatRequest
from providers.wire.errors import ProviderError


class AttemptObserver:
    """Learns which calls are sent, and which of them fail; this one ignores it."""

    def began(self, _route: RouteConfig, request: ChatRequest) -> ChatRequest:
        """Note a call before it is sent; return the request to send."""
        return request

    def failed(self, error: ProviderError) -> None:
        """Note that the call that began last has failed."""


UNOBSERVED = AttemptObserver()

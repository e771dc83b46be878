"""Figures for Prometheus about keys and circuits, whose verdicts all processes share."""

from collections import Counter
from collections.abc import Iterator

from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from providers.keys import Trouble
from providers.snapshot import Configuration, UpstreamConfig

# From the best to the worst. `half_open`: its time has passed, and a probe is needed.
STATES = ("ok", "suspect", "half_open", "cooling", "quarantined")


class StateCollector(Collector):
    """Keys and models of each upstream that is in use, by their worst state."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def collect(self) -> Iterator[Metric]:
        labels = ["upstream", "state"]
        keys = GaugeMetricFamily("rivulet_keys", "Enabled API keys by their worst state", labels=labels)
        circuits = GaugeMetricFamily("rivulet_circuits", "Models of upstreams by their circuit's state", labels=labels)
        for upstream, models in self._upstreams().values():
            troubles = [list(key.troubles.values()) for key in upstream.keys if key.id]
            of_keys = Counter(map(_worst_state, troubles))
            of_models = Counter(
                _worst_state([upstream.troubles[model]] if model in upstream.troubles else []) for model in models
            )
            for state in STATES:
                keys.add_metric([upstream.slug, state], of_keys[state])
                circuits.add_metric([upstream.slug, state], of_models[state])
        yield keys
        yield circuits

    def _upstreams(self) -> dict[str, tuple[UpstreamConfig, set[str]]]:
        """Return the upstreams of enabled models, and the names by which they know these."""
        found: dict[str, tuple[UpstreamConfig, set[str]]] = {}
        for model in self._configuration.last_models().values():
            for route in model.routes:
                found.setdefault(route.upstream.slug, (route.upstream, set()))[1].add(route.upstream_model)
        return found


def _worst_state(troubles: list[Trouble]) -> str:
    return max(map(_state, troubles), key=STATES.index, default="ok")


def _state(trouble: Trouble) -> str:
    now = timezone.now()
    if trouble.quarantined:
        return "quarantined"
    if trouble.is_cooling(now):
        return "cooling"
    if trouble.is_half_open(now):
        return "half_open"
    return "suspect" if trouble.is_suspicion() else "ok"

"""Decide who is to blame when attempts fail.

No user's request may take a model away from others. `Health` keeps the evidence of this process in memory, and stores
verdicts, which all processes share. A failure of a request only raises suspicion. Neutral probes, short requests of
ours without a user's content, decide about quarantine and close open circuits.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import structlog
from django.utils import timezone
from prometheus_client import Counter

from providers import evidence, probe, verdicts
from providers.adapters import Adapters
from providers.evidence import Accusation, Window
from providers.keys import ANY_MODEL, Key, KeyPool
from providers.snapshot import Configuration, ModelConfig, RouteConfig
from providers.verdicts import store
from providers.wire.errors import ProviderError
from runtime import database
from runtime.tasks import TaskSet

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger("providers")

ALERTS = Counter(
    "rivulet_upstream_alerts",
    "Verdicts about keys and upstreams that an operator should look into",
    ["upstream", "vendor_code"],
)

# Codes of vendors that ALERTS counts one by one; an upstream that invents codes must not make metrics without end.
MOST_ALERT_CODES = 100
# Seconds of a probe.
PROBE_SECONDS = 10.0
# Seconds after a probe in which failures of requests start no other one.
TRUST_SECONDS = 3.0
# Seconds for which a request that finds nothing usable waits for a probe.
RECOVERY_SECONDS = 2.0
# Seconds between two looks at verdicts that other processes may have stored.
LOOK_SECONDS = 0.2


def circuit_of(route: RouteConfig) -> tuple[object, ...]:
    """Return what identifies an upstream and a model of it."""
    return (route.upstream.id, route.upstream.kind, route.upstream.endpoint, route.upstream_model)


@dataclass(frozen=True, slots=True)
class Part:
    """A key, and its upstream for one model: the part that a probe decides about.

    A changed address, proxy or secret makes another part, whose record is clean.
    """

    route: RouteConfig
    key: Key

    @property
    def circuit(self) -> tuple[object, ...]:
        """Identifies the upstream and the model."""
        return circuit_of(self.route)

    @property
    def identity(self) -> tuple[object, ...]:
        return (*self.circuit, self.key.id, self.key.secret)


class Health:
    """The evidence of this process, and the probes that it runs."""

    def __init__(self, configuration: Configuration, adapters: Adapters, pool: KeyPool) -> None:
        self._configuration, self._adapters, self._pool = configuration, adapters, pool
        self._windows: dict[object, Window] = {}
        self._accusations: dict[object, Accusation] = {}
        # When a probe of a part last succeeded and last began, on the monotonic clock.
        self._passed_at: dict[object, float] = {}
        self._began_at: dict[object, float] = {}
        self._probes: dict[tuple[object, ...], asyncio.Task[bool]] = {}
        self._recoveries: dict[object, asyncio.Task[ModelConfig | None]] = {}
        # The circuits that requests for embeddings went to.
        self._embedding: set[object] = set()
        # The vendors' codes that are labels of ALERTS.
        self._alert_codes: set[str] = set()
        self.tasks = TaskSet()

    # --- evidence ---

    def note_success(self, route: RouteConfig, key: Key, generation: str, user: int) -> None:
        """Note that a request got its completion, or a failure of its own class."""
        self._window(Part(route, key)).note(generation, user, failed=False)
        now = timezone.now()
        if any(
            trouble.blame == "rate" and not trouble.is_cooling(now)
            for trouble in key.troubles_with(route.upstream_model)
        ):
            self.tasks.start(self._change(verdicts.end_limits, key.id, route.upstream_model))

    async def note_failure(
        self, route: RouteConfig, key: Key, error: ProviderError, generation: str, user: int
    ) -> None:
        """Note that an attempt failed, and do what its class asks for.

        Only a limit has consequences at once. For the rest, a probe in the background decides.
        """
        part = Part(route, key)
        match error.blame:
            case "request":
                self.note_success(route, key, generation, user)
            case "rate":
                await self._limit(part, error)
            case "key" if key.id:
                await self._accuse(part, error, generation, user)
            case _:
                window = self._window(part)
                window.note(generation, user, failed=True)
                if window.opens_circuit():
                    self.tasks.start(self._open(part, error, window))
                elif self._rested(part.identity, TRUST_SECONDS):
                    self.start_probe(part, error)

    async def _limit(self, part: Part, error: ProviderError) -> None:
        if not part.key.id:
            return
        scope = ANY_MODEL if error.scope == "key" else part.route.upstream_model
        hinted = error.retry_after is not None
        seconds = max(error.retry_after or 0.0, 1.0) if hinted else error.cooldown_s or verdicts.RATE_SECONDS
        await self._change(verdicts.limit_key, part.key.id, scope, seconds, str(error), hinted=hinted)

    async def _accuse(self, part: Part, error: ProviderError, generation: str, user: int) -> None:
        accusation = self._accusations.setdefault(part.identity, Accusation())
        accusation.generations.add(generation)
        accusation.users.add(user)
        if self._just_passed(part):
            log.warning("key declared unusable right after a good probe", upstream=part.route.upstream.slug)
        elif part.identity not in self._probes:
            scope = ANY_MODEL if error.scope == "key" else part.route.upstream_model
            await self._change(verdicts.suspect_key, part.key.id, scope, str(error), accusation.evidence())
            self.start_probe(part)

    def _window(self, part: Part) -> Window:
        return self._windows.setdefault(part.circuit, Window())

    def _just_passed(self, part: Part) -> bool:
        return evidence.monotonic() - self._passed_at.get(part.identity, float("-inf")) < TRUST_SECONDS

    def _rested(self, identity: object, seconds: float) -> bool:
        """Return whether no probe of a part or circuit has begun for so long."""
        return evidence.monotonic() - self._began_at.get(identity, float("-inf")) >= seconds

    # --- probes ---

    def start_probe(self, part: Part, suspicion: ProviderError | None = None) -> "asyncio.Task[bool] | None":
        """Probe a part in the background, or join the probe that runs.

        Returns None when one has just begun. The task returns whether the part works. `suspicion` is a failure that the
        upstream is suspected for.
        """
        task = self._probes.get(part.identity)
        if task is None and self._rested(part.identity, verdicts.SPACING_SECONDS):
            self._began_at[part.identity] = evidence.monotonic()
            task = self._probes[part.identity] = self.tasks.start(self._probe(part, suspicion))
            task.add_done_callback(lambda _task: self._probes.pop(part.identity, None))
        return task

    async def _probe(self, part: Part, suspicion: ProviderError | None) -> bool:
        upstream, model, key = part.route.upstream, part.route.upstream_model, part.key
        stored = (str(suspicion), self._window(part).evidence()) if suspicion else None
        if not await store(verdicts.claim_probe, upstream.id, key.id, model, stored):
            return False
        lease = await self._pool.lease_key(key)
        if lease is None:
            await self._change(verdicts.leave_undecided, upstream.id, key.id, model)
            return False
        try:
            async with lease:
                error = await self._ask(part)
        except BaseException:  # the process ends, or an adapter has a bug
            await store(verdicts.leave_undecided, upstream.id, key.id, model)
            raise
        return await self._decide(part, error)

    async def _ask(self, part: Part) -> ProviderError | TimeoutError | None:
        """Return why a probe failed, None when it succeeded.

        A refusal of our request shows that the way works.
        """
        embeds = part.circuit in self._embedding
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                adapter = self._adapters.of(part.route.upstream)
                return await probe.find_fault(adapter, part.route.upstream_model, part.key.secret, embeds=embeds)
        except TimeoutError as error:
            return error

    async def _decide(self, part: Part, error: ProviderError | TimeoutError | None) -> bool:
        upstream, model, key = part.route.upstream, part.route.upstream_model, part.key
        if error is None:
            self._passed_at[part.identity] = evidence.monotonic()
            self._windows.pop(part.circuit, None)
            if cleared := self._accusations.pop(part.identity, None):
                log.warning(
                    "key in order: the requests were at fault",
                    upstream=upstream.slug,
                    requests=len(cleared.generations),
                )
            await self._change(verdicts.pass_probe, upstream.id, key.id, model)
            return True
        blame = error.blame if isinstance(error, ProviderError) else "upstream"
        if isinstance(error, ProviderError) and blame == "key" and key.id:
            accusation = self._accusations.pop(part.identity, None)
            found = accusation.evidence() if accusation else None
            if await self._change(verdicts.condemn_key, upstream.id, key.id, model, error, found):
                self._alert(part, error)
        elif isinstance(error, ProviderError) and blame == "rate":
            await self._change(verdicts.leave_undecided, upstream.id, key.id, model)
            if not key.is_suspect(model):
                await self._limit(part, error)
        elif await self._other_key_works(part):
            await self._change(verdicts.leave_undecided, upstream.id, key.id, model)
            if part.identity not in self._accusations:
                found = self._window(part).evidence()
                await self._change(verdicts.suspect_key, key.id, model, _reason(error), found)
        else:
            await self._open(part, error, self._window(part))
            await self._change(verdicts.leave_undecided, upstream.id, key.id, model)
        return False

    async def _other_key_works(self, part: Part) -> bool:
        """Return whether a probe with another key succeeds, so that only this one fails."""
        others = [key for key in self._probe_keys(part.route) if key.id != part.key.id]
        lease = await self._pool.lease_key(others[0]) if others else None
        if lease is None:
            return False
        async with lease:
            works = await self._ask(Part(part.route, lease.key)) is None
        if works:
            upstream, model = part.route.upstream, part.route.upstream_model
            await self._change(verdicts.pass_probe, upstream.id, lease.key.id, model)
        return works

    async def _open(self, part: Part, error: ProviderError | TimeoutError, window: Window) -> None:
        upstream_id, model = part.route.upstream.id, part.route.upstream_model
        if await self._change(verdicts.open_circuit, upstream_id, model, _reason(error), window.evidence()):
            self._alert(part, error)

    def _alert(self, part: Part, error: ProviderError | TimeoutError) -> None:
        slug, vendor_code = part.route.upstream.slug, getattr(error, "vendor_code", "probe_timeout")
        if len(self._alert_codes) < MOST_ALERT_CODES:
            self._alert_codes.add(vendor_code)
        ALERTS.labels(slug, vendor_code if vendor_code in self._alert_codes else "other").inc()
        log.error(
            "upstream needs attention",
            upstream=slug,
            upstream_model=part.route.upstream_model,
            key=part.key.id or None,
            reason=str(error),
            vendor_code=vendor_code,
        )

    # --- recovery ---

    def tend(self, routes: Iterable[RouteConfig], *, embeds: bool = False) -> None:
        """Probe in the background what is suspected or half-open, where a probe is due.

        With `embeds` the request is one for embeddings, so that probes of these routes are too.
        """
        now = timezone.now()
        for route in routes:
            if embeds:
                self._embedding.add(circuit_of(route))
            circuit = route.upstream.troubles.get(route.upstream_model)
            due = [
                key
                for key in route.upstream.keys
                if any(trouble.is_due(now) for trouble in key.troubles_with(route.upstream_model))
            ]
            if circuit and circuit.is_due(now) and not due:
                due = self._probe_keys(route)[:1]
            for key in due:
                self.start_probe(Part(route, key))

    async def recover(self, model: ModelConfig) -> ModelConfig | None:
        """Probe the routes of a model of which none is usable.

        Returns the model as configured then, or None when no route works again. Waits two seconds at most. Requests
        that ask at the same time share the probes.
        """
        what = (model.slug, *((route.upstream.id, route.upstream_model) for route in model.routes))
        task = self._recoveries.get(what)
        if task is None:
            task = self._recoveries[what] = self.tasks.start(self._recover(model))
            task.add_done_callback(lambda _task: self._recoveries.pop(what, None))
        done, _pending = await asyncio.wait({task}, timeout=RECOVERY_SECONDS)
        return task.result() if done and not task.cancelled() else None

    async def _recover(self, model: ModelConfig) -> ModelConfig | None:
        deadline = evidence.monotonic() + RECOVERY_SECONDS
        while True:
            parts = [Part(route, key) for route in model.routes for key in self._probe_keys(route)[:1]]
            if not parts:
                return None
            running = {task for task in map(self._start_recovery, parts) if task}
            wait = min(LOOK_SECONDS, deadline - evidence.monotonic())
            if running:
                await asyncio.wait(running, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(wait)
            self._configuration.forget()
            found = (await database.run(self._configuration.models)).get(model.slug)
            if found is None:
                return None
            model = found.with_routes_of(model)
            if model.available():
                return model
            if evidence.monotonic() >= deadline:
                return None

    def _start_recovery(self, part: Part) -> "asyncio.Task[bool] | None":
        """Join a probe of the same circuit, or start one if none began just now."""
        for identity, task in self._probes.items():
            if identity[:-2] == part.circuit:
                return task
        if not self._rested(part.circuit, verdicts.SPACING_SECONDS):
            return None
        self._began_at[part.circuit] = evidence.monotonic()
        return self.start_probe(part)

    def _probe_keys(self, route: RouteConfig) -> list[Key]:
        """Return the keys with which a probe may be of use, the best one first."""
        now, model = timezone.now(), route.upstream_model
        keys = [key for key in route.upstream.keys if not any(one.bars_probes(now) for one in key.troubles_with(model))]
        began = {key.id: self._began_at.get(Part(route, key).identity, 0.0) for key in keys}
        return sorted(keys, key=lambda key: (any(one.excludes(now) for one in key.troubles_with(model)), began[key.id]))

    # --- the end of the process ---

    async def finish(self) -> None:
        """Cancel the probes, and return when all verdicts are stored."""
        for task in [*self._probes.values(), *self._recoveries.values()]:
            task.cancel()
        await self.tasks.wait()

    async def _change(self, change: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Store a change of a verdict, and let this process read it."""
        done = await store(change, *args, **kwargs)
        self._configuration.forget()
        return done


def _reason(error: ProviderError | TimeoutError) -> str:
    return str(error) or "The upstream stopped answering."

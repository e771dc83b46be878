"""Start, run, stop and reap generations; pages and APIs use `Generations` and nothing below it.

While a generation runs, its `Run` in the process named in its row owns the text, the numbering of events and the
upstream connection. The database decides everything that must happen once: the reservation and the end.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError

from accounts.token_limits import TokenLimits
from chat.attachments import prompts
from chat.attachments.decodings import Decodings
from chat.events import redis as events_redis
from chat.events.local import LocalLogs
from chat.events.log import Log
from chat.events.offsets import Offsets
from chat.events.redis import Outbox
from chat.events.sink import Sink
from chat.generations import drafts, left_drafts, masking, moderation, remote
from chat.generations.call_rate import CallRate
from chat.generations.drafts import Draft
from chat.generations.pace import Pace
from chat.generations.remote import Remote
from chat.generations.replica import Replicas
from chat.generations.request import NO_PRECHECK, GenerationRequest, Precheck, Started
from chat.generations.run import Run
from chat.generations.start import Admission
from chat.generations.titles import Titles
from chat.models import Generation
from chat.screening import incoming
from chat.screening.live import LiveWords
from providers.routing import Attempts, Routing
from providers.snapshot import NoUsableRoute
from providers.wire.base import EMBEDDINGS
from quotas.hints import QuotaHints
from runtime import database
from runtime.process import ServingProcess
from runtime.pubsub import Broker
from runtime.redis_clients import RedisClients
from runtime.tasks import Drain, TaskSet
from web.refusals import TooManyRequests

if TYPE_CHECKING:
    from chat.generations.traces import Traces

log = structlog.get_logger("generation")


class Generations:
    """Runs the generations of one process, and reads those of other processes."""

    def __init__(
        self,
        words: LiveWords,
        hints: QuotaHints,
        drain: Drain,
        process: ServingProcess,
        broker: Broker,
        redis: RedisClients,
        routing: Routing,
        decodings: Decodings,
        traces: "Traces | None" = None,
    ) -> None:
        self._decodings, self._traces = decodings, traces
        self._words, self._hints, self._process, self._redis, self._routing = words, hints, process, redis, routing
        self._call_rate = CallRate(redis)
        self._titles = Titles(routing, words)
        self.moderation = moderation.Moderation()
        # Not a database thread: on SQLite there is only one, and megabytes of text would block all queries for seconds.
        self._large_calls = ThreadPoolExecutor(1, thread_name_prefix="large-calls")
        # Prompts with attachments start one by one for each user, so that the limits of active generations hold before
        # texts are read. Only one has its texts in memory, because one thread screens them.
        self._attaching: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._screening = asyncio.Lock()
        self.logs = LocalLogs()
        self.outbox = Outbox(self.logs, redis)
        self._admission = Admission(words, drain, process, routing, self._large_calls)
        self._offsets = Offsets(broker, redis, process)
        self._replicas = Replicas(self.logs, self._offsets, redis)
        self._remote = Remote(broker, redis, process)
        self._runs: dict[str, Run] = {}
        self._pace = Pace(lambda: len(self._runs))
        self._tasks = TaskSet()

    # --- starting ---

    async def start(self, request: GenerationRequest, sink: Sink | None = None) -> Started:
        """Store the prompt, reserve a unit of quota and run the generation.

        Raises the first Refusal in the order of docs/api.md. A caller that leaves meanwhile changes nothing: what was
        stored runs. Events go to `sink`, else to a log.
        """
        start = partial(self._start, request, sink)
        starting = self._tasks.start(start() if self._traces is None else self._traces.start(request, start))
        # Retrieve the exception even when no caller waits any more, because asyncio would log a refusal as an error.
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(starting)

    async def count_call(self, user_id: int, token: TokenLimits | None) -> None:
        """Count a call of /v1 that generates nothing; raise TooManyRequests for too many."""
        wait = await self._call_rate.take_with(token) if token else 0.0
        if wait := wait or await self._call_rate.take(user_id):
            raise TooManyRequests(retry_after=wait)

    async def _start(self, request: GenerationRequest, sink: Sink | None) -> Started:
        if not request.attachments:
            return await self._started(request, sink, await self._precheck(request))
        async with self._attaching.setdefault(request.user_id, asyncio.Lock()):
            precheck = await self._precheck(request)
            known = await database.run(self._admission.refuse_before_words, request, precheck)
            if known is None:
                precheck = replace(await self._screened_attachments(request), new=precheck.new)
            return known or await self._started(request, sink, precheck)

    async def _started(self, request: GenerationRequest, sink: Sink | None, precheck: Precheck) -> Started:
        # Embeddings are lists of numbers, which tell a user nothing.
        if settings.MODERATION_URL and EMBEDDINGS not in request.extras:
            texts = await database.run(self._admission.before_moderation, request, precheck)
            if isinstance(texts, Started):
                return texts
            precheck = replace(precheck, attached_text="", moderated=await self.moderation.screen(texts))
        seems_exhausted = request.model and await self._hints.exhausted(request.user_id, request.model)
        started = await database.run(self._admission.refuse_early, request, precheck) if seems_exhausted else None
        if started is None:
            started = await self._admit(request, precheck)
        if started.reservation and started.attempts:
            started.attempts.origin = request.origin
            self._run(started, started.attempts, sink, hides_reasoning=request.hides_reasoning)
        # Before the response, so that the caller finds the reserved unit in every process.
        await self._hints.sent()
        return started

    async def _admit(self, request: GenerationRequest, precheck: Precheck) -> Started:
        """Let the transaction decide; where only upstreams are missing, probe them first."""
        try:
            return await self._decide(request, precheck)
        except NoUsableRoute as refusal:
            if await self._routing.health.recover(refusal.model) is None:
                raise
        return await self._decide(request, precheck)

    async def _decide(self, request: GenerationRequest, precheck: Precheck) -> Started:
        async with self._pace.turn():
            return await database.write((request.user_id, 0), self._admission.start, request, precheck)

    async def _precheck(self, request: GenerationRequest) -> Precheck:
        """Count a call of /v1 or a token; screen large calls."""
        wait = await self._call_rate.take_with(request.token) if request.token else 0.0
        if request.is_api_call and not wait:
            wait = await self._call_rate.take(request.user_id)
        if wait or not (request.is_large or masking.is_long(request)):
            return Precheck(wait)
        lexicon = (await database.run(self._words.for_user, request.user_id)).current.incoming
        loop = asyncio.get_running_loop()
        if request.is_large:
            call = (lexicon, request.prompt, request.messages, request.extras)
            screened = await loop.run_in_executor(self._large_calls, incoming.screen_call, *call)
            return Precheck(screened=screened, new=screened.new)
        if not lexicon.has_patterns:
            return NO_PRECHECK
        return Precheck(new=await loop.run_in_executor(self._large_calls, masking.screen_new, lexicon, request))

    async def _screened_attachments(self, request: GenerationRequest) -> Precheck:
        words = (await database.run(self._words.for_user, request.user_id)).current
        if words.incoming.empty and not settings.MODERATION_URL:
            return NO_PRECHECK
        loop = asyncio.get_running_loop()
        async with self._screening:
            texts = await database.run(prompts.texts_of, request.user_id, request.attachments)
            found = await loop.run_in_executor(self._large_calls, incoming.screen, words.incoming, *texts)
        text = "\n\n".join(found.texts)[: moderation.MOST_CHARS + 1] if settings.MODERATION_URL else ""
        return Precheck(attached=replace(found, texts=()), attached_text=text)

    def _run(self, started: Started, attempts: Attempts, sink: Sink | None, *, hides_reasoning: bool) -> None:
        """Run in a detached task, so that the run keeps nothing of the request."""
        self._remote.serve(self._stop_own)
        self._offsets.serve(self._share)
        row, seam = started.row, started.seam
        draft = Draft(row.id, len(seam))
        if sink is None:
            sink = self.logs.open(row.id, draft.prefixes)
        make = Run if self._traces is None else self._traces.run
        run = self._runs[row.id] = make(
            row,
            attempts,
            draft,
            sink,
            started.words or self._words,
            self._hints,
            decodings=self._decodings,
            hides_reasoning=hides_reasoning,
            seam=seam,
        )
        sink.bind(lambda: run.end_soon("cancelled"))
        run.task = self._tasks.start(run.go())
        run.task.add_done_callback(lambda task: self._ended(run, task))

    def _ended(self, run: Run, task: "asyncio.Task[None]") -> None:
        self._runs.pop(run.row.id, None)
        if run.completed:
            self.logs.finish(run.row.id)
            self._titles.begin(run.row)
            return
        if run.deleted:
            log.info("generation deleted while it ran", generation=run.row.id)
        else:
            # A bug: the row is still `running`, the reaper ends it, and readers find that when they come back.
            log.error("run died", generation=run.row.id, exc_info=None if task.cancelled() else task.exception())
        self.logs.drop(run.row.id)
        run.abandon()

    @property
    def running(self) -> int:
        """How many generations run in this process."""
        return len(self._runs)

    @property
    def is_busy(self) -> bool:
        """Whether anything starts or runs."""
        return bool(self._tasks)

    @property
    def queued(self) -> int:
        """How many prompts wait to begin."""
        return self._pace.waiting

    # --- reading ---

    async def log_of(self, row: Generation) -> Log:
        """Return this process's own event log, else a replica, to follow before another await."""
        return self.readable(row) or await self._replicas.open(row)

    def readable(self, row: Generation) -> Log | None:
        """Return this process's own event log, unless another process has ended the generation unnoticed."""
        log = self.logs.get(row.id)
        superseded = log and row.status != Generation.Status.RUNNING and row.last_event > log.last + 1
        return None if superseded else log

    def _share(self, generation_id: str) -> int | None:
        """Let another process read a log of this one; return its last event."""
        if log := self.logs.get(generation_id):
            self.outbox.add(log)
            return log.last
        run = self._runs.get(generation_id)
        return run.draft.last_event if run else None

    # --- stopping ---

    async def stop(self, row: Generation) -> None:
        """Close the upstream and end with `cancelled`; return when that is stored. Repeating is safe."""
        if run := self._runs.get(row.id):
            await run.end_as("cancelled")
        elif row.status == Generation.Status.RUNNING and not await self._remote.stop(row):
            await self.reap()

    async def _stop_own(self, generation_id: str) -> None:
        if run := self._runs.get(generation_id):
            await run.end_as("cancelled")

    def stop_soon(self, rows: list[Generation]) -> None:
        """Stop generations from another thread without waiting for their end."""
        if loop := self._process.loop:
            for row in rows:
                asyncio.run_coroutine_threadsafe(self._stop_or_log(row), loop)

    async def _stop_or_log(self, row: Generation) -> None:
        try:
            await self.stop(row)
        except (OperationalError, InterfaceError) as error:
            log.error("generation not stopped", generation=row.id, error=type(error).__name__)

    async def forget(self, generation_ids: list[str]) -> None:
        """Drop the events of ended generations here and in Redis, before their rows are deleted."""
        for generation_id in generation_ids:
            self.logs.drop(generation_id)
        await events_redis.delete(self._redis, generation_ids)

    # --- timers, and the end of the process ---

    async def flush(self) -> None:
        """Store the unfinished text of all runs. A timer."""
        self._interrupt(await drafts.flush([run.draft for run in self._runs.values()]))
        if self._redis.away:  # then another process cannot ask this one to stop a generation, and ends it itself
            self._interrupt(await database.run(remote.ended_among, set(self._runs)))

    async def reap(self) -> None:
        """End the generations of dead processes: `interrupted`, text kept, nothing charged. A timer."""
        self._interrupt(await database.run(self._remote.reap, set(self._runs)))
        await database.run(left_drafts.restore)

    def _interrupt(self, generation_ids: Iterable[str]) -> None:
        """End runs that another process has ended, because it took this one for dead."""
        for generation_id in generation_ids:
            if run := self._runs.get(generation_id):
                run.end_soon("interrupted")

    async def bound_logs(self) -> None:
        """Drop logs that are too old or too large. A timer."""
        self.logs.bound()

    async def wait(self) -> None:
        """Return when nothing starts or runs any more."""
        await self._tasks.wait()

    async def drain(self) -> None:
        """Give running generations `DRAIN_SECONDS`, then end the rest as `interrupted`; return when all is stored."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.DRAIN_SECONDS):
                    await self.wait()
            while self._tasks:
                for run in list(self._runs.values()):
                    run.end_soon("interrupted")
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await self.wait()
        finally:
            await self._titles.stop()
            await self.moderation.aclose()
            await self._routing.aclose()

"""Run one generation: publish its events to the sink, and store its end."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import translation

from chat import representation, sources
from chat.attachments.decodings import Decodings
from chat.events.sink import Sink
from chat.generations import ends, finish
from chat.generations.drafts import Draft
from chat.generations.finish import End
from chat.generations.late_thought import LateThought, PipelineEvent, Rethought
from chat.generations.made_images import MadeImages, has_picture
from chat.generations.pipeline import Ended, LengthLimit, Pipeline, Screening, screened_sources
from chat.generations.times import Times
from chat.generations.token_probs import TokenProbs
from chat.models import Generation
from chat.screening.found import Found
from chat.screening.live import LiveWords, UserWords
from chat.screening.nested import tool_names
from providers.errors import ModelUnavailable, shown
from providers.routing import Attempts
from providers.wire.base import (
    Delta,
    Embeddings,
    Event,
    Finished,
    FinishReason,
    Notice,
    Reasoning,
    Source,
    Sources,
    ToolCallDelta,
    Usage,
    Withdrawn,
    estimate_tokens,
    prompt_tokens,
)
from providers.wire.errors import ContentBlocked, ProviderError, TotalTimeout
from providers.wire.images import NO_IMAGES, CompletionImages
from providers.wire.logprobs import LogProbs
from providers.wire.reasoning_details import ReasoningDetails
from quotas.hints import QuotaHints
from runtime import database
from runtime.tasks import Flag

log = structlog.get_logger("generation")

# Seconds between attempts to store an end while the database is away: the first pause, doubling up to the second.
STORE_RETRY_SECONDS = (0.2, 5.0)


class Run:
    """Owns the text, the event numbers and the upstream connection of one generation.

    It ends exactly once: the upstream finishes or fails, the user stops it, or the process shuts down.
    """

    __slots__ = (
        *("_attempts", "_blame", "_blocked_by_vendor", "_ends_conversation", "_finish_reason", "_finished"),
        *("_has_embeddings", "_has_sent_images", "_hides_reasoning", "_hits", "_images", "_is_cut", "_pipeline"),
        *("_quota_hints", "_reading", "_request_at_fault", "_requested_end", "_screening", "_seam", "_sources"),
        *("_times", "_tool_call_chars", "_usage", "_words", "completed", "deleted", "draft", "row", "sink", "task"),
    )

    def __init__(
        self,
        row: Generation,
        attempts: Attempts,
        draft: Draft,
        sink: Sink,
        words: LiveWords | UserWords,
        hints: QuotaHints,
        *,
        decodings: Decodings,
        hides_reasoning: bool = False,
        seam: str = "",
    ) -> None:
        self._seam, self._hides_reasoning = seam, hides_reasoning
        self.row, self.draft, self.sink = row, draft, sink
        self._words, self._quota_hints = words, hints
        self.task: asyncio.Task[None] | None = None
        # Whether the end was published; and whether the row is gone with its user, so that there is nothing to end.
        self.completed = self.deleted = False
        self._attempts, self._images = attempts, MadeImages(row, decodings)
        # Of the tool calls that the caller got. They are no text, but not an empty completion either.
        self._tool_call_chars = 0
        # Whether the caller got embeddings or images, which are no text either.
        self._has_embeddings = self._has_sent_images = False
        self._usage: Usage | None = None
        # The pages cited, as the upstream listed them: not screened yet.
        self._sources: tuple[Source, ...] = ()
        self._hits: set[Found] = set()
        # `cancelled` or `interrupted`, once the end was requested from outside.
        self._requested_end = ""
        # The upstream's reason, or that of our limits; empty while the upstream has not ended the generation.
        self._finish_reason = ""
        self._ends_conversation = self._blocked_by_vendor = self._request_at_fault = False
        self._screening: Screening | None = None
        self._pipeline: Pipeline
        # Whether one of our words in the content ended it; the class of the upstream's failure.
        self._is_cut, self._blame = False, ""
        self._reading, self._finished = False, Flag()
        self._times = Times()
        self._publish("start", representation.start_event(row))

    async def go(self) -> None:
        """Generate, store the end, publish it: the whole life of the generation."""
        end = await self._generate()
        if self._images:
            # It takes seconds, in which the process may die, so the draft is stored further.
            self.draft.closed = False
            kept = await self._images.keep(self._publish)
            self.draft.closed = True
            visible, last_event = end.visible or bool(kept), self.draft.last_event + 1
            end = replace(end, attachments=kept, visible=visible, last_event=last_event, has_draft=self.draft.written)
        try:
            stored = await self._store(end)
        except (ObjectDoesNotExist, IntegrityError):
            self.deleted = not await database.run(Generation.objects.filter(id=self.row.id).exists)
            if self.deleted:
                return
            raise
        # Wait for Redis first, so that a client that sees the end finds its cost in every process.
        await self._quota_hints.sent()
        self._publish_end(stored)
        self._finished.set()

    def end_soon(self, how: str) -> None:
        """Request the end, `cancelled` or `interrupted`; the first request counts."""
        self._requested_end = self._requested_end or how
        if self._reading and self.task:
            self.task.cancel()

    async def end_as(self, how: str) -> None:
        """Request the end; return when it is stored. Repeating is safe."""
        self.end_soon(how)
        await self._finished.wait()

    def abandon(self) -> None:
        """Release all that wait for an end that will not come."""
        self.sink.abandon()
        self._finished.set()

    async def _generate(self) -> End:
        if self._requested_end:
            return self._end_as_requested()
        self._reading = True
        try:
            return await self._read()
        except asyncio.CancelledError:
            # Only `end_soon` cancels this task, or the event loop when it closes.
            if self.task:
                self.task.uncancel()
            return self._end_as_requested()
        except ProviderError as error:
            self._ends_conversation, self._blame = error.ends_conversation, error.blame
            # Where waiting may help, the same request can succeed later.
            self._request_at_fault = error.blame == "request" and error.action != "wait"
            return self._failed(shown(error))
        except ModelUnavailable as refusal:
            retry = {} if refusal.wait_seconds is None else {"retry_after": refusal.wait_seconds}
            return self._failed({"code": refusal.code, **retry})
        except Exception as error:
            log.exception("generation failed", generation=self.row.id, error=type(error).__name__)
            return self._failed({"code": "internal_error"})
        finally:
            self._reading = False
            self._attempts.take = self._attempts.text_taker = None  # else the two would refer to each other

    async def _read(self) -> End:
        """Read the upstream through the pipeline until the first `Finished`, then close it."""
        max_chars, sink = settings.MAX_ANSWER_CHARS, self.sink
        tools, has_reasoning = tool_names(self._attempts.extras), bool(self.row.reasoning_from)
        screening = Screening(self._words, self._hits, max_chars, tools, seam=self._seam, has_reasoning=has_reasoning)
        self._screening = screening
        goes_on = self._seam or self.row.content_from or has_reasoning
        may_think_late = self._attempts.model.think_tags and not goes_on
        probs = TokenProbs(self._words) if self._attempts.extras.get("logprobs") else None
        thought = LateThought() if may_think_late else None
        self._pipeline = pipeline = Pipeline(screening, LengthLimit(max_chars), thought, probs)
        self._attempts.take, self._attempts.text_taker = self._take_all, self
        async with aclosing(self._attempts.run()) as upstream:
            try:
                async for event in upstream:
                    if not self._take_all((event,)):
                        await sink.room()
            except Ended as ended:
                return self._completed(ended.finished, by_vendor=ended.by_vendor)
            except ProviderError as error:
                # No other attempt follows, so release the text that is held back as the last text of the completion.
                for passed in pipeline.flush():
                    if isinstance(passed, Finished):
                        return self._completed(passed)
                    self._take(passed)
                if isinstance(error, TotalTimeout | ContentBlocked) and self._is_visible():
                    # The caller has text, so this is a cut and no failure.
                    reason: FinishReason = "length" if isinstance(error, TotalTimeout) else "content_filter"
                    return self._completed(Finished(reason, error.ends_conversation))
                raise
        raise RuntimeError("the provider ended without a Finished event")

    def take_text(self, text: str) -> bool:
        """Pass one read's content to the sink; return whether it has room for more."""
        if not self._pipeline.passes(text):
            return self._take_all((Delta(text),))
        self._take_content(text)
        return not self.sink.full

    def _take_all(self, events: Sequence[Event]) -> bool:
        """Pass one read's events to the sink; return whether it has room for more."""
        for event in events:
            for passed in self._pipeline.feed(event):
                if isinstance(passed, Finished):
                    raise Ended(passed, by_vendor=passed is event)
                self._take(passed)
        return not self.sink.full

    def _take_content(self, text: str) -> None:
        draft = self.draft
        draft.add_content(text)
        draft.last_event += 1
        self.sink.publish_delta(text)
        if self._times.waits:
            self._times.note_visible()

    def _take(self, event: PipelineEvent) -> None:
        if isinstance(event, Delta):
            self._take_content(event.text)
        elif isinstance(event, Reasoning) and not self._hides_reasoning:
            self.draft.add_reasoning(event.text)
            self._times.note_reasoning()
            self._publish("reasoning", {"content": event.text})
        elif isinstance(event, ToolCallDelta):
            if self.sink.tool_calls(event.json):
                self._tool_call_chars += len(event.json)
                self._times.note_visible()
        else:
            self._take_note(event)

    def _take_note(self, event: PipelineEvent) -> None:
        """Take an event that comes once or seldom."""
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Sources):
            self._sources = event.items
        elif isinstance(event, Withdrawn):
            self._sources = ()
            self._times.withdraw()
            self._images.clear()
            self.draft.withdraw()
            self._publish("reset", self.draft.snapshot())
        elif isinstance(event, Rethought):
            self._rethink()
        elif isinstance(event, Notice):
            with translation.override(self.row.language):
                message = translation.gettext("The model is busy; trying again.")
            self._publish("notice", {"code": event.code, "message": message})
        else:
            self._take_extra(event)

    def _take_extra(self, event: PipelineEvent) -> None:
        """Take what few readers can use, mostly programs."""
        if isinstance(event, CompletionImages):
            if event.json != NO_IMAGES and self.sink.images(event.json):
                self._has_sent_images = self._has_sent_images or has_picture(event.json)
            else:
                self._images.add(event)
        elif isinstance(event, Embeddings):
            self._has_embeddings = self.sink.embeddings(event.items)
        elif isinstance(event, LogProbs):
            if self._attempts.extras.get("logprobs"):  # others were not screened
                self.sink.logprobs(event.items)
        elif isinstance(event, ReasoningDetails):
            self.sink.reasoning_details(event.json)

    def _rethink(self) -> None:
        """Make all content so far reasoning."""
        if self._hides_reasoning:
            self.draft.withdraw()
        else:
            self.draft.rethink()
            self._times.rethink()
        self.draft.last_event += 1
        self.sink.rethink(self.draft.snapshot())

    def _publish_sources(self, text: Mapping[str, str]) -> str:
        """Publish the screened pages that the text cites; return them as they are stored."""
        if not (self._sources and any(text.values())):
            return ""
        cited = sources.as_json(screened_sources(self._sources, self._words.current.outgoing, self._hits))
        if cited:
            self._publish("sources", {"sources": cited})
        return sources.encode(cited)

    def _publish(self, name: str, data: object) -> None:
        self.draft.last_event += 1
        self.sink.publish(name, data)

    def _completed(self, finished: Finished, *, by_vendor: bool = False) -> End:
        """Return the end for the database, where tool calls count as a plain `stop`."""
        # Without tool calls for the caller, the upstream's reason means only that the completion ended.
        sent = finished.reason != "tool_calls" or self._tool_call_chars > 0
        self._finish_reason = finished.reason if sent else "stop"
        self._ends_conversation = finished.ends_conversation
        self._is_cut = bool(self._screening and self._screening.content_blocked) and finished.reason == "content_filter"
        self._blocked_by_vendor = by_vendor and finished.reason == "content_filter" and not self._is_visible()
        reason = "stop" if finished.reason == "tool_calls" else finished.reason
        return self._end(Generation.Status.COMPLETED, finish_reason=reason)

    def _end_as_requested(self) -> End:
        if self._requested_end == "cancelled":
            return self._end(Generation.Status.COMPLETED, finish_reason="cancelled")
        return self._end(Generation.Status.INTERRUPTED, error={"code": "interrupted"})

    def _failed(self, error: dict[str, Any]) -> End:
        return self._end(Generation.Status.FAILED, error=error)

    def _is_visible(self) -> bool:
        """Return whether the caller got, or gets, something: content, tool calls, reasoning or images."""
        draft = self.draft
        reasoning = draft.visible_reasoning and self.sink.sends_reasoning
        extras = self._tool_call_chars > 0 or self._has_embeddings or self._has_sent_images
        return draft.visible or reasoning or extras

    def _end(self, status: str, *, finish_reason: str | None = None, error: dict[str, Any] | None = None) -> End:
        if not self._is_cut and (rest := self._seam[self.draft.content.length :]):
            self._take(Delta(rest))  # it was held back, and the message must not lose it
        text = self.draft.snapshot()
        usage = self._usage or Usage(
            prompt_tokens(self._attempts.messages),
            estimate_tokens(text["content"]) + estimate_tokens(text["reasoning"]) + self._tool_call_chars // 4,
        )
        cited = self._publish_sources(text)
        self.draft.closed = True
        return End(
            self.row,
            status=status,
            content=text["content"],
            reasoning=text["reasoning"],
            last_event=self.draft.last_event + 1,
            finish_reason=finish_reason,
            error=error,
            visible=self._is_visible(),
            reached_upstream=bool(self._attempts.upstream),
            request_at_fault=self._request_at_fault,
            sources=cited,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            reasoning_seconds=self._times.reasoning,
            usage_estimated=self._usage is None,
            upstream=self._attempts.upstream,
            ends_conversation=self._ends_conversation,
            blocked_by_vendor=self._blocked_by_vendor,
            hits=frozenset(self._hits),
            is_cut=self._is_cut,
            filter_texts=self._screening.refusal_texts if self._screening else None,
            has_draft=self.draft.written,
        )

    async def _store(self, end: End) -> Generation:
        """Store the end; while the database is away, keep the text here and try again."""
        pause, longest = STORE_RETRY_SECONDS
        while True:
            try:
                return await asyncio.shield(database.write(end.lock_order, finish.store, end))
            except (OperationalError, InterfaceError) as error:
                log.error("end not stored yet", generation=self.row.id, error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)

    def _publish_end(self, row: Generation) -> None:
        if row.last_event != self.draft.last_event + 1:
            # Another process ended the generation, because it took this one for dead.
            self.draft.replace(*row.texts())
        if event := representation.end_event(row):
            self.sink.complete(*event, number=row.last_event, finish_reason=self._finish_reason)
        self.completed = True
        ends.note(row, self._blame, self._times.first_delta, self._times.passed, self._attempts.origin)

"""One generation while it runs in this process: from the upstream's events to the log, the draft and the end."""

import asyncio
import time
from contextlib import aclosing
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import translation
from prometheus_client import Counter

from chat import representation
from chat.events.log import Log
from chat.generations import finish
from chat.generations.drafts import Draft
from chat.generations.finish import End
from chat.generations.pipeline import limited, screened
from chat.models import Generation
from chat.openai.relay import Relay
from providers.errors import ModelUnavailable, shown
from providers.routing import Attempts
from providers.wire.base import (
    Delta,
    Event,
    Finished,
    Notice,
    Reasoning,
    ToolCallDelta,
    Usage,
    Withdrawn,
    estimate_tokens,
    prompt_tokens,
    tool_names,
)
from providers.wire.errors import ProviderError
from runtime import database

log = structlog.get_logger("generation")

GENERATIONS = Counter("rivulet_generations", "Generations that ended", ["status", "finish_reason"])
# How long to wait between attempts to store an end while the database is away: doubling, up to the second figure.
STORE_RETRY_SECONDS = (0.2, 5.0)


class Run:
    """Owns the text, the event numbers and the upstream connection of one generation.

    Ends exactly once, whatever happens: the upstream finishes or fails, the user stops it, the process is told to stop.
    """

    def __init__(self, row: Generation, attempts: Attempts, draft: Draft, events: Log | Relay) -> None:
        self.row, self.draft, self.log = row, draft, events
        self.task: asyncio.Task[None] | None = None
        # The generation went with its user: there is nothing to end.
        self.deleted = False
        self._attempts = attempts
        self._relay = events if isinstance(events, Relay) else None
        self._tool_call_chars = 0
        self._usage: Usage | None = None
        self._notice = ""
        self._hits: set[int] = set()
        self._asked_to_end = ""
        self._ends_conversation = False
        self._consuming = False
        self._finished = asyncio.Event()
        self._started = time.monotonic()
        self._first_delta_ms: float | None = None
        title = row.conversation.title if row.conversation else None
        self._publish(
            "start", {"generation": row.id, "conversation": row.conversation_id, "model": row.model, "title": title}
        )

    async def go(self) -> None:
        """Answer, store, tell: the whole life of the generation."""
        end = await self._answer()
        try:
            stored = await self._store(end)
        except (ObjectDoesNotExist, IntegrityError):
            self.deleted = not await database.run(Generation.objects.filter(id=self.row.id).exists)
            if self.deleted:
                return
            raise
        self._tell(stored)
        self._finished.set()

    def end_soon(self, how: str) -> None:
        """Ask for the end, `cancelled` or `interrupted`; the first one asked for counts."""
        self._asked_to_end = self._asked_to_end or how
        if self._consuming and self.task:
            self.task.cancel()

    async def end_as(self, how: str) -> None:
        """Ask for the end, and return once the upstream is closed and the end stored. Repeating is safe."""
        self.end_soon(how)
        await self._finished.wait()

    def died(self) -> None:
        """Let those go who wait for an end that will not come."""
        self.log.abandon()
        self._finished.set()

    # --- the answer ---

    async def _answer(self) -> End:
        if self._asked_to_end:
            return self._end_asked_for()
        self._consuming = True
        try:
            return await self._consume()
        except asyncio.CancelledError:
            # Only `end_soon` cancels this task, or the loop when it closes under us.
            if self.task:
                self.task.uncancel()
            return self._end_asked_for()
        except ProviderError as error:
            self._ends_conversation = error.ends_conversation
            return self._failed(shown(error))
        except ModelUnavailable as refusal:
            retry = {} if refusal.wait_seconds is None else {"retry_after": refusal.wait_seconds}
            return self._failed({"code": refusal.code, **retry})
        except Exception as error:
            log.exception("generation failed", generation=self.row.id, error=type(error).__name__)
            return self._failed({"code": "internal_error"})
        finally:
            self._consuming = False

    async def _consume(self) -> End:
        most, tools = settings.MAX_ANSWER_CHARS, tool_names(self._attempts.extras)
        events = limited(screened(self._attempts.run(), self._hits, most, tools), most)
        relay = self._relay
        async with aclosing(events) as source:
            async for event in source:
                if isinstance(event, Finished):
                    return self._completed(event)
                self._take(event)
                if relay is not None and relay.full:
                    await relay.room()
        raise RuntimeError("the provider ended without saying so")

    def _take(self, event: Event) -> None:
        draft = self.draft
        if isinstance(event, Delta):
            draft.add_content(event.text)
            draft.last_event = self.log.publish("message", {"role": "assistant", "content": event.text})
            if self._first_delta_ms is None:
                self._note_first_delta()
        elif isinstance(event, Reasoning):
            draft.add_reasoning(event.text)
            draft.last_event = self.log.publish("reasoning", {"content": event.text})
        elif isinstance(event, ToolCallDelta):
            self._take_tool_calls(event)
        elif isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Withdrawn):
            draft.withdraw()
            draft.last_event = self.log.publish("reset", draft.snapshot())
        elif isinstance(event, Notice):
            self._publish("notice", self._notice_data(event))

    def _take_tool_calls(self, event: ToolCallDelta) -> None:
        """Pass them on; a log has nothing to say about them."""
        if self._relay is not None:
            self._relay.tool_calls(event.json)
            self._tool_call_chars += len(event.json)
            if self._first_delta_ms is None:
                self._note_first_delta()

    def _note_first_delta(self) -> None:
        self._first_delta_ms = (time.monotonic() - self._started) * 1000

    def _notice_data(self, notice: Notice) -> dict[str, str]:
        with translation.override(self.row.language):
            return {"code": notice.code, "message": translation.gettext("The model is busy; trying again.")}

    def _publish(self, name: str, data: object) -> None:
        self.draft.last_event = self.log.publish(name, data)

    # --- the end ---

    def _completed(self, finished: Finished) -> End:
        """Only who can offer tools hears of calls; for everybody else, and in what is stored, it is a plain end."""
        if self._relay is not None:
            self._relay.finish_reason = finished.reason
        # Calls of tools are no text, and no empty answer either.
        self.draft.visible = self.draft.visible or finished.reason == "tool_calls"
        self._ends_conversation = finished.ends_conversation
        reason = "stop" if finished.reason == "tool_calls" else finished.reason
        return self._end(Generation.Status.COMPLETED, finish_reason=reason)

    def _end_asked_for(self) -> End:
        if self._asked_to_end == "cancelled":
            return self._end(Generation.Status.COMPLETED, finish_reason="cancelled")
        return self._end(Generation.Status.INTERRUPTED, error={"code": "interrupted"})

    def _failed(self, error: dict[str, Any]) -> End:
        return self._end(Generation.Status.FAILED, error=error)

    def _end(self, status: str, *, finish_reason: str | None = None, error: dict[str, Any] | None = None) -> End:
        text = self.draft.snapshot()
        usage = self._usage or Usage(
            prompt_tokens(self._attempts.messages),
            estimate_tokens(text["content"]) + estimate_tokens(text["reasoning"]) + self._tool_call_chars // 4,
        )
        return End(
            self.row,
            status=status,
            content=text["content"],
            reasoning=text["reasoning"],
            last_event=self.log.last + 1,
            finish_reason=finish_reason,
            error=error,
            visible=self.draft.visible or self._tool_call_chars > 0,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            usage_estimated=self._usage is None,
            upstream=self._attempts.upstream,
            ends_conversation=self._ends_conversation,
            hits=frozenset(self._hits),
        )

    async def _store(self, end: End) -> Generation:
        """Store the end; while the database is away, keep the text here and try again."""
        pause, longest = STORE_RETRY_SECONDS
        while True:
            try:
                return await asyncio.shield(database.run(finish.store, end))
            except (OperationalError, InterfaceError) as error:
                log.error("end not stored yet", generation=self.row.id, error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)

    def _tell(self, row: Generation) -> None:
        if row.last_event != self.log.last + 1:  # somebody else ended it, thinking this process dead
            self.draft.replace(*row.texts())
            self.log.forget_until(row.last_event - 1)
        if told := representation.ending(row):
            self.log.complete(*told)
        GENERATIONS.labels(row.status, row.finish_reason or "").inc()
        log.info(
            "generation",
            generation=row.id,
            user=row.user_id,
            outcome=row.status,
            error=(row.error or {}).get("code"),
            time_to_first_delta_ms=None if self._first_delta_ms is None else round(self._first_delta_ms, 1),
            duration_ms=round((time.monotonic() - self._started) * 1000, 1),
            **{
                "gen_ai.provider.name": row.upstream,
                "gen_ai.request.model": row.model,
                "gen_ai.usage.input_tokens": row.input_tokens,
                "gen_ai.usage.output_tokens": row.output_tokens,
                "gen_ai.response.finish_reasons": row.finish_reason,
            },
        )

"""From the bytes of an OpenAI-shaped stream to our events, lenient towards compatible servers.

Sans-I/O: clocks and connections are the adapter's. A vendor's own words come in as a `Dialect`.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import orjson

from providers.wire.base import Delta, Event, Finished, FinishReason, Reasoning, ToolCallDelta, Usage, Withdrawn
from providers.wire.base import gettext_noop as _
from providers.wire.errors import ContentBlocked, ProviderError, Retry, broken_stream
from providers.wire.images import CompletionImages, listed_images
from providers.wire.logprobs import read_logprobs
from providers.wire.net.sse import SSEEvent, SSEParser
from providers.wire.openai.citations import add_citations
from providers.wire.openai.fields import Piece, encoded, pieces, read_usage, thought
from providers.wire.openai.finish_words import SEVERITY, Family, family, normalized
from providers.wire.openai.repeats import Repeats
from providers.wire.openai.surrogates import Surrogates, mend_surrogates
from providers.wire.openai.think_tags import ThinkTags
from providers.wire.openai.tool_calls import ToolCalls
from providers.wire.reasoning_details import ReasoningDetails
from providers.wire.sources import SourceList

log = logging.getLogger(__name__)

# The terminator, which some servers put in quotes. Longer data is not compared.
_MAX_TERMINATOR_CHARS = len('"[DONE]"')


class Dialect(Protocol):
    """The words of one vendor."""

    @property
    def finish_reasons(self) -> Mapping[str, Family]:
        """Finish reasons of this vendor's own, beside those of `finish_words`."""
        ...

    # Finish reasons and error codes that make the shown text void.
    withdrawn_reasons: frozenset[str]
    # Finish reasons after which no more of the conversation is wanted.
    closing_reasons: frozenset[str]

    def failure(self, event: SSEEvent, chunk: dict[str, Any]) -> ProviderError | None:
        """Return the failure that `chunk` reports, None for an ordinary one."""
        ...


class Decoder:
    """Decodes one stream.

    A finish reason sets `finish`, the terminator or a failure sets `ended`; `progressed` is whether the last bytes
    completed a payload event: one with text, reasoning, a tool call, usage or a finish reason. Some relays put a finish
    reason on every chunk, so text after one goes on; `may_go_on` is whether there was one with or before text. After a
    finish reason nothing makes the completion fail. Tool calls become events only `with_tools`, because a caller that
    offered none cannot use them.
    A leading `<think>` block of the content becomes reasoning `with_think_tags`, else it stays content. Structured
    reasoning becomes events `with_details`, for programs that send it back.
    """

    __slots__ = (
        *("_calls", "_closed", "_dialect", "_failure", "_has_images", "_kind", "_parser", "_payload"),
        *("_shown", "_skipped", "_sources", "_surrogates", "_texts", "_think", "_tools", "_visible"),
        *("_with_details", "_with_tools", "_withdrawn"),
        *("ended", "finish", "may_go_on", "progressed", "repeats", "usage"),
    )

    def __init__(
        self,
        dialect: Dialect,
        parser: SSEParser | None = None,
        *,
        with_tools: bool = False,
        with_think_tags: bool = True,
        with_details: bool = False,
    ) -> None:
        self.finish: FinishReason | None = None
        self.ended = False
        self.usage: Usage | None = None
        self.progressed = False
        self.may_go_on = False
        # Whether data without meaning was logged, which is done once.
        self._skipped = False
        self._dialect = dialect
        self._parser = parser or SSEParser()
        self._with_tools, self._with_details = with_tools, with_details
        self._failure: ProviderError | Retry | None = None
        self._think: ThinkTags | None = ThinkTags() if with_think_tags else None
        self._surrogates: Surrogates | None = None
        # Whether there was visible content, and visible text of any kind: reasoning too.
        self._visible = self._shown = False
        self._tools = self._has_images = False
        self._calls = ToolCalls()
        self._sources = SourceList()
        # Whether there was a choice, a text or a usage: then the upstream generated, even if there is nothing to show.
        self._payload = False
        self._withdrawn = False
        self._closed = False
        self._kind: type[Delta] | type[Reasoning] = Delta
        self._texts: list[str] = []
        self.repeats = Repeats()

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that the next bytes complete, neighbouring texts merged into one event."""
        if text := self.repeats.text(data):
            self.progressed = True
            return [Delta(text)]
        events = self._parser.feed(data)
        self.progressed = False
        out = self._decoded(events) if events else []
        in_text = self.finish is None and not self.ended and self._visible and self._kind is Delta
        plain = in_text and self._think is None and self._surrogates is None and self._parser.idle
        if plain and len(events) == len(out) == 1 and isinstance(delta := out[0], Delta):
            self.repeats.learn(data, delta.text)
        self.repeats.arm(plain=plain)
        return out

    def flush(self) -> list[Event]:
        """Return the last events, `Finished` at the end; raise the stream's failure instead."""
        out = [] if self.ended else self._decoded(self._parser.flush())
        if self._think is not None:
            self._add_all(self._think.flush(), out)
        self._flush(out, whole=True)
        if self._failure is not None:
            raise self._failure
        if self.finish is None and not self.ended:
            raise broken_stream("truncated")
        reason = self._reason()
        if self._withdrawn:
            out.append(Withdrawn())
        return [*out, Finished(reason, self._closed)]

    def _decoded(self, events: Iterable[SSEEvent]) -> list[Event]:
        out: list[Event] = []
        usage = self.usage
        for event in events:
            self._event(event, out)
            if self.ended:
                break
        self._flush(out)
        if self.usage is not None and self.usage != usage:
            out.append(self.usage)
        return out

    def _reason(self) -> FinishReason:
        """Return the finish reason; raise when the stream had no payload at all.

        A completion without visible text is no failure: a model may have nothing to say.
        """
        if self.finish is None and not (self._payload or self._shown):
            raise broken_stream("empty")
        reason = self.finish or "stop"
        if self._tools and not self._visible and reason == "stop":
            return "tool_calls"
        if reason == "tool_calls" and not (self._tools or self._visible):
            return "stop"
        if reason == "content_filter" and self._closed and not self._shown:
            text = _("The upstream's moderation refused the prompt.")
            raise ContentBlocked(text, action="user", status=200, ends_conversation=True)
        return reason

    def _event(self, event: SSEEvent, out: list[Event]) -> None:
        data = event.data.strip()
        if len(data) <= _MAX_TERMINATOR_CHARS and data.strip('"').upper() == "[DONE]":
            self.ended = True
            return
        if not data:
            return
        try:
            chunk = whole = orjson.loads(data)
        except orjson.JSONDecodeError:
            chunk, whole = self._read_leniently(data)
            if chunk is None and event.type == "error":
                chunk = whole = {"error": data}
        if isinstance(chunk, list) and chunk and isinstance(chunk[0], dict):
            chunk, whole = chunk[0], whole[0]
        if not isinstance(chunk, dict):
            self._skip(data)
        elif failure := self._dialect.failure(event, whole):
            self._fail(failure)
        else:
            self._chunk(chunk, out)
            # Every citation has an address, and few other chunks do. One character is found much faster than four.
            if "/" in data and "http" in data:
                self._note_citations(chunk, out)

    def _note_citations(self, chunk: dict[str, Any], out: list[Event]) -> None:
        add_citations(chunk, self._sources)
        if self._sources.changed:
            self._flush(out)
            out.append(self._sources.event())

    def _skip(self, data: str) -> None:
        """Skip data without text; a chunk that cannot be read may have had some."""
        if data.startswith("{") and self.finish is None:
            self._fail(broken_stream("bad_json"))
        elif not self._skipped:
            self._skipped = True
            log.warning("data without meaning skipped in a stream")

    def _read_leniently(self, data: str) -> tuple[Any, Any]:
        """Read JSON that orjson refuses, as it is and mended: halves of characters, and NaN."""
        if not data.startswith(("{", "[")):
            return None, None
        try:
            chunk = json.loads(data)
            whole = orjson.loads(orjson.dumps(json.loads(mend_surrogates(json.dumps(chunk, ensure_ascii=False)))))
        except (ValueError, RecursionError):
            return None, None
        if "\\ud" in data.lower():
            self._surrogates = self._surrogates or Surrogates()
        return chunk, whole

    def _chunk(self, chunk: dict[str, Any], out: list[Event]) -> None:
        choices = chunk.get("choices")
        if choices and isinstance(choices, list):
            for choice in choices:
                # A request asks for one completion, so every index is its.
                if isinstance(choice, dict):
                    self._payload = True
                    self._choice(choice, out)
        groq = chunk.get("x_groq")
        if usage := chunk.get("usage") or (groq.get("usage") if isinstance(groq, dict) else None):
            self._payload = self.progressed = True
            self.usage = read_usage(usage) or self.usage

    def _choice(self, choice: dict[str, Any], out: list[Event]) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict) and not (self._shown or self._tools or self._has_images):
            # A whole completion despite `stream: true`. After deltas such a message only repeats them.
            delta = choice.get("message")
        if isinstance(delta, dict):
            self._text(delta, out)
            if calls := delta.get("tool_calls") or delta.get("function_call"):
                self._tools = self.progressed = True
                if self._with_tools:
                    self._tool_calls(calls, out)
        if (given := choice.get("logprobs")) and (probs := read_logprobs(given)):
            self._flush(out)
            out.append(probs)
        # Moonshot puts the usage into the choice.
        if usage := choice.get("usage"):
            self.usage = read_usage(usage) or self.usage
        # Gemini's own spelling comes through some relays.
        reason = choice.get("finish_reason") or choice.get("finishReason")
        if isinstance(reason, dict):
            reason = reason.get("type") or reason.get("reason")
        if reason and isinstance(reason, str):
            self._finish(reason)

    def _text(self, delta: dict[str, Any], out: list[Event]) -> None:
        content = delta.get("content")
        # Most deltas have nothing but content, so the many names of reasoning are not looked for in these.
        if len(delta) > 1 or content is None:
            self._thoughts(delta, out)
        if isinstance(content, str):
            if content:
                self._content(content, out)
        elif content is not None:
            for kind, text in pieces(content):
                if kind is Delta:
                    self._content(text, out)
                else:
                    self._add(kind, text, out)
        # Few deltas have more than a text.
        if (len(delta) > 1 or not isinstance(content, str)) and (images := listed_images(delta)):
            self._add_images(images, out)
        if (refusal := delta.get("refusal")) and isinstance(refusal, str):
            self._add(Delta, refusal, out)

    def _thoughts(self, delta: dict[str, Any], out: list[Event]) -> None:
        if thinking := thought(delta):
            self._add(Reasoning, thinking, out)
        details = delta.get("reasoning_details") if self._with_details else None
        items = [item for item in details if isinstance(item, dict)] if isinstance(details, list) else []
        if items:
            self.progressed = True
            self._flush(out)
            out.append(ReasoningDetails(encoded(items)))

    def _add_images(self, images: list[dict[str, Any]], out: list[Event]) -> None:
        self.progressed = self._has_images = True
        self.may_go_on = self.may_go_on or self.finish is not None
        self._flush(out)
        out.append(CompletionImages(encoded(images)))

    def _tool_calls(self, calls: object, out: list[Event]) -> None:
        self.progressed = True
        self._flush(out)
        numbered = self._calls.feed(calls)
        if not numbered:
            return
        out.append(ToolCallDelta(encoded(numbered)))

    def _content(self, text: str, out: list[Event]) -> None:
        if self._think is None:
            self._add(Delta, text, out)
            return
        self._add_all(self._think.feed(text), out)
        if self._think.passed:
            self._think = None

    def _add_all(self, pieces: Iterable[Piece], out: list[Event]) -> None:
        for kind, text in pieces:
            self._add(kind, text, out)

    def _add(self, kind: type[Delta] | type[Reasoning], text: str, out: list[Event]) -> None:
        if kind is not self._kind:
            self._flush(out, whole=True)
            self._kind = kind
        self._texts.append(text)
        self.progressed = True
        self.may_go_on = self.may_go_on or self.finish is not None
        if not self._visible and text and not text.isspace():
            self._shown, self._visible = True, kind is Delta

    def _flush(self, out: list[Event], *, whole: bool = False) -> None:
        text = "".join(self._texts)
        if self._surrogates is not None:
            text = self._surrogates.join(text, whole=whole)
        if text:
            out.append(self._kind(text))
        self._texts.clear()

    def _finish(self, word: str) -> None:
        self.progressed = True
        reason = normalized(word)
        known = self._dialect.finish_reasons.get(word) or family(reason)
        if known is None:
            log.warning("unknown finish reason %r taken for stop", word[:40])
        found = known or "stop"
        if found == "failed":
            self._fail(broken_stream(reason[:64]))
            return
        self.may_go_on = self.may_go_on or bool(self._texts)
        if self.finish is None or SEVERITY.index(found) > SEVERITY.index(self.finish):
            self.finish = found
        self._withdrawn = self._withdrawn or (word in self._dialect.withdrawn_reasons and self._shown)
        self._closed = self._closed or word in self._dialect.closing_reasons

    def _fail(self, failure: ProviderError) -> None:
        blocked = self._shown and isinstance(failure, ContentBlocked)
        if self.finish is not None and not blocked:
            log.warning("a failure after the finish reason ignored")
            return
        self.ended = True
        if blocked:
            # The moderation objected after text was sent: the completion ends. Some vendors want its text withdrawn.
            self.finish = "content_filter"
            self._withdrawn = failure.vendor_code in self._dialect.withdrawn_reasons
            self._closed = self._closed or failure.ends_conversation
        else:
            self._failure = failure

"""`Sink`: an event log for many readers, or one response in another format."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Sink(ABC):
    """Takes the events of one generation, on the event loop's thread; the run numbers them."""

    __slots__ = ()

    @abstractmethod
    def publish(self, name: str, data: Any) -> None:
        """Take the next event."""

    def publish_delta(self, text: str) -> None:
        """Take a delta of the content as the next event, `message`."""
        self.publish("message", {"role": "assistant", "content": text})

    def rethink(self, snapshot: Mapping[str, str]) -> None:
        """Take all text as the next event, because its content turned out to be reasoning."""
        self.publish("reset", snapshot)

    def tool_calls(self, pieces: str) -> bool:
        """Take a JSON list with pieces of tool calls; return whether a reader receives them."""
        return False

    def reasoning_details(self, pieces: str) -> None:  # noqa: B027
        """Take a JSON list of pieces of structured reasoning, which a reader sends back."""

    def images(self, listed: str) -> bool:
        """Take a JSON list of images; return whether a reader receives them."""
        return False

    def logprobs(self, items: Sequence[Mapping[str, Any]]) -> None:  # noqa: B027
        """Take the log probabilities of tokens, for a reader who asked for them."""

    def embeddings(self, items: Sequence[Mapping[str, Any]]) -> bool:
        """Take embeddings; return whether a reader receives them."""
        return False

    @property
    def sends_reasoning(self) -> bool:
        """Whether published reasoning is sent to a reader."""
        return True

    @abstractmethod
    def complete(
        self, name: str, data: Mapping[str, Any], *, number: int | None = None, finish_reason: str = ""
    ) -> None:
        """Take the event that ends the generation, `done` or `error`.

        When another process has ended the generation, `number` is not the next number, and earlier events are void.
        `finish_reason` is the upstream's own; it is empty when the upstream did not end the generation.
        """

    @abstractmethod
    def abandon(self) -> None:
        """End without an end event, because the run died of a bug."""

    def bind(self, stop: Callable[[], object]) -> None:  # noqa: B027
        """Take the function that stops the run, for a sink whose only reader may leave."""

    @property
    def full(self) -> bool:
        """Whether the run must await `room` before it reads on from the upstream."""
        return False

    async def room(self) -> None:  # noqa: B027
        """Return when the reader has taken what waits."""

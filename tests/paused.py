"""An upstream whose completions wait for the test: nothing is timed, so nothing is missed on a slow machine.

The scenario `paused` sends the prompt back, and waits before each ⏸ in it until the test lets it go on. If there is a ⏸
in what they get, `titler`, and `cited` after its reasoning, wait once, and `growing` before each delta.
"""

import asyncio
import threading
from collections import Counter
from typing import Any

import httpx

from tests.loopback import Recorded
from tests.product import read_events
from tests.scenarios import ChatExchange, tokens
from tests.upstreams import FakeOpenAI

PAUSE = "⏸"
# What neutral probes send, as a prompt or to embed.
PROBES = ("Hi", ["Hi"])
DELTA_CHARS = 8
POLLING_SECONDS = 0.005


class PausedUpstream(FakeOpenAI):
    """A fake upstream with the scenario `paused`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # How often each prompt may go on: the test's thread counts up, the upstream's thread down.
        self.allowed: Counter[str] = Counter()
        self._counting = threading.Lock()

    def is_probe(self, request: Recorded) -> bool:
        """Set the product's neutral probes apart: those that one test provokes may come during another."""
        turns = request.body.get("messages") or [{"content": request.body.get("input")}]
        return len(turns) == 1 and turns[0]["content"] in PROBES

    def go_on(self, prompt: str, pauses: int = 1) -> None:
        """Let the completion of this prompt go on, over so many pauses, now or when it comes to them.

        A text tool writes its instruction before the user's text, so the end of the prompt is enough.
        """
        with self._counting:
            self.allowed[prompt] += pauses

    async def wait(self, prompt: str) -> None:
        """Wait until the completion of this prompt may go on once more."""
        while not self._may_go_on(prompt):
            await asyncio.sleep(POLLING_SECONDS)

    def _may_go_on(self, prompt: str) -> bool:
        """Return whether the completion of this prompt may go on, and count that."""
        with self._counting:
            named = [end for end, times in self.allowed.items() if times and prompt.endswith(end)]
            if named:
                self.allowed[named[0]] -= 1
        return bool(named)

    def exchange(self, *args: Any) -> ChatExchange:
        return PausedExchange(self, *args)


class PausedExchange(ChatExchange):
    """An exchange that knows the scenario `paused`, and waits in some others."""

    def __init__(self, upstream: PausedUpstream, *args: Any) -> None:
        super().__init__(*args)
        self._upstream = upstream

    async def run(self, name: str) -> None:
        if name == "paused":
            await self._send_and_wait()
            return
        if name.startswith("growing:") and PAUSE in self.last_prompt:
            await self._grow(*name.split(":")[1:3])
            return
        if name == "titler" and PAUSE in self.last_prompt:
            await self._upstream.wait(self.last_prompt)
        await super().run(name)

    async def _grow(self, count: str, chars: str) -> None:
        """Send deltas of so many Chinese characters, each when the test lets it go on."""
        await self.start()
        for _delta in range(int(count)):
            await self._upstream.wait(self.last_prompt)
            await self.delta(content="字" * int(chars))
        await self.stop()

    async def think(self, seconds: float) -> None:
        if PAUSE in self.last_prompt:
            await self._upstream.wait(self.last_prompt)
        else:
            await super().think(seconds)

    async def _send_and_wait(self) -> None:
        """Send the prompt back with pauses; what is before ||| is reasoning."""
        prompt = self.last_prompt
        kind = "reasoning_content" if "|||" in prompt else "content"
        await self.start()
        await self.delta(role="assistant", content="")
        for number, part in enumerate(prompt.split(PAUSE)):
            if number:
                await self._upstream.wait(prompt)
            for index, text in enumerate(part.split("|||")):
                kind = "content" if index else kind
                for delta in tokens(text, DELTA_CHARS):
                    await self.delta(**{kind: delta})
        await self.stop()


def read_one_by_one(client: httpx.Client, upstream: PausedUpstream, deltas: list[str]) -> list[str]:
    """Return the deltas of a completion whose upstream waits for each of them to arrive at the client.

    None would arrive from a buffer that gathers them.
    """
    prompt, headers = PAUSE.join(deltas), {"Accept": "text/event-stream"}
    with client.stream("POST", "/api/chat/", json={"model": "paused", "prompt": prompt}, headers=headers) as response:
        stream = read_events(response)
        events = [next(stream) for _ in range(2)]
        for _delta in deltas[1:]:
            upstream.go_on(prompt)
            events.append(next(stream))
        events += stream
    assert events[-1].name == "done"
    return [event.data["content"] for event in events[1:-1]]

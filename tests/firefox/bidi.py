"""A headless Firefox, driven over WebDriver BiDi: commands as JSON over one WebSocket.

https://w3c.github.io/webdriver-bidi/ — Firefox serves it itself, so no driver stands between.
"""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from websockets.sync.client import ClientConnection, connect

LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
WAIT_SECONDS = 60
# Beside what Firefox sets itself when driven: fewer processes, no requests of its own, the clipboard for scripts.
PREFERENCES: dict[str, bool | int | str] = {
    "dom.events.testing.asyncClipboard": True,
    "dom.ipc.processCount": 1,
    "dom.ipc.processPrelaunch.enabled": False,
    "fission.autostart": False,
    "browser.startup.page": 0,
    "browser.newtabpage.activity-stream.enabled": False,
    "browser.newtab.preload": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "ui.prefersReducedMotion": 1,
    # Frames a second: Firefox paints without a graphics card, which takes most of its CPU.
    "layout.frame_rate": 15,
}
# Resolves to the JSON of the first true value of a function.
WAIT = """async seconds => {
    const end = Date.now() + seconds * 1000;
    for (;;) {
        const value = await (%s)();
        if (value) return value;
        if (Date.now() > end) throw new Error("not within " + seconds + " s");
        await new Promise(resolve => setTimeout(resolve, 100));
    }
}"""
EVENTS = ["log.entryAdded", "network.beforeRequestSent", "browsingContext.userPromptOpened"]
# Keys by their names, as WebDriver numbers them.
KEYS = {"Enter": "\ue006", "Shift": "\ue008", "Control": "\ue009", "Tab": "\ue004", "PageUp": "\ue00e", "End": "\ue010"}
KEYS |= {"Home": "\ue011", "Escape": "\ue00c", "ArrowUp": "\ue013", "Backspace": "\ue003"}


def find() -> str | None:
    """Return the path of Firefox, if it is installed."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """One window of a Firefox with a profile of its own. `faults` has errors and warnings of its pages."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._commands = socket, 0
        self.faults: list[str] = []
        # The beginnings of addresses that pages may load.
        self.allowed = ("data:", "blob:", "about:")
        self.command("session.new", capabilities={})
        self.command(
            "session.subscribe",
            events=["log.entryAdded", "network.beforeRequestSent", "browsingContext.userPromptOpened"],
        )
        self.context = self.command("browsingContext.getTree")["contexts"][0]["context"]

    @classmethod
    @contextlib.contextmanager
    def started(cls, program: str, folder: Path) -> Iterator[Self]:
        """Start Firefox with an empty profile in `folder`; end it afterwards."""
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
        (folder / "user.js").write_text("".join(lines), encoding="utf-8")
        command = [program, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", "0"]
        environment = {**os.environ, "HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"}
        process = subprocess.Popen(
            [*command, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        first: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stderr, first))
        reader.start()
        try:
            address = first.get(timeout=WAIT_SECONDS)
            assert address, "Firefox ended without listening"
            with connect(f"{address}/session", max_size=None, compression=None) as socket:
                yield cls(socket)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reader.join()

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; note what pages log meanwhile."""
        self._commands += 1
        self._socket.send(json.dumps({"id": self._commands, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=2 * WAIT_SECONDS))
            if message["type"] == "event":
                self._note(message["params"])
            elif message["id"] == self._commands:
                assert message["type"] == "success", f"{method}: {message.get('error')}: {message.get('message')}"
                return dict(message["result"])

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("level") in {"error", "warn"}:
            self.faults.append(f"{event['level']}: {event['text']}")
        elif "request" in event:
            url = event["request"]["url"]
            if not url.startswith(self.allowed):
                self.faults.append(f"request to another host: {url}")
        elif "type" in event and "level" not in event:
            self.faults.append(f"dialog: {event.get('message')}")

    # --- pages ---

    def resize(self, width: int, height: int) -> None:
        """Give the page so many CSS pixels."""
        self.command("browsingContext.setViewport", context=self.context, viewport={"width": width, "height": height})

    def set_cookie(self, url: str, name: str, value: str) -> None:
        """Set a cookie for the host of `url`."""
        host = url.split("//")[1].split(":")[0]
        self.command(
            "storage.setCookie", cookie={"name": name, "value": {"type": "string", "value": value}, "domain": host}
        )

    def open(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self.command("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def reload(self) -> None:
        """Load the page again."""
        self.command("browsingContext.reload", context=self.context, wait="complete")

    def go_back(self) -> None:
        """Go back by one page."""
        self.command("browsingContext.traverseHistory", context=self.context, delta=-1)

    def evaluate(self, function: str, *arguments: Any) -> Any:
        """Call a function of JavaScript in the page and return what it returns, a promise's value too."""
        source = f"async (...given) => JSON.stringify(await ({function})(...given.map(JSON.parse))) ?? 'null'"
        result = self.command(
            "script.callFunction",
            functionDeclaration=source,
            arguments=[{"type": "string", "value": json.dumps(argument)} for argument in arguments],
            awaitPromise=True,
            target={"context": self.context},
            userActivation=True,
        )
        assert result["type"] == "success", result["exceptionDetails"]["text"]
        return json.loads(result["result"]["value"])

    def wait_for(self, function: str) -> Any:
        """Wait until a function of JavaScript returns something true, and return that."""
        try:
            return self.evaluate(WAIT % function, WAIT_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{function}: {error}") from error

    # --- hands ---

    def press(self, *keys: str) -> None:
        """Press keys together, the last of them last."""
        values = [KEYS.get(key, key) for key in keys]
        downs = [{"type": "keyDown", "value": value} for value in values]
        ups = [{"type": "keyUp", "value": value} for value in reversed(values)]
        self._perform("key", [*downs, *ups])

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        kinds = ("keyDown", "keyUp")
        self._perform("key", [{"type": kind, "value": letter} for letter in text for kind in kinds])

    def point(self, selector: str) -> tuple[int, int]:
        """Return the middle of the last visible element of a selector, scrolled into view."""
        middle = """selector => {
            const shown = [...document.querySelectorAll(selector)].filter(each => each.getClientRects().length);
            const element = shown.at(-1);
            element.scrollIntoView({ block: "nearest" });
            const box = element.getBoundingClientRect();
            return [Math.round(box.left + box.width / 2), Math.round(box.top + box.height / 2)];
        }"""
        left, top = self.evaluate(middle, selector)
        return left, top

    def click(self, selector: str) -> None:
        """Click on the last visible element of a selector."""
        left, top = self.point(selector)
        move = {"type": "pointerMove", "x": left, "y": top}
        self._perform("pointer", [move, *({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))])

    def turn_wheel(self, *steps: int, pause: int = 50, at: tuple[int, int] = (600, 200)) -> None:
        """Turn the wheel by so many pixels in each step, and pause for so many milliseconds after each."""
        left, top = at
        actions: list[dict[str, Any]] = []
        for step in steps:
            actions.append({"type": "scroll", "x": left, "y": top, "deltaX": 0, "deltaY": step})
            actions.append({"type": "pause", "duration": pause})
        self._perform("wheel", actions)

    def _perform(self, kind: str, actions: list[dict[str, Any]]) -> None:
        self.command(
            "input.performActions", context=self.context, actions=[{"type": kind, "id": kind, "actions": actions}]
        )


def _read(lines: IO[str], first: "queue.Queue[str]") -> None:
    """Put the address on which Firefox listens into the queue, empty if it ends before; read on, or it would wait."""
    with lines:
        for line in lines:
            if found := LISTENING.search(line):
                first.put(found[1])
    first.put("")

"""A user at a browser: actions, visible texts, and faults that the pages must never have."""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from playwright.sync_api import ConsoleMessage, Dialog, Locator, Page, Request, StorageState, WebError, expect

from tests.browser.windows import Windows, some_address
from tests.product import PASSWORD, ApiUser, Product

# How often a condition is asked that costs the page a layout. Playwright's default is each frame.
POLLING_MS = 50
# Notes each text that a button has from now on: the outcome of copying stands there for a moment only.
NOTE_LABELS = """button => {
    const labels = [];
    const note = () => labels.push(button.textContent.trim());
    new MutationObserver(note).observe(button, { childList: true, characterData: true, subtree: true });
    return labels;
}"""
# Playwright's words in place of the service worker.
NO_SERVICE_WORKER = "Service Worker registration blocked by Playwright"


class Visitor:
    """A browser window with cookies of its own, on one product, coming from an address of its own.

    `faults` collects console errors, uncaught errors, violations of the page's policy, dialogs, and requests to other
    hosts, from all its tabs; `expect_errors` excuses what a test provokes.
    """

    def __init__(self, windows: Windows, product: Product, url: str = "", *, new: bool = False, **options: Any) -> None:
        self.product = product
        self.url = url or product.url
        self.name = ""
        self.faults: list[str] = []
        self._excused: list[re.Pattern[str]] = []
        self._windows = windows
        self._window = windows.open(self.url, new=new or bool(url), **options)
        self.context, self.page = self._window.context, self._window.page
        self._listeners: dict[str, Callable[..., None]] = {
            "console": self._on_console,
            "weberror": self._on_error,
            "dialog": self._on_dialog,
            "request": self._on_request,
        }
        for event, listener in self._listeners.items():
            self.context.on(event, listener)  # type: ignore[call-overload]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and message.text != NO_SERVICE_WORKER:
            self.faults.append(f"console: {message.text} ({message.location['url']})")

    def _on_error(self, error: WebError) -> None:
        self.faults.append(f"uncaught: {error.error}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self.faults.append(f"request to another host: {request.url}")

    def expect_errors(self, pattern: str) -> None:
        """Excuse faults that match `pattern`."""
        self._excused.append(re.compile(pattern))

    def expect_late_questions(self) -> None:
        """Excuse that the page asks for its conversation while the user deletes it."""
        self.expect_errors(r"404 .*/api/conversations/\d+/")

    def leave(self) -> list[str]:
        """Close the window and return its faults."""
        self._windows.close(self._window)
        for event, listener in self._listeners.items():
            self.context.remove_listener(event, listener)
        return [fault for fault in self.faults if not any(excuse.search(fault) for excuse in self._excused)]

    # --- who they are ---

    def register(self) -> Self:
        """Make an account, by the API."""
        return self.become(self.product.register(f"p{secrets.token_hex(5)}"))

    def become(self, api_user: ApiUser) -> Self:
        """Use the login of an existing account."""
        self.name = api_user.name
        return self

    def enter(self) -> Self:
        """Open the chat page with a session that was made without the form."""
        self.context.add_cookies(log_in(self.product, self.name)["cookies"])  # type: ignore[arg-type]
        self.page.goto("/")
        self.wait_for_page()
        return self

    def log_in(self, page: Page | None = None) -> Self:
        """Log in through the form and wait for the chat page."""
        page = page or self.page
        page.goto("/accounts/login/")
        self.fill_in_login(page)
        self.wait_for_page(page)
        return self

    def wait_for_page(self, page: Page | None = None) -> None:
        """Wait until the chat page is there and its script has begun."""
        expect((page or self.page).locator("#quota")).not_to_be_empty()

    def fill_in_login(self, page: Page, password: str = PASSWORD) -> None:
        """Fill in the form that is shown, and send it."""
        page.fill("[name=login]", self.name)
        page.fill("[name=password]", password)
        page.click("main button[type=submit]:has-text('Log in')")

    # --- what they do ---

    def ask(self, prompt: str, model: str = "", page: Page | None = None) -> None:
        """Type a prompt, and Enter; wait until the page has sent it, which runs from then on until its end."""
        page = page or self.page
        if model:
            page.select_option("#model", model)
        page.fill("#prompt", prompt)
        page.press("#prompt", "Enter")
        self.wait_until_sent(page)

    def wait_until_sent(self, page: Page | None = None) -> None:
        """Wait until the page has sent the prompt: it asks first whether the conversation went on elsewhere."""
        expect((page or self.page).locator("#prompt")).to_have_value("")

    def answer(self, prompt: str, model: str = "") -> Locator:
        """Ask when no completion is running any more, wait for the end, and return the completion's element."""
        # A text can be whole before its completion has ended, and until then the page sends no other prompt.
        self.wait_for_end()
        self.ask(prompt, model)
        self.wait_for_end()
        return self.last

    def wait_for_text(self, page: Page | None = None, more_than: int = 0) -> int:
        """Wait until the running generation shows more than so many characters; return how many there are."""
        running = """more => {
            const answer = document.querySelector(".answer.running [data-part=content]");
            return answer && answer.innerText.length > more && answer.innerText.length;
        }"""
        return int((page or self.page).wait_for_function(running, arg=more_than, polling=POLLING_MS).json_value())

    def wait_for_end(self, page: Page | None = None) -> None:
        """Wait until no completion is running, and the page would send another prompt."""
        expect((page or self.page).locator(".answer.running, [data-part=stop]:not([hidden])")).to_have_count(0)

    def stop(self) -> None:
        """Press the stop button, if there is something to stop; the generation may end at the same time."""
        self.page.evaluate("() => document.querySelector('[data-part=stop]:not([hidden])')?.click()")
        self.wait_for_end()

    def wait_for_rendering(self) -> None:
        """Wait until all completions are rendered; those of a page that was loaded are when the browser is idle."""
        expect(self.page.locator(".answer [data-part=content]:not([data-rendered])")).to_have_count(0)

    # --- what they see ---

    @property
    def last(self) -> Locator:
        """The last answer."""
        return self.page.locator(".answer").last

    @property
    def text(self) -> str:
        """The text of the last answer, as it is shown."""
        return content(self.last).inner_text().strip()

    @property
    def quota(self) -> str:
        """The line about what is left."""
        return self.page.inner_text("#quota")

    def shown(self) -> list[str]:
        """The texts of all turns that are shown, prompts and answers, once all are rendered."""
        self.wait_for_rendering()
        return [text.strip() for text in self.page.locator(".message > [data-part=content]").all_inner_texts()]

    def api_user(self) -> ApiUser:
        """They themselves, at a program instead of a browser."""
        tokens = self.product.log_in(self.name).json()
        return ApiUser(self.product, self.name, tokens["access"], tokens["refresh"])

    def stored(self) -> dict[str, Any]:
        """The generation of the last answer, as the API has it."""
        generation = self.last.get_attribute("data-generation")
        found = self.context.request.get(f"/api/generations/{generation}/")
        assert found.status == 200, found.text()
        return dict(found.json())


def log_in(product: Product, name: str) -> StorageState:
    """Log in through the form, but without a browser; return the cookies for one."""
    client = product.client()
    client.headers["X-Forwarded-For"] = some_address()
    client.get("/accounts/login/")
    token = client.cookies["csrftoken"]
    fields = {"login": name, "password": PASSWORD, "csrfmiddlewaretoken": token}
    done = client.post("/accounts/login/", data=fields, headers={"Referer": product.url})
    assert done.headers["location"] == "/", done.text
    cookies = [{"name": cookie.name, "value": cookie.value, "url": product.url} for cookie in client.cookies.jar]
    return {"cookies": cookies}  # type: ignore[typeddict-item]


def content(answer: Locator) -> Locator:
    """Return the element with the text of a completion."""
    return part(answer, "content")


def part(answer: Locator, name: str) -> Locator:
    """Return one part of a completion: content, status, failure, copy, regenerate, ..."""
    return answer.locator(f"[data-part={name}]")


@contextmanager
def saying(button: Locator, outcome: str = "Copied") -> Iterator[None]:
    """Do something within this block, and expect that a button says for a moment how it went."""
    labels = button.evaluate_handle(NOTE_LABELS)
    yield
    said = "([labels, outcome]) => labels.includes(outcome)"
    button.page.wait_for_function(said, arg=[labels, outcome], polling=POLLING_MS)


def copy(button: Locator) -> None:
    """Press a button that copies, and expect that it says so."""
    with saying(button):
        button.click()


def write_instructions(visitor: Visitor, text: str) -> None:
    """Write the instructions of the conversation that is open, or of the next one."""
    page = visitor.page
    page.get_by_role("button", name="More options").click()
    page.get_by_role("button", name="Instructions for this conversation").click()
    page.fill("#instructions-text", text)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#instructions-dialog")).to_be_hidden()

"""A user at a browser: actions, visible texts, and faults that the pages must never have."""

import re
import secrets
from typing import Any, Self

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Locator, Page, Request, WebError, expect

from tests.product import PASSWORD, ApiUser, Product

# How often a condition is asked that costs the page a layout. Playwright's default is each frame.
POLLING_MS = 100

# A violation that the page itself provokes may go by without a word on the console; this gives it one.
REPORT_VIOLATIONS = """
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sourceFile, lineNumber }) =>
        console.error(`policy: ${violatedDirective} ${blockedURI} ${sourceFile}:${lineNumber}`));
"""


class Visitor:
    """A browser window with cookies of its own, on one product, coming from an address of its own.

    `faults` collects console errors, uncaught errors, violations of the page's policy, dialogs, and requests to other
    hosts, from all its tabs; `expect_errors` excuses what a test provokes.
    """

    def __init__(self, browser: Browser, product: Product, url: str = "", **options: Any) -> None:
        self.product = product
        self.url = url or product.url
        self.name = ""
        self.faults: list[str] = []
        self._excused: list[re.Pattern[str]] = []
        # Logging in is limited by address.
        address = ".".join(["10", *(str(secrets.randbelow(256)) for _ in range(3))])
        usual = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US"}
        headers = {"X-Forwarded-For": address}
        self.context = browser.new_context(base_url=self.url, extra_http_headers=headers, **{**usual, **options})
        self.context.set_default_timeout(20_000)
        self.context.add_init_script(REPORT_VIOLATIONS)
        self.context.on("console", self._on_console)
        self.context.on("weberror", self._on_error)
        self.context.on("dialog", self._on_dialog)
        self.context.on("request", self._on_request)
        self.page = self.context.new_page()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
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

    def leave(self) -> list[str]:
        """Close the window and return its faults."""
        self.context.close()
        return [fault for fault in self.faults if not any(excuse.search(fault) for excuse in self._excused)]

    # --- who they are ---

    def register(self) -> Self:
        """Make an account, by the API."""
        return self.become(self.product.register(f"p{secrets.token_hex(5)}"))

    def become(self, api_user: ApiUser) -> Self:
        """Use the login of an existing account."""
        self.name = api_user.name
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
        """Type a prompt, and Enter."""
        page = page or self.page
        if model:
            page.select_option("#model", model)
        page.fill("#prompt", prompt)
        page.press("#prompt", "Enter")

    def answer(self, prompt: str, model: str = "") -> Locator:
        """Ask when no completion is running any more, wait for the end, and return the completion's element."""
        # A text can be whole before its completion has ended, and until then the page sends no other prompt.
        self.wait_for_end()
        before = self.page.locator(".answer").count()
        self.ask(prompt, model)
        # The page asks first whether the conversation went on elsewhere.
        expect(self.page.locator(".answer")).not_to_have_count(before)
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
        """Wait until no answer is running."""
        expect((page or self.page).locator(".answer.running")).to_have_count(0)

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
        """The texts of all turns that are shown, prompts and answers."""
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


def content(answer: Locator) -> Locator:
    """Return the element with the text of a completion."""
    return part(answer, "content")


def part(answer: Locator, name: str) -> Locator:
    """Return one part of a completion: content, status, failure, copy, regenerate, ..."""
    return answer.locator(f"[data-part={name}]")


def write_instructions(visitor: Visitor, text: str) -> None:
    """Write the instructions of the conversation that is open, or of the next one."""
    page = visitor.page
    page.get_by_role("button", name="More options").click()
    page.get_by_role("button", name="Instructions for this conversation").click()
    page.fill("#instructions-text", text)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#instructions-dialog")).to_be_hidden()

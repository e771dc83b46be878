"""Browser windows that are used again, so that the next visitor's pages find their scripts compiled.

A page load in a new window takes three times as much CPU. Of the visitor before, a window keeps nothing else.
"""

import secrets
from collections import defaultdict
from typing import Any, NoReturn

from playwright.sync_api import Browser, BrowserContext
from playwright.sync_api import Error as PlaywrightError

# Installing the service worker again for each visitor would take a quarter of the CPU of a page load, and animations
# a tenth of that of completions. Tests of the service worker and of the phone's drawer ask for them.
DEFAULTS: dict[str, Any] = {
    "viewport": {"width": 1280, "height": 800},
    "locale": "en-US",
    "color_scheme": "light",
    "service_workers": "block",
    "reduced_motion": "reduce",
}
WAIT_MS = 20_000
# A page of the product without scripts, on which all that is kept for its origin can be deleted.
EMPTY_PAGE = "/healthz"
FORGET = """async () => {
    localStorage.clear();
    sessionStorage.clear();
    for (const name of await caches.keys()) await caches.delete(name);
    for (const { name } of await indexedDB.databases()) indexedDB.deleteDatabase(name);
    return "__pwClock" in globalThis;
}"""
# A violation that the page itself provokes may go by without a word on the console; this gives it one.
REPORT_VIOLATIONS = """
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sourceFile, lineNumber }) =>
        console.error(`policy: ${violatedDirective} ${blockedURI} ${sourceFile}:${lineNumber}`));
"""


def _refuse(*_args: object, **_options: object) -> NoReturn:
    raise AssertionError("the next visitor would have this script too: open the window with visit(new=True)")


class Window:
    """A browser context and its first page."""

    def __init__(self, context: BrowserContext, options: dict[str, Any], key: str) -> None:
        self.context, self._options, self.key = context, options, key
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(REPORT_VIOLATIONS)
        self.page = context.new_page()
        if key:
            context.add_init_script = self.page.add_init_script = _refuse  # type: ignore[method-assign]

    def forget(self) -> None:
        """Bring the window back to the state in which it was opened."""
        for page in self.context.pages:
            if page is not self.page:
                page.close()
        self.page.unroute_all(behavior="ignoreErrors")
        self.context.set_offline(False)
        self.page.goto(EMPTY_PAGE)
        assert not self.page.evaluate(FORGET), "the next visitor would have this clock too: visit(new=True)"
        self.context.clear_cookies()
        self.context.clear_permissions()
        self.page.emulate_media(
            color_scheme=self._options["color_scheme"], reduced_motion=self._options["reduced_motion"]
        )
        self.page.set_viewport_size(self._options["viewport"])


def some_address() -> str:
    """Return an address from which visitors come."""
    return ".".join(["10", *(str(secrets.randbelow(256)) for _ in range(3))])


class Windows:
    """The windows of one browser. Those that are not in use are kept by what they were opened with."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: defaultdict[str, list[Window]] = defaultdict(list)

    def open(self, url: str, *, new: bool, **options: Any) -> Window:
        """Return a window for this address; a `new` one is closed after its use, so it can be changed for good."""
        given = {**DEFAULTS, **options}
        cookies = given.pop("storage_state", {}).get("cookies", [])
        permissions = given.pop("permissions", [])
        key = "" if new else f"{url} {sorted(given.items())}"
        if free := self._free[key]:
            window = free.pop()
        else:
            # Logging in is limited by address.
            headers = {"X-Forwarded-For": some_address()}
            context = self._browser.new_context(base_url=url, extra_http_headers=headers, **given)
            window = Window(context, given, key)
        window.context.add_cookies(cookies)
        window.context.grant_permissions(permissions)
        return window

    def close(self, window: Window) -> None:
        """Keep the window for another visitor, unless it is new, or its page or product is gone."""
        if window.key:
            try:
                window.forget()
            except PlaywrightError:
                window.key = ""
        if window.key:
            self._free[window.key].append(window)
        else:
            window.context.close()

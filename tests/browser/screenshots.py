"""Take screenshots of every page: phone and desktop, light and dark, Chinese and English.

`make screenshots` writes them to var/screenshots/, named by page, language, theme and device.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product as combinations
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import FLAGS
from tests.browser.visitor import Visitor
from tests.browser.windows import WAIT_MS, Windows
from tests.product import Product, connected
from tests.servers import ROOT
from tests.upstreams import FakeOpenAI

FOLDER = ROOT / "var/screenshots"
DEVICES = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
LOCALES = {"en": "en-US", "zh": "zh-CN"}
THEMES = ("light", "dark")
ENTRANCE = {
    "login": "/accounts/login/",
    "signup": "/accounts/signup/",
    "reset": "/accounts/password/reset/",
    "api": "/api/docs/",
    "offline": "/offline/",
    "not-found": "/nowhere/",
    "admin-login": "/admin/login/",
}
ACCOUNT = {
    "chat": "/",
    "tools": "/tools/",
    "usage": "/usage/",
    "invite": "/invite/",
    "email": "/accounts/email/",
    "password": "/accounts/password/change/",
    "tokens": "/accounts/tokens/",
    "connect": "/accounts/connect/",
    "data": "/accounts/data/",
    "sessions": "/accounts/sessions/",
    "second-factor": "/accounts/2fa/",
    "authenticator": "/accounts/2fa/totp/activate/",
    "delete": "/accounts/delete/",
    "push-demo": "/push-demo/",
}
STAFF = {"admin": "/admin/", "dashboard": "/admin/dashboard/", "admin-models": "/admin/providers/chatmodel/"}
COMPLETION = """## Tides

The moon **pulls** the water; see $F = G m M / r^2$.

| Place | Range |
|---|---|
| Bay of Fundy | 16 m |

- [x] read
- [ ] swim

```python
def tide(hour: float) -> float:
    return 2.5 * math.cos(hour / 12.4 * 2 * math.pi)
```

```mermaid
flowchart LR
  Moon --> Water --> Tide
```
"""


@contextmanager
def running() -> Iterator[tuple[Windows, Product]]:
    """Start the product and a browser."""
    folder = Path(tempfile.mkdtemp(prefix="rivulet-screenshots-"))
    try:
        with (
            FakeOpenAI.in_thread() as upstream,
            Product(folder, **{**connected(upstream), "OPENAI_MODELS": "gpt-4o=echo,deepseek-v3=plain"}) as site,
            sync_playwright() as playwright,
        ):
            program = shutil.which("chromium") or "/usr/bin/chromium"
            yield Windows(playwright.chromium.launch(executable_path=program, args=FLAGS)), site
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def take(page: Page, paths: dict[str, str], kind: str) -> None:
    """Take one screenshot of each page."""
    for name, path in paths.items():
        page.goto(path)
        page.wait_for_load_state("networkidle")
        if name == "conversation":
            expect(page.locator(".diagram img")).to_be_visible()
        page.screenshot(
            path=FOLDER / f"{name}-{kind}.png", full_page=name not in {"chat", "conversation", "comparison"}
        )


def ask_something(visitor: Visitor) -> str:
    """Make a conversation, and return its path."""
    visitor.page.goto("/")
    visitor.answer(COMPLETION, "gpt-4o")
    expect(visitor.page.locator(".diagram img")).to_be_visible()
    return visitor.page.url.removeprefix(visitor.url)


def compare_models(visitor: Visitor) -> str:
    """Make a conversation in which the user has not chosen between two models yet, and return its path."""
    page = visitor.page
    page.goto("/")
    page.get_by_role("button", name="Compare two models").click()
    page.get_by_role("button", name="deepseek-v3", exact=True).click()
    visitor.answer("How do tides work?", "gpt-4o")
    return page.url.removeprefix(visitor.url)


def main() -> None:
    """Take all screenshots, or those of the pages that are named as arguments."""
    wanted = set(sys.argv[1:])
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    expect.set_options(timeout=WAIT_MS)
    with running() as (windows, site):
        user, admin = Visitor(windows, site).register().log_in(), Visitor(windows, site)
        admin.name = "admin"
        admin.log_in()
        account = {**ACCOUNT, "conversation": ask_something(user), "comparison": compare_models(user)}
        cookies = {"": {}, user.name: user.context.storage_state(), "admin": admin.context.storage_state()}
        for (who, state), (language, locale), theme, device in combinations(
            cookies.items(), LOCALES.items(), THEMES, DEVICES
        ):
            paths = {"": ENTRANCE, "admin": STAFF}.get(who, account)
            chosen = {name: path for name, path in paths.items() if not wanted or name in wanted}
            options = {**DEVICES[device], "locale": locale, "color_scheme": theme, "storage_state": state}
            visitor = Visitor(windows, site, **options)
            take(visitor.page, chosen, f"{language}-{theme}-{device}")
            visitor.leave()
    print(f"{len(list(FOLDER.iterdir()))} screenshots in {FOLDER}")


if __name__ == "__main__":
    main()

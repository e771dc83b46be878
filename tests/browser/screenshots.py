"""Take screenshots of every page: phone and desktop, light and dark, Chinese and English.

`make screenshots` writes them to var/screenshots/, named by page, language, theme and device. Arguments choose: names
of pages, and of languages, themes and devices, such as `python -m tests.browser.screenshots settings zh phone`.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product as combinations
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser import pictured
from tests.browser.conftest import FLAGS
from tests.browser.pictured import Seen
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
FURTHER_ENTRANCE = {"signup-invited": "/accounts/signup/?invite=CLASS7B", "privacy": "/privacy/"}
FURTHER_ACCOUNT = {"menu": "/", "settings": "/", "settings-presets": "/", "refused": "/"}
FURTHER_ACCOUNT |= {"security": "/accounts/security/"}
GUEST = {"guest": "/", "guest-menu": "/", "guest-settings": "/", "guest-keep": "/accounts/keep/"}
STAFF = {"admin": "/admin/", "dashboard": "/admin/dashboard/", "admin-models": "/admin/providers/chatmodel/"}
# Pages with rows that only the products of this module have, and pages on which something is done first.
ROWS_OF_STAFF = {
    "admin-upstreams": "/admin/providers/upstream/",
    "admin-alerts": "/admin/providers/alert/",
    "admin-users": "/admin/accounts/user/",
    "admin-invitations": "/admin/accounts/signupcode/",
    "admin-audit": "/admin/accounts/auditentry/",
    "admin-announcements": "/admin/chat/announcement/",
    "admin-announcement": "/admin/chat/announcement/add/",
    "admin-quotas": "/admin/quotas/quota/",
    "admin-codes": "/admin/quotas/redeembatch/add/",
    "admin-words": "/admin/chat/sensitiveword/",
    "admin-words-import": "/admin/chat/sensitiveword/import/",
    "admin-words-try": "/admin/chat/sensitiveword/try/",
    "admin-phrases": "/admin/chat/allowedphrase/",
    "admin-patterns": "/admin/chat/sensitivepattern/",
    "admin-pattern": "/admin/chat/sensitivepattern/add/",
    "admin-pattern-tried": "/admin/chat/sensitivepattern/{chat_sensitivepattern}/change/",
    "admin-refusals": "/admin/chat/refusaltext/",
    "admin-refusal": "/admin/chat/refusaltext/{chat_refusaltext}/change/",
    "admin-hits": "/admin/chat/hit/",
    "admin-hit": "/admin/chat/hit/{chat_hit}/context/",
}
# Pages that fill the window, of which a longer picture would show nothing more.
FULL_WINDOW = {"chat", "conversation", "comparison", "menu", "settings", "settings-presets", "refused", "announced"}
FULL_WINDOW |= {*GUEST} - {"guest-keep"}
STRICT = {"TERMS_VERSION": "2026-11", "TERMS_URL": "https://example.org/terms", "SIGNUP_MIN_AGE": "14"}
STRICT |= {"SIGNUP_APPROVAL": "true", "SITE_NAME": "Ruixi", "SITE_LEGAL_NUMBER": "京ICP备12345678号"}


def open_menu(page: Page) -> None:
    """Open the user's menu, which a phone has in its drawer."""
    if page.locator("#open-sidebar").is_visible():
        page.locator("#open-sidebar").click()
    page.locator(".user-menu summary").click()
    expect(page.locator(".user-menu .menu-panel")).to_be_visible()


def open_settings(page: Page, section: str = "") -> None:
    """Open the settings dialog, at a section."""
    page.locator(f"[data-open-settings='{section}']").dispatch_event("click")
    expect(page.locator("#settings-dialog")).to_be_visible()
    page.wait_for_load_state("networkidle")


def send_refused(page: Page) -> None:
    """Send a prompt that is refused."""
    page.fill("#prompt", f"Where is {pictured.WORD} sold?")
    page.locator("[data-part=send]").click()
    expect(page.locator(".answer [data-part=failure]")).to_be_visible()


def try_pattern(page: Page) -> None:
    """Try a pattern in its form."""
    page.fill("[name=tried_text]", "Call 13800138000 or 010-12345678.")
    page.locator("[name=_try]").click()
    expect(page.locator("#tried")).to_be_visible()


# What is done on a page before the picture.
STEPS: dict[str, Callable[[Page], None]] = {
    "conversation": lambda page: expect(page.locator(".diagram img")).to_be_visible(),
    "menu": open_menu,
    "guest-menu": open_menu,
    "settings": open_settings,
    "settings-presets": lambda page: open_settings(page, "presets"),
    "guest-settings": open_settings,
    "refused": send_refused,
    "admin-pattern-tried": try_pattern,
}


@contextmanager
def running() -> Iterator[tuple[Windows, Product, Product]]:
    """Start a browser and two products: a usual one, and one that asks new users for everything."""
    folder = Path(tempfile.mkdtemp(prefix="rivulet-screenshots-"))
    try:
        with FakeOpenAI.in_thread() as upstream, sync_playwright() as playwright:
            variables = {**connected(upstream), "OPENAI_MODELS": "gpt-4o=echo,deepseek-v3=plain"}
            variables |= {"DAILY_LIMIT_STANDARD": "50", "GUEST_DAILY_LIMIT": "3", "HIT_EXCERPT_CHARS": "200"}
            with (
                Product(folder / "usual", **variables) as usual,
                Product(folder / "strict", **variables, **STRICT) as strict,
            ):
                program = shutil.which("chromium") or "/usr/bin/chromium"
                yield Windows(playwright.chromium.launch(executable_path=program, args=FLAGS)), usual, strict
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def take(page: Page, pages: dict[str, str], kind: str) -> None:
    """Take one screenshot of each page."""
    for name, path in pages.items():
        page.goto(path)
        page.wait_for_load_state("networkidle")
        if name in STEPS:
            STEPS[name](page)
        page.screenshot(path=FOLDER / f"{name}-{kind}.png", full_page=name not in FULL_WINDOW)


def prepare(windows: Windows, usual: Product, strict: Product) -> list[Seen]:
    """Make what the pictures show, and return the pages of each visitor."""
    pictured.fill_lists(usual)
    user, admin, terms = (Visitor(windows, product) for product in (usual, usual, strict))
    user.register().log_in()
    admin.name = terms.name = "admin"
    admin.log_in()
    terms.page.goto("/accounts/login/")
    terms.fill_in_login(terms.page)
    expect(terms.page).to_have_url(f"{terms.url}/accounts/terms/?next=%2F")
    conversation = pictured.ask_something(user)
    pictured.keep_presets(user)
    account = {**ACCOUNT, **FURTHER_ACCOUNT, "conversation": conversation, "comparison": pictured.compare_models(user)}
    account["shared"] = pictured.share(user, conversation)
    pictured.find_hits(user)
    tables = ("chat_sensitivepattern", "chat_refusaltext", "chat_hit")
    rows = {table: pictured.first_id(usual, table) for table in tables}
    staff = {name: path.format(**rows) for name, path in {**STAFF, **ROWS_OF_STAFF}.items()}
    announced, guest = pictured.announced(windows, usual), pictured.guest(windows, usual)
    return [
        Seen(usual, {**ENTRANCE, **FURTHER_ENTRANCE}),
        Seen(usual, account, user.context.storage_state()),
        Seen(usual, staff, admin.context.storage_state()),
        Seen(usual, {"announced": "/"}, announced.context.storage_state()),
        Seen(usual, GUEST, guest.context.storage_state()),
        Seen(strict, {"login-strict": "/accounts/login/", "signup-strict": "/accounts/signup/"}),
        Seen(strict, {"terms": "/accounts/terms/"}, terms.context.storage_state()),
        Seen(strict, {"approval": "/"}, pictured.sign_up(strict)),
    ]


def main() -> None:
    """Take all screenshots, or those that the arguments choose."""
    wanted = set(sys.argv[1:])
    kinds = [list(LOCALES), list(THEMES), list(DEVICES)]
    languages, themes, devices = ([name for name in kind if name in wanted] or kind for kind in kinds)
    names = wanted - {name for kind in kinds for name in kind}
    if not wanted:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=WAIT_MS)
    with running() as (windows, usual, strict):
        for seen, language, theme, device in combinations(prepare(windows, usual, strict), languages, themes, devices):
            chosen = {name: path for name, path in seen.pages.items() if not names or name in names}
            options = {"locale": LOCALES[language], "color_scheme": theme, "storage_state": seen.state}
            visitor = Visitor(windows, seen.product, **DEVICES[device], **options)
            take(visitor.page, chosen, f"{language}-{theme}-{device}")
            visitor.leave()
    print(f"{len(list(FOLDER.iterdir()))} screenshots in {FOLDER}")


if __name__ == "__main__":
    main()

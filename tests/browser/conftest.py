"""One Chromium and two products for this folder; each visitor has an own set of cookies and faults.

Playwright's synchronous interface keeps an event loop in this thread for as long as it lives. Its fixture ends with the
folder, so that no other test finds that loop running.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, StorageState, expect, sync_playwright

from tests.browser.visitor import Visitor, log_in
from tests.browser.windows import WAIT_MS, Windows
from tests.paused import PausedUpstream
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

FOLDER = Path(__file__).parent
# A completion that no test waits for.
LASTING = "paced:900:50"
# The last one keeps a page that got out of hand from reaching anything, whatever it tries.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]

Visit = Callable[..., Visitor]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives the browser, so that `make check` leaves it out."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker("browser")


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    # The one without a desktop takes a third of the CPU.
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(program).exists():
        message = "Chromium is not installed: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def windows(chromium: Browser) -> Windows:
    """The windows of the browser."""
    return Windows(chromium)


@pytest.fixture(scope="package")
def upstream() -> Iterator[PausedUpstream]:
    """An upstream for all products of this folder."""
    with PausedUpstream.in_thread() as server:
        yield server


@pytest.fixture(scope="package")
def site(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product with everyday limits. `gpt-4-echo` has a quota that lasts."""
    models = {"lasting": LASTING, "cites-prompt": "cites_prompt"}
    variables = connected(upstream, **models, **{"cited-hostile": "cited:<img src=x onerror=alert(1)>"})
    limits = {"DAILY_LIMIT_STANDARD": "50", "DAILY_LIMIT_PREMIUM": "1000", "GUEST_DAILY_LIMIT": "2"}
    with Product(tmp_path_factory.mktemp("site"), **{**variables, **limits}) as running:
        yield running


@pytest.fixture(scope="package")
def mortal(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product to kill, or to change: one answer a day, and a process that is silent for a second is dead."""
    variables = {
        **connected(upstream, **{"gpt-4": "plain", "gpt-4-lasting": LASTING, "lasting": LASTING}),
        "DAILY_LIMIT_STANDARD": "1",
        "PROCESS_LEASE_SECONDS": "1",
    }
    with Product(tmp_path_factory.mktemp("mortal"), **variables) as running:
        yield running


@dataclass(frozen=True)
class Regular:
    """A user who has logged in before."""

    api_user: ApiUser
    cookies: StorageState


@pytest.fixture(scope="module")
def regular(site: Product) -> Regular:
    """The account of all visitors of a module."""
    api_user = site.register(f"p{secrets.token_hex(5)}")
    return Regular(api_user, log_in(site, api_user.name))


@pytest.fixture(scope="package")
def admin(windows: Windows, mortal: Product) -> Regular:
    """The first admin, who has come to the administration and logged in."""
    somebody = Visitor(windows, mortal).become(mortal.admin())
    somebody.page.goto("/admin/")
    somebody.fill_in_login(somebody.page)
    expect(somebody.page).to_have_url(f"{mortal.url}/admin/")
    cookies = somebody.context.storage_state()
    assert not somebody.leave()
    return Regular(mortal.admin(), cookies)


@pytest.fixture
def visit(windows: Windows, site: Product) -> Iterator[Visit]:
    """Return a function that opens a window for a visitor; any fault on one of its pages fails the test."""
    visitors: list[Visitor] = []

    def sit_down(product: Product = site, **options: Any) -> Visitor:
        visitors.append(Visitor(windows, product, **options))
        return visitors[-1]

    yield sit_down
    faults = [fault for visitor in visitors for fault in visitor.leave()]
    assert not faults, "\n".join(faults)


@pytest.fixture
def user(visit: Visit, regular: Regular) -> Visitor:
    """Return a logged-in visitor who has opened no page yet."""
    return visit(storage_state=regular.cookies).become(regular.api_user)


@pytest.fixture
def visitor(user: Visitor) -> Visitor:
    """Return a logged-in visitor, with the page of a new conversation open."""
    user.page.goto("/")
    user.wait_for_page()
    return user

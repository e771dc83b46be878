"""One headless Firefox for this folder, which is logged in to the shared product."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import conftest
from tests.firefox.bidi import Firefox, find
from tests.product import ApiUser, Product

FOLDER = Path(__file__).parent
# Firefox notes an attribute that KaTeX leaves empty in the MathML of a matrix, and ignores it; and fonts that it was
# loading when the page was left (NS_BINDING_ABORTED).
EXCUSED = ("‘columnspacing’ attribute of <mtable/>", "status=2152398850")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives the browser, so that `make check` leaves it out."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker("browser")


@dataclass(frozen=True)
class Reader:
    """A user at a Firefox."""

    browser: Firefox
    user: ApiUser

    def open(self, path: str) -> None:
        """Open a page of the product."""
        self.browser.open(self.user.product.url + path)


@pytest.fixture(scope="package")
def at_firefox(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A user who is logged in; the window stays open for all tests."""
    program = find()
    if program is None:
        conftest._missing("Firefox is not installed: apt-get install firefox-esr")
    user = product.register(f"p{secrets.token_hex(5)}")
    session = product.browser(user.name).cookies["sessionid"]
    with Firefox.started(program, tmp_path_factory.mktemp("firefox")) as browser:
        browser.allowed += (product.url,)
        browser.set_cookie(product.url, "sessionid", session)
        yield Reader(browser, user)


@pytest.fixture
def reader(at_firefox: Reader) -> Iterator[Reader]:
    """The user with a desktop's window; any fault on a page fails the test."""
    at_firefox.browser.resize(1280, 800)
    yield at_firefox
    faults = [fault for fault in at_firefox.browser.faults if not any(text in fault for text in EXCUSED)]
    at_firefox.browser.faults.clear()
    assert not faults, "\n".join(faults)

"""The theme that a user chooses: on every page, from the first paint, and in the administration."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import Visitor
from tests.product import PASSWORD, Product

# The colour behind each theme, `--page` of frontend/styles/tokens.css.
COLORS = {"light": "#fcfdfc", "dark": "#151b1d"}
# The theme in the page of the server, before any script of ours has run.
SERVED_THEME = """
    new MutationObserver((_, observer) => {
        if (!document.body) return;
        window.servedTheme = document.documentElement.dataset.theme ?? "system";
        observer.disconnect();
    }).observe(document, { childList: true, subtree: true });
"""
PAGES = ["/", "/usage/", "/tools/", "/invite/", "/push-demo/", "/accounts/email/", "/nothing-here/"]
# The way from dark to light differs in colours only.
CHOICES = [("light", "dark", PAGES), ("dark", "light", ["/", "/nothing-here/"])]


def choose(page: Page, theme: str) -> None:
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name=theme, exact=True).click()


@pytest.mark.parametrize(("system", "chosen", "pages"), CHOICES, ids=["dark", "light"])
def test_choice_holds_on_every_page(visit: Visit, regular: Regular, system: str, chosen: str, pages: list[str]) -> None:
    """The chosen theme holds at once, after a reload, and on every other page; `System` follows the system again."""
    visitor = visit(new=True, color_scheme=system, storage_state=regular.cookies).become(regular.api_user)
    visitor.expect_errors("404")
    page = visitor.page
    page.add_init_script(SERVED_THEME)
    page.goto("/")
    assert shown(page) == ("system", COLORS[system], system)
    choose(page, chosen.capitalize())
    assert shown(page) == ("system", COLORS[chosen], chosen)
    for path in pages:
        page.goto(path)
        assert (path, shown(page)) == (path, (chosen, COLORS[chosen], chosen))
    page.goto("/usage/")
    choose(page, "System")
    page.reload()
    assert shown(page) == ("system", COLORS[system], system)


def shown(page: Page) -> tuple[str, str, str]:
    """Return the theme that the server wrote, the colour behind the page, and the scheme of its controls."""
    style = "getComputedStyle(document.documentElement)"
    served, color, scheme = page.evaluate(
        f"[window.servedTheme, {style}.getPropertyValue('--page').trim(), {style}.colorScheme]"
    )
    return served, color, scheme


def test_browser_frame_and_other_tabs_follow(visitor: Visitor) -> None:
    """The colour of the browser's frame is that of the theme, and other tabs take the choice over."""
    page = visitor.page
    other = visitor.context.new_page()
    other.goto("/tools/")
    page.bring_to_front()
    choose(page, "Dark")
    colors = page.locator("meta[name=theme-color]").evaluate_all("metas => metas.map((meta) => meta.content)")
    assert colors == ["#101517", "#101517"]
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(other.locator("[data-theme-choice=dark]")).to_have_attribute("aria-pressed", "true")


def test_administration_is_in_step(visit: Visit, site: Product) -> None:
    """The administration has the chosen theme; its own button changes that of the other pages."""
    visitor = visit()
    visitor.name = "admin"
    page = visitor.page
    page.goto("/accounts/login/")
    choose(page, "Dark")
    visitor.fill_in_login(page, PASSWORD)
    visitor.wait_for_page()
    page.goto("/admin/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator(".theme-toggle:visible").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.goto("/")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")

"""axe-core finds no violation on any page of users, light and dark."""

import pytest
from playwright.sync_api import Page, expect

from tests import frontend_packages
from tests.browser.conftest import Regular, Visit
from tests.browser.screenshots import ACCOUNT, ENTRANCE, STAFF
from tests.browser.visitor import Visitor
from tests.product import Product


@pytest.fixture(scope="module")
def axe() -> str:
    """The program that looks for violations."""
    frontend_packages.install()
    return (frontend_packages.FOLDER / "axe-core/axe.min.js").read_text(encoding="utf-8")


# The API's page repeats a few forms for each route and each schema; one of a group shows them, and open.
SHORTEN = """() => {
    for (const more of document.querySelectorAll(".api details:nth-child(n + 2)")) more.remove();
    for (const each of document.querySelectorAll(".api details")) each.open = true;
}"""
# Django's own: an empty heading above the buttons of rows that are edited within a form.
DJANGOS = ["th.original"]
# Runs axe-core when no colour is on its way to another one; the end of a transition may begin others.
RUN = """async ([within, options, exclude]) => {
    const transitions = () => document.getAnimations().filter((running) => running instanceof CSSTransition);
    for (let running = transitions(); running.length; running = transitions()) running.forEach((one) => one.finish());
    const always = { preload: false, resultTypes: ["violations"] };
    const found = await axe.run({ include: [within], exclude }, { ...always, ...options });
    return found.violations;
}"""


def violations(page: Page, axe: str, within: str = "html") -> list[str]:
    """Return what axe-core finds wrong with the page as it is, or with an element of it, in both themes.

    The second theme differs in its colours only.
    """
    if not page.evaluate("'axe' in globalThis"):
        page.evaluate(axe)
    found = []
    for theme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        for one in page.evaluate(RUN, [within, options, DJANGOS]):
            found += [f"{page.url} {theme} {one['id']}: {node['html'][:160]}" for node in one["nodes"]]
    page.emulate_media(color_scheme="light")
    return found


def test_no_page_before_the_login_has_a_violation(visit: Visit, axe: str) -> None:
    """Log-in, sign-up, reset, the API page, the offline page and errors are accessible in both themes."""
    visitor = visit()
    visitor.expect_errors("status of 404")
    found: list[str] = []
    for path in ENTRANCE.values():
        visitor.page.goto(path)
        visitor.page.evaluate(SHORTEN)
        found += violations(visitor.page, axe)
    assert found == []


def test_no_page_of_an_account_has_a_violation(user: Visitor, axe: str) -> None:
    """Pages of an account are accessible in both themes, and so is the list of shortcuts."""
    page, found = user.page, []
    for path in [*ACCOUNT.values(), "/accounts/3rdparty/", "/accounts/logout/"]:
        page.goto(path)
        found += violations(page, axe)
    page.goto("/")
    user.wait_for_page()
    page.keyboard.press("Control+/")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    found += violations(page, axe)
    assert found == []


def test_no_conversation_has_a_violation(visitor: Visitor, axe: str) -> None:
    """A conversation is accessible, stored and just sent; prompts that scroll, and only these, are tab stops."""
    page = visitor.page
    visitor.answer("short", "echo")
    visitor.answer("line\n" * 100, "echo")
    for _ in range(2):
        expect(page.locator(".bubble")).to_have_count(2)
        expect(page.locator(".bubble[tabindex='0']")).to_have_count(1)
        assert violations(page, axe) == []
        page.reload()
        visitor.wait_for_page()


# What opens on the chat page, beside the list of shortcuts: the button, and what it opens.
OPENED = {
    ".user-menu summary": ".user-menu .menu-panel",
    "[popovertarget=theme-menu]": "#theme-menu",
    "#composer-more": "#composer-menu",
    ".wide-row-only[popovertarget=presets-menu]": "#presets-menu",
    "[popovertarget=compare-menu]": "#compare-menu",
    "#conversations [data-more]": "#conversation-menu",
    ".answer [data-part=more]": "#message-menu",
    "#share": "#share-dialog",
    "#edit-instructions": "#instructions-dialog",
    ".user-menu [data-open-settings]": "#settings-dialog",
    "#conversation-menu [data-action=rename]": "#rename-dialog",
    "#conversation-menu [data-action=delete]": "#delete-dialog",
    "#message-menu [data-action=delete]": "#delete-message-dialog",
}


def test_no_menu_and_no_dialog_has_a_violation(visitor: Visitor, axe: str) -> None:
    """Each menu and each dialog of the chat page is accessible in both themes."""
    page, found = visitor.page, []
    visitor.answer("short", "echo")
    for opener, opened in OPENED.items():
        page.evaluate("opener => document.querySelector(opener).click()", opener)
        expect(page.locator(opened)).to_be_visible()
        found += violations(page, axe, opened)
        page.keyboard.press("Escape")
    assert found == []


CHANGED = (
    "/admin/providers/upstream/1/change/",
    "/admin/providers/chatmodel/1/change/",
    "/admin/providers/alert/",
    "/admin/chat/announcement/add/",
)


def test_no_page_of_the_administration_has_a_violation(visit: Visit, mortal: Product, admin: Regular, axe: str) -> None:
    """The first page, the dashboard, a list and a form are accessible in both themes."""
    visitor = visit(mortal, storage_state=admin.cookies)
    visitor.expect_errors("Applying inline style")  # by axe-core itself
    page, found = visitor.page, []
    for path in [*STAFF.values(), *CHANGED]:
        page.goto(path)
        found += violations(page, axe)
    assert found == []

"""The page as an app: manifest, offline page, dictation, notifications."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import Visitor, content
from tests.paused import PAUSE, PausedUpstream
from tests.product import Product

# Stands for the browser's speech recognition: the test speaks, and Chromium's would send audio to its maker.
SPEECH = """
    globalThis.SpeechRecognition = class extends EventTarget {
        start() { globalThis.recognition = this; }
        stop() { this.dispatchEvent(new Event("end")); }
        abort() { this.stop(); }
        hear(...texts) {
            const results = texts.map(transcript => [{ transcript }]);
            this.dispatchEvent(Object.assign(new Event("result"), { results }));
        }
        fail(error) { this.dispatchEvent(Object.assign(new Event("error"), { error })); this.stop(); }
    };
"""
# Notes the notifications instead of showing them, and lets the test hide the tab.
NOTIFICATIONS = """
    globalThis.shown = [];
    // Chromium without a window grants no notifications.
    let permission = "default";
    Object.defineProperty(Notification, "permission", { get: () => permission });
    Notification.requestPermission = async () => (permission = "granted");
    globalThis.hide = () => Object.defineProperty(document, "hidden", { value: true, configurable: true });
    globalThis.unhide = () => delete document.hidden;
    ServiceWorkerRegistration.prototype.showNotification = async (...given) => shown.push(given);
"""


def test_the_page_can_be_installed(visit: Visit) -> None:
    """The manifest has a name, a start, standalone display and icons that load, also before a login."""
    visitor = visit(locale="zh-CN")
    page = visitor.page
    page.goto("/accounts/login/")
    address = page.get_attribute("link[rel=manifest]", "href")
    manifest = page.evaluate("async address => (await fetch(address)).json()", address)
    assert (manifest["name"], manifest["start_url"], manifest["display"]) == ("Rivulet", "/", "standalone")
    assert manifest["description"] == "与 AI 模型对话"
    sizes = {icon["sizes"]: page.evaluate(NATURAL_SIZE, icon["src"]) for icon in manifest["icons"]}
    assert {sizes["192x192"], sizes["512x512"]} == {192, 512}
    assert any(icon.get("purpose") == "maskable" for icon in manifest["icons"])
    assert page.evaluate(NATURAL_SIZE, page.get_attribute("link[rel=apple-touch-icon]", "href")) == 180


NATURAL_SIZE = """async src => {
    const image = Object.assign(new Image(), { src });
    await image.decode();
    return image.naturalWidth;
}"""


def kept(page: Page) -> list[str]:
    """Return the paths of all responses that the service worker keeps."""
    return list(
        page.evaluate("""async () => {
            const caches_ = await Promise.all((await caches.keys()).map(name => caches.open(name)));
            const requests = (await Promise.all(caches_.map(cache => cache.keys()))).flat();
            return requests.map(({ url }) => new URL(url).pathname);
        }""")
    )


def test_without_a_connection_a_page_says_so(visit: Visit, mortal: Product) -> None:
    """The service worker shows the offline page, and keeps nothing of the user; later the real page comes back."""
    visitor = visit(mortal, new=True, service_workers="allow").register().enter()
    # The last is about the service worker, for a newer one of which the browser may be looking just then.
    visitor.expect_errors("ERR_CONNECTION_REFUSED|Failed to load resource|Failed to fetch|fetching the script")
    page = visitor.page
    page.evaluate("async () => { await navigator.serviceWorker.ready; }")
    visitor.answer("a secret", "gpt-4")
    page.reload()
    page.wait_for_function("() => navigator.serviceWorker.controller")
    mortal.kill()
    # What the browser keeps by itself would hide that the worker's own files are missing.
    visitor.context.new_cdp_session(page).send("Network.clearBrowserCache")
    page.reload()
    expect(page.locator("h1")).to_have_text("No connection")
    assert page.evaluate(NATURAL_SIZE, page.get_attribute(".brand img", "src"))
    assert page.evaluate("() => getComputedStyle(document.querySelector('.button')).borderRadius") != "0px"
    paths = kept(page)
    assert all(path == "/offline/" or path.startswith("/static/chat/") for path in paths), paths
    assert len(paths) == 4
    mortal.start()
    page.get_by_role("link", name="Try again").click()
    expect(page.locator(".answer")).to_have_count(1)


def test_dictation_writes_into_the_prompt(visit: Visit, regular: Regular) -> None:
    """Speech is written where the caret is, while it is heard; a failure is shown, and without speech no button."""
    visitor = visit(new=True, storage_state=regular.cookies)
    page = visitor.page
    visitor.context.add_init_script(SPEECH)
    button = page.get_by_role("button", name="Dictate")
    page.goto("/")
    visitor.wait_for_page()
    page.fill("#prompt", "First,")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.evaluate("() => recognition.hear('boil the wat')")
    expect(page.locator("#prompt")).to_have_value("First, boil the wat")
    page.evaluate("() => recognition.hear('boil the water', ' now')")
    expect(page.locator("#prompt")).to_have_value("First, boil the water now")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    page.evaluate("() => recognition.fail('not-allowed')")
    expect(page.get_by_role("status").filter(has_text="microphone")).to_be_visible()
    visitor.context.add_init_script("delete globalThis.SpeechRecognition; delete globalThis.webkitSpeechRecognition")
    page.reload()
    visitor.wait_for_page()
    expect(button).to_be_hidden()


def test_a_long_answer_that_ends_in_a_hidden_tab_notifies(
    visit: Visit, regular: Regular, upstream: PausedUpstream
) -> None:
    """Only users who asked for it are notified, with the conversation's title and how it ended."""
    visitor = visit(new=True, storage_state=regular.cookies, service_workers="allow")
    page = visitor.page
    visitor.context.add_init_script(NOTIFICATIONS)
    page.clock.install()
    page.goto("/")
    visitor.wait_for_page()

    def end_hidden(prompt: str) -> list[Any]:
        visitor.ask(f"{prompt}{PAUSE}.", "paused")
        visitor.wait_for_text()
        page.clock.fast_forward(9_000)
        page.evaluate("() => hide()")
        upstream.go_on(f"{prompt}{PAUSE}.")
        visitor.wait_for_end()
        page.evaluate("() => unhide()")
        return list(page.evaluate("() => shown"))

    assert end_hidden("not wanted") == []
    page.click(".user-menu summary")
    page.get_by_role("switch", name="Notify me").click()
    expect(page.get_by_role("switch", name="Notify me")).to_be_checked()
    page.keyboard.press("Escape")
    end_hidden("wanted")
    page.wait_for_function("() => shown.length")
    ((title, options),) = page.evaluate("() => shown")
    assert (title, options["body"]) == (f"not wanted{PAUSE}.", "Answer complete.")


def test_a_tab_from_before_an_upgrade_reloads_itself(visitor: Visitor) -> None:
    """A tab whose scripts are gone reloads once the completion is there, and keeps the draft."""
    visitor.expect_errors("status of 404|Failed to fetch dynamically imported module")
    page = visitor.page
    visitor.wait_for_page()
    page.evaluate("() => { globalThis.isOldTab = true; }")
    page.route("**/chunks/code-highlighter-*", lambda route: route.fulfill(status=404), times=1)
    page.route(re.compile(r"/static/chat/[a-z-]+-[0-9A-Z]{8}\.js$"), lambda route: route.fulfill(status=404), times=1)
    visitor.ask("```js\nlet x = 1;\n```", "echo")
    page.fill("#prompt", "a draft")
    page.wait_for_function("() => !globalThis.isOldTab")
    expect(page.locator("#prompt")).to_have_value("a draft")
    expect(content(visitor.last).locator("code [class^=hljs]").first).to_be_visible()


def test_a_tab_from_before_an_upgrade_keeps_its_attachments(visit: Visit, regular: Regular) -> None:
    """A tab whose scripts are gone does not reload while a file is attached to the prompt."""
    visitor = visit(new=True, storage_state=regular.cookies)
    visitor.expect_errors("status of 404|Failed to fetch dynamically imported module")
    page = visitor.page
    page.clock.install()
    page.goto("/")
    visitor.wait_for_page()
    page.evaluate("() => { globalThis.isOldTab = true; }")
    page.set_input_files("#attach-files", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"one"})
    remove = page.get_by_role("button", name="Remove a.txt")
    expect(remove).to_be_visible()
    page.route("**/chunks/settings-*", lambda route: route.fulfill(status=404), times=1)
    script = re.compile(r"/static/chat/[a-z-]+-[0-9A-Z]{8}\.js$")
    page.route(script, lambda route: route.fulfill(status=404), times=1)
    page.click(".user-menu summary")
    with page.expect_response(script):
        page.get_by_role("button", name="Settings").click()
    page.clock.run_for(5_000)
    assert page.evaluate("() => globalThis.isOldTab")
    remove.click()
    page.wait_for_function("() => !globalThis.isOldTab")

"""Attachments in the page: pasted, dropped and chosen; shown, removed, refused in place, sent and kept."""

import base64
from typing import Any

from playwright.sync_api import FilePayload, Locator, Page, expect

from tests import files
from tests.browser.visitor import Visitor
from tests.upstreams import FakeOpenAI

RED = files.picture("PNG", (300, 200))
# Gives files to an event on an element, as a browser does for the clipboard and for files that are dragged. Files over
# the page send such an event again and again, until the next one of another kind.
GIVE = """
    ([selector, kind, name, type, content]) => {
        const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name, { type }));
        const options = { bubbles: true, cancelable: true };
        const create = () => kind === "paste"
            ? new ClipboardEvent(kind, { ...options, clipboardData: transfer })
            : new DragEvent(kind, { ...options, dataTransfer: transfer });
        const send = () => document.querySelector(selector).dispatchEvent(create());
        clearInterval(window.dragging);
        send();
        if (kind === "dragover") window.dragging = setInterval(send, 100);
    }
"""


def give(page: Page, kind: str, name: str, media_type: str, content: bytes) -> None:
    page.evaluate(GIVE, ["#prompt", kind, name, media_type, base64.b64encode(content).decode()])


def payload(name: str, content: bytes, media_type: str = "text/plain") -> FilePayload:
    return {"name": name, "mimeType": media_type, "buffer": content}


def uploads(page: Page) -> Locator:
    return page.get_by_role("list", name="Attachments").get_by_role("listitem")


def sent(upstream: FakeOpenAI) -> Any:
    return upstream.requests[-1].body["messages"][-1]["content"]


def test_a_picture_and_a_text_are_sent(visitor: Visitor, upstream: FakeOpenAI) -> None:
    """A pasted picture and a dropped text are shown at the field, sent with the prompt, and shown with it for good."""
    page = visitor.page
    give(page, "paste", "image.png", "image/png", RED)
    expect(uploads(page).locator("img")).to_have_js_property("naturalWidth", 300)
    give(page, "dragover", "notes.txt", "text/plain", b"")
    expect(page.get_by_text("Drop files here to attach them")).to_be_visible()
    give(page, "drop", "notes.txt", "text/plain", b"The key is under the mat.")
    expect(page.get_by_text("Drop files here to attach them")).to_be_hidden()
    expect(uploads(page)).to_have_count(2)
    expect(uploads(page).last).to_contain_text("notes.txt")
    visitor.ask("What is it?", "plain")
    expect(page.locator(".prompt")).to_have_count(1)
    visitor.wait_for_end()
    image, text = sent(upstream)
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text["text"] == '<attachment name="notes.txt">\nThe key is under the mat.\n</attachment>\n\nWhat is it?'
    for _load in range(2):
        shown = page.locator(".prompt .attachment")
        expect(shown).to_have_count(2)
        expect(shown.first.locator("img")).to_have_js_property("naturalWidth", 300)
        expect(shown.last).to_have_text("notes.txt")
        page.reload()
        visitor.wait_for_page()
    expect(uploads(page)).to_have_count(0)
    page.locator(".prompt .attachment img").click()
    larger = page.get_by_role("dialog", name="Image")
    expect(larger.get_by_role("img")).to_be_visible()
    larger.get_by_role("button", name="Close").click()
    expect(larger).to_be_hidden()
    page.locator(".prompt").hover()
    page.get_by_role("button", name="Edit").click()
    expect(page.locator(".prompt.editing .attachment")).to_have_count(2)
    page.locator(".edit-form textarea").fill("What else?")
    page.locator(".edit-form").get_by_role("button", name="Send").click()
    visitor.wait_for_end()
    assert [part["type"] for part in sent(upstream)] == ["image_url", "text"]
    expect(page.locator(".prompt .attachment")).to_have_count(2)
    page.locator(".prompt").hover()
    page.get_by_role("button", name="Edit").click()
    form = page.locator(".edit-form")
    form.get_by_role("button", name="Remove notes.txt").press("Enter")
    expect(form.get_by_role("textbox")).to_be_focused()
    form.get_by_role("textbox").fill("")
    form.get_by_role("button", name="Send").click()
    visitor.wait_for_end()
    assert [part["type"] for part in sent(upstream)] == ["image_url"]
    for _load in range(2):
        expect(page.locator(".prompt .attachment")).to_have_count(1)
        expect(page.locator(".prompt .bubble")).to_be_hidden()
        page.reload()
        visitor.wait_for_page()
    look_at_made_images(visitor)


def look_at_made_images(visitor: Visitor) -> None:
    """Images that a model makes are shown below its text, live and after a reload; one that is lost is reported."""
    page, made = visitor.page, visitor.page.locator(".answer .attachment img")
    lost = "The model sent an image that was left out."
    visitor.answer('Draw [{"image_url": "data:image/png;base64,AAAA"}]', "pictured")
    expect(page.get_by_text(lost)).to_be_visible()
    expect(made).to_have_count(0)
    visitor.answer("Draw", "pictured")
    for _load in range(2):
        expect(made).to_have_js_property("naturalWidth", 40)
        page.reload()
        visitor.wait_for_page()
    made.click()
    expect(page.get_by_role("dialog", name="Image").get_by_role("img")).to_be_visible()


def test_files_are_chosen_refused_and_removed(visitor: Visitor, upstream: FakeOpenAI) -> None:
    """Chosen files are kept over a reload; a refused one says why in place, and is removed before sending."""
    page = visitor.page
    # A smaller limit, because a file of ten MiB takes the test's connection to the browser seconds.
    page.evaluate("document.getElementById('attach-files').dataset.maxBytes = 2 ** 20")
    page.fill("#prompt", "Read them")
    page.get_by_role("button", name="More options").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach", exact=True).click()
    visitor.expect_errors("400")
    chooser.value.set_files(
        [
            payload("a.txt", b"one"),
            payload("program.exe", b"MZ\0\0", "application/octet-stream"),
            payload("large.txt", b"x" * (2**20 + 1)),
        ]
    )
    expect(uploads(page)).to_have_count(3)
    expect(uploads(page).nth(1)).to_contain_text("application/x-msdownload")
    expect(uploads(page).nth(2)).to_contain_text("1 MiB")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_role("button", name="Remove program.exe").click()
    expect(page.get_by_role("button", name="Remove large.txt")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    expect(uploads(page).get_by_role("progressbar")).to_have_count(0)
    page.reload()
    visitor.wait_for_page()
    expect(uploads(page)).to_have_text(["a.txt"])
    page.get_by_role("button", name="Send").click()
    visitor.wait_until_sent()
    visitor.wait_for_end()
    assert sent(upstream) == '<attachment name="a.txt">\none\n</attachment>\n\nRead them'


def test_sending_waits_for_uploads(visitor: Visitor, upstream: FakeOpenAI) -> None:
    """Enter during an upload sends the prompt once the file is there, and only once."""
    page = visitor.page
    held: list[Any] = []
    page.route("**/api/attachments/", lambda route: held.append(route))
    with page.expect_request("**/api/attachments/"):
        give(page, "paste", "image.png", "image/png", RED)
    expect(uploads(page).get_by_role("progressbar")).to_be_visible()
    page.fill("#prompt", "What is it?")
    page.press("#prompt", "Enter")
    page.press("#prompt", "Enter")
    expect(page.locator(".prompt")).to_have_count(0)
    expect(page.locator("#prompt")).to_have_value("What is it?")
    held[0].continue_()
    expect(page.locator(".prompt .attachment img")).to_be_visible()
    visitor.wait_for_end()
    expect(page.locator(".prompt")).to_have_count(1)


def test_a_model_without_images_says_so_before(visitor: Visitor) -> None:
    """With a model that takes no images, the page says so and does not send; with another it sends."""
    page = visitor.page
    admin = visitor.product.admin().client
    row = next(row for row in admin.get("/api/admin/models/").json() if row["slug"] == "quick")
    assert admin.patch(f"/api/admin/models/{row['id']}/", json={"takes": []}).status_code == 200
    try:
        page.reload()
        visitor.wait_for_page()
        page.select_option("#model", "quick")
        give(page, "paste", "image.png", "image/png", RED)
        note = page.get_by_role("status").filter(has_text="does not take images")
        expect(note).to_be_visible()
        page.fill("#prompt", "What is it?")
        expect(page.get_by_role("button", name="Send")).to_be_disabled()
        page.select_option("#model", "plain")
        expect(note).to_be_hidden()
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
    finally:
        admin.patch(f"/api/admin/models/{row['id']}/", json={"takes": None})

"""Data that is kept and leaves: exports, imports, the archive, and the instructions of a conversation."""

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import Regular, Visit
from tests.browser.test_pages import choose
from tests.browser.visitor import Visitor, write_instructions
from tests.upstreams import FakeOpenAI


def test_a_download_is_brought_into_another_account(visit: Visit, tmp_path: Path) -> None:
    """One account imports the download of another, reads how many conversations came, and finds them in its list."""
    owner = visit().register().enter()
    owner.answer("to be taken along", "echo")
    owner.page.click(".user-menu summary")
    owner.page.click(".user-menu a[href='/accounts/data/']")
    with owner.page.expect_download() as download:
        owner.page.get_by_role("link", name="Download everything").click()
    file = tmp_path / "export.json"
    download.value.save_as(file)

    other = visit().register().enter()
    bring_in(other, file)
    expect(other.page.locator("#import-result")).to_have_text("Imported: 1 conversation with 2 messages.")
    other.page.goto("/")
    other.page.click("#conversations a")
    expect(other.page.locator("#messages > article")).to_have_count(2)
    assert other.shown() == ["to be taken along"] * 2


def test_a_file_of_another_product(user: Visitor, tmp_path: Path) -> None:
    """ChatGPT's file comes in, and the page lists what has no place here."""
    content = {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}, "What is it?"]}
    node = {"parent": None, "message": {"author": {"role": "user"}, "content": content, "create_time": 1.7e9}}
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps([{"title": "A picture", "create_time": 1.7e9, "mapping": {"a": node}}]))
    bring_in(user, file)
    expect(user.page.locator("#import-result")).to_contain_text("Imported: 1 conversation with 1 message.")
    expect(user.page.locator("#import-left-out li")).to_have_text("A picture: image")


def test_files_that_cannot_come_in(user: Visitor, tmp_path: Path) -> None:
    """A file that is not ours, or too large, is refused in words; nothing comes in."""
    user.expect_errors("status of 400")
    wrong = tmp_path / "file.json"
    for file, refusal in [
        (b"no JSON at all", "was not exported by Rivulet"),
        (b'{"format": "other", "version": 1, "conversations": []}', "The first mistake is at “format”."),
        (b" " * (32 * 2**20 + 1), "too large"),
    ]:
        wrong.write_bytes(file)
        bring_in(user, wrong)
        expect(user.page.locator("#import-result.error")).to_contain_text(refusal)


def bring_in(visitor: Visitor, file: Path) -> None:
    visitor.page.goto("/accounts/data/")
    visitor.page.set_input_files("#file", file)
    visitor.page.get_by_role("button", name="Import").click()


def test_exporting_one(visitor: Visitor, tmp_path: Path) -> None:
    """A conversation's menu gives it as Markdown and as JSON."""
    visitor.answer("one of many", "echo")
    for form, ending in (("markdown", ".md"), ("json", ".json")):
        row = visitor.page.locator("#conversations > [data-id]").first
        row.hover()
        row.locator("[data-more]").click()
        with visitor.page.expect_download() as download:
            visitor.page.click(f"[data-export={form}]")
        assert download.value.suggested_filename.endswith(ending)
        download.value.save_as(tmp_path / form)
    assert (tmp_path / "markdown").read_text().startswith("# one of many\n\n## You\n\none of many\n\n## echo")
    assert json.loads((tmp_path / "json").read_text())["conversations"][0]["title"] == "one of many"


def test_the_archive(visitor: Visitor) -> None:
    """An archived conversation leaves the list, is found in the archive, opens, and can be brought back."""
    page = visitor.page
    visitor.answer("put me away", "echo")
    address = page.url
    rows = page.locator("#conversations > [data-id]").filter(has_text="put me away")
    choose(visitor, "put me away", "archive")
    expect(rows).to_have_count(0)
    expect(page.locator("#archived-note")).to_be_visible()
    page.reload()
    expect(rows).to_have_count(0)
    page.get_by_role("button", name="Archived conversations").click()
    expect(rows).to_have_count(1)
    page.fill("#search", "nothing like it")
    expect(rows).to_have_count(0)
    page.fill("#search", "away")
    with page.expect_navigation():
        rows.locator("a").click()
    expect(page).to_have_url(re.compile(re.escape(address) + r"(\?message=\d+)?$"))
    page.locator("#archived-note").get_by_role("button", name="Unarchive").click()
    expect(page.locator("#archived-note")).to_be_hidden()
    expect(rows).to_have_count(1)

    choose(visitor, "put me away", "archive")
    expect(rows).to_have_count(0)
    page.get_by_role("button", name="Archived conversations").click()
    choose(visitor, "put me away", "unarchive")
    expect(rows).to_have_count(0)
    page.get_by_role("button", name="Archived conversations").click()
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)


def test_instructions(visitor: Visitor, upstream: FakeOpenAI) -> None:
    """Instructions go with the first prompt, survive a reload before it, and can be changed later."""
    page = visitor.page
    write_instructions(visitor, "Answer in French.")
    page.reload()
    visitor.answer("hello", "echo")
    assert system_prompt(upstream) == "Answer in French."
    page.reload()
    page.locator("#instructions summary").click()
    expect(page.locator("#instructions p")).to_have_text("Answer in French.")
    write_instructions(visitor, "Answer in Dutch.")
    visitor.answer("again", "echo")
    assert system_prompt(upstream) == "Answer in Dutch."
    write_instructions(visitor, "")
    expect(page.locator("#instructions")).to_be_hidden()
    page.goto("/")
    expect(page.locator("#instructions")).to_be_hidden()


def system_prompt(upstream: FakeOpenAI) -> Any:
    first = upstream.requests[-1].body["messages"][0]
    assert first["role"] == "system"
    return first["content"]


def test_logged_out_elsewhere(visit: Visit, regular: Regular, tmp_path: Path) -> None:
    """An import by a user whose login has ended is refused in words."""
    visitor = visit(storage_state=regular.cookies).become(regular.api_user)
    visitor.expect_errors("status of 40[13]")
    visitor.page.goto("/accounts/data/")
    visitor.context.clear_cookies()
    file = tmp_path / "file.json"
    file.write_text("{}")
    visitor.page.set_input_files("#file", file)
    visitor.page.get_by_role("button", name="Import").click()
    expect(visitor.page.locator("#import-result.error")).not_to_be_empty()

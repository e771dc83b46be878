"""What a user chooses beside the model: presets, parameters, and instructions for all conversations."""

import secrets
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor
from tests.upstreams import FakeOpenAI

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def open_settings(page: Page) -> None:
    page.locator(".user-menu summary").click()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()


def close_settings(page: Page) -> None:
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Settings")).to_be_hidden()


def sent(visitor: Visitor, upstream: FakeOpenAI) -> dict[str, Any]:
    """Ask, and return what the upstream got."""
    prompt = f"Question {secrets.token_hex(5)}"
    visitor.answer(prompt)
    return dict(upstream.asked(prompt)[-1].body)


def test_presets(visitor: Visitor, upstream: FakeOpenAI) -> None:
    """A user makes a preset, begins a conversation with it, leaves it, changes it, and deletes it."""
    page = visitor.page
    open_settings(page)
    page.get_by_role("button", name="New preset").click()
    page.get_by_label("Title").last.fill("Pirate")
    form = page.locator("[data-part=preset-form]")
    form.get_by_label("Model").select_option("gpt-4-echo")
    form.get_by_label("Instructions").fill("Speak like a pirate.")
    form.get_by_label("Temperature").fill("0.3")
    form.get_by_label("Reasoning effort").select_option("Low")
    form.get_by_role("button", name="Save preset").click()
    expect(page.locator(".preset-list")).to_contain_text("Pirate")
    close_settings(page)

    page.get_by_role("button", name="Presets").click()
    page.get_by_role("button", name="Pirate").click()
    expect(page.locator("#preset-chip")).to_contain_text("Pirate")
    expect(page.locator("#model")).to_have_value("gpt-4-echo")
    body = sent(visitor, upstream)
    assert body["messages"][0] == {"role": "system", "content": "Speak like a pirate."}
    assert (body["temperature"], body["reasoning_effort"]) == (0.3, "low")
    page.reload()
    visitor.wait_for_page()
    assert sent(visitor, upstream)["reasoning_effort"] == "low"
    page.get_by_role("button", name="Use no preset").click()
    body = sent(visitor, upstream)
    assert body["messages"][0]["content"] == "Speak like a pirate."
    assert "reasoning_effort" not in body

    open_settings(page)
    page.get_by_role("button", name="Edit – Pirate").click()
    page.get_by_label("Title").last.fill("Sailor")
    page.get_by_role("button", name="Save preset").click()
    page.get_by_role("button", name="Delete – Sailor").click()
    expect(page.locator(".preset-list li")).to_have_count(0)


def test_settings(visit: Visit, upstream: FakeOpenAI) -> None:
    """Parameters and instructions of the settings go with each prompt, also on a phone; a wrong number does not."""
    visitor = visit(**PHONE).register().enter()
    page = visitor.page
    visitor.api_user().client.post("/api/presets/", json={"title": "Cold", "parameters": {"temperature": 0.1}})
    page.locator("#open-sidebar").click()
    open_settings(page)
    dialog = page.get_by_role("dialog", name="Settings")
    own = dialog.locator("[data-part=parameters]")
    own.get_by_label("Temperature").fill("1.5")
    own.get_by_label("Longest answer").fill("0")
    own.get_by_label("Longest answer").fill("")
    instructions = dialog.get_by_role("textbox", name="Instructions for all conversations")
    instructions.fill("Write French.")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog.get_by_text("Saved.")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    page.locator("[data-close-sidebar]").first.click()
    page.select_option("#model", "gpt-4-echo")
    prompt = "on the phone"
    page.fill("#prompt", prompt)
    page.get_by_role("button", name="Send").click()
    visitor.wait_until_sent()
    visitor.wait_for_end()
    body = upstream.asked(prompt)[-1].body
    assert (body["messages"][0]["content"], body["temperature"]) == ("Write French.", 1.5)

    page.get_by_role("button", name="More options").click()
    page.get_by_role("button", name="Presets").click()
    page.get_by_role("button", name="Cold").click()
    page.fill("#prompt", "with a preset")
    page.get_by_role("button", name="Send").click()
    visitor.wait_until_sent()
    visitor.wait_for_end()
    assert upstream.asked("with a preset")[-1].body["temperature"] == 0.1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    send = page.get_by_role("button", name="Send").bounding_box()
    composer = page.locator("#composer").bounding_box()
    assert send
    assert composer
    assert send["x"] + send["width"] <= composer["x"] + composer["width"]

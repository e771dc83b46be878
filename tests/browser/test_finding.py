"""Finding conversations and messages: the list by day, times, search results that open at the hit."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import Visitor
from tests.product import ApiUser

# A Wednesday at noon in New York; on the server, in Shanghai, it is the next day.
NOW = datetime(2026, 11, 18, 17, 0, tzinfo=UTC)


def imported(api_user: ApiUser, title: str, texts: list[str], used: datetime, **values: Any) -> int:
    """Store a conversation of these turns, last used at this time, and return its id."""
    turns = [
        {
            "id": number + 1,
            "parent": number or None,
            "role": "assistant" if number % 2 else "user",
            "content": text,
            "reasoning": "",
            "model": "echo" if number % 2 else "",
            "created_at": (used + timedelta(seconds=number)).isoformat(),
        }
        for number, text in enumerate(texts)
    ]
    times = {"created_at": used.isoformat(), "updated_at": used.isoformat()}
    row = {"id": 1, "title": title, "pinned": False, "archived": False, "system_prompt": "", **times, **values}
    file = {"format": "rivulet", "version": 1, "conversations": [{**row, "messages": turns}]}
    stored = api_user.client.post("/api/import/", json=file)
    assert stored.status_code == 201, stored.text
    found = api_user.client.get("/api/conversations/", params={"search": title}).json()["results"]
    return int(next(each["id"] for each in found if each["title"] == title))


def listed(visitor: Visitor) -> list[str]:
    """Return the headings and titles of the list, in order."""
    return [text.strip() for text in visitor.page.locator("#conversations > li").all_inner_texts()]


def test_the_list_is_grouped_by_the_readers_days(visit: Visit, regular: Regular) -> None:
    """Headings follow the browser's days; paging, renaming, pinning, asking and midnight keep them right."""
    ages = {"now": 0, "at dawn": 11, "last night": 14, "five days": 5 * 24, "ten days": 240, "a hundred days": 2400}
    api_user = regular.api_user
    for title, hours in ages.items():
        imported(api_user, f"day {title}", ["hello", "hello"], NOW - timedelta(hours=hours))
    visitor = visit(storage_state=regular.cookies, timezone_id="America/New_York")
    page = visitor.page
    page.clock.install(time=NOW)
    page.goto("/")
    groups = [
        *("Today", "day now", "day at dawn", "Yesterday", "day last night", "Previous 7 days", "day five days"),
        *("Previous 30 days", "day ten days", "August 2026", "day a hundred days"),
    ]
    shown = listed(visitor)
    assert shown[shown.index("day now") - 1 :][: len(groups)] == groups
    expect(page.locator("#conversations h2", has_text="Yesterday")).to_be_visible()

    row = page.locator("#conversations > [data-id]").filter(has_text="day a hundred days")
    for action, before in [("pin", "Pinned"), ("unpin", "August 2026")]:
        row.hover()
        row.locator("[data-more]").click()
        page.click(f"[data-action={action}]")
        page.wait_for_function(
            "([title, heading]) => [...document.querySelectorAll('#conversations > li')].some((item, i, all) =>"
            " item.innerText.trim() === title && all[i - 1].innerText.trim() === heading)",
            arg=["day a hundred days", before],
        )
    page.clock.fast_forward("12:00:02")
    shown = listed(visitor)
    assert shown[shown.index("day now") - 1] == "Yesterday"
    assert shown[shown.index("day last night") - 1] == "Previous 7 days"

    page.click("#conversations a:has-text('day ten days')")
    visitor.answer("again", "echo")
    shown = listed(visitor)
    assert shown[shown.index("day ten days") - 1] == "Today"
    page.reload()
    expect(page.locator("#conversations a[aria-current=page]")).to_have_text("day ten days")


def test_each_message_has_its_time(visit: Visit, regular: Regular) -> None:
    """A message shows when it was created, in the reader's time zone, on hover; a new one has its time at once."""
    stored = imported(regular.api_user, "timed", ["hello", "good morning"], NOW)
    visitor = visit(storage_state=regular.cookies, timezone_id="America/New_York")
    page = visitor.page
    page.goto(f"/c/{stored}/")
    times = page.locator("#messages article time")
    expect(times.first).to_have_text(re.compile("Nov 18.*12:00"))
    created = [message["created_at"] for message in regular.api_user.messages(stored)]
    assert [times.nth(each).get_attribute("datetime") for each in range(2)] == created
    expect(times.first).to_have_css("opacity", "0")
    page.locator(".prompt").hover()
    expect(times.first).to_have_css("opacity", "1")

    visitor.answer("again", "echo")
    created = [message["created_at"] for message in regular.api_user.messages(stored)]
    for index in (2, 3):
        shown = datetime.fromisoformat(times.nth(index).get_attribute("datetime") or "")
        assert abs(shown - datetime.fromisoformat(created[index])) < timedelta(seconds=10)

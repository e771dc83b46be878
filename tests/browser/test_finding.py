"""Finding conversations and messages: the list by day, times, search results that open at the hit."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import Visitor
from tests.product import ApiUser
from tests.scrolling import RESTS

# A Wednesday at noon in New York; on the server, in Shanghai, it is the next day.
NOW = datetime(2026, 11, 18, 17, 0, tzinfo=UTC)

# Stops timers: those of four seconds wait for the next check, or remove the mark from a text that was found; those of
# a second and a half end the patience with a check, before a prompt is sent.
ASLEEP = """
    const later = window.setTimeout;
    window.setTimeout = (run, wait, ...rest) => [1500, 4000].includes(wait) ? 0 : later(run, wait, ...rest);
"""
# Where an element stands in the next frame, when the page has scrolled for what it has rendered.
SHOWN_TOP = """node => new Promise((resolve) => {
    const observer = new IntersectionObserver(([{ boundingClientRect }]) => {
        observer.disconnect();
        resolve(boundingClientRect.top);
    });
    observer.observe(node);
})"""


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


def long_conversation(api_user: ApiUser, title: str, hit: int, word: str) -> int:
    """Store a conversation of 60 messages, of which one has a word in its middle, and return its id."""
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    texts = [f"question {n}" if n % 2 == 0 else f"**Bold {n}**\n\n{'Words. ' * 80}\n\n{table}" for n in range(60)]
    texts[hit] = texts[hit].replace("Words. ", f"A **{word}** here. ", 1)
    return imported(api_user, title, texts, datetime.now(UTC) - timedelta(days=2))


def top_of(page: Page, text: str) -> float:
    """Return where the message with this text stands on the screen."""
    return float(page.locator(".answer", has_text=text).evaluate(SHOWN_TOP))


def listed(visitor: Visitor) -> list[str]:
    """Return the headings and titles of the list, in order."""
    return [text.strip() for text in visitor.page.locator("#conversations > li").all_inner_texts()]


def expect_below(page: Page, heading: str, title: str) -> None:
    """Wait until a conversation is the first one below a heading of the list."""
    page.wait_for_function(
        "([title, heading]) => [...document.querySelectorAll('#conversations > li')].some((item, i, all) =>"
        " item.innerText.trim() === title && all[i - 1].innerText.trim() === heading)",
        arg=[title, heading],
    )


def test_the_list_is_grouped_by_the_readers_days(visit: Visit, regular: Regular) -> None:
    """Headings follow the browser's days; paging, renaming, pinning, asking and midnight keep them right."""
    ages = {"now": 0, "at dawn": 11, "last night": 14, "five days": 5 * 24, "ten days": 240, "a hundred days": 2400}
    api_user = regular.api_user
    for title, hours in ages.items():
        imported(api_user, f"day {title}", ["hello", "hello"], NOW - timedelta(hours=hours))
    visitor = visit(new=True, storage_state=regular.cookies, timezone_id="America/New_York")
    page = visitor.page
    page.clock.install(time=NOW)
    page.goto("/")
    groups = [
        *("Today", "day now", "day at dawn", "Yesterday", "day last night", "Previous 7 days", "day five days"),
        *("Previous 30 days", "day ten days", "August 2026", "day a hundred days"),
    ]
    expect(page.locator("#conversations h2", has_text="Yesterday")).to_be_visible()
    shown = listed(visitor)
    assert shown[shown.index("day now") - 1 :][: len(groups)] == groups

    row = page.locator("#conversations > [data-id]").filter(has_text="day a hundred days")
    for action, before in [("pin", "Pinned"), ("unpin", "August 2026")]:
        row.hover()
        row.locator("[data-more]").click()
        page.click(f"[data-action={action}]")
        expect_below(page, before, "day a hundred days")
    page.clock.fast_forward("12:00:02")
    expect_below(page, "Yesterday", "day now")
    expect_below(page, "Previous 7 days", "day last night")

    with page.expect_navigation():
        page.click("#conversations a:has-text('day ten days')")
    visitor.answer("again", "echo")
    expect_below(page, "Today", "day ten days")
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
        assert abs(shown - datetime.fromisoformat(created[index])) < timedelta(minutes=1)


def test_a_search_leads_to_the_message(visit: Visit, regular: Regular) -> None:
    """A result shows an excerpt with the word, and opens at the message, also in a branch that is not shown first."""
    conversation = long_conversation(regular.api_user, "a haystack", 21, "needle")
    visitor = visit(new=True, storage_state=regular.cookies)
    page = visitor.page
    page.add_init_script(ASLEEP)
    page.goto("/")
    page.get_by_role("search").get_by_role("searchbox").fill("NEEDLE")
    row = page.locator("#conversations > [data-id]")
    expect(row).to_have_count(1)
    expect(row.locator("mark")).to_have_text("needle")
    row.locator("a").click()
    word = page.locator(".answer strong", has_text="needle")
    expect(word).to_be_in_viewport()
    expect(page.locator(".answer.found")).to_contain_text("needle")
    expect(page.locator(".answer [data-part=content]:not([data-rendered])")).to_have_count(0)
    expect(word).to_be_in_viewport()
    message = regular.api_user.messages(conversation)[21]["id"]
    assert page.url.endswith(f"/c/{conversation}/?message={message}")
    page.fill("#search", "question 14")
    page.locator("#conversations a", has_text="haystack").locator("mark").first.click()
    expect(page.locator(".prompt.found")).to_contain_text("question 14")
    expect(page.locator(".prompt.found")).to_be_in_viewport()


def test_the_place_is_kept(visit: Visit, regular: Regular) -> None:
    """Back and a reload show the same message at the same place; without a place the end is shown."""
    conversation = long_conversation(regular.api_user, "a place", 1, "word")
    visitor = visit(storage_state=regular.cookies)
    page = visitor.page
    page.goto(f"/c/{conversation}/")
    expect(visitor.last).to_be_in_viewport()
    visitor.wait_for_rendering()
    page.locator(".answer", has_text="Bold 31").scroll_into_view_if_needed()
    page.mouse.wheel(0, -150)
    expect(page.locator("#jump")).to_be_visible()
    page.evaluate(RESTS)
    before = top_of(page, "Bold 31")
    page.locator(".user-menu summary").click()
    page.get_by_role("link", name="Usage", exact=True).click()
    expect(page).to_have_url(re.compile("/usage/"))
    for come_back in (page.go_back, page.reload):
        come_back()
        visitor.wait_for_page()
        assert abs(top_of(page, "Bold 31") - before) < 3
        expect(page.locator(".answer [data-part=content]:not([data-rendered])")).to_have_count(0)
        assert abs(top_of(page, "Bold 31") - before) < 3
    page.click("#jump")
    page.reload()
    expect(visitor.last).to_be_in_viewport()


def test_two_tabs_show_one_conversation(visit: Visit, regular: Regular) -> None:
    """A turn of one tab shows in the other, of another browser too; a prompt there continues below what is new."""
    visitor = visit(storage_state=regular.cookies)
    first = visitor.page
    first.goto("/")
    visitor.answer("from the first tab", "echo")
    second = visitor.context.new_page()
    second.goto(first.url)
    visitor.wait_for_page(second)
    elsewhere = visit(storage_state=regular.cookies).page
    elsewhere.goto(first.url)
    more = elsewhere.locator("#conversations [data-more]").first
    more.focus()
    visitor.ask("and again", "lasting", first)
    for other in (second, elsewhere):
        expect(other.locator(".answer.running")).to_have_count(1)
    expect(more).to_be_focused()  # although its row has moved to its place
    second.get_by_role("button", name="Stop").click()
    visitor.wait_for_end()
    for other in (second, elsewhere):
        visitor.wait_for_end(other)
        expect(other.locator("#messages > article")).to_have_count(4)
        expect(other.locator(".answer").last.locator("[data-part=content]")).to_have_text(visitor.text)
    visitor.ask("from the second tab", "echo", second)
    expect(first.locator("#messages > article")).to_have_count(6)
    expect(first.locator(".answer").last).to_contain_text("from the second tab")
    for page in (first, second, elsewhere):
        expect(page.locator("#conversations > [data-id]").first).to_contain_text("from the first tab")
        expect(page.locator(".versions:visible")).to_have_count(0)


def test_a_stale_tab_does_not_branch_off(visit: Visit, regular: Regular) -> None:
    """A prompt in a tab that slept waits until the user has seen what is new; titles follow too."""
    visitor = visit(new=True, storage_state=regular.cookies)
    page = visitor.page
    page.add_init_script(ASLEEP)
    page.goto("/")
    visitor.answer("the beginning", "echo")
    conversation = page.url.split("/")[-2]
    page.reload()
    leaf = regular.api_user.messages(int(conversation))[-1]["id"]
    regular.api_user.answer("meanwhile", "echo", conversation=int(conversation), parent=leaf)
    regular.api_user.client.patch(f"/api/conversations/{conversation}/", json={"title": "another title"})
    page.evaluate("() => { const now = performance.now(); performance.now = () => now + 3_600_000 }")
    page.fill("#prompt", "too early")
    page.press("#prompt", "Enter")
    expect(page.locator("#went-on")).to_be_visible()
    expect(page.locator("#prompt")).to_have_value("too early")
    assert visitor.shown() == ["the beginning", "the beginning", "meanwhile", "meanwhile"]
    expect(page.locator("#title")).to_have_text("another title")
    page.press("#prompt", "Enter")
    expect(page.locator("#went-on")).to_be_hidden()
    visitor.wait_until_sent()
    visitor.wait_for_end()
    expect(page.locator("#messages > article")).to_have_count(6)
    messages = regular.api_user.messages(int(conversation))
    assert [message["parent"] for message in messages] == [None, *(message["id"] for message in messages[:-1])]


@pytest.mark.parametrize("asked", ["newest", "search"])
def test_a_list_that_was_read_before_a_deletion_is_read_again(visitor: Visitor, asked: str) -> None:
    """A deleted conversation does not come back when the list arrives that was asked for before."""
    page = visitor.page
    visitor.answer("deleted meanwhile", "echo")
    page.goto("/")
    visitor.wait_for_page()
    held: list[tuple[Route, APIResponse]] = []

    def wait_for_list(count: int) -> None:
        while len(held) < count:
            page.wait_for_timeout(10)

    page.route(re.compile(r"/api/conversations/(\?|$)"), lambda route: held.append((route, route.fetch())))
    if asked == "search":
        page.get_by_role("searchbox").fill("deleted meanwhile")
    else:
        page.evaluate("() => new BroadcastChannel('rivulet-conversations').postMessage({ conversation: null })")
    wait_for_list(1)
    row = page.locator("#conversations > [data-id]", has_text="deleted meanwhile")
    row.hover()
    row.locator("[data-more]").click()
    page.locator("#conversation-menu [data-action=delete]").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    for number in (1, 2):
        wait_for_list(number)
        route, response = held[number - 1]
        expect(row).to_have_count(0)
        route.fulfill(response=response)

"""Reading while a completion grows: the page goes where the reader goes, and keeps what the reader holds."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.test_mobile import PHONE
from tests.browser.visitor import POLLING_MS, Visitor, content, part

LINES = "".join(f"Line {number} of a long text.\n\n" for number in range(400))
LONG_TEXT = f"{LINES[:1200]}^^^{LINES[1200:]}"
ITEMS = "".join(f"{number}. Item **{number}** of a list\n" for number in range(1, 300))
DELTAS_20 = 160  # characters

DISTANCE = "() => document.documentElement.scrollHeight - innerHeight - scrollY"
TOP = "() => scrollY"
# Resolves when the page has not moved for 300 ms: the browser scrolls smoothly, and goes on after a swipe.
RESTS = """async () => {
    let top, since;
    do {
        if (scrollY !== top) [top, since] = [scrollY, performance.now()];
        await new Promise(requestAnimationFrame);
    } while (performance.now() - since < 300);
    return top;
}"""


@pytest.fixture
def reader(visitor: Visitor) -> Iterator[Visitor]:
    """A visitor whose generation, if one still runs at the end, is stopped."""
    yield visitor
    stop(visitor)


def stop(visitor: Visitor) -> None:
    """Press the stop button, if there is something to stop; the generation may end at the same time."""
    visitor.page.evaluate("() => document.querySelector('[data-part=stop]:not([hidden])')?.click()")
    visitor.wait_for_end()


def length(visitor: Visitor) -> int:
    """Return how many characters of the completion are shown."""
    return len(content(visitor.last).inner_text())


def grow(visitor: Visitor, chars: int = DELTAS_20) -> None:
    """Wait for so many more characters."""
    visitor.wait_for_text(more_than=length(visitor) + chars)


def fill_two_screens(visitor: Visitor) -> None:
    """Ask for a long text and wait until it is over two screens long."""
    visitor.ask(LONG_TEXT, "typed")
    wait_for_two_screens(visitor.page)


def wait_for_two_screens(page: Page) -> None:
    """Wait until the page is over two screens long."""
    two_screens = "() => document.documentElement.scrollHeight > 2.2 * innerHeight + 300"
    page.wait_for_function(two_screens, timeout=60_000, polling=POLLING_MS)


def stays(visitor: Visitor) -> None:
    """Assert that the page stays where it is, away from the end, while text arrives."""
    page = visitor.page
    top = page.evaluate(RESTS)
    grow(visitor)
    assert page.evaluate(TOP) == top
    assert page.evaluate(DISTANCE) > 96
    expect(page.locator("#jump")).to_be_visible()


def follows(visitor: Visitor) -> None:
    """Assert that the page follows the growing text."""
    for _ in range(2):
        grow(visitor)
        assert visitor.page.evaluate(DISTANCE) < 60
    expect(visitor.page.locator("#jump")).to_be_hidden()


def test_each_way_up_ends_following_and_the_end_resumes_it(reader: Visitor) -> None:
    """Small turns of the wheel, keys, and scrolling by a script or by find end following; the end resumes it."""
    page = reader.page
    fill_two_screens(reader)
    follows(reader)
    page.mouse.move(700, 300)
    for _ in range(20):
        page.mouse.wheel(0, -30)
        page.wait_for_timeout(50)
    stays(reader)
    page.mouse.wheel(0, 100_000)
    page.wait_for_timeout(300)
    follows(reader)

    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("PageUp")
    stays(reader)
    page.keyboard.press("End")
    page.wait_for_timeout(300)
    follows(reader)

    page.evaluate("() => scrollBy(0, -200)")  # as the scroll bar and find do
    stays(reader)
    page.click("#jump")
    follows(reader)


def test_a_change_of_height_is_no_wish_to_leave(visitor: Visitor) -> None:
    """A page that is shorter for a moment, and scrolls up by itself, goes on following its end."""
    page = visitor.page
    visitor.answer(LINES[:3000], "echo")
    page.evaluate(
        """async () => {
            const answer = document.querySelector(".answer");
            answer.style.display = "none";
            answer.getBoundingClientRect();
            Object.assign(answer.style, { display: "", paddingTop: "50px" });
            for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
        }"""
    )
    assert page.evaluate(DISTANCE) < 2
    expect(page.locator("#jump")).to_be_hidden()


def test_typing_and_scrolling_elsewhere_keep_following(reader: Visitor) -> None:
    """Keys in the field, and a wheel over something that scrolls itself, are no wish to leave the end."""
    page = reader.page
    fill_two_screens(reader)
    page.fill("#prompt", "\n".join(str(number) for number in range(40)))
    page.press("#prompt", "ArrowUp")
    page.press("#prompt", "Home")
    page.hover("#prompt")
    page.mouse.wheel(0, -30)
    page.wait_for_timeout(200)
    follows(reader)


def test_fingers(visit: Visit, regular: Regular) -> None:
    """On a phone, a swipe ends following, and the button to the end resumes it."""
    phone = {**PHONE, "viewport": {"width": 360, "height": 740}}
    reader = visit(storage_state=regular.cookies, **phone).become(regular.api_user)
    page = reader.page
    page.goto("/")
    page.select_option("#model", "typed")
    page.fill("#prompt", LONG_TEXT)
    page.get_by_role("button", name="Send").tap()
    wait_for_two_screens(page)
    swipe(reader, 250)
    stays(reader)
    page.locator("#jump").tap()
    follows(reader)
    swipe(reader, 20)
    top = page.evaluate(RESTS)
    grow(reader)
    assert page.evaluate(TOP) == top
    stop(reader)


def swipe(visitor: Visitor, pixels: int) -> None:
    """Move a finger down by so many pixels in a quarter of a second."""
    finger = visitor.context.new_cdp_session(visitor.page)
    steps = 10
    for step in range(steps + 1):
        point = {"x": 180, "y": 250 + pixels * step / steps}
        kind = "touchMove" if step else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        visitor.page.wait_for_timeout(250 / steps)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_selection_in_a_growing_list_stays(reader: Visitor) -> None:
    """Words of the first item stay selected while the list grows, and when a blank line makes it a loose one."""
    for text in (ITEMS, ITEMS.replace("\n", "\n\n")):
        reader.ask(text, "typed")
        reader.wait_for_text(more_than=150)
        select(reader.page, ".answer:last-child li")
        grow(reader)
        assert reader.page.evaluate("() => getSelection().toString()") == "Item 1 of"
        stop(reader)


def select(page: Page, selector: str) -> None:
    """Select the first words of an element, over several text nodes."""
    page.evaluate(
        """selector => {
            const element = document.querySelector(selector);
            const paragraph = element.querySelector("p");
            const range = document.createRange();
            range.setStart(paragraph.firstChild, 0);
            range.setEnd(paragraph.lastChild, 3);
            getSelection().removeAllRanges();
            getSelection().addRange(range);
        }""",
        selector,
    )


def test_a_selection_in_growing_code_and_tables_stays(reader: Visitor) -> None:
    """The first line of coloured code and the first row of a table stay selected while more follow."""
    code = "```python\n" + "".join(f"def f{number}():\n    return {number}\n" for number in range(200)) + "```"
    table = "| a | b |\n|---|---|\n" + "".join(f"| cell {number} | **{number}** |\n" for number in range(200))
    for text, node in ((code, "pre .hljs-title"), (table, "td")):
        reader.ask(text, "typed")
        expect(content(reader.last).locator(node).first).to_be_visible()
        reader.wait_for_text(more_than=80)
        reader.page.evaluate(
            "node => getSelection().selectAllChildren(document.querySelector(node))", f".answer:last-child {node}"
        )
        before = reader.page.evaluate("() => getSelection().toString()")
        assert before
        grow(reader)
        assert reader.page.evaluate("() => getSelection().toString()") == before
        stop(reader)


def test_code_and_tables_stay_scrolled_sideways(reader: Visitor) -> None:
    """Growing code and a growing table stay where the reader has scrolled them."""
    code = "```python\n" + "".join(f"x{number} = '{'long ' * 60}'\n" for number in range(30)) + "```"
    row = "|" + "a wide cell of words|" * 30
    table = f"{row}\n|{'---|' * 30}\n" + f"{row}\n" * 20
    for text, selector in ((code, "pre"), (table, ".table")):
        reader.ask(text, "typed")
        box = content(reader.last).locator(selector)
        reader.wait_for_text(more_than=800)
        box.evaluate("node => { node.scrollLeft = 150 }")
        grow(reader)
        assert box.evaluate("node => node.scrollLeft") == 150
        stop(reader)


def test_a_pressed_pointer_holds_the_page(reader: Visitor) -> None:
    """While a pointer is pressed, nothing moves away below it; after it is released, the page follows again."""
    page = reader.page
    fill_two_screens(reader)
    page.mouse.move(700, 300)
    page.mouse.down()
    page.wait_for_timeout(100)
    top = page.evaluate(TOP)
    grow(reader)
    assert page.evaluate(TOP) == top
    page.mouse.up()
    follows(reader)


def test_a_button_that_is_pressed_while_the_list_grows(reader: Visitor) -> None:
    """Copy, pressed, held while text arrives below, and released, copies."""
    page = reader.page
    page.set_viewport_size({"width": 1280, "height": 1400})  # the button must stay until the mouse is there
    reader.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.ask(
        "1. Install:\n\n   ```bash\n   pip install x\n   ```\n\n2. Next\n" + "3. More text here\n" * 200, "typed"
    )
    button = content(reader.last).locator(".code-bar button")
    reader.wait_for_text(more_than=80)
    button.hover()
    page.mouse.down()
    grow(reader)
    page.mouse.up()
    expect(button).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == "pip install x\n"


def test_an_open_details_element_stays_open(reader: Visitor) -> None:
    """What the reader has opened stays open while it grows."""
    text = "<details>\n<summary>More</summary>\n\n" + "words and more words\n\n" * 100 + "</details>"
    reader.ask(text, "typed")
    content(reader.last).locator("summary").click()
    grow(reader)
    expect(content(reader.last).locator("details")).to_have_attribute("open", "")


def test_reasoning_stays_open_under_its_reader(reader: Visitor) -> None:
    """Reasoning folds away when the text begins, but not for a reader who has scrolled up into it."""
    page = reader.page
    reasoning = "".join(f"Thought {number}, and what follows from it.\n\n" for number in range(45))
    reader.ask(f"{reasoning}|||The text. {LINES}", "typed")
    text = part(reader.last, "reasoning-text")
    expect(text).to_contain_text("Thought 35,", timeout=60_000)
    page.mouse.move(1100, 100)
    page.mouse.wheel(0, -60)
    expect(content(reader.last)).to_contain_text("The text.", timeout=60_000)
    expect(text).to_be_visible()
    stop(reader)
    reader.ask("Short thought.|||The other text.", "typed")
    expect(content(reader.last)).to_contain_text("The other text.")
    expect(part(reader.last, "reasoning-text")).to_be_hidden()


def test_the_end_is_announced_without_the_text(reader: Visitor) -> None:
    """A live region announces that the completion is complete; its text stands in the page once."""
    for word in ("remarkable", "unheard-of"):
        reader.ask(f"This is a {word} sentence.", "echo")
        expect(reader.page.locator("#announcer")).to_have_text("Answer complete.")
        reader.wait_for_end()
        shown = reader.page.evaluate(
            """() => [...document.querySelectorAll("[aria-live], [role=status], [role=alert]")]
                .map(node => node.textContent).join()"""
        )
        assert word not in shown
        assert content(reader.last).inner_text().count(word) == 1


def test_enter_on_a_touch_keyboard(visit: Visit, regular: Regular) -> None:
    """On a phone Enter makes a new line; Send sends both lines as one prompt."""
    reader = visit(storage_state=regular.cookies, **PHONE).become(regular.api_user)
    page = reader.page
    page.goto("/")
    page.select_option("#model", "echo")
    page.tap("#prompt")
    page.keyboard.type("one")
    page.keyboard.press("Enter")
    page.keyboard.type("two")
    expect(page.locator("#prompt")).to_have_value("one\ntwo")
    expect(page.locator(".prompt")).to_have_count(0)
    expect(page.locator("#prompt")).to_have_attribute("enterkeyhint", "enter")
    page.get_by_role("button", name="Send").tap()
    reader.wait_for_end()
    assert reader.text == "one\ntwo"

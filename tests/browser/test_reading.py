"""Reading while a completion grows: the page goes where the reader goes, and keeps what the reader holds.

Most completions here grow when the test wants it. Those of the model `typed` come at a human reader's speed, for what
has to work while text arrives all the time.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.test_mobile import PHONE
from tests.browser.visitor import POLLING_MS, Visitor, content, part, saying
from tests.paused import PAUSE, PausedUpstream
from tests.scrolling import RESTS

LINES = [f"Line {number} of a long text.\n\n" for number in range(1_000)]
# Two screens at once, and the rest slowly.
TYPED_TEXT = f"{''.join(LINES[:45])}^^^{''.join(LINES[45:])}"
STEP_CHARS = 60

DISTANCE = "() => document.documentElement.scrollHeight - innerHeight - scrollY"
TOP = "() => scrollY"


class Reader:
    """A visitor who reads a completion while it grows."""

    def __init__(self, visitor: Visitor, upstream: PausedUpstream) -> None:
        self.visitor, self.page = visitor, visitor.page
        self._upstream = upstream
        self._prompt = ""

    @property
    def last(self) -> Locator:
        """The completion that grows."""
        return self.visitor.last

    def ask(self, *parts: str) -> None:
        """Ask for a completion in these parts; `grow` asks for the next one. What comes after them never does."""
        self._prompt = PAUSE.join([*parts, "The end."])
        self.visitor.ask(self._prompt, "paused")

    def fill_two_screens(self, model: str = "paused") -> None:
        """Ask for a long text and wait until it is over two screens long."""
        if model == "paused":
            self.ask("".join(LINES[:45]), *("".join(LINES[first : first + 5]) for first in range(45, 95, 5)))
        else:
            self.page.select_option("#model", model)
            write_typed_text(self.page)
            self.page.press("#prompt", "Enter")
            self.visitor.wait_until_sent()
        self.wait_for_two_screens()

    def wait_for_two_screens(self) -> None:
        """Wait until the page is over two screens long."""
        two_screens = "() => document.documentElement.scrollHeight > 2.2 * innerHeight"
        self.page.wait_for_function(two_screens, polling=POLLING_MS)

    def grow(self) -> None:
        """Wait for more text, of the next part if the completion comes in parts."""
        length = len(content(self.last).inner_text())
        if self._prompt:
            self.go_on()
        self.visitor.wait_for_text(more_than=length + STEP_CHARS)

    def go_on(self) -> None:
        """Let the next part come."""
        self._upstream.go_on(self._prompt)

    def stays(self) -> None:
        """Assert that the page stays where it is, away from the end, while text arrives."""
        top = self.page.evaluate(RESTS)
        self.grow()
        assert self.page.evaluate(TOP) == top
        assert self.page.evaluate(DISTANCE) > 96
        expect(self.page.locator("#jump")).to_be_visible()

    def follows(self) -> None:
        """Assert that the page follows the growing text."""
        expect(self.page.locator("#jump")).to_be_hidden()
        for _ in range(2):
            self.grow()
            assert self.page.evaluate(DISTANCE) < 60
        expect(self.page.locator("#jump")).to_be_hidden()


def write_typed_text(page: Page) -> None:
    """Put the long text into the field at once, because a browser takes seconds to insert so many lines."""
    page.evaluate(
        """text => {
            const field = document.getElementById("prompt");
            field.value = text;
            field.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        TYPED_TEXT,
    )


@pytest.fixture
def reader(visitor: Visitor, upstream: PausedUpstream) -> Iterator[Reader]:
    """A reader whose generation, if one still runs at the end, is stopped."""
    somebody = Reader(visitor, upstream)
    yield somebody
    somebody.visitor.stop()


def test_each_way_up_ends_following_and_the_end_resumes_it(reader: Reader) -> None:
    """Small turns of the wheel, keys, and scrolling by a script or by find end following; the end resumes it."""
    page = reader.page
    reader.fill_two_screens("typed")
    reader.follows()
    page.mouse.move(700, 300)
    for _ in range(6):
        page.mouse.wheel(0, -30)
        page.wait_for_timeout(50)  # text arrives meanwhile
    reader.stays()
    page.mouse.wheel(0, 100_000)
    reader.follows()

    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("PageUp")
    reader.stays()
    page.keyboard.press("End")
    reader.follows()

    page.evaluate("() => scrollBy(0, -200)")  # as the scroll bar and find do
    reader.stays()
    page.click("#jump")
    reader.follows()


def test_a_change_of_height_is_no_wish_to_leave(visitor: Visitor) -> None:
    """A page that is shorter for a moment, and scrolls up by itself, goes on following its end."""
    page = visitor.page
    visitor.answer("".join(LINES[:100]), "echo")
    page.evaluate(
        """async () => {
            const answer = document.querySelector(".answer");
            answer.style.display = "none";
            answer.getBoundingClientRect();
            Object.assign(answer.style, { display: "", paddingTop: "50px" });
            for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
        }"""
    )
    page.wait_for_function(f"() => ({DISTANCE})() < 2")
    expect(page.locator("#jump")).to_be_hidden()


def test_typing_and_scrolling_elsewhere_keep_following(reader: Reader) -> None:
    """Keys in the field, and a wheel over something that scrolls itself, are no wish to leave the end."""
    page = reader.page
    reader.fill_two_screens()
    page.fill("#prompt", "\n".join(str(number) for number in range(40)))
    page.press("#prompt", "ArrowUp")
    page.press("#prompt", "Home")
    page.hover("#prompt")
    top = page.evaluate("() => document.getElementById('prompt').scrollTop")
    page.mouse.wheel(0, 30)
    page.wait_for_function("top => document.getElementById('prompt').scrollTop > top", arg=top)
    page.mouse.wheel(0, -30)
    page.wait_for_function("top => document.getElementById('prompt').scrollTop <= top", arg=top)
    reader.follows()


def test_fingers(visit: Visit, regular: Regular, upstream: PausedUpstream) -> None:
    """On a phone, a swipe ends following, and the button to the end resumes it."""
    phone = {**PHONE, "viewport": {"width": 360, "height": 740}}
    reader = Reader(visit(storage_state=regular.cookies, **phone).become(regular.api_user), upstream)
    page = reader.page
    page.goto("/")
    page.select_option("#model", "typed")
    write_typed_text(page)
    page.get_by_role("button", name="Send").tap()
    reader.wait_for_two_screens()
    swipe(reader.visitor, 250)
    reader.stays()
    page.locator("#jump").tap()
    reader.follows()
    swipe(reader.visitor, 20)
    top = page.evaluate(RESTS)
    reader.grow()
    assert page.evaluate(TOP) == top
    reader.visitor.stop()


def swipe(visitor: Visitor, pixels: int) -> None:
    """Move a finger down by so many pixels in a quarter of a second."""
    finger = visitor.context.new_cdp_session(visitor.page)
    steps = 10
    for step in range(steps + 1):
        point = {"x": 180, "y": 250 + pixels * step / steps}
        kind = "touchMove" if step else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        if step:  # a finger that rests at first is a long press
            visitor.page.wait_for_timeout(250 / steps)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def in_parts(lines: list[str], first: int, following: int = 10) -> list[str]:
    """Join the first lines, and the others in parts of so many."""
    others = range(first, len(lines), following)
    return ["".join(lines[:first]), *("".join(lines[place : place + following]) for place in others)]


def test_a_selection_in_a_growing_list_stays(reader: Reader) -> None:
    """Words of the first item stay selected while the list grows, and when a blank line makes it a loose one."""
    for end in ("\n", "\n\n"):
        reader.ask(*in_parts([f"{number}. Item **{number}** of a list{end}" for number in range(1, 30)], 5))
        expect(content(reader.last).locator("li").nth(3)).to_be_visible()
        select(reader.page, ".answer:last-child li")
        reader.grow()
        assert reader.page.evaluate("() => getSelection().toString()") == "Item 1 of"
        reader.visitor.stop()


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


def test_a_selection_in_growing_code_and_tables_stays(reader: Reader) -> None:
    """The first line of coloured code and the first row of a table stay selected while more follow."""
    code = ["```python\n", *(f"def f{number}():\n    return {number}\n" for number in range(30))]
    table = ["| a | b |\n|---|---|\n", *(f"| cell {number} | **{number}** |\n" for number in range(30))]
    for lines, node in ((code, "pre .hljs-title"), (table, "td")):
        reader.ask(*in_parts(lines, 6))
        expect(content(reader.last).locator(node).nth(4)).to_be_visible()
        reader.page.evaluate(
            "node => getSelection().selectAllChildren(document.querySelector(node))", f".answer:last-child {node}"
        )
        before = reader.page.evaluate("() => getSelection().toString()")
        assert before
        reader.grow()
        assert reader.page.evaluate("() => getSelection().toString()") == before
        reader.visitor.stop()


def test_code_and_tables_stay_scrolled_sideways(reader: Reader) -> None:
    """Growing code and a growing table stay where the reader has scrolled them."""
    code = ["```python\n", *(f"x{number} = '{'long ' * 60}'\n" for number in range(10))]
    row = "|" + "a wide cell of words|" * 15 + "\n"
    table = [row, f"|{'---|' * 15}\n", *[row] * 8]
    for lines, selector in ((code, "pre"), (table, ".table")):
        reader.ask(*in_parts(lines, 4, 2))
        box = content(reader.last).locator(selector)
        reader.visitor.wait_for_text(more_than=600)
        box.evaluate("node => { node.scrollLeft = 150 }")
        reader.grow()
        assert box.evaluate("node => node.scrollLeft") == 150
        reader.visitor.stop()


def test_a_pressed_pointer_holds_the_page(reader: Reader) -> None:
    """While a pointer is pressed, nothing moves away below it; after it is released, the page follows again."""
    page = reader.page
    reader.fill_two_screens()
    page.mouse.move(700, 300)
    page.mouse.down()
    top = page.evaluate(RESTS)
    reader.grow()
    assert page.evaluate(TOP) == top
    page.mouse.up()
    reader.follows()


def test_a_button_that_is_pressed_while_the_list_grows(reader: Reader) -> None:
    """Copy, pressed, held while text arrives below, and released, copies."""
    page = reader.page
    reader.visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.ask("1. Install:\n\n   ```bash\n   pip install x\n   ```\n\n2. Next\n", "3. More text here\n" * 6)
    button = content(reader.last).locator(".code-bar button")
    expect(content(reader.last)).to_contain_text("Next")
    button.hover()
    with saying(button):
        page.mouse.down()
        reader.grow()
        page.mouse.up()
    assert page.evaluate("() => navigator.clipboard.readText()") == "pip install x\n"


def test_an_open_details_element_stays_open(reader: Reader) -> None:
    """What the reader has opened stays open while it grows."""
    more = "words and more words\n\n" * 10
    reader.ask(f"<details>\n<summary>More</summary>\n\n{more}", more)
    content(reader.last).locator("summary").click()
    reader.grow()
    expect(content(reader.last).locator("details")).to_have_attribute("open", "")


def test_reasoning_stays_open_under_its_reader(reader: Reader) -> None:
    """Reasoning folds away when the text begins, but not for a reader who has scrolled up into it."""
    page = reader.page
    reasoning = "".join(f"Thought {number}, and what follows from it.\n\n" for number in range(45))
    reader.ask(f"{reasoning}", "And so.|||The text.")
    text = part(reader.last, "reasoning-text")
    expect(text).to_contain_text("Thought 44,")
    page.mouse.move(1100, 100)
    page.mouse.wheel(0, -60)
    expect(page.locator("#jump")).to_be_visible()
    reader.go_on()
    expect(content(reader.last)).to_contain_text("The text.")
    expect(text).to_be_visible()
    reader.visitor.stop()
    reader.ask("Short thought.|||The other text.")
    expect(content(reader.last)).to_contain_text("The other text.")
    expect(part(reader.last, "reasoning-text")).to_be_hidden()


def test_the_end_is_announced_without_the_text(visitor: Visitor) -> None:
    """A live region announces that the completion is complete; its text stands in the page once."""
    for word in ("remarkable", "unheard-of"):
        visitor.ask(f"This is a {word} sentence.", "echo")
        expect(visitor.page.locator("#announcer")).to_have_text("Answer complete.")
        visitor.wait_for_end()
        shown = visitor.page.evaluate(
            """() => [...document.querySelectorAll("[aria-live], [role=status], [role=alert]")]
                .map(node => node.textContent).join()"""
        )
        assert word not in shown
        assert content(visitor.last).inner_text().count(word) == 1


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
    reader.wait_until_sent()
    reader.wait_for_end()
    assert reader.text == "one\ntwo"

"""Diagrams in completions: drawn in a frame that can reach nothing, shown as pictures that run nothing."""

from playwright.sync_api import Locator, expect

from tests.browser.visitor import Visitor, content

FLOW = "```mermaid\nflowchart LR\n  A[提问] --> B{Answer?}\n  B -->|yes| C[Done]\n```"
SEQUENCE = "```mermaid\nsequenceDiagram\n  Alice->>Bob: Hello\n  Bob-->>Alice: Hi\n```"
PIE = '```mermaid\npie title Pets\n  "Dogs" : 3\n  "Cats" : 2\n```'
BROKEN = "```mermaid\nflowchart LR\n  A[never closed --> \n```"
HOSTILE = [
    'flowchart LR\n  A["<img src=x onerror=alert(1)>"] --> B["<script>alert(1)</script>"]',
    'flowchart LR\n  A --> B\n  click A href "javascript:alert(1)"\n  click B call alert(1)',
    'flowchart LR\n  A["<iframe src=https://evil.example/></iframe>"] --> B["<svg onload=alert(1)>"]',
    (
        '%%{init: {"securityLevel": "loose", "htmlLabels": true, "themeCSS": "@import url(https://evil.example/a.css);"}}%%\n'
        'flowchart LR\n  A["<b onmouseover=alert(1)>x</b>"] --> B'
    ),
    '---\nconfig:\n  fontFamily: "x;} @import url(https://evil.example/b.css); a{"\n---\nflowchart LR\n  A --> B',
    'flowchart LR\n  A@{ img: "https://evil.example/a.png", w: 60, h: 60 } --> B',
    "sequenceDiagram\n  participant A\n  link A: Evil @ javascript:alert(1)\n  A->>A: x",
]


def pictures(visitor: Visitor) -> Locator:
    return content(visitor.last).locator(".diagram img")


def test_diagrams_are_drawn_and_follow_the_theme(visitor: Visitor) -> None:
    """Complete diagrams become pictures, faulty ones stay source, and each picture's source is a button away."""
    page = visitor.page
    visitor.answer(f"{FLOW}\n\n{SEQUENCE}\n\n{PIE}\n\n{BROKEN}\n\nThe end.", "echo")
    expect(pictures(visitor)).to_have_count(3)
    expect(page.locator("iframe")).to_have_count(0)
    sizes = pictures(visitor).evaluate_all(
        "all => all.map(({ naturalWidth, naturalHeight }) => naturalWidth * naturalHeight)"
    )
    assert min(sizes) > 10_000
    expect(content(visitor.last).locator("pre", has_text="never closed")).to_be_visible()
    source = content(visitor.last).locator("pre", has_text="flowchart LR").first
    expect(source).to_be_hidden()
    content(visitor.last).get_by_role("button", name="Source").first.click()
    expect(source).to_be_visible()
    light = pictures(visitor).nth(1).get_attribute("src")
    page.emulate_media(color_scheme="dark")
    expect(pictures(visitor).nth(1)).not_to_have_attribute("src", light or "")
    # Pictures are lower or higher than their sources: a page that opens at its end stays there.
    page.goto(page.url)
    expect(pictures(visitor)).to_have_count(3)
    expect(page.locator("#jump")).to_be_hidden()


def test_hostile_diagrams_do_nothing(visitor: Visitor) -> None:
    """Scripts, handlers, links, style sheets and images of a diagram neither run nor load anything."""
    page = visitor.page
    visitor.answer("\n\n".join([*(f"```mermaid\n{source}\n```" for source in HOSTILE), PIE]), "echo")
    expect(pictures(visitor).last).to_be_visible()
    expect(page.locator("iframe")).to_have_count(0)
    for image in pictures(visitor).all():
        image.click()
        assert (image.get_attribute("src") or "").startswith("data:image/svg+xml")
    assert len(visitor.context.pages) == 1
    expect(page).to_have_title(page.title())


def test_the_frame_reaches_nothing(user: Visitor) -> None:
    """The page that draws has an origin of its own: no cookies, storage or requests, also when opened by itself."""
    user.expect_errors("Content Security Policy|policy: |sandboxed")
    page = user.page
    response = page.goto("/diagram/")
    assert response
    assert response.headers["x-frame-options"] == "SAMEORIGIN"
    assert page.evaluate("() => origin") == "null"
    for forbidden in ("document.cookie", "localStorage.length", "fetch('/api/me/')", "indexedDB.open('x')"):
        outcome = page.evaluate(
            f"async () => {{ try {{ await ({forbidden}); return 'done' }} catch {{ return 'refused' }} }}"
        )
        assert outcome == "refused", forbidden

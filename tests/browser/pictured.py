"""What the screenshots show: users, conversations, and rows of staff, made in running products."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import StorageState, expect

from tests.browser.visitor import Visitor
from tests.browser.windows import Windows
from tests.product import PASSWORD, ApiUser, Product

# A word that the products refuse.
WORD = "moonshine"
COMPLETION = """## Tides

The moon **pulls** the water; see $F = G m M / r^2$.

| Place | Range |
|---|---|
| Bay of Fundy | 16 m |

- [x] read
- [ ] swim

```python
def tide(hour: float) -> float:
    return 2.5 * math.cos(hour / 12.4 * 2 * math.pi)
```

```mermaid
flowchart LR
  Moon --> Water --> Tide
```
"""
ANNOUNCEMENTS: tuple[dict[str, Any], ...] = (
    {"severity": "info", "text_en": "New: *two models* side by side.", "text_zh": "新功能：*双模型*对比。"},
    {
        "severity": "warning",
        "text_en": "Maintenance **tonight** from 23:00, see [the plan](https://example.org/plan).",
        "text_zh": "**今晚** 23:00 起维护，详见[计划](https://example.org/plan)。",
    },
    {"severity": "critical", "text_en": "The model `gpt-4o` is not available.", "text_zh": "模型 `gpt-4o` 暂不可用。"},
)
PRIVACY = ("We keep your conversations until you delete them.", "我们保存你的对话，直到你删除它们。")


@dataclass(frozen=True)
class Seen:
    """Pages of one product, as one visitor sees them."""

    product: Product
    pages: dict[str, str]
    state: StorageState = field(default_factory=lambda: StorageState())


def create(staff: ApiUser, rows: str, **body: Any) -> None:
    """Create a row of staff, such as one of `announcements`."""
    staff.client.post(f"/api/admin/{rows}/", json=body).raise_for_status()


def ask_something(visitor: Visitor) -> str:
    """Make a conversation, and return its path."""
    visitor.page.goto("/")
    visitor.answer(COMPLETION, "gpt-4o")
    expect(visitor.page.locator(".diagram img")).to_be_visible()
    return visitor.page.url.removeprefix(visitor.url)


def compare_models(visitor: Visitor) -> str:
    """Make a conversation in which the user has not chosen between two models yet, and return its path."""
    page = visitor.page
    page.goto("/")
    page.get_by_role("button", name="Compare two models").click()
    page.get_by_role("button", name="deepseek-v3", exact=True).click()
    visitor.answer("How do tides work?", "gpt-4o")
    return page.url.removeprefix(visitor.url)


def share(visitor: Visitor, path: str) -> str:
    """Share a conversation, and return the path of the link."""
    number = path.strip("/").rpartition("/")[2]
    made = visitor.api_user().client.post(f"/api/conversations/{number}/share/", json={"expires_in_days": 30})
    return str(made.raise_for_status().json()["url"]).removeprefix(visitor.url)


def keep_presets(visitor: Visitor) -> None:
    """Keep a preset and instructions."""
    client = visitor.api_user().client
    preset = {"title": "Short answers", "system_prompt": "Answer in one sentence.", "parameters": {"temperature": 0.2}}
    client.post("/api/presets/", json=preset).raise_for_status()
    client.patch("/api/me/instructions/", json={"instructions": "I work in Vienna."}).raise_for_status()


def find_hits(visitor: Visitor) -> None:
    """Send prompts in which words and patterns are found."""
    for prompt in (f"Where is {WORD} sold?", "Call me: 13800138000", "My address is ann@example.org"):
        visitor.page.goto("/")
        visitor.ask(prompt, "gpt-4o")
        visitor.wait_for_end()


def announced(windows: Windows, product: Product) -> Visitor:
    """Return a visitor who sees announcements, which others do not."""
    staff, visitor = product.admin(), Visitor(windows, product).register()
    product.sql("INSERT INTO auth_group (name) VALUES (?)", "pupils")
    for row in ANNOUNCEMENTS:
        create(staff, "announcements", audience="groups", groups=["pupils"], **row)
    number = visitor.api_user().client.get("/api/me/").json()["id"]
    staff.client.patch(f"/api/admin/users/{number}/", json={"groups": ["pupils"]}).raise_for_status()
    return visitor.log_in()


def guest(windows: Windows, product: Product) -> Visitor:
    """Return a guest who has sent one prompt."""
    visitor = Visitor(windows, product)
    visitor.page.goto("/accounts/login/")
    visitor.page.get_by_role("button", name="Try without an account").click()
    visitor.wait_for_page()
    visitor.answer("How do tides work?", "deepseek-v3")
    return visitor


def fill_lists(product: Product) -> None:
    """Make rows for the lists of staff."""
    staff = product.admin()
    create(staff, "sensitive-words", word=WORD, action="block", category="alcohol")
    create(staff, "sensitive-words", word="peanut", action="mask")
    create(staff, "allowed-phrases", phrase="moonshine valley")
    phone = {"kind": "phone", "action": "replace", "replacement": "[phone]", "category": "personal"}
    create(staff, "sensitive-patterns", title="Phone numbers", **phone)
    create(staff, "sensitive-patterns", title="Addresses", kind="email", action="flag", category="personal")
    ticket = {"kind": "expression", "expression": r"TICKET-\d{4,6}", "action": "mask", "scope": "output"}
    create(staff, "sensitive-patterns", title="Tickets", **ticket)
    texts = {"text_en": "We do not talk about alcohol here.", "text_zh": "这里不谈论酒类。"}
    create(staff, "refusal-texts", category="alcohol", **texts)
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
    columns = "code, note, most_uses, uses, approves, created_at"
    code = ("CLASS7B", "Class 7b", 30, 4, True, now)
    product.sql(f"INSERT INTO accounts_signupcode ({columns}) VALUES (?, ?, ?, ?, ?, ?)", *code)
    columns = "kind, text_en, text_zh, updated_at"
    product.sql(f"INSERT INTO accounts_pagetext ({columns}) VALUES (?, ?, ?, ?)", "privacy", *PRIVACY, now)


def sign_up(product: Product) -> StorageState:
    """Sign up by the form of a product that asks for everything; return the cookies."""
    client = product.client(follow_redirects=True)
    client.get("/accounts/signup/")
    form = {"username": "grace", "email": "grace@example.org", "password1": PASSWORD, "password2": PASSWORD}
    stated = {"terms": "on", "old_enough": "on", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    done = client.post("/accounts/signup/", data={**form, **stated}, headers={"Referer": product.url})
    assert done.url.path == "/", done.text
    cookies = [{"name": cookie.name, "value": cookie.value, "url": product.url} for cookie in client.cookies.jar]
    return {"cookies": cookies}  # type: ignore[typeddict-item]


def first_id(product: Product, table: str) -> int:
    """Return the id of the first row of a table."""
    return int(product.sql(f"SELECT min(id) FROM {table}")[0][0])

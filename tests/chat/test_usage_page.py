"""The page /usage/: quotas, the plot, the ledger, and redeem codes."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation

from chat.models import Conversation, DailyAnswers
from chat.stats.usage import ROWS
from quotas import ledger, redeem_codes
from quotas.models import LedgerEntry, Quota
from tests import factories
from tests.chat.test_daily_counts import answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def quota(db: None) -> Quota:
    row = factories.quota("standard", title="Standard", daily_limit=3)
    factories.chat_model("glm-4", of=row, title="GLM-4")
    return row


@pytest.fixture
def visitor(client: Client, alice: Any) -> Client:
    client.force_login(alice)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


def text(answer: Any) -> str:
    """Return the visible text."""
    assert answer.status_code == 200
    page = re.sub(r"<(script|svg|title)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_page(visitor: Client, alice: Any, quota: Quota) -> None:
    """The page shows what is left, a plot of completions, and every grant and spend."""
    factories.credits_for(alice, quota, 5, "a gift")
    answer(alice, quota.models.get())
    page = visitor.get("/usage/")
    words = text(page)
    assert "2 of 3 left today · 5 credits" in words
    assert "a gift Standard" in words
    assert "Completion GLM-4" in words
    assert "GLM-4 1" in words
    assert page.content.decode().count('<rect class="series-0"') == 2  # a bar and the legend


def test_nothing_yet(visitor: Client, quota: Quota) -> None:
    """A new account sees its quotas and an empty history."""
    words = text(visitor.get("/usage/"))
    assert "3 of 3 left today · 0 credits" in words
    assert "No answers in this time." in words
    assert "Nothing was given or spent yet." in words


@pytest.mark.parametrize(("language", "wanted"), [("en", "12,000 of 12,000 left today"), ("zh-hans", "12,000")])
def test_large_figures_have_separators(language: str, wanted: str, visitor: Client, alice: Any, quota: Quota) -> None:
    """Thousands are grouped in threes in both languages, as scripts write them."""
    Quota.objects.update(daily_limit=12_000)
    factories.credits_for(alice, quota, 1_234_567)
    words = text(visitor.get("/usage/", headers={"Accept-Language": language}))
    for figure in (wanted, "1,246,567", "1,234,567", "+1,234,567"):
        assert figure in words
    assert "1234567" not in words


@pytest.mark.parametrize(("limit", "wanted"), [(None, "1 answer today, without a limit"), (0, "Credits only")])
def test_kinds_of_quotas(limit: int | None, wanted: str, visitor: Client, alice: Any, quota: Quota) -> None:
    """Unlimited quotas, and quotas of credits only, are described as such."""
    factories.credits_for(alice, quota, 1)
    Quota.objects.update(daily_limit=limit)
    answer(alice, quota.models.get())
    assert wanted in text(visitor.get("/usage/"))


def test_a_spend_links_to_its_conversation(visitor: Client, alice: Any, quota: Quota) -> None:
    """A spend links to its conversation, as long as it exists."""
    row = answer(alice, quota.models.get())
    row.conversation = Conversation.objects.create(user=alice, title="t")
    row.save()
    assert f'<a href="/c/{row.conversation.pk}/">Completion</a>' in visitor.get("/usage/").content.decode()
    row.conversation.delete()
    assert "/c/" not in visitor.get("/usage/").content.decode()


def test_page_by_page(visitor: Client, alice: Any, quota: Quota) -> None:
    """Older entries are on the next page; invalid parameters are ignored."""
    for number in range(ROWS + 1):
        factories.credits_for(alice, quota, 1, f"r{number};")
    first = visitor.get("/usage/")
    assert "r1;" in text(first)
    assert "r0;" not in text(first)
    (older,) = re.findall(r"\?days=30&amp;(before=\d+)", first.content.decode())
    second = text(visitor.get(f"/usage/?{older}"))
    assert "r0;" in second
    assert "r1;" not in second
    for odd in ("before=x", "before=-1", f"before={10**30}", "days=x", "days=5000"):
        assert text(visitor.get(f"/usage/?{odd}")).startswith(text(first)[:20])


def test_period_and_page_go_together(visitor: Client, alice: Any, quota: Quota) -> None:
    """Turning the page keeps the period, and choosing a period keeps the page."""
    for number in range(2 * ROWS + 1):
        factories.credits_for(alice, quota, 1, f"r{number};")
    first = visitor.get("/usage/", {"days": "7"}).content.decode()
    (older,) = re.findall(r"\?days=7&amp;(before=\d+)#ledger", first)
    second = visitor.get(f"/usage/?days=7&{older}").content.decode()
    assert f'"?days=90&amp;{older}#answers"' in second
    assert '"?days=7#ledger"' in second
    assert re.search(r'"\?days=7&amp;before=\d+#ledger"', second)


def test_credits_without_a_limit(visitor: Client, alice: Any, quota: Quota) -> None:
    """Credits are shown even while the quota is unlimited."""
    Quota.objects.update(daily_limit=None)
    assert "0 answers today, without a limit GLM-4" in text(visitor.get("/usage/"))
    factories.credits_for(alice, quota, 3)
    assert "0 answers today, without a limit · 3 credits" in text(visitor.get("/usage/"))


def test_inviting_is_offered_where_one_can_sign_up(visitor: Client, quota: Quota, settings: Any) -> None:
    """Inviting friends is offered only while sign-up is open."""
    assert "Or invite friends" in text(visitor.get("/usage/"))
    settings.SIGNUP_MODE = "closed"
    assert "Or invite friends" not in text(visitor.get("/usage/"))


def test_periods(visitor: Client, alice: Any, quota: Quota) -> None:
    """The plot covers the chosen period."""
    day = ledger.day_of(timezone.now()) - timedelta(days=20)
    DailyAnswers.objects.create(user=alice, day=day, model="gone", answers=4, daily_charges=4)
    assert "gone 4" in text(visitor.get("/usage/"))
    assert "gone 4" not in text(visitor.get("/usage/?days=7"))
    assert "gone 4" in text(visitor.get("/usage/?days=90"))


def test_redeeming(visitor: Client, alice: Any, quota: Quota) -> None:
    """A code grants its credits once; a second attempt is refused with a message."""
    (code,) = redeem_codes.make(quota, 7, 1, None, None)
    page = visitor.post("/usage/", {"code": code.grouped().lower()}, follow=True)
    assert page.redirect_chain == [("/usage/", 302)]
    assert "You received 7 credits for “Standard”." in text(page)
    again = text(visitor.post("/usage/", {"code": code.code}, follow=True))
    assert "This code cannot be redeemed" in again
    assert ledger.state(alice.pk, quota.pk)["credits"] == 7


def test_guessing_is_limited(visitor: Client, quota: Quota, settings: Any) -> None:
    """The page and the API count failures together."""
    settings.ACCOUNT_RATE_LIMITS = {"redeem_failed": "2/5m/user"}
    visitor.post("/api/redeem/", {"code": "no"}, "application/json")
    visitor.post("/usage/", {"code": ""})
    assert "Too many failed attempts" in text(visitor.post("/usage/", {"code": "no"}, follow=True))


def test_strangers_log_in_first(client: Client) -> None:
    """Without a login the page redirects, and a posted code is ignored."""
    for answer_ in (client.get("/usage/"), client.post("/usage/", {"code": "x"})):
        assert (answer_.status_code, answer_["Location"]) == (302, "/accounts/login/?next=/usage/")


def test_csrf(alice: Any, quota: Quota) -> None:
    """A cross-site form redeems nothing."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.post("/usage/", {"code": "x"}).status_code == 403


def test_text_is_escaped(visitor: Client, alice: Any, quota: Quota) -> None:
    """Texts of admins and titles are escaped."""
    factories.credits_for(alice, quota, 1, "<script>alert(1)</script>")
    Quota.objects.update(title="<b>bold</b>")
    page = visitor.get("/usage/").content.decode()
    assert "<script>alert" not in page
    assert "<b>bold" not in page


def test_both_languages(visitor: Client, quota: Quota) -> None:
    """The page's title is in the user's language."""
    for language in ("en", "zh-hans"):
        with translation.override(language):
            title = translation.gettext("Usage")
        page = visitor.get("/usage/", headers={"Accept-Language": language}).content.decode()
        assert f"<h1>{title}</h1>" in page


def test_few_queries(visitor: Client, alice: Any, quota: Quota, django_assert_max_num_queries: Any) -> None:
    """The number of queries does not grow with the data."""
    Quota.objects.update(daily_limit=100)
    for _ in range(ROWS + 2):
        answer(alice, quota.models.get())
    visitor.get("/usage/")
    with django_assert_max_num_queries(8):
        visitor.get("/usage/")
    assert LedgerEntry.objects.count() == ROWS + 2

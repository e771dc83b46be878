"""Hits in the admin: what is recorded, filters, verdicts, and the text around a hit for few eyes."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry, User
from chat.errors import ContentBlocked
from chat.generations.request import GenerationRequest, Precheck
from chat.models import Generation, Hit, Message, SensitivePattern, SensitiveWord
from chat.screening import audit, hit_admin
from chat.screening.found import Found
from chat.screening.incoming import Screened
from quotas.setup import ensure_defaults
from tests import factories
from tests.staff import staff_with
from web import large_tables

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/chat/hit/"


@pytest.fixture
def admin(client: Client, carol: User) -> Client:
    client.force_login(carol)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


@pytest.fixture
def asker(alice: User) -> User:
    """A user who may use the scripted model."""
    model = factories.chat_model("demo")
    factories.route(model, factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    return alice


def begin(user: User, prompt: str) -> Generation:
    return factories.admission().start(GenerationRequest(user.pk, "demo", prompt)).row


def context(hit: Hit) -> str:
    return f"{LIST}{hit.pk}/context/"


def shown(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def actions() -> list[tuple[str, str, int | None]]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", "object_id", "user_id"))


def test_a_hit_says_what_was_found_and_done(asker: User) -> None:
    """A hit has source, category and action; those of a word are the word's own."""
    word = SensitiveWord.objects.create(word="walnuts", action="mask", category="nuts")
    row = begin(asker, "Some walnuts please")
    found = [Found("service", 0, "violence", "flag"), Found("pattern", 7, "phones", "replace")]
    audit.record(asker.pk, row.id, "input", found)
    columns = ("source", "word_id", "category", "action", "verdict", "generation_id")
    assert list(Hit.objects.order_by("pk").values_list(*columns)) == [
        ("word", word.pk, "nuts", "mask", "open", row.id),
        ("pattern", 7, "phones", "replace", "open", row.id),
        ("service", 0, "violence", "flag", "open", row.id),
    ]


def test_hits_are_read_only(admin: Client, alice: User) -> None:
    """The list shows user, and the word while it exists; hits cannot be added, changed or deleted."""
    kept = SensitiveWord.objects.create(word="walnuts")
    audit.record_refusal(alice.pk, [Found("word", kept.pk), Found("word", 4711)])
    listing = shown(admin.get(LIST, {"q": "alice"}))
    assert f'<a href="{reverse("admin:chat_sensitiveword_change", args=[kept.pk])}">walnuts</a>' in listing
    assert "#4711" in listing
    hit = Hit.objects.get(word_id=kept.pk)
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(f"{LIST}{hit.pk}/change/", {"word_id": 1}).status_code == 403
    assert admin.post(f"{LIST}{hit.pk}/delete/", {"post": "yes"}).status_code == 403
    admin.post(LIST, {"action": "delete_selected", "_selected_action": [hit.pk], "post": "yes"})
    assert Hit.objects.count() == 2
    assert "1" in shown(admin.get(reverse("admin:accounts_user_change", args=[alice.pk])))


def test_filters(admin: Client, alice: User) -> None:
    """The list can be narrowed by source, category, action, verdict and direction, together too."""
    SensitiveWord.objects.create(word="walnuts", category="nuts")
    audit.record(alice.pk, None, "input", [Found("word", 1, "nuts", "block"), Found("service", 0, "violence", "flag")])
    audit.record(alice.pk, None, "output", [Found("pattern", 2, "nuts", "mask")])
    Hit.objects.filter(source="pattern").update(verdict="harmless")
    expected: list[tuple[dict[str, str], int]] = [
        ({"source__exact": "service"}, 1),
        ({"category": "nuts"}, 2),
        ({"action__exact": "mask"}, 1),
        ({"verdict__exact": "open"}, 2),
        ({"direction__exact": "output"}, 1),
        ({"category": "nuts", "direction__exact": "input"}, 1),
    ]
    for query, count in expected:
        page = admin.get(LIST, query)
        assert (page.context["cl"].result_count, page.status_code) == (count, 200), query
    page = shown(admin.get(LIST))
    assert "category=nuts" in page
    assert "category=violence" in page, "of a hit, as no word or pattern has it"


def test_a_filtered_list_counts_no_further_than_its_bound(
    admin: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter of a large table does not count all rows that it chooses."""
    monkeypatch.setattr(large_tables, "COUNTED", 3)
    audit.record(alice.pk, None, "input", [Found("word", number) for number in range(1, 9)])
    assert admin.get(LIST, {"source__exact": "word"}).context["cl"].result_count == 4


def test_verdicts_in_bulk(admin: Client, carol: User, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen hits get a verdict with reviewer and time, and a row in the audit each; `open` takes both away."""
    audit.record(alice.pk, None, "input", [Found("word", number) for number in (1, 2, 3)])
    first, second, third = Hit.objects.order_by("pk")
    for action in ("mark_harmless", "mark_confirmed"):
        admin.post(LIST, {"action": action, "_selected_action": [first.pk, second.pk]})
        assert [row[0] for row in actions()[-2:]] == [action, action]
    assert set(actions()) >= {("mark_confirmed", str(first.pk), alice.pk), ("mark_harmless", str(second.pk), alice.pk)}
    marked = Hit.objects.get(pk=first.pk)
    assert (marked.verdict, marked.reviewed_by) == ("confirmed", carol)
    assert marked.reviewed_at
    assert Hit.objects.get(pk=third.pk).verdict == "open"
    admin.post(LIST, {"action": "mark_open", "_selected_action": [first.pk]})
    reopened = Hit.objects.get(pk=first.pk)
    assert (reopened.verdict, reopened.reviewed_by, reopened.reviewed_at) == ("open", None, None)
    monkeypatch.setattr(hit_admin, "MOST_MARKED", 2)
    admin.post(LIST, {"action": "mark_harmless", "_selected_action": [first.pk], "select_across": "1"})
    assert list(Hit.objects.order_by("pk").values_list("verdict", flat=True)) == ["open", "harmless", "harmless"]


def test_marking_and_reading_have_permissions_of_their_own(alice: User) -> None:
    """Staff who may see the list neither mark hits nor read texts without the permission for each."""
    audit.record_refusal(alice.pk, [Found("word", 1)], "the secret walnuts")
    hit = Hit.objects.get()
    viewer, marker, reader = Client(), Client(), Client()
    viewer.force_login(staff_with("view_hit"))
    marker.force_login(staff_with("view_hit", "change_hit"))
    reader.force_login(staff_with("view_hit", "view_hit_context"))
    for client in (viewer, marker):
        assert "context" not in shown(client.get(LIST))
        assert "secret" not in shown(client.get(f"{LIST}{hit.pk}/change/"))
        assert client.get(LIST, {"excerpt__startswith": "the"}).status_code == 400
        assert client.get(context(hit)).status_code == 403
        assert client.post(context(hit), {"verdict": "harmless"}).status_code == 403
    for client in (viewer, reader):
        client.post(LIST, {"action": "mark_harmless", "_selected_action": [hit.pk]})
    assert "the secret walnuts" in shown(reader.get(context(hit)))
    assert 'name="verdict"' not in shown(reader.get(context(hit)))
    assert reader.post(context(hit), {"verdict": "harmless"}).status_code == 403
    assert Hit.objects.get().verdict == "open"
    marker.post(LIST, {"action": "mark_harmless", "_selected_action": [hit.pk]})
    assert Hit.objects.get().verdict == "harmless"
    anonymous = Client()
    assert anonymous.get(context(hit)).status_code == 302


def test_each_look_at_a_text_is_in_the_audit(admin: Client, asker: User, settings: Any) -> None:
    """The page shows the text around the hit, asks for a reason with AUDIT_REASON, and records look and verdict."""
    settings.AUDIT_REASON = True
    begin(asker, f"{'before ' * 90}<b>walnuts</b>{' after' * 90}")
    word = SensitiveWord.objects.create(word="walnuts", action="mask")
    audit.record(asker.pk, Generation.objects.get().pk, "input", [Found("word", word.pk)])
    hit = Hit.objects.get()
    assert "walnuts" not in shown(admin.get(context(hit)))
    assert actions() == []
    assert admin.post(context(hit), {"audit_reason": "a complaint"}).status_code == 302
    page = shown(admin.get(context(hit)))
    assert "before &lt;b&gt;<mark>walnuts</mark>&lt;/b&gt; after" in page
    assert page.count("before") < 90
    assert actions() == [("view_context", str(hit.pk), asker.pk)]
    assert AuditEntry.objects.get().reason == "a complaint"
    assert admin.post(context(hit), {"verdict": "confirmed"}).status_code == 302
    assert actions()[-1] == ("mark_confirmed", str(hit.pk), asker.pk)
    assert Hit.objects.get().verdict == "confirmed"
    settings.AUDIT_REASON = False
    assert admin.get(f"{LIST}999999/context/").status_code == 404
    assert admin.post(context(hit), {"verdict": "guilty"}).status_code == 403


def test_the_place_of_a_hit(admin: Client, asker: User) -> None:
    """A masked word is found by its mask, a blocked completion at its end; a deleted text is said to be gone."""
    word = SensitiveWord.objects.create(word="walnuts", action="mask")
    row = begin(asker, "**Some** walnuts please")
    masked = Hit.objects.get()
    assert '<p dir="auto">**Some** <mark>*******</mark> please</p>' in shown(admin.get(context(masked)))
    Message.objects.filter(pk=row.message_id).update(content="You may have some ")
    Generation.objects.update(status="completed", charge={})
    SensitiveWord.objects.update(action="block")
    audit.record(asker.pk, row.id, "output", [Found("word", word.pk)])
    blocked = Hit.objects.latest("pk")
    assert ">You may have some </p>" in shown(admin.get(context(blocked)))
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts")
    refused = Hit.objects.latest("pk")
    assert "The text of refused prompts is not kept." in shown(admin.get(context(refused)))
    SensitivePattern.objects.create(title="Phones", kind="phone", action="flag")
    called = begin(asker, "Call 13812345678 now")
    flagged = Hit.objects.latest("pk")
    assert ">Call <mark>13812345678</mark> now</p>" in shown(admin.get(context(flagged)))
    assert ">Phones</a>" in shown(admin.get(LIST, {"source__exact": "pattern"}))
    assert (flagged.source, flagged.action, flagged.generation_id) == ("pattern", "flag", called.id)
    assert row.conversation
    row.conversation.delete()
    assert "The text is no longer kept." in shown(admin.get(context(masked)))


def test_what_is_kept_of_a_refused_prompt(admin: Client, asker: User, settings: Any) -> None:
    """A hit keeps nothing of a refused prompt, or as many characters around the word as the operator wants."""
    SensitiveWord.objects.create(word="walnuts")
    for kept in (0, 30):
        settings.HIT_EXCERPT_CHARS = kept
        with pytest.raises(ContentBlocked):
            begin(asker, f"{'before ' * 9}walnuts{' after' * 9}")
    first, second = Hit.objects.order_by("pk").values_list("excerpt", flat=True)
    assert (first, second) == ("", "fore before walnuts after afte")
    assert "fore before <mark>walnuts</mark> after" in shown(admin.get(context(Hit.objects.latest("pk"))))
    settings.HIT_EXCERPT_CHARS = 5
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts")
    assert Hit.objects.latest("pk").excerpt == "alnut"


def test_nothing_is_kept_of_a_preset(asker: User, settings: Any) -> None:
    """Where an attachment is the reason, no word in the preset's system prompt is taken for it."""
    settings.HIT_EXCERPT_CHARS = 30
    SensitiveWord.objects.create(word="walnuts")
    preset: dict[str, Any] = {"system_prompt": "Sell walnuts.", "has_preset_prompt": True}
    found = Screened((), frozenset({Found("word", 1)}), blocked=True)
    with pytest.raises(ContentBlocked):
        factories.admission().start(
            GenerationRequest(asker.pk, "demo", "Read this", **preset), Precheck(attached=found)
        )
    assert Hit.objects.get(word_id=1, excerpt="").action == "block"
    assert not Hit.objects.exclude(excerpt="").exists()


def test_the_account_of_a_reviewer_can_be_deleted(carol: User, alice: User) -> None:
    """Hits keep their verdict when the account of the reviewer is deleted."""
    audit.record(alice.pk, None, "input", [Found("word", 1)])
    Hit.objects.update(verdict="harmless", reviewed_by=carol)
    carol.delete()
    assert Hit.objects.values_list("verdict", "reviewed_by").get() == ("harmless", None)

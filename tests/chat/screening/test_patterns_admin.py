"""Patterns and refusal texts in the administration."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from chat.models import RefusalText, SensitivePattern

pytestmark = pytest.mark.django_db

ADD = "admin:chat_sensitivepattern_add"
BODY = {"title": "Badge", "kind": "expression", "action": "mask", "scope": "both", "enabled": "on"}


@pytest.fixture
def admin(client: Client, carol: Any) -> Client:
    client.force_login(carol)
    return client


def shown(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_pattern_is_tried_before_it_is_saved(admin: Client) -> None:
    """“Try” shows what the pattern finds in a text, and saves nothing; saving works afterwards."""
    body = {**BODY, "expression": r"badge \d{4}", "tried_text": "My <b>BADGE</b> is badge\u00a0１２３４."}
    page = shown(admin.post(reverse(ADD), {**body, "_try": "1"}))
    assert "My &lt;b&gt;BADGE&lt;/b&gt; is <mark>badge\u00a0１２３４</mark>." in page
    assert "errornote" not in page
    assert not SensitivePattern.objects.exists()
    group = Group.objects.create(name="pupils")
    assert admin.post(reverse(ADD), {**body, "groups": [group.pk]}).status_code == 302
    row = SensitivePattern.objects.get()
    assert (row.expression, list(row.groups.all())) == (r"badge \d{4}", [group])
    change = reverse("admin:chat_sensitivepattern_change", args=[row.pk])
    page = shown(admin.post(change, {**body, "expression": "x{3}", "tried_text": "xx", "_try": "1"}))
    assert "<mark>" not in page
    row.refresh_from_db()
    assert row.expression == r"badge \d{4}"


@pytest.mark.parametrize("expression", ["", "(a|b)*a(a|b){14}", ".*x", "(?<=a)b", "a{1000}", "(a"])
@pytest.mark.parametrize("button", ["_save", "_try"])
def test_what_cannot_be_used_is_refused(admin: Client, expression: str, button: str) -> None:
    """The form shows the reason beside the expression, in the active language."""
    answer = admin.post(
        reverse(ADD), {**BODY, "expression": expression, button: "1"}, headers={"Accept-Language": "zh"}
    )
    assert answer.status_code == 200
    (reason,) = answer.context["adminform"].form.errors["expression"]
    assert any("\u4e00" <= character <= "\u9fff" for character in reason)
    assert not SensitivePattern.objects.exists()


def test_replacing_needs_a_text(admin: Client) -> None:
    """The list refuses to set the action `replace` for a row without a replacement."""
    row = SensitivePattern.objects.create(title="phones", kind="phone")
    form = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": row.pk, "form-0-action": "replace"}
    page = shown(admin.post(reverse("admin:chat_sensitivepattern_changelist"), {**form, "_save": "1"}))
    assert "errorlist" in page
    row.refresh_from_db()
    assert row.action == "block"


def test_refusal_texts(admin: Client) -> None:
    """A text for a category is added; a row without a text is refused."""
    add = reverse("admin:chat_refusaltext_add")
    assert admin.post(add, {"category": "nuts", "text_zh": "", "text_en": ""}).status_code == 200
    assert admin.post(add, {"category": "nuts", "text_zh": "不谈坚果。", "text_en": ""}).status_code == 302
    assert "不谈坚果。" in shown(admin.get(reverse("admin:chat_refusaltext_changelist")))
    assert RefusalText.objects.get().category == "nuts"

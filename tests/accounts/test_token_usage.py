"""accounts/token_usage.py: what each API token used, in the API, on pages and in the admin."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import jwt, token_usage
from accounts.models import ApiToken, TokenDay, User
from chat.models import Generation
from chat.stats import usage_api
from providers.models import ChatModel
from tests import factories
from tests.chat.test_daily_counts import answer, end, failed

pytestmark = pytest.mark.django_db
URL = "/api/quotas/usage/"


@pytest.fixture
def models(db: None) -> tuple[ChatModel, ChatModel]:
    quota = factories.quota(daily_limit=9)
    return factories.chat_model("glm-4", of=quota), factories.chat_model("gpt-4", of=quota)


@pytest.fixture
def tokens(alice: User) -> tuple[ApiToken, ApiToken]:
    return ApiToken.issue(alice, "laptop")[0], ApiToken.issue(alice, "=1+1")[0]


def ask(user: User, model: ChatModel, token: ApiToken | None = None, **changes: Any) -> Generation:
    """End a generation that a token started."""
    return end(factories.generation(user, model, token_id=token.pk if token else None), **changes)


def usage(user: User, query: str = "") -> Any:
    return Client(headers={"Authorization": f"Bearer {jwt.issue(user)['access']}"}).get(f"{URL}{query}")


def row(model: str, token: ApiToken | None, answers: int) -> dict[str, Any]:
    """Return a row of today, whose completions read 7 tokens and wrote 11."""
    own = {"token": token.pk if token else None, "token_name": token.name if token else None}
    counted = {"answers": answers, "input_tokens": 7 * answers, "output_tokens": 11 * answers}
    return {"date": token_usage.days.day_of(timezone.now()).isoformat(), "model": model, **own, **counted}


def test_by_token_and_model(alice: User, bob: User, models: Any, tokens: Any) -> None:
    """Rows name model and token, and add up to the rows by model; a deleted token keeps its name."""
    (glm, gpt), (laptop, formula) = models, tokens
    for model, token in [(glm, None), (glm, laptop), (glm, laptop), (gpt, laptop), (gpt, formula)]:
        ask(alice, model, token)
    failed(alice, glm)
    ask(alice, glm, laptop, status="failed", finish_reason=None, error={"code": "upstream_error"})
    ask(bob, glm)
    laptop_id = laptop.pk
    laptop.delete()
    laptop.pk = laptop_id
    wanted = [row("glm-4", None, 1), row("glm-4", laptop, 2), row("gpt-4", laptop, 1), row("gpt-4", formula, 1)]
    assert usage(alice, "?by=token").json() == wanted
    assert usage(bob, "?by=token").json() == [row("glm-4", None, 1)]
    totals = [(each["model"], each["answers"], each["output_tokens"]) for each in usage(alice).json()]
    assert totals == [("glm-4", 3, 33), ("gpt-4", 2, 22)]


def test_as_csv(alice: User, models: Any, tokens: Any) -> None:
    """The same rows come as CSV, in which no name is a formula; columns are those of the JSON."""
    ask(alice, models[0], tokens[1])
    reply = usage(alice, "?by=token&as=csv&days=7")
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert 'filename="usage-' in reply.headers["Content-Disposition"]
    lines = list(csv.DictReader(io.StringIO(reply.content.decode("utf-8-sig"))))
    wanted = {name: str(value) for name, value in row("glm-4", tokens[1], 1).items()}
    assert lines == [wanted | {"token_name": "'=1+1"}]
    plain = usage(alice, "?as=csv").content.decode("utf-8-sig").splitlines()
    assert plain == ["date,model,answers,input_tokens,output_tokens", f"{wanted['date']},glm-4,1,7,11"]


def test_bounds(alice: User, models: Any, tokens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown forms and too many rows are refused by name; a deleted token is counted as none."""
    for query, name in (("by=user", "by"), ("as=xml", "as")):
        reply = usage(alice, f"?{query}")
        assert (reply.status_code, list(reply.json()["error"]["details"])) == (400, [name])
    monkeypatch.setattr(usage_api, "MOST_ROWS", 1)
    ask(alice, models[0], tokens[0])
    assert usage(alice, "?by=token").status_code == 200
    ask(alice, models[1], tokens[0])
    assert "days" in usage(alice, "?by=token").json()["error"]["details"]
    running = factories.generation(alice, models[0], token_id=tokens[1].pk)
    tokens[1].delete()
    end(running)
    assert TokenDay.objects.count() == 2


def test_old_usage_goes(alice: User, models: Any, tokens: Any) -> None:
    """What no request can show any more is deleted."""
    now = timezone.now()
    for age in (1, 366, 368):
        end(factories.generation(alice, models[0], now - timedelta(days=age), token_id=tokens[0].pk))
    token_usage.delete_old()
    assert TokenDay.objects.count() == 2
    answer(alice, models[0])
    assert len(usage(alice, "?by=token&days=366").json()) == 2


def test_pages_and_admin(alice: User, carol: User, models: Any, tokens: Any, client: Client) -> None:
    """The pages of tokens and usage, and the admin, show what a token used."""
    for model in models:
        ask(alice, model, tokens[0])
    client.force_login(alice)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    assert "In 30 days 2 answers with 36 tokens" in client.get("/accounts/tokens/").content.decode()
    page = client.get("/usage/?days=7").content.decode()
    assert '<th scope="row" dir="auto">laptop</th><td>2</td><td>14</td><td>22</td>' in page
    assert "/api/quotas/usage/?days=7&amp;by=token&amp;as=csv" in page
    User.objects.filter(pk=carol.pk).update(is_superuser=True)
    client.force_login(carol)
    for path in ("/admin/accounts/apitoken/", f"/admin/accounts/user/{alice.pk}/change/"):
        assert "36" in client.get(path).content.decode()
    listed = client.get("/admin/accounts/apitoken/").context["cl"].result_list
    assert [(each.name, each.used_today, each.recent_answers, each.recent_tokens) for each in listed] == [
        ("=1+1", 0, 0, 0),
        ("laptop", 0, 2, 36),
    ]

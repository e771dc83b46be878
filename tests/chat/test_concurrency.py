"""Many at once: one key, one limit, one place; on both databases."""

import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from accounts.models import User
from quotas.models import Quota
from tests import servers
from tests.product import PASSWORD, ApiUser, Product, connected, post_many
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.soak

SOAK = os.environ.get("SOAK") == "1"
ROUNDS = 200 if SOAK else 5


def register(product: Product) -> ApiUser:
    return product.register(f"p{secrets.token_hex(5)}")


def test_one_key_fifty_times(on_each: Product, upstream: FakeOpenAI) -> None:
    """50 parallel POSTs with one Idempotency-Key make one generation, one upstream call and one charge."""
    prompt = secrets.token_hex(8)
    api_user = register(on_each)
    body = {"model": "quick", "prompt": prompt}
    answers = post_many(api_user, [(body, {"Idempotency-Key": "k"})] * 50)
    assert {answer.status_code for answer in answers} == {202}
    (generation,) = {answer.json()["generation"]["id"] for answer in answers}
    assert api_user.ended(generation)["charge"]["amount"] == 1
    assert api_user.quota()["used_today"] == 1
    assert len(upstream.asked(prompt)) == 1
    other = api_user.client.post("/api/chat/", json={**body, "prompt": "x"}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


@pytest.mark.contract("limits are exact")
def test_the_limit_is_exact(on_each: Product) -> None:
    """A limit of 10 under 200 parallel calls grants exactly 10; no caller sees a locked database."""
    api_user, logged = register(on_each), len(on_each.output)
    assert api_user.quota("premium")["daily_limit"] == 10
    answers = post_many(api_user, [({"model": "gpt-4-echo", "prompt": f"n{i}"}, {}) for i in range(200)])
    assert Counter(answer.status_code for answer in answers) == {202: 10, 429: 190}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["error"]["code"] for answer in refused} == {"quota_exhausted"}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    for answer in answers:
        if answer.status_code == 202:
            assert api_user.ended(answer.json()["generation"]["id"])["charge"]["amount"] == 1
    quota = api_user.quota("premium")
    assert (quota["used_today"], quota["remaining"]) == (10, 0)
    assert "locked" not in on_each.output[logged:]


@pytest.mark.contract("refusal: too_many_requests", "setting: MAX_ACTIVE_GENERATIONS")
def test_active_generations_are_bounded(database_url: str, tmp_path: Path, upstream: FakeOpenAI) -> None:
    """With MAX_ACTIVE_GENERATIONS=3, exactly three of twenty parallel questions begin."""
    with Product(tmp_path, database_url, **connected(upstream), MAX_ACTIVE_GENERATIONS="3") as product:
        api_user = product.register("alice")
        answers = post_many(api_user, [({"model": "hang", "prompt": f"n{i}"}, {}) for i in range(20)])
        assert Counter(answer.status_code for answer in answers) == {202: 3, 429: 17}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["error"]["code"] == "too_many_requests"
        assert "Retry-After" in refused.headers
        for answer in answers:
            if answer.status_code == 202:
                api_user.stop(answer.json()["generation"]["id"])
        assert api_user.quota()["used_today"] == 0
        api_user.answer("Hello", "plain")


def test_deleted_while_asked(on_each: Product) -> None:
    """A conversation deleted while questions to it begin is there or is gone; what was answered is what is charged."""
    logged = len(on_each.output)
    with ThreadPoolExecutor(6) as pool:
        api_user = register(on_each)
        clients = [on_each.client(api_user.access) for _ in range(6)]
        asked: list[str] = []
        for _round in range(ROUNDS):
            first = api_user.ended(api_user.ask(model="plain")["id"])
            path, question = f"/api/conversations/{first['conversation']}/", {"model": "plain", "prompt": "more"}
            calls = [("POST", "/api/chat/", question | {"conversation": first["conversation"]}, {202, 404})] * 3
            calls += [("POST", f"/api/messages/{first['message']}/regenerate/", {}, {202, 404})]
            calls += [("DELETE", path, None, {204, 404}), ("PATCH", path, {"title": "new"}, {200, 404})]
            answers = pool.map(lambda call, client: client.request(*call[:2], json=call[2]), calls, clients)
            for (*_call, expected), answer in zip(calls, answers, strict=True):
                assert answer.status_code in expected, answer.text
                asked += [answer.json()["generation"]["id"]] if answer.status_code == 202 else []
            asked.append(first["id"])
        charges = [api_user.ended(generation)["charge"]["amount"] for generation in asked]
        assert api_user.quota()["used_today"] == sum(charges)
        assert "Traceback" not in on_each.output[logged:]


def test_a_user_deleted_while_asking(on_each: Product) -> None:
    """A user is deleted while generations of theirs start and run; requests that come too late must log in."""
    logged = len(on_each.output)
    with ThreadPoolExecutor(5) as pool:
        staff = on_each.admin().client
        for _round in range(ROUNDS):
            api_user = register(on_each)
            account = f"/api/admin/users/{api_user.client.get('/api/me/').json()['id']}/"
            clients = [on_each.client(api_user.access) for _ in range(4)]
            question = {"model": "plain", "prompt": "Hello"}
            asked = [pool.submit(client.post, "/api/chat/", json=question) for client in clients]
            deleted = pool.submit(staff.delete, account)
            assert deleted.result().status_code == 204, deleted.result().text
            assert {answer.result().status_code for answer in asked} <= {202, 401}
        assert "Traceback" not in on_each.output[logged:]


@pytest.mark.contract("setup by several at once")
def test_two_setups_at_once(database_url: str, tmp_path: Path, django_db_blocker: Any) -> None:
    """Several processes may set up one database at the same time: there is one admin, and each quota once."""
    variables = servers.environment(database_url, tmp_path, ADMIN_PASSWORD=PASSWORD)
    servers.in_processes(set_up, [[]] * 3, variables)
    with django_db_blocker.unblock(), servers.connected(database_url):
        assert list(User.objects.values_list("username", flat=True)) == ["admin"]
        assert sorted(Quota.objects.values_list("slug", flat=True)) == ["premium", "standard"]


def set_up() -> None:
    call_command("setup")

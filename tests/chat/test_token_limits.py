"""Limits of an API token on every route: expiry, models, uses a day, calls a minute."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.chat.programs import ask, error
from tests.product import ApiUser, Product
from tests.readers import wait_until

pytestmark = pytest.mark.server


def make(api_user: ApiUser, **limits: Any) -> tuple[int, httpx.Client]:
    """Return the id of a new token, and a program that has it."""
    made = api_user.client.post("/api/tokens/", json={"name": "t", **limits})
    assert made.status_code == 201, made.text
    return made.json()["id"], api_user.product.client(made.json()["token"])


def used_today(api_user: ApiUser, token_id: int) -> int:
    return next(row["used_today"] for row in api_user.client.get("/api/tokens/").json() if row["id"] == token_id)


def test_the_daily_limit_is_exact(api_user: ApiUser) -> None:
    """Of parallel calls through all routes no more are let through; what costs nothing gives its use back."""
    token, program = make(api_user, daily_limit=3)
    assert ask(program, "empty").status_code == 200
    assert used_today(api_user, token) == 0
    routes = [
        lambda: ask(program, "plain"),
        lambda: program.post("/api/chat/", json={"model": "plain", "prompt": "Hello"}),
        lambda: program.post("/v1/responses", json={"model": "plain", "input": "Hello"}),
        lambda: program.post("/v1/messages", json={"model": "plain", "messages": [{"role": "user", "content": "x"}]}),
    ]
    with ThreadPoolExecutor(12) as threads:
        responses = list(threads.map(lambda number: routes[number % 4](), range(12)))
    served = Counter(response.status_code for response in responses)
    assert (served[200] + served[202], served[429]) == (3, 9)
    assert used_today(api_user, token) == 3

    def answers() -> list[tuple[str, int]]:
        rows = api_user.client.get("/api/quotas/usage/?by=token").json()
        return [(row["model"], row["answers"]) for row in rows if row["token"] == token]

    wait_until(lambda: answers() == [("plain", 3)])  # one may still run: the page's route does not wait for it
    refused = ask(program, "plain")
    assert error(refused)[2] == "insufficient_quota"
    assert "token" in refused.json()["error"]["message"]
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    # The user's own quota is another matter.
    _other, unlimited = make(api_user)
    assert ask(unlimited, "plain").status_code == 200


def test_only_its_models(api_user: ApiUser) -> None:
    """Other models are unknown to the token: in lists, by name, as the default, and through a ticket."""
    _token, program = make(api_user, models=["quick", "echo", "quick"])
    assert {row["slug"] for row in program.get("/api/models/").json()} == {"quick", "echo"}
    assert {row["id"] for row in program.get("/v1/models").json()["data"]} == {"quick", "echo"}
    assert program.get("/v1/models/plain").status_code == 404
    assert error(ask(program, "plain"))[:3] == (404, "invalid_request_error", "model_not_found")
    assert ask(program, "echo").status_code == 200
    refused = program.post("/api/chat/", json={"model": "plain", "prompt": "Hello"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")

    ticket = program.post("/api/tickets/", json={"path": "/api/chat/"}).json()["ticket"]
    text = httpx.get(f"{api_user.product.url}/api/chat/?model=plain&prompt=Hello&ticket={ticket}").text
    assert "event: error" in text
    assert "invalid_request" in text

    generation = api_user.ended(api_user.ask("Hello", "plain")["id"])
    again = program.post(f"/api/messages/{generation['message']}/regenerate/", json={})
    assert again.status_code == 400
    assert program.post(f"/api/messages/{generation['message']}/regenerate/", json={"model": "echo"}).status_code == 202


def test_the_rate(api_user: ApiUser) -> None:
    """Beyond its rate a token must wait, whatever route it takes; its user does not."""
    _token, program = make(api_user, requests_per_minute=2)
    assert [ask(program, "echo").status_code for _ in range(2)] == [200, 200]
    refused = ask(program, "echo")
    assert (refused.status_code, error(refused)[2]) == (429, "rate_limit_exceeded")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert program.post("/api/chat/", json={"model": "echo", "prompt": "x"}).status_code == 429
    counted = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    assert program.post("/v1/messages/count_tokens", json=counted).status_code == 429
    api_user.answer("Hello", "echo")


def test_an_expired_token_is_refused(product: Product, api_user: ApiUser) -> None:
    """After its time a token opens nothing, though it was known a moment before."""
    soon = datetime.now(UTC) + timedelta(seconds=8)
    _token, program = make(api_user, expires_at=soon.isoformat())
    assert program.get("/v1/models").status_code == 200
    while datetime.now(UTC) < soon:
        program.get("/v1/models")
        time.sleep(0.2)
    assert program.get("/v1/models").status_code == 401
    assert program.get("/api/me/").status_code == 401
    assert error(ask(program, "echo"))[:3] == (401, "invalid_request_error", "invalid_api_key")


def test_a_retry_is_no_second_use(api_user: ApiUser) -> None:
    """A repeated call with the same key is one use."""
    token, program = make(api_user, daily_limit=2)
    for _ in range(3):
        content = {"model": "plain", "messages": [{"role": "user", "content": "Hello"}]}
        response = program.post("/v1/chat/completions", json=content, headers={"Idempotency-Key": "k"})
        assert response.status_code == 200
    assert used_today(api_user, token) == 1

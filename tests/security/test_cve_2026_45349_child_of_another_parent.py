"""CVE-2026-45349: a child's id counts only together with the parent to which it belongs."""

import secrets

import pytest

from tests.product import ApiUser, Product

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def users(product: Product) -> tuple[ApiUser, ApiUser]:
    """The owner and a stranger."""
    return product.register(f"o{secrets.token_hex(5)}"), product.register(f"s{secrets.token_hex(5)}")


def test_a_parent_belongs_to_its_conversation(users: tuple[ApiUser, ApiUser]) -> None:
    """A message of another conversation is no parent, whether it is the caller's own or a stranger's."""
    owner, stranger = users
    first, second = (owner.ended(owner.ask("Hello", "plain")["id"]) for _each in range(2))
    foreign = stranger.ended(stranger.ask("Secret", "plain")["id"])
    before = owner.messages(first["conversation"])
    for parent in (second["message"], foreign["message"]):
        body = {"model": "echo", "prompt": "x", "conversation": first["conversation"], "parent": parent}
        assert owner.client.post("/api/chat/", json=body).status_code == 404
    assert owner.messages(first["conversation"]) == before


def test_own_parents_open_no_foreign_children(users: tuple[ApiUser, ApiUser]) -> None:
    """A stranger's conversation, message, generation, token and stream are 404 beside own ones, and do not change."""
    owner, stranger = users
    mine = stranger.ended(stranger.ask("Mine", "plain")["id"])
    theirs = owner.ended(owner.ask("Theirs", "plain")["id"])
    token = owner.client.post("/api/tokens/", json={"name": "one"}).json()["id"]
    before = owner.messages(theirs["conversation"])
    body = {"model": "echo", "prompt": "x", "conversation": theirs["conversation"], "parent": mine["message"]}
    refused = [
        stranger.client.post("/api/chat/", json=body),
        stranger.client.post(f"/api/messages/{theirs['message']}/regenerate/", json={"model": "echo"}),
        stranger.client.delete(f"/api/tokens/{token}/"),
        # The channel of the id is the stranger's, the number and the path are not.
        stranger.client.get(f"/api/generations/{theirs['id']}/events/", headers={"Last-Event-ID": f"{mine['id']}:1"}),
        stranger.client.post(f"/api/generations/{theirs['id']}/stop/"),
    ]
    assert [response.status_code for response in refused] == [404] * len(refused)
    assert owner.messages(theirs["conversation"]) == before
    assert [row["id"] for row in owner.client.get("/api/tokens/").json()] == [token]


def test_an_event_id_of_another_generation_shows_nothing_of_it(users: tuple[ApiUser, ApiUser]) -> None:
    """A foreign event id on an own stream is an unknown one: the own text comes as a `reset`."""
    owner, stranger = users
    theirs = owner.ended(owner.ask("Their secret", "echo")["id"])
    mine = stranger.ended(stranger.ask("My text", "echo")["id"])
    events = stranger.follow(mine["id"], after=f"{theirs['id']}:1")
    assert events[0].name == "reset"
    assert "Their secret" not in str(events)

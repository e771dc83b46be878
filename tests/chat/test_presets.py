"""Presets, reasoning effort and standing instructions: who may use them, and what the upstream gets of them."""

import secrets
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from chat.models import Preset, StorageUse
from chat.storage import ROW_BYTES
from tests import factories
from tests.product import ApiUser, Product
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server
SHAPE = {"id", "title", "model", "system_prompt", "parameters", "shared"}
PIRATE = {
    "title": "Pirate",
    "model": "echo",
    "system_prompt": "Speak like a pirate.",
    "parameters": {"temperature": 0.3, "max_tokens": 77, "reasoning_effort": "low"},
}


@pytest.fixture
def member(product: Product) -> ApiUser:
    """A user without any preset."""
    return product.register(f"p{secrets.token_hex(5)}")


def made(api_user: ApiUser, **fields: Any) -> dict[str, Any]:
    response = api_user.client.post("/api/presets/", json={**PIRATE, **fields})
    assert response.status_code == 201, response.text
    return dict(response.json())


def post(api_user: ApiUser, **fields: Any) -> httpx.Response:
    headers = {"Idempotency-Key": fields.pop("key")} if "key" in fields else {}
    return api_user.client.post("/api/chat/", json=fields, headers=headers)


def sent(upstream: FakeOpenAI, api_user: ApiUser, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask, wait for the end; return the generation, and the body that the upstream got."""
    prompt = f"Question {secrets.token_hex(5)}"
    response = post(api_user, prompt=prompt, **fields)
    assert response.status_code == 202, response.text
    generation = api_user.ended(response.json()["generation"]["id"])
    return generation, upstream.asked(prompt)[-1].body


def system(body: dict[str, Any]) -> str:
    first = body["messages"][0]
    return str(first["content"]) if first["role"] == "system" else ""


def details(response: httpx.Response) -> set[str]:
    assert response.status_code == 400, response.text
    return set(response.json()["error"]["details"])


@pytest.mark.contract("GET /api/presets/")
@pytest.mark.contract("POST /api/presets/")
@pytest.mark.contract("PATCH /api/presets/{preset_id}/")
@pytest.mark.contract("DELETE /api/presets/{preset_id}/")
def test_own_presets(member: ApiUser) -> None:
    """A user makes, lists, changes and deletes presets with exactly the contract's fields."""
    preset = made(member)
    assert preset == {**PIRATE, "id": preset["id"], "shared": False}
    bare = made(member, title=" Bare ", model=None, system_prompt="", parameters={})
    assert (bare["title"], bare["model"]) == ("Bare", None)
    assert [row["title"] for row in member.client.get("/api/presets/").json()] == ["Bare", "Pirate"]
    path = f"/api/presets/{preset['id']}/"
    changed = member.client.patch(path, json={"title": "Sailor", "parameters": {"temperature": 1}}).json()
    assert changed == {**preset, "title": "Sailor", "parameters": {"temperature": 1}}
    assert member.client.delete(path).status_code == 204
    assert [row["id"] for row in member.client.get("/api/presets/").json()] == [bare["id"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", " "),
        ("title", "x" * 101),
        ("title", None),
        ("model", "no-such-model"),
        ("parameters", {"temperature": 3}),
        ("parameters", {"top_p": 1}),
        ("parameters", {"reasoning_effort": "extreme"}),
        ("parameters", []),
        ("shared", "yes"),
        ("user", 1),
    ],
)
def test_wrong_fields_are_named(member: ApiUser, field: str, value: Any) -> None:
    """A preset with a wrong field is refused, and the field is named."""
    response = member.client.post("/api/presets/", json={**PIRATE, field: value})
    assert details(response) == {field}


def test_preset_begins_a_conversation(member: ApiUser, upstream: FakeOpenAI) -> None:
    """A preset gives model, system prompt and parameters; fields of the request win."""
    preset = made(member)["id"]
    generation, body = sent(upstream, member, preset=preset)
    assert generation["model"] == "echo"
    assert (system(body), body["temperature"], body["reasoning_effort"]) == ("Speak like a pirate.", 0.3, "low")
    conversation = member.client.get(f"/api/conversations/{generation['conversation']}/").json()
    assert conversation["system_prompt"] == "Speak like a pirate."
    own = {"model": "gpt-4-echo", "system_prompt": "Be brief.", "temperature": 1, "reasoning_effort": "high"}
    generation, body = sent(upstream, member, preset=preset, **own)
    assert generation["model"] == "gpt-4-echo"
    assert (system(body), body["temperature"], body["reasoning_effort"]) == ("Be brief.", 1, "high")
    # In a conversation that has begun, its own system prompt stays.
    _, body = sent(upstream, member, preset=preset, model="echo", conversation=generation["conversation"])
    assert (system(body), body["temperature"]) == ("Be brief.", 0.3)
    # An empty one of the request clears it.
    sent(upstream, member, preset=preset, conversation=generation["conversation"], system_prompt="")
    conversation = member.client.get(f"/api/conversations/{generation['conversation']}/").json()
    assert conversation["system_prompt"] == ""


def test_what_the_model_does_not_take(member: ApiUser) -> None:
    """`reasoning_effort` is refused where the model does not take it; that of a preset is left out there."""
    takes = {row["slug"]: row["takes"] for row in member.client.get("/api/models/").json()}
    assert "reasoning_effort" in takes["echo"]
    assert "reasoning_effort" not in takes["demo"]
    assert details(post(member, model="demo", prompt="Hi", reasoning_effort="low")) == {"reasoning_effort"}
    assert details(post(member, model="echo", prompt="Hi", reasoning_effort="extreme")) == {"reasoning_effort"}
    assert post(member, model="demo", prompt="Hi", preset=made(member)["id"]).status_code == 202
    assert details(post(member, prompt="Hi", preset=made(member, model=None)["id"])) == {"model"}
    assert details(post(member, prompt="Hi")) == {"model"}


def test_an_answer_again_keeps_the_parameters(member: ApiUser, upstream: FakeOpenAI) -> None:
    """Another completion for a prompt has the parameters of the first; with another model those that it takes."""
    generation, body = sent(upstream, member, preset=made(member)["id"])
    prompt = body["messages"][-1]["content"]
    path = f"/api/messages/{generation['message']}/regenerate/"
    again = member.client.post(path, json={})
    member.ended(again.json()["generation"]["id"])
    first, second = upstream.asked(prompt)
    kept = ("temperature", "reasoning_effort", "max_tokens", "max_completion_tokens")
    assert {name: second.body.get(name) for name in kept} == {name: first.body.get(name) for name in kept}
    other = member.client.post(path, json={"model": "demo"})
    assert other.status_code == 202, other.text


def test_key_stands_for_the_request(member: ApiUser) -> None:
    """A key stands for the request as it was written, also when its preset was changed since."""
    preset = made(member)["id"]
    first = post(member, prompt="Hi", preset=preset, key="k1").json()["generation"]["id"]
    member.client.patch(f"/api/presets/{preset}/", json={"system_prompt": "Speak like a poet.", "model": "plain"})
    assert post(member, prompt="Hi", preset=preset, key="k1").json()["generation"]["id"] == first
    assert post(member, prompt="Hi", preset=preset, temperature=1, key="k1").status_code == 409
    member.client.patch(f"/api/presets/{preset}/", json={"model": None})
    assert post(member, prompt="Hi", preset=preset, key="k1").json()["generation"]["id"] == first
    assert details(post(member, prompt="Hi", preset=preset, key="k4")) == {"model"}
    member.client.delete(f"/api/presets/{preset}/")
    assert post(member, prompt="Hi", preset=preset, key="k1").json()["generation"]["id"] == first
    assert post(member, prompt="Hi", preset=preset, key="k3").status_code == 404
    post(member, model="echo", prompt="Hi", reasoning_effort="low", key="k2")
    assert post(member, model="echo", prompt="Hi", reasoning_effort="high", key="k2").status_code == 409


def test_sharing(product: Product, member: ApiUser, upstream: FakeOpenAI) -> None:
    """Staff share with all users, who can use it but neither change it nor share their own."""
    staff, title = product.admin(), f"Shared {secrets.token_hex(5)}"
    refused = member.client.post("/api/presets/", json={**PIRATE, "shared": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    private = made(staff, title=f"Private {title}")
    shared = made(staff, title=title, shared=True)
    seen = {row["title"]: row for row in member.client.get("/api/presets/").json()}
    assert seen == {title: {**PIRATE, "id": shared["id"], "title": title, "shared": True}}
    assert set(seen[title]) == SHAPE
    _, body = sent(upstream, member, preset=shared["id"])
    assert system(body) == "Speak like a pirate."
    assert post(member, prompt="Hi", preset=private["id"]).status_code == 404
    path = f"/api/presets/{shared['id']}/"
    assert member.client.patch(path, json={"title": "Mine"}).status_code == 404
    assert member.client.delete(path).status_code == 404
    assert staff.client.patch(path, json={"shared": False}).json()["shared"] is False
    assert member.client.get("/api/presets/").json() == []


def test_a_word_listed_later_is_masked_in_presets(product: Product, member: ApiUser, upstream: FakeOpenAI) -> None:
    """A word that blocks refuses the caller's own text, and is masked in a preset's system prompt."""
    staff, word = product.admin(), f"w{secrets.token_hex(6)}"
    shared = made(staff, title="Later", system_prompt=f"Say {word} often.", shared=True)["id"]
    added = staff.client.post("/api/admin/sensitive-words/", json={"word": word, "action": "block", "scope": "both"})
    try:
        generation, body = sent(upstream, member, preset=shared)
        masked = f"Say {'*' * len(word)} often."
        assert system(body) == masked
        conversation = member.client.get(f"/api/conversations/{generation['conversation']}/").json()
        assert conversation["system_prompt"] == masked
        assert post(member, preset=shared, prompt=f"Say {word}.").status_code == 422
        assert post(member, preset=shared, prompt="Hi", system_prompt=f"Say {word}.").status_code == 422
    finally:
        staff.client.delete(f"/api/admin/sensitive-words/{added.json()['id']}/")
        staff.client.delete(f"/api/presets/{shared}/")


def test_bounds(member: ApiUser) -> None:
    """A user has at most 100 presets, with system prompts of at most 32,000 characters."""
    long = member.client.post("/api/presets/", json={**PIRATE, "system_prompt": "x" * 32_001})
    assert (long.status_code, long.json()["error"]["code"]) == (413, "prompt_too_long")
    for number in range(100):
        made(member, title=f"Preset {number}")
    surplus = member.client.post("/api/presets/", json=PIRATE)
    assert (surplus.status_code, surplus.json()["error"]["code"]) == (409, "conflict")


@pytest.mark.django_db
def test_groups() -> None:
    """A preset for groups is for their members; the deletion of a group opens it to no other user."""
    owner, insider, other = (factories.user() for _ in range(3))
    group = Group.objects.create(name="Pirates")
    insider.groups.add(group)
    preset = Preset.objects.create(user=owner, title="For pirates", audience=Preset.Audience.GROUPS)
    preset.groups.add(group)
    assert usable(owner) == usable(insider) == [preset]
    assert usable(other) == []
    group.delete()
    assert usable(insider) == usable(other) == []


@pytest.mark.django_db
def test_administration() -> None:
    """Staff share a preset with groups in the admin; a change through the API does not share it further."""
    staff = factories.user(is_staff=True, is_superuser=True)
    group = Group.objects.create(name="Sailors")
    client = Client()
    client.force_login(staff)
    form = {"title": "For sailors", "audience": "groups", "groups": [group.pk], "parameters": '{"temperature": 3}'}
    page = client.post("/admin/chat/preset/add/", form)
    assert page.status_code == 200
    assert "temperature" in page.content.decode()
    assert client.post("/admin/chat/preset/add/", {**form, "parameters": '{"temperature": 1}'}).status_code == 302
    preset = Preset.objects.get()
    assert (preset.user, preset.audience, list(preset.groups.all())) == (staff, "groups", [group])
    path, change = f"/api/presets/{preset.pk}/", {"shared": True, "title": "Sailor"}
    assert client.patch(path, change, content_type="application/json").json()["shared"] is True
    preset.refresh_from_db()
    assert (preset.title, preset.audience) == ("Sailor", "groups")


@pytest.mark.django_db
def test_who_is_no_longer_staff_only_stops_sharing() -> None:
    """A former member of staff changes a preset that all users have only by taking it back."""
    owner = factories.user()
    preset = Preset.objects.create(user=owner, title="Old", audience=Preset.Audience.EVERYBODY)
    client, path = Client(), f"/api/presets/{preset.pk}/"
    client.force_login(owner)
    for change in ({"system_prompt": "Be rude."}, {"title": "New", "shared": True}, {}):
        assert client.patch(path, change, content_type="application/json").status_code == 403
    preset.refresh_from_db()
    assert (preset.title, preset.system_prompt, preset.audience) == ("Old", "", "everybody")
    taken = client.patch(path, {"shared": False, "title": "Mine"}, content_type="application/json").json()
    assert (taken["shared"], taken["title"]) == (False, "Mine")
    assert client.patch(path, {"system_prompt": "Be rude."}, content_type="application/json").status_code == 200


@pytest.mark.django_db
def test_a_change_writes_only_its_fields() -> None:
    """A change reads the preset when no other change can come in between, and leaves other fields alone."""
    owner = factories.user()
    preset = Preset.objects.create(user=owner, title="Old")
    client = Client()
    client.force_login(owner)
    with CaptureQueriesContext(connection) as queries:
        client.patch(f"/api/presets/{preset.pk}/", {"title": "New"}, content_type="application/json")
    made = [query["sql"] for query in queries]
    (written,) = (sql for sql in made if sql.startswith('UPDATE "chat_preset"'))
    assert written.startswith('UPDATE "chat_preset" SET "title" = \'New\' WHERE')
    locked = next(place for place, sql in enumerate(made) if "chat_storageuse" in sql and not sql.startswith("SELECT"))
    assert any(sql.startswith("SELECT") and '"system_prompt"' in sql for sql in made[locked:])


def usable(user: User) -> list[Preset]:
    return list(Preset.objects.usable_by(user.pk))


@pytest.mark.django_db
def test_storage_counts_presets() -> None:
    """What presets keep is counted exactly when they are made, changed and deleted."""
    user = factories.user()
    first = Preset.objects.create(user=user, title="海盗", system_prompt="Speak like a pirate.")
    Preset.objects.create(user=user, title="Poet")
    first.system_prompt = "Speak."
    first.save()
    use = StorageUse.objects.get(user=user)
    assert use.conversations == len("海盗Poet".encode()) + len("Speak.") + 2 * ROW_BYTES
    StorageUse.recount(user.pk)
    assert StorageUse.objects.get(user=user).conversations == use.conversations
    first.delete()
    Preset.objects.owned_by(user.pk).delete()
    assert StorageUse.objects.get(user=user).conversations == 0


@pytest.mark.contract("GET /api/me/instructions/")
@pytest.mark.contract("PATCH /api/me/instructions/")
def test_standing_instructions(member: ApiUser, upstream: FakeOpenAI) -> None:
    """Instructions for all conversations come before each system prompt, also of conversations that have begun."""
    path = "/api/me/instructions/"
    assert member.client.get(path).json() == {"instructions": ""}
    generation, _ = sent(upstream, member, model="echo", system_prompt="Be brief.")
    assert member.client.patch(path, json={"instructions": " Write French. "}).json() == {
        "instructions": "Write French."
    }
    conversation = generation["conversation"]
    _, body = sent(upstream, member, model="echo", conversation=conversation)
    assert system(body) == "Write French.\n\nBe brief."
    assert member.client.get(f"/api/conversations/{conversation}/").json()["system_prompt"] == "Be brief."
    _, body = sent(upstream, member, model="echo")
    assert system(body) == "Write French."
    tool = post(member, model="echo", prompt="Hi", text_tool="polish").json()["generation"]["id"]
    member.ended(tool)
    assert system(upstream.requests[-1].body) == ""
    assert details(member.client.patch(path, json={"instructions": "x" * 4001})) == {"instructions"}

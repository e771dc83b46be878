"""Models reserved to groups: all other users do not find them."""

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import User
from chat.generations.request import GenerationRequest
from chat.models import Generation
from providers import access
from providers.apps import providers_app
from providers.models import ChatModel
from quotas.apps import quotas_app
from tests import factories
from web.refusals import InvalidRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def reserved(alice: User) -> ChatModel:
    """Return a model for Alice's group, beside one for all users."""
    quota, upstream = factories.quota("standard"), factories.upstream()
    factories.chat_model("open", of=quota, to=upstream)
    model = factories.chat_model("reserved", of=quota, to=upstream)
    model.groups.add(factories.group("testers", alice))
    forget()
    return model


def forget() -> None:
    providers_app().configuration.forget()
    quotas_app().snapshot.forget()


def offered(user: User) -> list[str]:
    client = Client()
    client.force_login(user)
    return [model["slug"] for model in client.get("/api/models/").json()]


def test_only_members_are_offered_the_model(alice: User, bob: User, carol: User, reserved: ChatModel) -> None:
    """Members are offered the model, others are not, not even an admin who is no member."""
    assert offered(alice) == ["open", "reserved"]
    assert offered(bob) == offered(carol) == ["open"]
    reserved.groups.add(factories.group("more", bob))
    forget()
    assert offered(bob) == ["open", "reserved"]
    reserved.groups.clear()
    forget()
    assert offered(carol) == ["open", "reserved"]


def test_a_group_that_goes_opens_nothing(alice: User, bob: User, carol: User, reserved: ChatModel) -> None:
    """A model whose last group is deleted is disabled until an admin decides; one with a group left stays reserved."""
    reserved.groups.add(factories.group("more", bob))
    client = Client()
    client.force_login(carol)
    for name, offers in (("testers", (["open"], ["open", "reserved"])), ("more", (["open"], ["open"]))):
        gone = Group.objects.get(name=name)
        assert client.post(f"/admin/auth/group/{gone.pk}/delete/", {"post": "yes"}).status_code == 302
        forget()
        assert (offered(alice), offered(bob)) == offers
        assert offered(carol) == ["open"]
    reserved.refresh_from_db()
    assert not reserved.enabled


def test_many_groups_deleted_at_once(bob: User, carol: User, reserved: ChatModel) -> None:
    """The same holds when all groups of a model go together, and the admin is informed."""
    reserved.groups.add(factories.group("more"))
    client = Client()
    client.force_login(carol)
    chosen = {"action": "delete_selected", "_selected_action": list(Group.objects.values_list("pk", flat=True))}
    page = client.post("/admin/auth/group/", {**chosen, "post": "yes"}, follow=True).content.decode()
    assert page.count("reserved") == 1
    assert not Group.objects.exists()
    forget()
    assert offered(bob) == ["open"]


def test_the_page_offers_it_to_members(alice: User, bob: User, reserved: ChatModel) -> None:
    """The chat page's list has it for members only."""
    for user, there in ((alice, True), (bob, False)):
        client = Client()
        client.force_login(user)
        assert (b'value="reserved"' in client.get("/").content) is there


def test_asking_is_refused(alice: User, bob: User, reserved: ChatModel) -> None:
    """A user outside the group is refused as for a model that does not exist; nothing is stored."""
    ask = GenerationRequest(bob.pk, "reserved", "Hello")
    with pytest.raises(InvalidRequest) as refused:
        factories.admission().start(ask)
    with pytest.raises(InvalidRequest) as unknown:
        factories.admission().start(GenerationRequest(bob.pk, "nothing", "Hello"))
    assert refused.value.body() == unknown.value.body()
    assert list(refused.value.body()["details"]) == ["model"]
    assert not Generation.objects.exists()
    assert factories.admission().start(GenerationRequest(alice.pk, "reserved", "Hello")).reservation


def test_regenerating_is_refused(alice: User, reserved: ChatModel) -> None:
    """A user who has left the group cannot ask again, neither by name nor by the model of the old completion."""
    row = factories.admission().start(GenerationRequest(alice.pk, "reserved", "Hello")).row
    Generation.objects.update(status="completed", charge={})
    alice.groups.clear()
    for model in ("", "reserved"):
        with pytest.raises(InvalidRequest) as refused:
            factories.admission().start(GenerationRequest(alice.pk, model, regenerate=row.message_id))
        assert list(refused.value.body()["details"]) == ["model"]
    assert factories.admission().start(GenerationRequest(alice.pk, "open", regenerate=row.message_id)).reservation


def test_a_known_key_of_a_member_who_left(alice: User, reserved: ChatModel) -> None:
    """The model is looked at before the key, as with one that was taken away altogether."""
    ask = GenerationRequest(alice.pk, "reserved", "Hello", idempotency_key="k")
    factories.admission().start(ask)
    alice.groups.clear()
    with pytest.raises(InvalidRequest):
        factories.admission().start(ask)


def test_nothing_reserved_costs_nothing(alice: User, reserved: ChatModel, django_assert_num_queries: object) -> None:
    """While no model is reserved, no query reads a user's groups."""

    models = providers_app().configuration.models()
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert access.may_use(alice.pk, models["reserved"])
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert access.may_use(alice.pk, models["open"])
    reserved.groups.clear()
    forget()
    providers_app().configuration.models()
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert [model.slug for model in access.usable(providers_app().configuration, alice.pk)] == ["open", "reserved"]

"""Who may sign up: invitations by the operator, approval, mail domains, and groups that codes give."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import invites
from accounts.auth import Caller, require_may_chat
from accounts.models import BatchGroup, SignupCode, User
from quotas import redeem_codes
from tests import factories
from tests.product import PASSWORD
from tests.staff import auditors, calling, send, staff_with
from web.refusals import Forbidden

REGISTER = "/api/auth/register/"


def register(name: str, **values: Any) -> Any:
    body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, **values}
    return Client().post(REGISTER, body, content_type="application/json")


def sign_up(name: str, **values: Any) -> Any:
    form = {"username": name, "email": f"{name}@example.org", "password1": PASSWORD, "password2": PASSWORD}
    return Client(headers={"Accept-Language": "en"}).post("/accounts/signup/", {**form, **values})


@pytest.mark.django_db
def test_an_invitation_gives_groups_until_it_is_used_up(settings: Any) -> None:
    """Form and API take the code, new users get its groups, and beyond its uses it is unknown."""
    settings.SIGNUP_MODE = "invite"
    code = SignupCode.objects.create(most_uses=2)
    code.groups.add(factories.group("class"))
    assert register("erin", invite_code=f" {code.code.lower()} ").status_code == 201
    assert sign_up("frank", invite_code=code.code).status_code == 302
    assert [user.groups.get().name for user in User.objects.all()] == ["class", "class"]
    assert set(User.objects.values_list("signup_code", "invited_by")) == {(code.pk, None)}
    late = register("grace", invite_code=code.code)
    assert (late.status_code, [*late.json()["error"]["details"]]) == (400, ["invite_code"])
    assert sign_up("grace", invite_code=code.code).context["form"].errors["invite_code"]
    SignupCode.objects.update(most_uses=9, expires_at=timezone.now() - timedelta(seconds=1))
    assert register("grace", invite_code=code.code).status_code == 400


@pytest.mark.django_db
def test_the_last_use_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-up that lost the last use to another one is refused and leaves no account."""
    code = SignupCode.objects.create()
    prepared = invites.prepare

    def prepare_and_lose(user: User, text: str | None) -> None:
        prepared(user, text)
        SignupCode.objects.update(uses=1)

    monkeypatch.setattr(invites, "prepare", prepare_and_lose)
    assert register("erin", invite_code=code.code).json()["error"]["details"].keys() == {"invite_code"}
    SignupCode.objects.update(uses=0)
    assert sign_up("erin", invite_code=code.code).headers["Location"] == "/accounts/signup/"
    assert not User.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_uses_are_counted_exactly() -> None:
    """Of eight threads that take one of three uses, three succeed."""
    code, taken = SignupCode.objects.create(most_uses=3), []

    def take() -> None:
        taken.append(SignupCode.objects.take(code.pk))
        connection.close()

    threads = [threading.Thread(target=take) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(taken), SignupCode.objects.get().uses) == (3, 3)


@pytest.mark.django_db
@pytest.mark.contract("setting: SIGNUP_APPROVAL")
def test_new_accounts_wait_for_approval(settings: Any, carol: User, django_capture_on_commit_callbacks: Any) -> None:
    """Until staff approve it, an account asks no model and its chat page says so; then its user gets a mail."""
    settings.SIGNUP_APPROVAL = settings.ACCOUNT_EMAIL_NOTIFICATIONS = True
    register("erin")
    erin = User.objects.get(username="erin")
    with pytest.raises(Forbidden):
        require_may_chat(Caller(erin, "jwt", reachable=True))
    page = Client(headers={"Accept-Language": "en"})
    page.force_login(erin)
    assert "Waiting for approval" in page.get("/").content.decode()
    assert page.get("/accounts/data/").status_code == 200
    mail.outbox = []
    staff = Client(headers={"Accept-Language": "en"})
    staff.force_login(carol)
    for _again in range(2):
        chosen = {"action": "approve", "_selected_action": [erin.pk]}
        with django_capture_on_commit_callbacks(execute=True):
            assert staff.post("/admin/accounts/user/?awaits_approval__exact=1", chosen).status_code == 302
    assert [(sent.to, "approved" in sent.subject) for sent in mail.outbox] == [(["erin@example.org"], True)]
    require_may_chat(Caller(User.objects.get(pk=erin.pk), "jwt", reachable=True))
    assert "Waiting for approval" not in page.get("/").content.decode()
    send(calling(carol), "PATCH", f"/api/admin/users/{erin.pk}/", {"awaits_approval": True})
    assert User.objects.get(pk=erin.pk).awaits_approval
    with django_capture_on_commit_callbacks(execute=True):
        send(calling(carol), "PATCH", f"/api/admin/users/{erin.pk}/", {"awaits_approval": False})
        assert len(mail.outbox) == 1, "no mail before the commit"
    assert len(mail.outbox) == 2
    approving = SignupCode.objects.create()
    register("frank", invite_code=approving.code)
    assert not User.objects.get(username="frank").awaits_approval


@pytest.mark.django_db
@pytest.mark.contract("setting: ALLOWED_MAIL_DOMAINS")
@pytest.mark.parametrize(
    ("email", "status"),
    [("a@example.edu", 201), ("a@CS.Example.edu", 201), ("a@example.org", 400), ("a@badexample.edu", 400)],
)
def test_only_allowed_domains_sign_up(settings: Any, email: str, status: int) -> None:
    """With ALLOWED_MAIL_DOMAINS form and API take addresses of these domains and their subdomains only."""
    settings.ALLOWED_MAIL_DOMAINS = ("example.edu",)
    answer = register("erin", email=email)
    assert answer.status_code == status
    if status == 400:
        assert [*answer.json()["error"]["details"]] == ["email"]
        assert "example.edu" in str(sign_up("erin", email=email).context["form"].errors["email"])


@pytest.mark.django_db
def test_no_other_address_is_added_later(settings: Any, alice: User, client: Client) -> None:
    """The account page adds only addresses of the allowed domains; the own address stays."""
    settings.ALLOWED_MAIL_DOMAINS = ("example.edu",)
    client.force_login(alice)
    client.post("/accounts/email/", {"action_add": "", "email": "alice@evil.example"})
    client.post("/accounts/email/", {"action_add": "", "email": "alice@example.edu"})
    assert set(EmailAddress.objects.values_list("email", flat=True)) == {"alice@example.org", "alice@example.edu"}


@pytest.mark.django_db
def test_a_redeem_code_gives_its_group(alice: User) -> None:
    """The group of a batch comes with the credits, to the user who redeems the code and no other."""
    quota = factories.quota("standard", models=[factories.chat_model("glm-4")])
    first, second = redeem_codes.make(quota, 5, 2, None, None)
    BatchGroup.objects.create(batch=first.batch, group=factories.group("course"))
    client = calling(alice)
    assert send(client, "POST", "/api/redeem/", {"code": first.code}).status_code == 200
    assert alice.groups.get().name == "course"
    bob = factories.user("bob")
    assert send(calling(bob), "POST", "/api/redeem/", {"code": first.code}).status_code == 400
    assert not bob.groups.exists()
    assert send(client, "POST", "/api/redeem/", {"code": second.code}).status_code == 200


@pytest.mark.django_db
def test_staff_give_only_groups_that_they_may_assign(carol: User) -> None:
    """An invitation with a group of rights that the staff user lacks is refused; a plain group is fine."""
    plain, strong = factories.group("plain"), auditors()
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(staff_with("add_signupcode", "view_signupcode", "change_signupcode"))
    form = {"code": "class2026", "most_uses": 30, "groups": [strong.pk]}
    assert client.post("/admin/accounts/signupcode/add/", form).context["adminform"].form.errors["groups"]
    assert client.post("/admin/accounts/signupcode/add/", {**form, "groups": [plain.pk]}).status_code == 302
    made = SignupCode.objects.get()
    assert (made.code, made.approves) == ("CLASS2026", False)
    page = client.get(f"/admin/accounts/signupcode/{made.pk}/change/").content.decode()
    assert "/accounts/signup/?invite=CLASS2026" in page
    assert "0 / 30" in page
    made.groups.set([strong])
    for groups in ([strong.pk], [plain.pk]):
        more = {**form, "most_uses": 31, "groups": groups}
        changed = client.post(f"/admin/accounts/signupcode/{made.pk}/change/", more)
        assert changed.context["adminform"].form.errors["groups"]

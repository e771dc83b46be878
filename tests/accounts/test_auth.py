"""accounts/auth.py: the caller by each kind of credentials, with and without Django's middleware."""

import base64
import json
from datetime import timedelta
from typing import Any

import jwt as pyjwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from accounts import auth, jwt, tickets
from accounts.errors import AccountIncomplete
from accounts.models import ApiToken, User
from runtime import database
from tests import factories
from web.refusals import Forbidden, NotAuthenticated

pytestmark = pytest.mark.django_db
STREAM = "/api/generations/1/events/"
WAYS = ["session", "jwt", "token", "ticket"]


def request_without_middleware(method: str = "GET", path: str = STREAM, **extra: Any) -> HttpRequest:
    """Return a request as the handler of event streams makes it: without middleware."""
    return getattr(RequestFactory(enforce_csrf_checks=True), method.lower())(path, **extra)


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies[django_settings.SESSION_COOKIE_NAME].value


def with_cookie(request: HttpRequest, cookie: str) -> HttpRequest:
    request.COOKIES[django_settings.SESSION_COOKIE_NAME] = cookie
    return request


def showing(way: str, user: User, api_token: Any) -> HttpRequest:
    match way:
        case "session":
            return with_cookie(request_without_middleware(), cookie_of(user))
        case "jwt":
            return request_without_middleware(headers={"Authorization": f"Bearer {jwt.issue(user)['access']}"})
        case "token":
            return request_without_middleware(headers={"Authorization": f"Bearer {api_token(user)}"})
    return request_without_middleware(path=f"{STREAM}?ticket={tickets.issue(user, STREAM)}")


BAD = {
    "session": lambda: with_cookie(request_without_middleware(), "notasessionnotasessionnotasessi0"),
    "jwt": lambda: request_without_middleware(headers={"Authorization": "Bearer a.b.c"}),
    "token": lambda: request_without_middleware(headers={"Authorization": "Bearer sk-nobody"}),
    "ticket": lambda: request_without_middleware(path=f"{STREAM}?ticket=nonsense"),
}


def test_a_logged_in_account_is_recognised(client: Client, alice: User) -> None:
    """A user who is logged in is the caller."""
    client.force_login(alice)
    assert client.get("/api/me/").json()["username"] == "alice"


@pytest.mark.contract("the four proofs")
@pytest.mark.parametrize("way", WAYS)
def test_each_proof_is_accepted_without_middleware(way: str, alice: User, api_token: Any) -> None:
    """Each kind of credentials identifies its user and itself."""
    caller = auth.authenticate(showing(way, alice, api_token), tickets=True)
    assert (caller.user, caller.via, caller.reachable) == (alice, way, True)


@pytest.mark.contract("a disabled user, by all four")
@pytest.mark.parametrize("way", WAYS)
def test_a_disabled_user_is_refused(way: str, alice: User, api_token: Any) -> None:
    """Credentials of a user who was disabled later are refused."""
    request = showing(way, alice, api_token)
    User.objects.update(is_active=False)
    with pytest.raises(NotAuthenticated):
        auth.authenticate(request, tickets=True)


@pytest.mark.parametrize("way", WAYS)
def test_a_deleted_user_is_refused(way: str, alice: User, api_token: Any) -> None:
    """Credentials of a user who was deleted later are refused."""
    request = showing(way, alice, api_token)
    User.objects.all().delete()
    with pytest.raises(NotAuthenticated):
        auth.authenticate(request, tickets=True)


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_proof_is_refused(way: str, alice: User) -> None:
    """Credentials that were never issued are refused."""
    with pytest.raises(NotAuthenticated):
        auth.authenticate(BAD[way](), tickets=True)


def test_a_request_without_credentials_is_refused(db: None) -> None:
    """A request without credentials raises NotAuthenticated."""
    with pytest.raises(NotAuthenticated):
        auth.authenticate(request_without_middleware())


def test_anonymous_rest_is_401(client: Client) -> None:
    """REST responds with not_authenticated in the common format."""
    response = client.get("/api/me/")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Basic YTpi", "sk-1", "Bearer sk-", "Bearer sk-é", "x" * 9000]
)
def test_a_bad_header_never_falls_back_to_the_cookie(header: str, alice: User) -> None:
    """If a request has an Authorization header, the cookie is ignored."""
    request = with_cookie(request_without_middleware(), cookie_of(alice))
    request.META["HTTP_AUTHORIZATION"] = header
    with pytest.raises(NotAuthenticated):
        auth.authenticate(request)


def test_a_bad_ticket_never_falls_back_to_the_cookie(alice: User) -> None:
    """A used or expired ticket is refused, also in a browser that is logged in."""
    with pytest.raises(NotAuthenticated):
        auth.authenticate(
            with_cookie(request_without_middleware(path=f"{STREAM}?ticket=old"), cookie_of(alice)), tickets=True
        )


def test_a_ticket_is_for_streams_only(alice: User, client: Client) -> None:
    """A ticket is ignored on POST, and where tickets are not accepted."""
    ticket = tickets.issue(alice, STREAM)
    with pytest.raises(NotAuthenticated):
        auth.authenticate(request_without_middleware(path=f"{STREAM}?ticket={ticket}"))
    with pytest.raises(NotAuthenticated):
        auth.authenticate(request_without_middleware("POST", f"{STREAM}?ticket={ticket}"), tickets=True)
    assert client.get("/api/me/", {"ticket": tickets.issue(alice, "/api/me/")}).status_code == 401


def test_a_session_needs_the_csrf_token(alice: User) -> None:
    """A POST by cookie alone is forbidden, with and without middleware."""
    request = with_cookie(request_without_middleware("POST"), cookie_of(alice))
    with pytest.raises(Forbidden):
        auth.authenticate(request)
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    response = client.post("/api/tokens/", {"name": "x"}, "application/json")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


def test_a_session_with_the_csrf_token_may_post(alice: User) -> None:
    """A POST with the cookie's CSRF token in the header is accepted."""
    secret = "a" * 32
    request = with_cookie(request_without_middleware("POST", headers={"X-CSRFToken": secret}), cookie_of(alice))
    request.COOKIES[django_settings.CSRF_COOKIE_NAME] = secret
    assert auth.authenticate(request).via == "session"


def test_a_foreign_origin_is_forbidden(alice: User) -> None:
    """A valid CSRF token from a page of another site is refused."""
    headers = {"X-CSRFToken": "a" * 32, "Origin": "https://evil.example"}
    request = with_cookie(request_without_middleware("POST", headers=headers), cookie_of(alice))
    request.COOKIES[django_settings.CSRF_COOKIE_NAME] = "a" * 32
    with pytest.raises(Forbidden):
        auth.authenticate(request)


@pytest.mark.parametrize("way", ["jwt", "token"])
def test_a_bearer_needs_no_csrf_token(way: str, alice: User, api_token: Any) -> None:
    """A request with a bearer token needs no CSRF token."""
    request = showing(way, alice, api_token)
    request.method = "POST"
    assert auth.authenticate(request).via == way


def test_rest_knows_the_caller(alice: User, api_token: Any) -> None:
    """DRF views use the same authenticator."""
    response = Client(headers={"Authorization": f"Bearer {api_token(alice)}"}).get("/api/me/")
    assert response.json()["id"] == alice.pk


@pytest.mark.django_db(transaction=True)
async def test_the_async_authenticator_does_the_same(alice: User, api_token: Any) -> None:
    """`aauthenticate` returns the same caller and raises the same refusals."""
    try:
        request = await database.run(showing, "ticket", alice, api_token)
        assert (await auth.aauthenticate(request, tickets=True)).user == alice
        with pytest.raises(NotAuthenticated):
            await auth.aauthenticate(request_without_middleware())
    finally:
        database.close()


@pytest.mark.parametrize(("way", "most"), [("session", 2), ("jwt", 1), ("token", 2), ("ticket", 3)])
def test_authentication_needs_few_queries(
    way: str, most: int, alice: User, api_token: Any, django_assert_max_num_queries: Any
) -> None:
    """Authenticating a stream's request takes at most three queries."""
    request = showing(way, alice, api_token)
    if way == "session":  # once a minute, it is stored that the session is in use
        auth.authenticate(request)
    with django_assert_max_num_queries(most):
        auth.authenticate(request, tickets=True)


def test_last_use_is_noted_at_most_once_a_minute(alice: User, api_token: Any) -> None:
    """The first use is stored; further uses within a minute cost no write."""
    request = showing("token", alice, api_token)
    auth.authenticate(request)
    first = ApiToken.objects.get().last_used_at
    auth.authenticate(request)
    assert first
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    auth.authenticate(request)
    assert ApiToken.objects.get().last_used_at >= first


def test_a_password_change_ends_jwt_and_session(alice: User, api_token: Any) -> None:
    """A new password ends sessions and JWTs, but not API tokens, which are for programs."""
    by_jwt, by_cookie = showing("jwt", alice, api_token), showing("session", alice, api_token)
    by_token = showing("token", alice, api_token)
    alice.set_password("another fine password")
    alice.save()
    for request in (by_jwt, by_cookie):
        with pytest.raises(NotAuthenticated):
            auth.authenticate(request)
    assert auth.authenticate(by_token).user == alice


def test_a_session_without_its_hash_is_refused(alice: User) -> None:
    """A session row that only contains a user's id is refused."""
    cookie = cookie_of(alice)
    store = Session.objects.get(pk=cookie)
    data = {key: value for key, value in store.get_decoded().items() if key != "_auth_user_hash"}
    assert SESSION_KEY in data
    Session.objects.filter(pk=cookie).update(session_data=Session.objects.encode(data))
    with pytest.raises(NotAuthenticated):
        auth.authenticate(with_cookie(request_without_middleware(), cookie))


def test_an_expired_session_is_refused(alice: User) -> None:
    """A cookie works until its session expires."""
    cookie = cookie_of(alice)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    with pytest.raises(NotAuthenticated):
        auth.authenticate(with_cookie(request_without_middleware(), cookie))


def forged(user: User) -> dict[str, str]:
    """Return access tokens that look valid but were not issued by us."""
    token = AccessToken(jwt.issue(user)["access"])  # type: ignore[arg-type]
    encode = lambda part: base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()  # noqa: E731
    return {
        "alg none": f"{encode({'alg': 'none', 'typ': 'JWT'})}.{encode(token.payload)}.",
        "library's alg none": pyjwt.encode(token.payload, None, algorithm="none"),
        "foreign key": pyjwt.encode(token.payload, "another key, as long as ours has to be", algorithm="HS256"),
        "another algorithm": pyjwt.encode(token.payload, django_settings.SECRET_KEY, algorithm="HS512"),
        "refresh as access": jwt.issue(user)["refresh"],
        "old": pyjwt.encode({**token.payload, "exp": 1}, django_settings.SECRET_KEY, algorithm="HS256"),
        "no user": pyjwt.encode({**token.payload, "user_id": "0"}, django_settings.SECRET_KEY, algorithm="HS256"),
        "cut": str(token)[:-2],
    }


@pytest.mark.parametrize(
    "kind",
    [
        "alg none",
        "library's alg none",
        "foreign key",
        "another algorithm",
        "refresh as access",
        "old",
        "no user",
        "cut",
    ],
)
def test_a_forged_jwt_is_refused(kind: str, alice: User) -> None:
    """Only an access token signed with our key and our algorithm is accepted."""
    with pytest.raises(NotAuthenticated):
        auth.authenticate(request_without_middleware(headers={"Authorization": f"Bearer {forged(alice)[kind]}"}))


@pytest.mark.contract("refusal: account_incomplete")
def test_an_account_without_address_cannot_chat(db: None) -> None:
    """An account without an address and without a social login cannot chat."""
    user = factories.user("dave", email="")
    caller = auth.authenticate(with_cookie(request_without_middleware(), cookie_of(user)))
    assert not caller.reachable
    with pytest.raises(AccountIncomplete):
        auth.require_may_chat(caller)


def test_a_social_login_allows_chatting(settings: Any, db: None) -> None:
    """A social login is enough to chat, because WeChat gives no address."""
    user = factories.user("dave", email="")
    SocialAccount.objects.create(user=user, provider="weixin", uid="1")
    for settings.REQUIRE_VERIFIED_EMAIL in (False, True):
        caller = auth.authenticate(with_cookie(request_without_middleware(), cookie_of(user)))
        assert caller.reachable
        auth.require_may_chat(caller)


@pytest.mark.contract("setting: REQUIRE_VERIFIED_EMAIL")
def test_a_required_address_must_be_verified(settings: Any, alice: User) -> None:
    """Where addresses must be verified, an unverified one does not count."""
    settings.REQUIRE_VERIFIED_EMAIL = True
    request = with_cookie(request_without_middleware(), cookie_of(alice))
    assert auth.authenticate(request).reachable
    EmailAddress.objects.update(verified=False)
    assert not auth.authenticate(request).reachable
    settings.REQUIRE_VERIFIED_EMAIL = False
    assert auth.authenticate(request).reachable


def test_disabled_and_deleted_users_are_found(alice: User, bob: User, carol: User) -> None:
    """`disabled_among` returns the ids of disabled and deleted users."""
    User.objects.filter(pk=bob.pk).update(is_active=False)
    deleted = carol.pk
    carol.delete()
    assert auth.disabled_among([alice.pk, bob.pk, deleted]) == {bob.pk, deleted}
    assert auth.disabled_among([]) == set()

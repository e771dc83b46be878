"""A user's outstanding refresh tokens, and what is stored of them, are bounded."""

import pytest

from accounts import jwt
from accounts.jwt import MOST_LOGINS
from accounts.models import RefreshFamily, User
from web.refusals import NotAuthenticated

pytestmark = pytest.mark.django_db


def test_a_login_too_many_ends_the_one_used_the_longest_ago(alice: User, bob: User) -> None:
    """After the 101st login the first one has ended; one that was used in between, and other users' go on."""
    others = jwt.issue(bob)["refresh"]
    first, second = jwt.issue(alice)["refresh"], jwt.issue(alice)["refresh"]
    RefreshFamily.objects.filter(user=alice).update(expires_at="2020-01-01T00:00:00Z")
    second = jwt.rotate(second)["refresh"]
    for _login in range(MOST_LOGINS - 1):
        jwt.issue(alice)
    assert RefreshFamily.objects.filter(user=alice).count() == MOST_LOGINS
    with pytest.raises(NotAuthenticated):
        jwt.rotate(first)
    for refresh in (second, others):
        jwt.rotate(refresh)


def test_exchanges_store_nothing_more(alice: User) -> None:
    """A token that is exchanged 200 times has one row."""
    refresh = jwt.issue(alice)["refresh"]
    for _exchange in range(200):
        refresh = jwt.rotate(refresh)["refresh"]
    assert RefreshFamily.objects.count() == 1

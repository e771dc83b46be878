"""Redeem codes: how they look, what is forgiven, what is refused."""

from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from quotas import ledger, redeem_codes
from quotas.errors import InvalidCode
from quotas.models import LedgerEntry, RedeemBatch, RedeemCode
from tests import factories
from tests.quotas import consistency
from web.refusals import InvalidRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def quota():
    return factories.quota("standard")


def make(quota, **changes):
    values = {"credit": 5, "count": 1, "expires_at": None, "made_by": None, **changes}
    return redeem_codes.make(quota, **values)


def test_a_code_gives_its_credits(alice, quota):
    """A code gives its credits with a ledger row, and records its redeemer."""
    (code,) = make(quota)
    redeemed = redeem_codes.redeem(alice.pk, code.grouped())
    assert (redeemed.quota, redeemed.credits, redeemed.redeemed_by) == (quota, 5, alice)
    assert ledger.state(alice.pk, quota.pk)["credits"] == 5
    entry = LedgerEntry.objects.get()
    assert (entry.user, entry.amount, entry.source, entry.reason) == (alice, 5, "credit", "redeemed")
    assert RedeemCode.objects.get().redeemed_at
    consistency.check(alice.pk, quota.pk)


def test_codes_cannot_be_guessed(quota):
    """A code has twenty characters of thirty-two, each equally likely."""
    codes = [row.code for row in make(quota, count=1_000)]
    assert len(set(codes)) == 1_000
    assert {len(code) for code in codes} == {20}
    counts = Counter("".join(codes))
    assert set(counts) == set(redeem_codes.ALPHABET)
    assert len(counts) == 32
    # 20,000 signs, 625 of each expected; six standard deviations are 148.
    assert all(abs(number - 625) < 148 for number in counts.values())


def test_codes_are_grouped(quota):
    """Codes are shown in four groups of five."""
    (code,) = make(quota)
    assert [len(group) for group in code.grouped().split("-")] == [5, 5, 5, 5]
    assert str(code) == code.grouped()


@pytest.mark.parametrize(
    "typed",
    [
        "01ABC-DEFGH-JKMNP-QRSTV",
        "01abcdefghjkmnpqrstv",
        " 01abc defgh jkmnp qrstv ",
        "OIABC-DEFGH-JKMNP-QRSTV",
        "olabc-defgh-jkmnp-qrstv",
        "O1ABC–DEFGH—JKMNP_QRSTV",
        "０１ＡＢＣ－ＤＥＦＧＨ－ＪＫＭＮＰ－ＱＲＳＴＶ",
        "01ABC\u00a0DEFGH\u3000JKMNP\tQRSTV",
    ],
)
def test_forgiven(typed, alice, quota):
    """Case, dashes, spaces, full width and look-alikes do not matter."""
    (code,) = make(quota)
    RedeemCode.objects.update(code="01ABCDEFGHJKMNPQRSTV")
    assert redeem_codes.redeem(alice.pk, typed).pk == code.pk


@given(st.text(max_size=200))
def test_anything_may_be_typed(typed):
    """Any typed text comes out short; a normal code stays as it is."""
    once = redeem_codes.normalised(typed)
    assert len(once) <= 21
    assert redeem_codes.normalised(once) == once or not once.isascii()


def refused(alice, typed):
    with pytest.raises(InvalidCode) as refusal:
        redeem_codes.redeem(alice.pk, typed)
    return refusal.value.body()


def test_one_and_the_same_refusal(alice, bob, quota, django_assert_num_queries):
    """Used, expired, unknown and wrong codes get the same refusal after the same statements."""
    now = timezone.now()
    used, expired = make(quota)[0], make(quota, expires_at=now - timedelta(seconds=1))[0]
    redeem_codes.redeem(bob.pk, used.code)
    bodies = []
    for typed in (used.code, expired.code, "0" * 20, "", "\x00", f"{used.code}0", "一二三"):
        with django_assert_num_queries(4):  # the update, and a savepoint of this test's transaction
            bodies.append(refused(alice, typed))
    assert bodies == [bodies[0]] * 7
    assert bodies[0]["code"] == "invalid_code"
    assert not LedgerEntry.objects.filter(user=alice).exists()


def test_expiry(alice, quota):
    """A code is good until the moment it expires."""
    later = make(quota, expires_at=timezone.now() + timedelta(minutes=1))[0]
    assert redeem_codes.redeem(alice.pk, later.code)


def test_used_once_also_by_the_same(alice, quota):
    """The redeemer of a code gets nothing for it a second time."""
    (code,) = make(quota)
    redeem_codes.redeem(alice.pk, code.code)
    refused(alice, code.code)
    assert ledger.state(alice.pk, quota.pk)["credits"] == 5


def test_a_code_outlives_its_user(alice, bob, quota):
    """A code whose redeemer was deleted stays used."""
    (code,) = make(quota)
    redeem_codes.redeem(alice.pk, code.code)
    alice.delete()
    refused(bob, code.code)
    assert RedeemCode.objects.get().redeemed_by is None


def test_too_many_credits(alice, quota):
    """A full balance refuses the code, which stays unused."""
    factories.credits_for(alice, quota, 2_147_483_647)
    (code,) = make(quota)
    with pytest.raises(InvalidRequest):
        redeem_codes.redeem(alice.pk, code.code)
    assert RedeemCode.objects.get().redeemed_at is None


def test_a_batch_is_made_of_few_statements(quota, carol, django_assert_max_num_queries):
    """A thousand codes are one batch and a handful of statements."""
    with django_assert_max_num_queries(12):
        codes = make(quota, count=1_000, made_by=carol.pk, note="for the fair")
    batch = RedeemBatch.objects.get()
    assert (batch.note, batch.created_by, batch.codes.count()) == ("for the fair", carol, len(codes))

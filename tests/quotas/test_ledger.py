"""Reserve, settle, release, grant: their effect on a user's figures, one call after another."""

import pytest
from django.db import IntegrityError, connection, transaction

from providers.apps import providers_app
from quotas import ledger
from quotas.apps import quotas_app
from quotas.errors import QuotaExhausted
from quotas.models import CreditBalance, DailyUsage, LedgerEntry, Quota, Reservation
from tests import factories
from web.refusals import InvalidRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def quota():
    return factories.quota("standard", title="Standard", daily_limit=3)


@pytest.fixture
def model(quota):
    return factories.chat_model("glm-4", of=quota)


def reserve(user, model, reference, **options):
    with transaction.atomic():
        return ledger.reserve(user.pk, model.pk, reference, **options)


def in_broken_transaction(call, *arguments):
    with transaction.atomic():
        call(*arguments)
        raise ZeroDivisionError


def entries(user):
    rows = LedgerEntry.objects.filter(user=user).order_by("id")
    return list(rows.values_list("amount", "source", "reason", "reference"))


def test_a_settled_unit_is_charged(alice, quota, model):
    """A reservation takes a unit of the day; settling charges it and writes one row."""
    unit = reserve(alice, model, "g1")
    state = ledger.state(alice.pk, quota.pk)
    assert state == {
        "slug": "standard",
        "title": "Standard",
        "models": ["glm-4"],
        "daily_limit": 3,
        "used_today": 1,
        "credits": 0,
        "remaining": 2,
        "resets_at": unit.resets_at.isoformat(),
    }
    assert unit.remaining == 2
    assert Reservation.objects.get(pk=unit.reservation_id).status == "reserved"
    charge = ledger.settle("g1", "stop")
    assert charge.as_json() == {"amount": 1, "source": "daily", "reason": "stop"}
    assert entries(alice) == [(-1, "daily", "stop", "g1")]
    assert ledger.state(alice.pk, quota.pk) == state


def test_released_unit_can_be_used_again(alice, quota, model):
    """Releasing charges nothing, writes nothing, and gives the unit back to the day."""
    reserve(alice, model, "g1")
    assert ledger.release("g1", "interrupted").as_json() == {"amount": 0, "source": "none", "reason": "interrupted"}
    assert entries(alice) == []
    state = ledger.state(alice.pk, quota.pk)
    assert (state["used_today"], state["remaining"]) == (0, 3)


def test_day_goes_first_then_credits(alice, quota, model):
    """Three of the day and five credits are exactly eight units."""
    factories.credits_for(alice, quota, 5)
    sources = []
    for number in range(8):
        remaining = reserve(alice, model, f"g{number}").remaining
        assert remaining == 7 - number
        sources.append(ledger.settle(f"g{number}", "stop").source)
    assert sources == ["daily"] * 3 + ["credit"] * 5
    with pytest.raises(QuotaExhausted):
        reserve(alice, model, "g8")
    assert not Reservation.objects.filter(reference="g8").exists()


def test_released_credit_comes_back(alice, quota, model):
    """A released reservation of a credit gives it back, and leaves the day alone."""
    Quota.objects.update(daily_limit=0)
    factories.credits_for(alice, quota, 1)
    reserve(alice, model, "g1")
    assert ledger.state(alice.pk, quota.pk)["credits"] == 0
    ledger.release("g1", "upstream_error")
    state = ledger.state(alice.pk, quota.pk)
    assert (state["used_today"], state["credits"], state["remaining"]) == (0, 1, 1)
    assert entries(alice) == [(1, "credit", "gift", "")]


@pytest.mark.contract("refusal: quota_exhausted")
def test_exhausted_refusal_says_when_and_how(alice, quota, model):
    """The refusal is a 429 with the seconds to the next day and a hint."""
    Quota.objects.update(daily_limit=1)
    reserve(alice, model, "g1")
    with pytest.raises(QuotaExhausted) as refused:
        reserve(alice, model, "g2")
    assert (refused.value.code, refused.value.http_status) == ("quota_exhausted", 429)
    assert 0 < refused.value.retry_after <= 86_400
    assert "nvit" in str(refused.value.body()["message"]) or "邀请" in str(refused.value.body()["message"])


@pytest.mark.contract("refusal: quota_exhausted")
def test_credits_only_has_no_retry_after(alice, quota, model):
    """With a daily limit of 0 the refusal has no Retry-After."""
    Quota.objects.update(daily_limit=0)
    with pytest.raises(QuotaExhausted) as refused:
        reserve(alice, model, "g1")
    assert refused.value.retry_after is None
    assert not DailyUsage.objects.exists()


def test_no_limit_still_counts(alice, quota, model):
    """Without a limit everything is granted from the day, and counted."""
    Quota.objects.update(daily_limit=None)
    factories.credits_for(alice, quota, 1)
    for number in range(60):
        unit = reserve(alice, model, f"g{number}")
    assert unit.remaining is None
    state = ledger.state(alice.pk, quota.pk)
    assert (state["used_today"], state["daily_limit"], state["credits"]) == (60, None, 1)


def test_lowered_limit_is_never_negative(alice, quota, model):
    """A limit lowered below what was used leaves nothing, not less than nothing."""
    for number in range(3):
        reserve(alice, model, f"g{number}")
    Quota.objects.update(daily_limit=1)
    state = ledger.state(alice.pk, quota.pk)
    assert (state["used_today"], state["remaining"]) == (3, 0)
    with pytest.raises(QuotaExhausted):
        reserve(alice, model, "g3")


def test_raised_limit_counts_at_once(alice, quota, model):
    """A limit raised in the admin holds for the next call."""
    for number in range(3):
        reserve(alice, model, f"g{number}")
    Quota.objects.update(daily_limit=4)
    assert reserve(alice, model, "g3").remaining == 0


@pytest.mark.parametrize(("first", "then"), [(a, b) for a in ("settle", "release") for b in ("settle", "release")])
def test_first_end_stays(alice, quota, model, first, then):
    """The first end stays; later ones change nothing and return its charge."""
    reserve(alice, model, "g1")
    charge = getattr(ledger, first)("g1", "stop")
    before = (entries(alice), ledger.state(alice.pk, quota.pk), Reservation.objects.values().get())
    assert getattr(ledger, then)("g1", "interrupted") == charge
    assert (entries(alice), ledger.state(alice.pk, quota.pk), Reservation.objects.values().get()) == before


def test_unknown_reference_is_an_error():
    """Ending an unknown reservation is an error of the caller."""
    with pytest.raises(Reservation.DoesNotExist):
        ledger.settle("nothing", "stop")
    with pytest.raises(Reservation.DoesNotExist):
        ledger.release("nothing", "stop")


def test_one_reservation_per_generation(alice, bob, quota, model):
    """A reference with a unit cannot get a second one, for any user."""
    reserve(alice, model, "g1")
    with pytest.raises(IntegrityError):
        reserve(bob, model, "g1")
    assert ledger.state(bob.pk, quota.pk)["used_today"] == 0


def test_users_and_quotas_are_apart(alice, bob, quota, model):
    """Alice's use of a quota affects neither bob nor another quota."""
    other = factories.chat_model(of=factories.quota("premium", daily_limit=1))
    reserve(alice, model, "g1")
    assert reserve(bob, model, "g2").remaining == 2
    assert reserve(alice, other, "g3").remaining == 0


def test_models_share_their_quota(alice, quota, model):
    """Two models of one quota draw on the same allowance."""
    second = factories.chat_model("glm-5", of=quota, position=-1)
    reserve(alice, model, "g1")
    unit = reserve(alice, second, "g2")
    assert unit.remaining == 1
    assert ledger.state(alice.pk, quota.pk)["models"] == ["glm-5", "glm-4"]


def test_model_without_a_quota_is_refused(alice):
    """A model without a quota is not free: it is refused by name."""
    model = factories.chat_model()
    with pytest.raises(InvalidRequest) as refused:
        reserve(alice, model, "g1")
    assert "model" in refused.value.body()["details"]


def test_running_reservation_survives_a_move(alice, quota, model):
    """After its model moved, a released unit returns to its own quota."""
    reserve(alice, model, "g1")
    other = factories.quota("premium", models=[model])
    ledger.release("g1", "interrupted")
    assert ledger.state(alice.pk, quota.pk)["used_today"] == 0
    assert ledger.state(alice.pk, other.pk)["used_today"] == 0


def test_nothing_is_left_of_a_broken_transaction(alice, quota, model):
    """A transaction that fails after reserving leaves no unit taken and no reservation."""
    factories.credits_for(alice, quota, 1)
    for reference in ("g1", "g2", "g3", "g4"):
        with pytest.raises(ZeroDivisionError):
            in_broken_transaction(ledger.reserve, alice.pk, model.pk, reference)
    assert not Reservation.objects.exists()
    assert ledger.state(alice.pk, quota.pk)["remaining"] == 4


def test_broken_end_can_be_repeated(alice, quota, model):
    """A transaction that fails after settling leaves the reservation open; the next end counts."""
    reserve(alice, model, "g1")
    with pytest.raises(ZeroDivisionError):
        in_broken_transaction(ledger.settle, "g1", "stop")
    assert entries(alice) == []
    assert ledger.release("g1", "interrupted").amount == 0


def test_missing_day_does_not_stop_an_ending(alice, quota, model):
    """Tables changed by an operator are logged, and the generation ends all the same."""
    reserve(alice, model, "g1")
    DailyUsage.objects.all().delete()
    assert ledger.release("g1", "interrupted").amount == 0


@pytest.mark.django_db(transaction=True)
def test_only_inside_a_transaction():
    """Outside the transaction that stores the message nothing can be taken or ended."""
    for call, arguments in ((ledger.reserve, (1, 1, "g1")), (ledger.settle, ("g1", "")), (ledger.release, ("g1", ""))):
        with pytest.raises(transaction.TransactionManagementError):
            call(*arguments)


def test_grant_adds_and_takes_back(alice, quota):
    """Grants change the balance, and the ledger has a row for each of them."""
    ledger.grant(alice.pk, quota.pk, 5, "invited")
    ledger.grant(alice.pk, quota.pk, 3, "gift")
    ledger.grant(alice.pk, quota.pk, -6, "mistake")
    ledger.grant(alice.pk, quota.pk, -2, "mistake")
    assert entries(alice) == [
        (5, "credit", "invited", ""),
        (3, "credit", "gift", ""),
        (-6, "credit", "mistake", ""),
        (-2, "credit", "mistake", ""),
    ]
    assert CreditBalance.objects.get(user=alice).credits == 0


@pytest.mark.parametrize("amount", [0, -6, -(2**40), 2**31 - 1, 2**40])
def test_impossible_grant_changes_nothing(alice, quota, amount):
    """An amount of zero, or beyond the balance or its column, is refused."""
    ledger.grant(alice.pk, quota.pk, 5, "gift")
    with pytest.raises(InvalidRequest) as refused:
        ledger.grant(alice.pk, quota.pk, amount, "gift")
    assert "amount" in refused.value.body()["details"]
    assert CreditBalance.objects.get(user=alice).credits == 5
    assert LedgerEntry.objects.count() == 1


def test_overview_shows_what_can_be_used(alice, bob, quota, model):
    """A user sees every quota, its enabled models and the user's own figures."""
    premium = factories.quota("premium", daily_limit=None)
    factories.chat_model("gpt-4", of=premium)
    factories.chat_model("gpt-4-old", of=premium, enabled=False)
    factories.chat_model("spark", of=factories.quota("off"), enabled=False)
    factories.credits_for(alice, quota, 2)
    reserve(alice, model, "g1")
    shown = ledger.overview(alice)
    expected = [("standard", ["glm-4"]), ("premium", ["gpt-4"]), ("off", [])]
    assert [(state["slug"], state["models"]) for state in shown] == expected
    assert shown[0] == ledger.state(alice.pk, quota.pk)
    assert [state["remaining"] for state in shown[:2]] == [4, None]
    assert [state["remaining"] for state in ledger.overview(bob)[:2]] == [3, None]


def test_state_of_an_unknown_quota(alice):
    """There is no state of a quota that does not exist."""
    with pytest.raises(Quota.DoesNotExist):
        ledger.state(alice.pk, 0)


def test_quota_slugs(quota, model):
    """Lists of models learn the quota's slug by the model's id."""
    free = factories.chat_model()
    assert ledger.quota_slugs() == {model.pk: "standard"}
    assert free.pk not in ledger.quota_slugs()


def test_few_statements(alice, quota, model, django_assert_num_queries):
    """Reserving costs two statements of the day's allowance and five of a credit, ending two, the overview one.

    On SQLite one more reads what RETURNING would return, and one looks for a row of the day.
    """
    returned = looked = connection.vendor == "sqlite"
    Quota.objects.update(daily_limit=1)
    factories.credits_for(alice, quota, 1)
    quotas_app().snapshot.current()  # cached for two seconds, so not counted below
    with django_assert_num_queries(2 + returned + looked):
        ledger.reserve(alice.pk, model.pk, "g1")
    with django_assert_num_queries(5 + looked):
        ledger.reserve(alice.pk, model.pk, "g2")
    with django_assert_num_queries(3 + looked), pytest.raises(QuotaExhausted):
        ledger.reserve(alice.pk, model.pk, "g3")
    with django_assert_num_queries(2 + returned):
        ledger.settle("g1", "stop")
    with django_assert_num_queries(2):
        ledger.settle("g1", "stop")
    with django_assert_num_queries(2 + returned):
        ledger.release("g2", "stop")
    for number in range(3):
        factories.chat_model(of=factories.quota(f"more{number}"))
    providers_app().configuration.forget()
    quotas_app().snapshot.forget()
    quotas_app().snapshot.current()
    with django_assert_num_queries(1):
        assert len(ledger.overview(alice)) == 4

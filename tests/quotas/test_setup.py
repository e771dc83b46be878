"""The quotas of a first run."""

import pytest
from django.conf import settings

from quotas.models import Quota, QuotaModel
from quotas.setup import ensure_defaults
from tests import factories

pytestmark = pytest.mark.django_db


def quota_by_model():
    return dict(QuotaModel.objects.values_list("model__slug", "quota__slug"))


def test_a_first_run_makes_both_quotas():
    """A first run makes both quotas and assigns each model to one."""
    for slug in ("gpt-4", "gpt-4o-mini", "gpt-3.5-turbo", "demo"):
        factories.chat_model(slug)
    ensure_defaults()
    fields = ("slug", "title", "daily_limit", "inviter_credits", "invitee_credits")
    assert list(Quota.objects.order_by("id").values_list(*fields)) == [
        ("standard", "标准", 50, 10, 5),
        ("premium", "高级", 10, 0, 0),
    ]
    assert quota_by_model() == {
        "gpt-4": "premium",
        "gpt-4o-mini": "premium",
        "gpt-3.5-turbo": "standard",
        "demo": "standard",
    }


@pytest.mark.contract("setting: DAILY_LIMIT_STANDARD")
def test_environment_gives_the_first_values(monkeypatch):
    """Limits and credits of the first run are those of the environment, 0 included."""
    names = ("DAILY_LIMIT_STANDARD", "DAILY_LIMIT_PREMIUM", "INVITER_CREDITS", "INVITEE_CREDITS")
    changed = settings.ENV.model_copy(update=dict(zip(names, (7, 0, 2, 1), strict=True)))
    monkeypatch.setattr(settings, "ENV", changed)
    ensure_defaults()
    assert set(Quota.objects.values_list("slug", "daily_limit", "inviter_credits", "invitee_credits")) == {
        ("standard", 7, 2, 1),
        ("premium", 0, 0, 0),
    }


def test_repeating_changes_nothing():
    """An admin's edits stay, models keep their quota, and a new model finds one."""
    model = factories.chat_model("gpt-4")
    ensure_defaults()
    Quota.objects.filter(slug="standard").update(daily_limit=3, title="Ours")
    QuotaModel.objects.update(quota=Quota.objects.get(slug="standard"))
    factories.chat_model("spark")
    ensure_defaults()
    assert Quota.objects.get(slug="standard").daily_limit == 3
    assert quota_by_model() == {model.slug: "standard", "spark": "standard"}


@pytest.mark.parametrize(("deleted", "left"), [("premium", "standard"), ("standard", "premium")])
def test_deleted_quota_stays_deleted(deleted, left):
    """A deleted default stays deleted; its models go to the other one."""
    ensure_defaults()
    Quota.objects.get(slug=deleted).delete()
    factories.chat_model("gpt-4")
    factories.chat_model("demo")
    ensure_defaults()
    assert list(Quota.objects.values_list("slug", flat=True)) == [left]
    assert quota_by_model() == {"gpt-4": left, "demo": left}


def test_without_defaults_models_wait():
    """Where only an admin's own quotas exist, a new model waits."""
    factories.quota("ours")
    factories.chat_model("gpt-4")
    ensure_defaults()
    assert quota_by_model() == {}
    assert Quota.objects.count() == 1


def test_few_statements(django_assert_max_num_queries):
    """A start with nothing to do costs a handful of statements."""
    ensure_defaults()
    with django_assert_max_num_queries(6):
        ensure_defaults()

"""The admin's pages: quotas are edited, the ledger's tables are read-only."""

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.urls import reverse

from quotas import ledger
from quotas.models import Quota, QuotaModel
from tests import factories

pytestmark = pytest.mark.django_db

LEDGER_TABLES = ["dailyusage", "creditbalance", "reservation", "ledgerentry"]


@pytest.fixture
def admin(client, carol):
    client.force_login(carol)
    return client


@pytest.fixture
def quota(alice):
    row = factories.quota("standard", daily_limit=50)
    model = factories.chat_model("glm-4", of=row)
    factories.credits_for(alice, row, 3)
    ledger.reserve(alice.pk, model.pk, "g1")
    ledger.settle("g1", "stop")
    return row


def page(table, name="changelist", *arguments):
    return reverse(f"admin:quotas_{table}_{name}", args=arguments)


def numbers(quota, **changes):
    """Return the list's form with a row's numbers as they are, or changed."""
    fields = ("daily_limit", "inviter_credits", "invitee_credits")
    values = {field: getattr(quota, field) if getattr(quota, field) is not None else "" for field in fields}
    row = {f"form-0-{field}": value for field, value in {**values, "id": quota.pk, **changes}.items()}
    return {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "_save": "Save", **row}


def whole(quota, *models, **changes):
    """Return the form of a quota's own page."""
    values = {"slug": quota.slug, "title": quota.title, "daily_limit": 5, "inviter_credits": 0, "invitee_credits": 0}
    no_groups = {"group_limits-TOTAL_FORMS": 0, "group_limits-INITIAL_FORMS": 0}
    return {**values, **no_groups, "covers": [model.pk for model in models], **changes}


@pytest.mark.parametrize("table", ["quota", *LEDGER_TABLES])
def test_lists_open_and_can_be_searched(admin, quota, table):
    """Every list opens and can be searched."""
    assert admin.get(page(table)).status_code == 200
    answer = admin.get(page(table), {"q": "alice" if table != "quota" else "glm"})
    assert answer.status_code == 200
    assert answer.context["cl"].result_count == 1 + (table == "ledgerentry")


def test_limits_are_edited_in_the_list(admin, quota, alice):
    """A daily limit typed into the list holds for the next call."""
    changes = {"daily_limit": 2, "inviter_credits": 7, "invitee_credits": 0}
    assert admin.post(page("quota"), numbers(quota, **changes)).status_code == 302
    quota.refresh_from_db()
    assert (quota.daily_limit, quota.inviter_credits, quota.invitee_credits) == (2, 7, 0)
    assert ledger.state(alice.pk, quota.pk)["remaining"] == 1 + 3
    assert admin.post(page("quota"), numbers(quota, daily_limit="")).status_code == 302
    assert ledger.state(alice.pk, quota.pk)["remaining"] is None
    assert list(quota.models.values_list("slug", flat=True)) == ["glm-4"]


def test_negative_limit_is_refused_in_the_list(admin, quota):
    """A negative limit gets an error at its field."""
    answer = admin.post(page("quota"), numbers(quota, daily_limit=-1))
    assert answer.status_code == 200
    assert answer.context["cl"].formset.errors[0]["daily_limit"]
    assert Quota.objects.get().daily_limit == 50


@pytest.mark.parametrize("field", ["daily_limit", "inviter_credits", "invitee_credits"])
def test_more_than_can_be_counted_is_refused_in_the_list(admin, quota, field):
    """A number beyond every balance gets an error at its field, whatever the database accepts."""
    answer = admin.post(page("quota"), numbers(quota, **{field: 2**31}))
    assert answer.context["cl"].formset.errors[0][field]
    assert admin.post(page("quota"), numbers(quota, **{field: 2**31 - 1})).status_code == 302


def test_an_empty_limit_is_explained(admin, quota):
    """The list and the quota's page explain an empty field."""
    for path in (page("quota"), page("quota", "change", quota.pk)):
        assert 'placeholder="no limit"' in admin.get(path, headers={"Accept-Language": "en"}).content.decode()


def test_models_are_moved_between_quotas(admin, quota):
    """A model chosen on a quota's page leaves its earlier quota."""
    glm, spark = quota.models.get(), factories.chat_model("spark")
    assert admin.get(page("quota", "change", quota.pk)).status_code == 200
    answer = admin.post(page("quota", "add"), whole(Quota(slug="premium", title="Premium"), glm, spark))
    assert answer.status_code == 302
    premium = Quota.objects.get(slug="premium")
    assert set(QuotaModel.objects.values_list("model__slug", "quota__slug")) == {
        ("glm-4", "premium"),
        ("spark", "premium"),
    }
    assert admin.post(page("quota", "change", premium.pk), whole(premium, spark)).status_code == 302
    assert list(QuotaModel.objects.values_list("model__slug", flat=True)) == ["spark"]


def test_groups_have_limits_of_their_own(admin, quota, alice):
    """A group's limit is typed in on the quota's page; empty means no limit."""
    group = factories.group("students", alice)
    row = {"group_limits-TOTAL_FORMS": 1, "group_limits-0-group": group.pk, "group_limits-0-daily_limit": 7}
    assert admin.post(page("quota", "change", quota.pk), whole(quota, quota.models.get(), **row)).status_code == 302
    assert ledger.state(alice.pk, quota.pk)["daily_limit"] == 7
    limit = quota.group_limits.get()
    again = {"group_limits-0-id": limit.pk, "group_limits-0-quota": quota.pk, "group_limits-INITIAL_FORMS": 1}
    row |= {**again, "group_limits-0-daily_limit": ""}
    assert admin.post(page("quota", "change", quota.pk), whole(quota, quota.models.get(), **row)).status_code == 302
    assert ledger.state(alice.pk, quota.pk)["daily_limit"] is None


def test_used_quota_is_not_deleted(admin, quota):
    """A quota with ledger rows stays, and the page names them."""
    assert admin.get(page("quota", "delete", quota.pk)).context["protected"]
    admin.post(page("quota", "delete", quota.pk), {"post": "yes"})
    assert Quota.objects.exists()


@pytest.mark.parametrize("table", LEDGER_TABLES)
def test_ledger_tables_cannot_be_changed(admin, quota, table):
    """Not even a superuser can add, change or delete a row of the ledger's tables."""
    model = apps.get_model("quotas", table)
    row = model.objects.first()
    assert admin.get(page(table, "change", row.pk)).status_code == 200
    assert admin.get(page(table, "add")).status_code == 403
    assert admin.post(page(table, "add"), {}).status_code == 403
    assert admin.post(page(table, "change", row.pk), {"amount": 100, "credits": 100}).status_code == 403
    assert admin.post(page(table, "delete", row.pk), {"post": "yes"}).status_code == 403
    admin.post(page(table), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    before = model.objects.filter(pk=row.pk).values().get()
    assert before == {field.attname: getattr(row, field.attname) for field in model._meta.concrete_fields}


def test_lists_are_made_of_few_queries(admin, quota, django_assert_max_num_queries):
    """The number of queries for a list does not grow with its rows."""
    for _ in range(20):
        user = factories.user(password=None)
        factories.credits_for(user, quota)
        factories.chat_model(of=factories.quota())
    for table in ("quota", *LEDGER_TABLES):
        with django_assert_max_num_queries(12):
            assert admin.get(page(table)).status_code == 200


def test_user_can_be_deleted(rf, carol, quota):
    """Ledger rows allow deleting a user, but only on the user's own pages."""
    admins = [site.get_model_admin(apps.get_model("quotas", table)) for table in LEDGER_TABLES]
    request = rf.get("/")
    request.user = carol
    for name, allowed in (("accounts_user_delete", True), ("quotas_ledgerentry_changelist", False)):
        request.resolver_match = type("Match", (), {"url_name": name})()
        assert {admin_page.has_delete_permission(request) for admin_page in admins} == {allowed}

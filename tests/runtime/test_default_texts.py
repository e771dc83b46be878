"""Default texts of a first run: in the reader's language until an admin changes them."""

from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from accounts.models import User
from providers.models import ChatModel
from providers.setup import ensure_upstreams
from quotas.models import Quota
from quotas.setup import ensure_defaults
from tests import factories
from web import default_texts

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Any:
    return factories.user("alice")


@pytest.fixture(params=["zh-hans", "en"])
def installed(request: pytest.FixtureRequest, settings: pytest.FixtureRequest) -> None:
    """A first run in each language that the installation may have."""
    settings.LANGUAGE_CODE = request.param
    ensure_upstreams()
    ensure_defaults()


def read(reader: User, path: str, language: str) -> list[dict[str, str]]:
    client = Client(headers={"accept-language": language})
    client.force_login(reader)
    return list(client.get(path).json())


@pytest.mark.usefixtures("installed")
def test_first_run_titles_follow_the_reader(alice: User) -> None:
    """A reader sees unchanged default texts in the reader's own language."""
    expected = {
        "zh-CN": ("标准", "演示", "按脚本回答，无需任何模型服务。"),
        "en": ("Standard", "Demo", "Answers from a script, without any vendor."),
    }
    for language, texts in expected.items():
        (demo,) = read(alice, "/api/models/", language)
        assert (read(alice, "/api/quotas/", language)[0]["title"], demo["title"], demo["description"]) == texts


@pytest.mark.usefixtures("installed")
def test_texts_of_admins_are_not_translated(alice: User) -> None:
    """A text that an admin wrote is shown as it is, even if it equals another default text."""
    Quota.objects.filter(slug="standard").update(title="Premium")
    ChatModel.objects.filter(slug="demo").update(title="Try me", description="")
    for language in ("zh-CN", "en"):
        (demo,) = read(alice, "/api/models/", language)
        assert (demo["title"], demo["description"]) == ("Try me", "")
        assert read(alice, "/api/quotas/", language)[0]["title"] == "Premium"


def test_rows_without_a_default_text_are_shown_as_stored() -> None:
    """A row that `setup` did not create has no default text."""
    assert default_texts.localized("标准", None) == "标准"
    with translation.override("en"):
        assert Quota(slug="mine", title="标准").shown_title == "标准"

"""A model's parameters on their way to Spark and Zhipu, and fields of callers that these models do not take."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from providers.models import ChatModel
from tests import offers, zhipu
from tests.product import ApiUser, Product, text_of
from tests.spark import KEY as SPARK_KEY
from tests.spark import FakeSpark
from tests.spark_http import FakeSparkHTTP
from tests.zhipu import FakeZhipu

TUNED = {"patch_id": "resource-1", "thinking": {"type": "auto"}, "temperature": 0.5}
X25 = {"temperature": 0.5, "max_tokens": 700}
GLM = {"thinking": {"type": "disabled"}, "web_search": True, "temperature": 0.5}


@dataclass(frozen=True)
class Vendors:
    """The fakes, each with the requests that it got."""

    spark: FakeSpark
    spark_http: FakeSparkHTTP
    zhipu: FakeZhipu


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    with FakeSpark.in_thread() as one, FakeSparkHTTP.in_thread() as two, FakeZhipu.in_thread() as three:
        yield Vendors(one, two, three)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, vendors: Vendors, django_db_blocker: Any) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("parameters"), **offers.environment()) as product:
        with offers.database(product, django_db_blocker):
            offers.offer("tuned", "spark", vendors.spark.base_url, SPARK_KEY)
            offers.offer("x25", "spark_http", vendors.spark_http.base_url, "pw", upstream_model="spark-x2.5")
            offers.offer("glm", "zhipu", vendors.zhipu.base_url, zhipu.KEY, upstream_model="plain")
            for slug, parameters in (("tuned", TUNED), ("x25", X25), ("glm", GLM)):
                ChatModel.objects.filter(slug=slug).update(parameters=parameters)
        offers.wait_for(product.register("first"), "glm")
        yield product


def test_parameters_reach_the_vendor(api_user: ApiUser, vendors: Vendors) -> None:
    """A vendor's own fields go where it wants them, and what a model does not take is left out."""
    answered = offers.ask_together(api_user, ["tuned", "x25", "glm"])
    assert all(text_of(events) and events[-1].name == "done" for events in answered.values())

    sent = vendors.spark.requests[-1].body
    assert sent["header"]["patch_id"] == ["resource-1"]
    assert sent["parameter"]["chat"]["thinking"] == {"type": "auto"}
    x25 = vendors.spark_http.requests[-1].body
    assert (x25["max_completion_tokens"], x25.keys() & {"temperature", "max_tokens", "tools"}) == (700, set())
    glm = vendors.zhipu.requests[-1].body
    assert (glm["thinking"], glm["temperature"]) == ({"type": "disabled"}, 0.5)
    assert [tool["type"] for tool in glm["tools"]] == ["web_search"]


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.7), ("top_p", 0.5), ("presence_penalty", 1), ("frequency_penalty", 1)]
)
def test_a_refused_field_is_named(api_user: ApiUser, vendors: Vendors, name: str, value: float) -> None:
    """On /v1 a field that X2.5 does not heed is refused by name and costs nothing; values that hold anyway pass."""
    asked = len(vendors.spark_http.requests)

    refused = complete(api_user, **{name: value})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)
    assert len(vendors.spark_http.requests) == asked
    assert api_user.quota()["used_today"] == 0
    assert complete(api_user, temperature=1, top_p=0.95, presence_penalty=0).status_code == 200


def complete(api_user: ApiUser, **fields: Any) -> httpx.Response:
    """Ask X2.5 on /v1."""
    messages = [{"role": "user", "content": "Hello"}]
    return api_user.client.post("/v1/chat/completions", json={"model": "x25", "messages": messages, **fields})

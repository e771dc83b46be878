"""Spark and Zhipu from the environment to the reader: one answer over each protocol, and how each fails."""

import time
from pathlib import Path

import pytest

from tests import spark, zhipu
from tests.product import Product, text_of
from tests.spark import FakeSpark
from tests.zhipu import FakeZhipu

AMPLE = {"DAILY_LIMIT_STANDARD": "1000"}


def with_spark(upstream: FakeSpark, domain: str = "lite") -> dict[str, str]:
    """Return the environment that offers `spark` at this upstream; the domain chooses what it does."""
    return {
        "SPARK_APP_ID": spark.APP_ID,
        "SPARK_API_KEY": spark.API_KEY,
        "SPARK_API_SECRET": spark.API_SECRET,
        "SPARK_URL": upstream.base_url.replace("http://", "ws://"),
        "SPARK_DOMAIN": domain,
    }


def test_it_works(tmp_path: Path) -> None:
    """With its three variables set, `spark` answers over the signed WebSocket, with the vendor's usage."""
    with FakeSpark.in_thread() as upstream, Product(tmp_path, **AMPLE, **with_spark(upstream)) as product:
        person = product.register("alice")
        events = person.answer("Hello", "spark")
        row = person.generation(events[0].data["generation"])
        assert (row["status"], row["content"], row["charge"]["amount"]) == ("completed", text_of(events), 1)
        assert row["content"]
        assert row["usage"]["estimated"] is False
        assert spark.API_SECRET not in product.output


@pytest.mark.parametrize(("model", "slug"), [("plain", "glm"), ("chatglm_turbo", "chatglm_turbo")])
def test_zhipu(tmp_path: Path, model: str, slug: str) -> None:
    """With its keys set, a Zhipu model answers over v4 with a signed token, and chatglm_turbo over v3."""
    with FakeZhipu.in_thread() as upstream:
        environment = {
            "ZHIPU_API_KEYS": zhipu.KEY,
            "ZHIPU_BASE_URL": upstream.base_url,
            "ZHIPU_MODELS": f"{slug}={model}",
        }
        with Product(tmp_path, **AMPLE, **environment) as product:
            person = product.register("alice")
            events = person.answer("Hello", slug)
            row = person.generation(events[0].data["generation"])
            assert (row["status"], row["content"], row["charge"]["amount"]) == ("completed", text_of(events), 1)
            assert row["content"]
            assert zhipu.SECRET not in product.output


def test_spark_is_busy_for_a_while(tmp_path: Path) -> None:
    """A single key at its limit is waited for, 2 and 8 s; the reader is told, the answer is clean and charged once."""
    with (
        FakeSpark.in_thread() as upstream,
        Product(tmp_path, **AMPLE, **with_spark(upstream, "lite/busy_then_ok:11202:2")) as product,
    ):
        person = product.register("alice")
        started = time.monotonic()
        events = person.answer("Hello", "spark")
        assert 9.5 < time.monotonic() - started < 25
        assert [event.data["code"] for event in events if event.name == "notice"] == ["retrying", "retrying"]
        assert events[-1].name == "done"
        assert person.quota()["used_today"] == 1


def test_half_a_spark_key(tmp_path: Path) -> None:
    """The three variables of Spark go together."""
    done = Product(tmp_path).manage("setup", SPARK_APP_ID="abcd1234")
    assert done.returncode != 0
    assert "SPARK_APP_ID" in done.stderr


def test_spark_without_tls_is_for_loopback(tmp_path: Path) -> None:
    """A signed URL does not go over a plain connection to somebody else's machine."""
    done = Product(tmp_path).manage("setup", SPARK_URL="ws://spark.example.org/v1.1/chat")
    assert done.returncode != 0
    assert "SPARK_URL" in done.stderr

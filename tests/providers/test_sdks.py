"""The vendors' own SDKs as judges: they sign as we do, and their clients can talk to our fakes."""

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from providers.wire.spark.adapter import credentials, signed_url
from providers.wire.zhipu.adapter import mint
from tests import oracle, spark, zhipu
from tests.scenarios import PLAIN
from tests.spark import FakeSpark
from tests.zhipu import FakeZhipu

NOW = 1704164645
PATHS = ("/v3.5/chat", "/v1.1/chat", "/chat/max-32k")


@pytest.fixture
def spark_sdk(oracles: Path) -> Path:
    """A Python with the SDK of Spark."""
    version = next(line for line in (oracles / "pyvenv.cfg").read_text().splitlines() if line.startswith("version"))
    if tuple(int(part) for part in version.split("=")[1].strip().split(".")[:2]) >= (3, 13):
        pytest.skip("the SDK of Spark needs Python < 3.13")
    return oracles


def asked(oracles: Path, function: str, *arguments: object) -> list[str]:
    """Return what a function of `tests.oracle` says."""
    command = [str(oracles / "bin" / "python"), "-I", oracle.__file__, function, *map(str, arguments)]
    environment = {"PATH": os.environ["PATH"], "TZ": "UTC"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_zhipu_sdk_makes_our_tokens(oracles: Path) -> None:
    """With its clock frozen, Zhipu's SDK makes our tokens, byte for byte, whatever the key and the time."""
    keys = [zhipu.KEY, "a.b", "id-1." + "s" * 200]
    moments = [NOW, NOW + 0.0005, NOW + 0.9996, 4_102_444_800.123]

    theirs = asked(oracles, "zhipu_tokens", json.dumps(moments), *keys)

    assert theirs == [mint(key, now) for now in moments for key in keys]


def test_zhipu_talks_to_our_fake(oracles: Path) -> None:
    """The SDK's client gets the fake's responses, with a token and with the key itself, and its errors."""
    with FakeZhipu.in_thread() as upstream:
        with_token, with_key, refused = asked(oracles, "zhipu_answers", upstream.base_url, zhipu.KEY)
        token, key, _refused = (recorded.key for recorded in upstream.requests)

    assert (with_token, with_key) == (PLAIN, PLAIN)
    assert "1113" in refused
    assert (len((token or "").split(".")), key) == (3, zhipu.KEY)


def test_spark_signs_as_we_do(spark_sdk: Path) -> None:
    """With its clock frozen, the helper of Spark's SDK makes the addresses that we make."""
    key = credentials(spark.KEY)
    urls = [f"wss://spark-api.xf-yun.com{path}" for path in PATHS]

    theirs = asked(spark_sdk, "spark_urls", NOW, key.api_key, key.api_secret, *urls)

    ours = [signed_url(url, "", key, NOW) for url in urls]
    assert [parse_qs(urlsplit(url).query) for url in theirs] == [parse_qs(urlsplit(url).query) for url in ours]


def test_spark_talks_to_our_fake(spark_sdk: Path) -> None:
    """The SDK's client gets the fake's responses, whole and streamed, and its errors."""
    with FakeSpark.in_thread() as upstream:
        answers = asked(spark_sdk, "spark_answers", upstream.base_url, *credentials(spark.KEY))

    assert answers[:2] == [PLAIN, PLAIN]
    assert "10013" in answers[2]
    assert upstream.open_connections == 0

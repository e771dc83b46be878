"""The vendor's own SDK as a judge: it signs as we do, and its client can talk to our fake.

The SDK is a test dependency only: unmaintained, and it turns the verification of TLS off. It runs in a process of its
own, because it changes the event loop of the one it is imported into.
"""

import importlib.util
import json
import os
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest

from providers.wire.spark import credentials, signed_url
from tests.scenarios import PLAIN
from tests.spark import KEY, FakeSpark

pytestmark = pytest.mark.skipif(importlib.util.find_spec("sparkai") is None, reason="needs Python < 3.13 for the SDK")

NOW = 1704164645
PATHS = ("/v3.5/chat", "/v1.1/chat", "/chat/max-32k")

SIGN = """
import datetime, json, sys
from unittest import mock
from sparkai import xf_util

class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(int(sys.argv[1]))

with mock.patch.object(xf_util, "datetime", Frozen):
    urls = [xf_util.build_auth_request_url(url, "GET", *sys.argv[2:4]) for url in sys.argv[4:]]
print(json.dumps(urls))
"""

ASK = """
import json, sys
from sparkai.core.messages import ChatMessage
from sparkai.llm.llm import ChatSparkLLM

def ask(domain, streaming):
    client = ChatSparkLLM(spark_api_url=sys.argv[4], spark_app_id=sys.argv[1], spark_api_key=sys.argv[2],
        spark_api_secret=sys.argv[3], spark_llm_domain=domain, streaming=streaming, request_timeout=10)
    try:
        return client.generate([[ChatMessage(role="user", content="hello")]]).generations[0][0].text
    except Exception as error:
        return str(error)

print(json.dumps([ask("lite", False), ask("lite", True), ask("lite/code:10013", False)]))
"""


def with_sdk(script: str, *arguments: str) -> list[str]:
    """Run `script` in a process of its own and return what it printed last."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "TZ": "UTC"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    printed: list[str] = json.loads(done.stdout.splitlines()[-1])
    return printed


def test_it_works() -> None:
    """With its clock frozen the SDK's helper makes the addresses that we make."""
    key = credentials(KEY)
    urls = [f"wss://spark-api.xf-yun.com{path}" for path in PATHS]

    theirs = with_sdk(SIGN, str(NOW), key.api_key, key.api_secret, *urls)

    ours = [signed_url(url, "", key, NOW) for url in urls]
    assert [parse_qs(urlsplit(url).query) for url in theirs] == [parse_qs(urlsplit(url).query) for url in ours]


def test_its_client_talks_to_our_fake() -> None:
    """The SDK's client gets the fake's answers, whole and streamed, and its errors."""
    with FakeSpark.in_thread() as upstream:
        whole, streamed, refused = with_sdk(ASK, *credentials(KEY), upstream.base_url)

    assert (whole, streamed) == (PLAIN, PLAIN)
    assert "10013" in refused
    assert upstream.open_connections == 0

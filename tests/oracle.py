"""The vendors' own SDKs, to compare with our adapters: `python -I tests/oracle.py <function> <argument>...`.

The Python of `.oracles` (`make oracles`) runs it, which has the SDKs but nothing of the product. It prints one line of
JSON. The SDKs are used for comparison only: they are unmaintained, and Spark's turns off TLS verification.
"""

import datetime
import json
import sys
from unittest import mock


def spark_urls(now, api_key, api_secret, *urls):
    """Return the URLs to which the SDK would connect at `now`."""
    from sparkai import xf_util

    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(int(now))

    with mock.patch.object(xf_util, "datetime", Frozen):
        return [xf_util.build_auth_request_url(url, "GET", api_key, api_secret) for url in urls]


def spark_answers(url, app_id, api_key, api_secret):
    """Return what the SDK's client gets: whole, streamed, and from a domain that is refused."""
    from sparkai.core.messages import ChatMessage
    from sparkai.llm.llm import ChatSparkLLM

    def ask(domain, streaming):
        client = ChatSparkLLM(
            spark_api_url=url,
            spark_app_id=app_id,
            spark_api_key=api_key,
            spark_api_secret=api_secret,
            spark_llm_domain=domain,
            streaming=streaming,
            request_timeout=10,
        )
        try:
            return client.generate([[ChatMessage(role="user", content="hello")]]).generations[0][0].text
        except Exception as error:
            return str(error)

    return [ask("lite", False), ask("lite", True), ask("lite/code:10013", False)]


def zhipu_tokens(moments, *keys):
    """Return the tokens that the SDK would make for each key at each time, a JSON list."""
    from zhipuai.core import _jwt_token

    tokens = []
    for now in json.loads(moments):
        _jwt_token.generate_token.cache_clear()
        with mock.patch.object(_jwt_token.time, "time", lambda now=now: now):
            tokens += [_jwt_token.generate_token(key) for key in keys]
    return tokens


def zhipu_answers(url, key):
    """Return what the SDK's client gets with its token and with the key itself, and from a model that is refused."""
    from zhipuai import ZhipuAI

    def ask(model, raw_key):
        client = ZhipuAI(api_key=key, base_url=url, disable_token_cache=raw_key, max_retries=0, timeout=10)
        try:
            stream = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hello"}], stream=True
            )
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        except Exception as error:
            return str(error)

    return [ask("plain", False), ask("plain", True), ask("error:1113", False)]


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))

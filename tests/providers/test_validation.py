"""Checks of what operators enter for an upstream and its keys."""

import pytest
from django.core.exceptions import ValidationError

from providers import validation
from providers.models import ChatModel, Upstream


@pytest.mark.parametrize(
    ("kind", "entered", "stored"),
    [
        ("openai", "https://api.example.org/v1", "https://api.example.org/v1"),
        ("openai", "http://ollama:11434/v1/", "http://ollama:11434/v1/"),
        ("openai", " https://api.example.org/v1/chat/completions/ ", "https://api.example.org/v1"),
        ("spark_http", "https://spark-api-open.xf-yun.com/v1/chat/completions", "https://spark-api-open.xf-yun.com/v1"),
        ("zhipu", "https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/api/paas/v4"),
        ("spark", "wss://spark-api.xf-yun.com/v1.1/chat", "wss://spark-api.xf-yun.com/v1.1/chat"),
        ("spark", "https://spark.example.org", "https://spark.example.org"),
        ("spark", "ws://127.0.0.1:8000", "ws://127.0.0.1:8000"),
        ("spark", "ws://localhost/v1.1/chat", "ws://localhost/v1.1/chat"),
        ("spark", "http://[::1]:8000", "http://[::1]:8000"),
        ("openai", "https://例子.example/v1", "https://例子.example/v1"),
        ("scripted", "", ""),
    ],
)
def test_good_base_urls_are_kept(kind: str, entered: str, stored: str) -> None:
    """Good addresses are stored, without the path that operators paste with them."""
    assert validation.base_url(kind, entered) == stored


@pytest.mark.parametrize(
    ("kind", "entered"),
    [
        *((kind, "") for kind in ("openai", "spark", "spark_http", "zhipu", "zhipu_v3")),
        *((kind, "wss://api.example.org") for kind in ("openai", "zhipu", "spark_http")),
        ("openai", "api.example.org/v1"),
        ("openai", "https://"),
        ("openai", "https:///v1"),
        ("openai", "javascript:alert(1)"),
        ("openai", "file:///etc/passwd"),
        ("openai", "https://user:password@api.example.org/v1"),
        ("openai", "https://api.example.org/v1?key=1"),
        ("openai", "https://api.example.org/v1?"),
        ("openai", "https://api.example.org/v1#top"),
        ("openai", "https://api.example.org:port/v1"),
        ("openai", "https://api.example.org:99999/v1"),
        ("openai", "https://[::1/v1"),
        ("openai", "https://api.example.org/v1\r\nHost: other"),
        ("openai", "https://api.exam\tple.org/v1"),
        ("openai", "https://api.example.org\\@127.0.0.1/v1"),
        ("spark", "ws://spark.example.org"),
        ("spark", "http://spark.example.org"),
        ("spark", "ws://localhost.example.org"),
        ("spark", "ws://10.0.0.1"),
        ("spark", "gopher://127.0.0.1"),
    ],
)
def test_bad_base_urls_are_refused(kind: str, entered: str) -> None:
    """Other schemes, missing hosts, credentials, queries, control characters and unencrypted Spark are refused."""
    with pytest.raises(ValidationError):
        validation.base_url(kind, entered)


@pytest.mark.parametrize(
    "entered", ["", "http://10.0.0.1:3128", "https://p", "socks5://a:b@p:1080", "socks5h://p:1080/"]
)
def test_proxies(entered: str) -> None:
    """HTTP and SOCKS5 proxies are stored, with name and password where they have them."""
    assert validation.proxy(entered) == entered


@pytest.mark.parametrize("entered", ["socks4://p:1080", "p:1080", "ftp://p", "http://", "http://p/path", "http://p?x"])
def test_bad_proxies_are_refused(entered: str) -> None:
    """Other schemes and addresses with a path are refused."""
    with pytest.raises(ValidationError):
        validation.proxy(entered)


def test_host_names_to_sign() -> None:
    """A host name with or without a port is stored, for Spark over WebSocket only."""
    assert validation.sign_host("spark", " spark-api.xf-yun.com ") == "spark-api.xf-yun.com"
    assert validation.sign_host("spark", "gateway:8443") == "gateway:8443"
    assert validation.sign_host("openai", "") == ""
    for kind, entered in (("openai", "a.example"), ("spark", "https://a.example"), ("spark", "a/b"), ("spark", "a b")):
        with pytest.raises(ValidationError):
            validation.sign_host(kind, entered)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("openai", "sk-any thing", "sk-a\nb"),
        ("openai", "sk-1", "sk-“quoted”"),
        ("spark", "app12345:key:secret", "key:secret"),
        ("zhipu", "id.secret", "id-without-secret"),
        ("zhipu_v3", "id.secret", "a.b.c"),
        ("spark_http", "password", "pass\0word"),
    ],
)
def test_secrets(kind: str, good: str, bad: str) -> None:
    """A key that its upstream could never take is refused before it is stored."""
    assert validation.secret(kind, f" {good} ") == good
    with pytest.raises(ValidationError):
        validation.secret(kind, bad)


def test_excluded_fields_are_not_checked() -> None:
    """A form without the address can be saved whatever the address is."""
    row = Upstream(slug="x", kind="openai", base_url="nonsense")
    row.clean_fields(exclude=["base_url"])
    with pytest.raises(ValidationError) as caught:
        row.clean_fields()
    assert set(caught.value.message_dict) == {"base_url"}


def test_an_address_of_the_environment_stays_as_it_is() -> None:
    """An address of the environment is not tidied, because the row would no longer follow it."""
    url = "https://api.example.org/v1/chat/completions"
    row = Upstream(slug="x", kind="openai", base_url=url, environment={"values": {"base_url": url, "proxy": ""}})
    row.clean_fields()
    assert row.base_url == url


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parameters", []),
        ("parameters", {"max_tokens": 0}),
        ("parameters", {"temperature": "hot"}),
        ("context_tokens", 0),
        ("takes", ["tools", "image"]),
        ("takes", "tools"),
    ],
)
def test_models(field: str, value: object) -> None:
    """Parameters that no request could carry, and a context without room, are refused."""
    row = ChatModel(slug="m", title="M", **{field: value})
    with pytest.raises(ValidationError) as caught:
        row.clean_fields()
    assert set(caught.value.message_dict) == {field}
    row.clean_fields(exclude=[field])


def test_names_of_what_a_model_takes() -> None:
    """Each unknown name is named; a model may take nothing, all that exists, or what is unknown."""
    with pytest.raises(ValidationError) as caught:
        validation.takes(["tools", "image", "temperature"])
    assert caught.value.messages[0].startswith(("Not known: image, temperature.", "未知：image, temperature"))
    for taken in (None, [], ["images", "embeddings", "tools", "reasoning_effort"]):
        assert validation.takes(taken) == taken

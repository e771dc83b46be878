"""The kinds of upstreams: the value of `Upstream.kind` and the adapter class that serves it.

To add a vendor, add its module to `providers.wire` and its line here. Title, keys, addresses, models and options of a
kind are class attributes of its adapter (`providers.wire.base.Provider`). A kind is stored, so it is never renamed.
"""

from collections.abc import Mapping
from types import MappingProxyType

from django.utils.translation import gettext_lazy as translated
from django_stubs_ext import StrPromise

from providers.wire.anthropic.adapter import Anthropic
from providers.wire.base import OfferedModel, Provider
from providers.wire.gemini.adapter import Gemini
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.azure import Azure
from providers.wire.scripted import Scripted
from providers.wire.spark.adapter import Spark
from providers.wire.spark.http import SparkHTTP
from providers.wire.zhipu.adapter import Zhipu
from providers.wire.zhipu.v3 import ZhipuV3

ADAPTERS: Mapping[str, type[Provider]] = MappingProxyType(
    {
        "openai": OpenAICompatible,
        "azure": Azure,
        "gemini": Gemini,
        "anthropic": Anthropic,
        "spark": Spark,
        "spark_http": SparkHTTP,
        "zhipu": Zhipu,
        "zhipu_v3": ZhipuV3,
        "scripted": Scripted,
    }
)
DEFAULT_KIND = "openai"
# The kind of the built-in demo, which the first run creates.
DEMO_KIND = "scripted"


def choices() -> list[tuple[str, StrPromise]]:
    """Return the kinds with their labels; migration 0005 names this function."""
    return [(kind, translated(adapter.title)) for kind, adapter in ADAPTERS.items()]


def known_model(name: str) -> OfferedModel | None:
    """Return the known facts about an upstream's model; None when no adapter has any."""
    known = (model for adapter in ADAPTERS.values() for model in (*adapter.known_models, *adapter.model_facts))
    return next((model for model in known if model.name == name), None)

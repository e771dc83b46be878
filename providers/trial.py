"""Try a key with one short request to its upstream.

Operators use it to find out at once whether a key works.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from providers import snapshot, status_texts
from providers.adapters import new_adapter
from providers.keys import ANY_MODEL
from providers.models import ApiKey, KeyTrouble, Route, UpstreamTrouble
from providers.probe import first_words
from providers.snapshot import Configuration
from providers.wire.errors import ProviderError
from runtime import database

if TYPE_CHECKING:
    from django.utils.functional import Promise

# Seconds after which a trial is given up.
TRIAL_SECONDS = 30
# Characters of the completion that the operator sees.
_QUOTED_CHARS = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a trial.

    `text` may be displayed: it holds no key, no address and no raw words of a vendor.
    """

    ok: bool
    text: "str | Promise"


async def try_keys(key_ids: Iterable[int], configuration: Configuration) -> list[Outcome]:
    """Try several keys at once."""
    return await asyncio.gather(*(try_key(key_id, configuration) for key_id in key_ids))


async def try_key(key_id: int, configuration: Configuration) -> Outcome:
    """Send a short prompt with a key.

    The model is one that the key or its upstream has trouble with, else the first that has a route to the upstream.
    Success ends the key's troubles with that model and with all models, and closes the circuit.
    """
    route = await database.run(_route_of, key_id)
    if route is None:
        return Outcome(False, _("No model has a route to this upstream yet."))
    upstream, model, secret = route
    adapter = new_adapter(upstream)
    began = time.monotonic()
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            text = await first_words(adapter, model, secret, "Say OK.", {})
    except TimeoutError:
        return Outcome(False, format_lazy(_("No reply within {seconds} seconds."), seconds=TRIAL_SECONDS))
    except ProviderError as error:
        return Outcome(False, status_texts.failure_text(error))
    finally:
        await adapter.aclose()
    await database.run(_clear_trouble, key_id, model)
    configuration.forget()
    took = round((time.monotonic() - began) * 1000)
    text = " ".join(text.split())[:_QUOTED_CHARS]
    return Outcome(True, format_lazy(_("{model} replied after {took} ms: “{text}”"), model=model, took=took, text=text))


def _route_of(key_id: int) -> tuple[snapshot.UpstreamConfig, str, str | None] | None:
    key = ApiKey.objects.select_related("upstream").get(pk=key_id)
    routes = Route.objects.filter(upstream=key.upstream, model__enabled=True).order_by("priority", "id")
    in_trouble = [*key.troubles.values_list("model", flat=True), *key.upstream.troubles.values_list("model", flat=True)]
    route = routes.filter(upstream_model__in=in_trouble).first() or routes.first()
    if route is None:
        return None
    return snapshot.upstream_config(key.upstream), route.upstream_model, key.secret()


def _clear_trouble(key_id: int, model: str) -> None:
    KeyTrouble.objects.filter(key_id=key_id, model__in=[ANY_MODEL, model]).delete()
    UpstreamTrouble.objects.filter(upstream__keys=key_id, model=model).delete()

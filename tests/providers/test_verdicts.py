"""Verdicts in the database: several processes claim one probe, on SQLite and on PostgreSQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from providers import verdicts
from providers.evidence import Evidence
from providers.models import KeyTrouble, UpstreamTrouble
from providers.wire.openai.errors import BAD_KEY
from tests import factories, servers

PROCESSES = 4


@pytest.fixture
def here(database_url: str, django_db_blocker: Any) -> Iterator[None]:
    """Let this process use the database too."""
    with django_db_blocker.unblock(), servers.connected(database_url):
        yield


def claim(upstream_id: int, key_id: int) -> bool:
    """Claim a probe, as each of several processes does."""
    return verdicts.claim_probe(upstream_id, key_id, "m", ("busy", Evidence(1, 1, timezone.now())))


def condemn(upstream_id: int, key_id: int) -> bool:
    """Quarantine a key, as each of several processes does; return whether it was news."""
    return verdicts.condemn_key(upstream_id, key_id, "m", BAD_KEY.error(), None)


@pytest.mark.parametrize("decide", [claim, condemn], ids=["claim", "condemn"])
def test_one_of_several_processes_decides(database_url: str, tmp_path: Path, here: None, decide: Any) -> None:
    """Of several processes that claim a probe, or store a verdict, at the same time, for exactly one it is news."""
    upstream = factories.upstream()
    key = factories.api_key(upstream)
    KeyTrouble.objects.create(key=key, model="m")
    variables = servers.environment(database_url, tmp_path / "var")
    arguments = [[upstream.pk, key.pk]] * PROCESSES
    assert sorted(servers.in_processes(decide, arguments, variables)) == [False] * (PROCESSES - 1) + [True]
    if decide is claim:
        assert UpstreamTrouble.objects.get().probe_until > timezone.now()
    else:
        assert json.dumps([(row.model, row.status) for row in KeyTrouble.objects.all()]) == '[["", "quarantined"]]'

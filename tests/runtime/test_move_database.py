"""Moving from SQLite to PostgreSQL: every row, verified, and only into an empty database."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from chat.attachments.models import Attachment, AttachmentContent
from chat.models import Generation
from providers.models import Upstream
from quotas.models import LedgerEntry, Quota
from runtime.copies.contents import figures
from runtime.models import Process
from tests import factories, servers


@pytest.fixture
def source(tmp_path: Path, django_db_blocker: Any) -> Iterator[Any]:
    """A SQLite database with one row of each kind of value; yields the user."""
    with django_db_blocker.unblock(), servers.connected(servers.migrated_sqlite(tmp_path)):
        user = factories.user("用户", is_staff=True)
        quota = factories.quota("standard")
        factories.credits_for(user, quota, 7)
        upstream = factories.upstream(kind="openai", base_url="http://127.0.0.1:1/v1", headers={"X-Key": "secret"})
        factories.generation(user, factories.chat_model("m", of=quota, to=upstream), content="多行\n\\text\t'\"")
        attachment = Attachment.objects.create(user=user, name="a", kind="text", media_type="text/plain", size=3)
        AttachmentContent.objects.create(attachment=attachment, data=b"\x00\\\xff")
        yield user


def move(url: str) -> str:
    out = StringIO()
    call_command("move_database", url, stdout=out)
    return out.getvalue()


def test_all_rows_move_unchanged(source: Any, postgres: servers.Postgres) -> None:
    """Values of each type arrive unchanged, the figures agree, and new rows get new ids."""
    url, before = postgres.migrated_database(), figures(connection)
    generation, joined = Generation.objects.get(), source.date_joined
    assert "Moved and verified" in move(url)
    with servers.connected(url):
        assert {**figures(connection), "django_migrations": before["django_migrations"]} == before
        moved = Generation.objects.get()
        assert (moved.content, moved.created_at) == (generation.content, generation.created_at)
        assert moved.user.username == "用户"
        assert moved.user.is_staff
        assert moved.user.date_joined == joined
        assert bytes(AttachmentContent.objects.get().data) == b"\x00\\\xff"
        assert Upstream.objects.get().headers == {"X-Key": "secret"}
        assert list(LedgerEntry.objects.values_list("amount", flat=True)) == [7]
        factories.credits_for(factories.user("later"), Quota.objects.get(), 5)
    with pytest.raises(CommandError, match="not empty: its table"):
        move(url)


def test_a_refusal_leaves_the_target_empty(source: Any, postgres: servers.Postgres) -> None:
    """A text that PostgreSQL cannot hold stops the move; without it the same target takes all rows."""
    url = postgres.migrated_database()
    Generation.objects.update(reasoning="a\x00b")
    with pytest.raises(CommandError, match="refuses a row of chat_generation"):
        move(url)
    with psycopg.connect(url) as target:
        assert target.execute("SELECT count(*) FROM accounts_user").fetchone() == (0,)
    Generation.objects.update(reasoning="ab")
    assert "Moved and verified" in move(url)


def test_what_cannot_be_moved_is_refused(source: Any, postgres: servers.Postgres) -> None:
    """A foreign table, another kind of target or a running service: one line says so."""
    with pytest.raises(CommandError, match="to a PostgreSQL database"):
        move("sqlite:///other.sqlite3")
    with pytest.raises(CommandError, match="not a postgresql://"):
        move("mysql://host/name")
    url = postgres.database()
    with psycopg.connect(url) as target:
        target.execute("CREATE TABLE orders ()")
    with pytest.raises(CommandError, match="it has the table orders"):
        move(url)
    Process.objects.create(id="serving", host="elsewhere", pid=1, beat_at=timezone.now())
    with pytest.raises(CommandError, match="Stop the service first"):
        move(url)

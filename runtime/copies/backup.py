"""Backups: folders with the database and the secret files."""

import fcntl
import hashlib
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from pydantic import BaseModel, ValidationError

from runtime.copies import postgresql
from runtime.copies.contents import CopyError, Figures, differences, figures, migrations, opened, require_no_service

MANIFEST = "backup.json"
DATABASE = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
# Files in VAR_DIR that hold secrets, and the settings that replace them.
SECRET_FILES = {"secret_key": "SECRET_KEY", "key_encryption_keys": "KEY_ENCRYPTION_KEYS"}


class Manifest(BaseModel):
    """The content of a backup, written beside it."""

    format: Literal[1] = 1
    kind: Literal["sqlite", "postgresql"]
    made_at: datetime
    migrations: list[str]
    figures: Figures
    # SHA-256 of each file.
    digests: dict[str, str]
    # Short digests of KEY_ENCRYPTION_KEYS, without which the secrets in the database stay closed.
    keys: list[str]

    def summary(self) -> str:
        rows = sum(numbers["rows"] for numbers in self.figures.values())
        return f"{len(self.figures)} tables with {rows} rows"


def make(folder: Path, *, with_secrets: bool) -> Manifest:
    """Back up into a new folder, while the service runs; raise CopyError.

    The folder appears under its name when it is complete.
    """
    if folder.exists():
        raise CopyError(f"{folder} exists. Name a folder that does not exist yet.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own, because another command may make the same backup at this moment.
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.unfinished-", dir=folder.parent))
        try:
            manifest = _fill(unfinished, with_secrets=with_secrets)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except (OSError, sqlite3.Error) as error:
        raise CopyError(f"{folder} cannot be made: {error}") from error
    return manifest


def restore(folder: Path, *, overwrite: bool) -> tuple[Manifest, list[str]]:
    """Restore a backup and compare its figures; return its manifest and secret files.

    Raises CopyError before it changes anything: for a damaged backup, one of another kind or of a newer release, a
    running service, and without `overwrite` for a database that has tables.
    """
    manifest = _checked(folder)
    if manifest.kind != connection.vendor:
        raise CopyError(
            f"This is a backup of {manifest.kind}, and DATABASE_URL names {connection.vendor}. Restore it to its own "
            "kind; `manage.py move_database` leads from SQLite to PostgreSQL."
        )
    known = {".".join(key) for key in MigrationLoader(None).disk_migrations}
    if newer := sorted(set(manifest.migrations) - known):
        raise CopyError(f"This backup is of a newer release, which knows {newer[-1]}. Install that release first.")
    require_no_service(connection)
    if not overwrite and _has_tables():
        raise CopyError("The database has tables already. `--overwrite` replaces them: all that they hold is lost.")
    if manifest.kind == "sqlite":
        _restore_sqlite(folder / DATABASE["sqlite"], manifest)
    else:
        postgresql.restore(folder / DATABASE["postgresql"])
        _require_same(manifest.figures, figures(connection))
    return manifest, [name for name in SECRET_FILES if _restore_secret(folder / name)]


def key_digests() -> list[str]:
    """Return short digests of KEY_ENCRYPTION_KEYS, which are random."""
    return [hashlib.sha256(key.encode()).hexdigest()[:12] for key in settings.KEY_ENCRYPTION_KEYS]


def _fill(folder: Path, *, with_secrets: bool) -> Manifest:
    kind: Literal["sqlite", "postgresql"] = "sqlite" if connection.vendor == "sqlite" else "postgresql"
    copy = folder / DATABASE[kind]
    if kind == "sqlite":
        # A connection of its own: one that is in a transaction would wait for itself.
        source = Path(connection.settings_dict["NAME"]).absolute().as_uri()
        with closing(sqlite3.connect(f"{source}?mode=ro", uri=True)) as ours, closing(sqlite3.connect(copy)) as target:
            ours.backup(target)
        with opened({"ENGINE": "django.db.backends.sqlite3", "NAME": copy}) as copied:
            found, applied = figures(copied), migrations(copied)
    else:
        found, applied = postgresql.dump(copy)
    names = [name for name in SECRET_FILES if with_secrets and (settings.VAR_DIR / name).exists()]
    for name in names:
        shutil.copyfile(settings.VAR_DIR / name, folder / name)
    for path in folder.iterdir():
        path.chmod(0o600)
    digests = {path.name: _digest(path) for path in folder.iterdir()}
    manifest = Manifest(
        kind=kind, made_at=timezone.now(), migrations=applied, figures=found, digests=digests, keys=key_digests()
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return manifest


def _checked(folder: Path) -> Manifest:
    """Return the manifest of a backup; raise CopyError when a file is missing or changed."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        damaged = [name for name, digest in manifest.digests.items() if _digest(folder / name) != digest]
    except OSError as error:
        raise CopyError(f"{folder} is not a complete backup: {error}") from error
    except ValidationError as error:
        raise CopyError(f"{folder / MANIFEST} is damaged, or of a newer release") from error
    if damaged:
        raise CopyError(f"{folder} is damaged: {', '.join(damaged)} is not what was backed up")
    return manifest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_tables() -> bool:
    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
        return False
    return bool(connection.introspection.table_names())


def _restore_sqlite(copy: Path, manifest: Manifest) -> None:
    """Check a copy of the backup's file, then replace the database by it."""
    target = Path(connection.settings_dict["NAME"])
    fresh = target.with_name(f".{target.name}.restored")
    try:
        _copy_private(copy, fresh)
        with opened({"ENGINE": "django.db.backends.sqlite3", "NAME": fresh}) as copied:
            _require_same(manifest.figures, figures(copied))
        connection.close()
        # The log of the old file must go first: SQLite would apply it to the new one.
        for suffix in ("-wal", "-shm"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        fresh.replace(target)
    except OSError as error:
        raise CopyError(f"{target} cannot be written: {error}") from error
    finally:
        with suppress(FileNotFoundError):
            fresh.unlink()


def _require_same(expected: Figures, found: Figures) -> None:
    if differing := differences(expected, found):
        raise CopyError(f"The restored database differs from the backup: {'; '.join(differing[:5])}")


def _restore_secret(backed_up: Path) -> bool:
    """Put a secret file back; a different one that is there stays under another name."""
    place: Path = settings.VAR_DIR / backed_up.name
    if not backed_up.exists():
        return False
    with (settings.VAR_DIR / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh = place.with_name(f".{place.name}.restored")
        _copy_private(backed_up, fresh)
        if place.exists() and place.read_bytes() != backed_up.read_bytes():
            place.rename(place.with_name(f"{place.name}.before-restore-{timezone.now():%Y%m%dT%H%M%S}"))
        fresh.replace(place)
    return True


def _copy_private(source: Path, target: Path) -> None:
    """Copy a file to a new one, readable by the owner of its folder only.

    That holds from the first byte, and when root restores it.
    """
    target.unlink(missing_ok=True)
    target.touch(mode=0o600, exist_ok=False)
    with source.open("rb") as read, target.open("wb") as written:
        if os.geteuid() == 0:
            folder = target.parent.stat()
            os.fchown(written.fileno(), folder.st_uid, folder.st_gid)
        shutil.copyfileobj(read, written, 2**20)
        written.flush()
        os.fsync(written.fileno())

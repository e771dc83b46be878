"""Resolve stable names of the front-end bundle to files with a hash in their name."""

from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import orjson
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage

FOLDER = "chat/"


class Entry(TypedDict):
    """A file of the bundle, and the chunks that it imports before it runs."""

    file: str
    imports: list[str]


def read(name: str) -> bytes:
    """Return the content of a static file that `make assets` builds."""
    path = finders.find(name)
    if not isinstance(path, str):
        raise FileNotFoundError(f"{name} is missing from the static files; run `make assets`")
    return Path(path).read_bytes()


class BundleStorage(StaticFilesStorage):
    """Static files as the packages contain them. `frontend/build.mjs` wrote the bundle's names and imports."""

    @cached_property
    def _bundle(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = orjson.loads(read(f"{FOLDER}bundle.json"))
        return entries

    def _entry(self, name: str) -> Entry | None:
        if settings.DEBUG:  # the bundle may have been built again
            self.__dict__.pop("_bundle", None)
        return self._bundle.get(name.removeprefix(FOLDER)) if name.startswith(FOLDER) else None

    def url(self, name: str | None, *arguments: Any, **options: Any) -> str:
        """Return the address of a file, by its stable name."""
        entry = self._entry(name or "")
        return super().url(f"{FOLDER}{entry['file']}" if entry else name, *arguments, **options)

    def imported_urls(self, name: str) -> list[str]:
        """Return the addresses of the chunks that a script imports before it runs."""
        entry = self._entry(name)
        return [self.url(f"{FOLDER}{file}") for file in entry["imports"]] if entry else []

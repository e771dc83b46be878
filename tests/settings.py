"""The product's settings for tests inside one process: an own folder, cheap password hashing, mail kept in memory."""

import os
import tempfile

os.environ.setdefault("VAR_DIR", tempfile.mkdtemp(prefix="rivulet-tests-"))

from chatproject.settings import *  # noqa: F403
from chatproject.settings import DATABASES, VAR_DIR

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# Threads of the database door see the test database only when it is a file.
DATABASES["default"]["TEST"] = {"NAME": VAR_DIR / "test.sqlite3"} if "sqlite" in DATABASES["default"]["ENGINE"] else {}

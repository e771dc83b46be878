"""Settings for tests in one process: a separate folder, fast password hashing, and mail kept in memory."""

import os
import tempfile
from pathlib import Path

if "VAR_DIR" not in os.environ:
    os.environ["VAR_DIR"] = tempfile.mkdtemp(prefix="rivulet-tests-")
elif worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Each process of a parallel run has a folder of its own within that of the run.
    own = Path(os.environ["VAR_DIR"], worker)
    own.mkdir(exist_ok=True)
    os.environ["VAR_DIR"] = str(own)

from chatproject.settings import *  # noqa: F403
from chatproject.settings import DATABASES, VAR_DIR

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# Database threads see the test database only when it is a file. On PostgreSQL it may copy a migrated one.
if "sqlite" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["TEST"] = {"NAME": VAR_DIR / "test.sqlite3"}
elif "IS_MIGRATED" in os.environ:
    DATABASES["default"]["TEST"] = {"TEMPLATE": DATABASES["default"]["NAME"], "MIGRATE": False}
# Each test client has middleware of its own, which would read all static files.
WHITENOISE_AUTOREFRESH = True

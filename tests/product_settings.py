"""Settings of a product that tests start: its own, but passwords cost nothing; each would take most of a second."""

from chatproject.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

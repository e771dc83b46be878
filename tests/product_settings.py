"""Settings of a product that tests start: the product's own, with fast password hashing."""

from chatproject.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

"""Password hashing that takes one core at most, however many users log in at once."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection

from accounts.apps import accounts


class QueuedPBKDF2Hasher(PBKDF2PasswordHasher):
    """Hash one password at a time in this process.

    OpenSSL releases the interpreter's lock while it hashes, so other threads run on.
    """

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        # A transaction does not wait for other hashes, because other writers wait for it.
        if connection.in_atomic_block:
            return super().encode(password, salt, iterations)
        with accounts().one_hash_at_a_time:
            return super().encode(password, salt, iterations)

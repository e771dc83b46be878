"""Codes that users read aloud and type."""

import secrets

# Without characters that look alike, because users read codes aloud and type them.
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"


def new_code(chars: int) -> str:
    return "".join(secrets.choice(CODE_ALPHABET) for _i in range(chars))

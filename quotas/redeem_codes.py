"""Redeem codes: made in batches by operators, each redeemed once.

A code has 100 random bits in Crockford's base 32 (https://www.crockford.com/base32.html): no two of its characters look
alike, and a mistyped one (O for 0, I or l for 1) has no other meaning.
"""

import secrets
import unicodedata
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from quotas import ledger
from quotas.errors import InvalidCode
from quotas.models import Quota, RedeemBatch, RedeemCode

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Characters of a code.
CHARS = 20
# Codes in a batch, and credits of a code, at most.
MOST_AT_ONCE = 1_000
MOST_CREDITS = 1_000_000
# Characters that are read of what a user typed, dashes and spaces included.
MOST_TYPED = 100
# The reason in ledger rows; `history.py` has its words.
REDEEMED = "redeemed"

_LOOK_ALIKES = str.maketrans("OIL", "011")


def make(
    quota: Quota, credit: int, count: int, expires_at: datetime | None, made_by: int | None, note: str = ""
) -> list[RedeemCode]:
    """Make a batch of codes, each worth `credit` credits, until `expires_at` or for ever."""
    with transaction.atomic():
        codes = ("".join(secrets.choice(ALPHABET) for _position in range(CHARS)) for _number in range(count))
        batch = RedeemBatch.objects.create(note=note, created_by_id=made_by)
        return RedeemCode.objects.bulk_create(
            RedeemCode(batch=batch, code=code, quota=quota, credits=credit, expires_at=expires_at) for code in codes
        )


def redeem(user_id: int, typed: str) -> RedeemCode:
    """Give the user the code's credits, once; case, dashes, spaces and look-alikes do not matter.

    Raises InvalidCode, after the same one statement whatever is wrong with the code, and InvalidRequest when the
    balance is full; the code then stays unused.
    """
    now = timezone.now()
    with transaction.atomic():
        rows = RedeemCode.objects.filter(code=normalised(typed))
        # The first of several transactions changes the row; the others find it changed.
        good = rows.filter(Q(expires_at=None) | Q(expires_at__gt=now), redeemed_at=None)
        if not good.update(redeemed_at=now, redeemed_by=user_id):
            raise InvalidCode
        code = rows.select_related("quota").get()
        ledger.grant(user_id, code.quota_id, code.credits, REDEEMED)
    return code


def normalised(typed: str) -> str:
    """Convert a typed code to its stored form; other text then matches no row."""
    folded = unicodedata.normalize("NFKC", typed[:MOST_TYPED]).upper()
    return "".join(character for character in folded if character.isalnum()).translate(_LOOK_ALIKES)[: CHARS + 1]

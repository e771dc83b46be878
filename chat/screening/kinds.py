"""The built-in kinds of patterns: their expressions, their neighbours, and the checks of what matches.

Checks get the folded text of a match: half-width digits, lower case. A kind whose check refuses the longest match may
still match shorter.
"""

from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from django.utils import timezone

from chat.screening import expressions
from chat.screening.expressions import DIGITS, Chars, Expression

# Mainland mobile numbers, with +86, 86 or 0086 before them; and others in the international form.
_MOBILE = r"(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}"
_INTERNATIONAL = r"\+[1-9](?:[ ().-]{0,2}\d){7,14}"
# Region, birth date, order number and check character; often written in groups.
_IDENTITY_CARD = r"[1-9]\d{5}[ -]?(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?\d{3}[\dx]"
# Numbers of cards do not begin with 0, 1, 7 or 8.
_BANK_CARD = r"[2-69](?:[ -]?\d){12,18}"
_EMAIL = r"[a-z0-9._%+-]+@(?:[a-z0-9-]+\.)+[a-z]{2,24}"
_LOCAL_PART = Chars(frozenset({("a", "z"), ("0", "9"), *((symbol, symbol) for symbol in "._%+-")}))
_DOMAIN = Chars(frozenset({("a", "z"), ("0", "9"), ("-", "-"), ("_", "_"), ("@", "@")}))
_DIGITS_OR_PLUS = Chars(frozenset({("+", "+")}), frozenset("d"))
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS = "10x98765432"


def digits_of(text: str) -> str:
    """Return a number without what parts its groups."""
    return "".join(character for character in text if character not in " -")


def is_identity_card(text: str) -> bool:
    """Check the birth date, and the check character of ISO 7064 mod 11-2 (GB 11643)."""
    number = digits_of(text)
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number, strict=False))
    return born <= timezone.localdate() and _CHECK_CHARACTERS[total % 11] == number[17]


def is_bank_card(text: str) -> bool:
    """Check the last digit by Luhn's sum (ISO/IEC 7812)."""
    digits = [int(digit) for digit in reversed(digits_of(text))]
    doubled = (2 * digit - 9 * (digit > 4) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


class Kind(NamedTuple):
    """How one kind is found."""

    expressions: tuple[str, ...]
    # Symbols that may not stand before and after a match.
    before: Chars
    after: Chars
    check: Callable[[str], bool] | None = None


KINDS = {
    "phone": Kind((_MOBILE, _INTERNATIONAL), _DIGITS_OR_PLUS, DIGITS),
    "identity_card": Kind((_IDENTITY_CARD,), DIGITS, DIGITS, is_identity_card),
    "bank_card": Kind((_BANK_CARD,), DIGITS, DIGITS, is_bank_card),
    "email": Kind((_EMAIL,), _LOCAL_PART, _DOMAIN),
}


def expression_of(kind: str, own: str) -> Expression:
    """Return a kind's expression, or an own one; raise NotAnExpression."""
    if kind not in KINDS:
        return expressions.compiled(own)
    known = KINDS[kind]
    expression = expressions.compiled("|".join(known.expressions))
    expression.before, expression.after = known.before, known.after
    return expression

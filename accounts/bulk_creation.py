"""Creating many accounts from a CSV file: all of them or none."""

import csv
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.account.utils import filter_users_by_email
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts.models import User

REQUIRED, OPTIONAL = ("username", "email"), ("password", "groups")


class InvalidFileError(Exception):
    """The file cannot be used; `problems` are lines for the operator."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass
class Account:
    """One line of the file."""

    line: int
    username: str
    email: str
    password: str
    groups: list[str]
    # The hash, or a mark that no password fits.
    stored_password: str = ""

    def user(self) -> User:
        name = User.normalize_username(self.username)
        return User(username=name, email=self.email.lower(), password=self.stored_password)


def read(lines: Iterable[str]) -> list[Account]:
    """Read a CSV file with a header; raise InvalidFileError naming the lines."""
    table = csv.reader(lines, strict=True)
    try:
        columns = [name.strip().lower() for name in next(table, [])]
        unknown = set(columns) - {*REQUIRED, *OPTIONAL}
        if unknown or not set(REQUIRED) <= set(columns) or len(set(columns)) < len(columns):
            wanted = f"{', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}"
            raise InvalidFileError([f"line 1: the header names the columns {wanted}, each once"])
        accounts, problems = [], []
        for cells in table:
            if len(cells) == len(columns):
                row = dict.fromkeys(OPTIONAL, "") | dict(zip(columns, map(str.strip, cells), strict=True))
                groups = [name.strip() for name in row["groups"].split(";") if name.strip()]
                accounts.append(Account(table.line_num, row["username"], row["email"], row["password"], groups))
            elif cells:
                problems.append(f"line {table.line_num}: {len(cells)} cells instead of {len(columns)}")
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidFileError([f"line {table.line_num}: {error}"]) from error
    if problems or not accounts:
        raise InvalidFileError(problems or ["The file has no accounts."])
    return accounts


def create(accounts: list[Account], *, generate_passwords: bool) -> None:
    """Create all accounts, with verified addresses; raise InvalidFileError and create none.

    With `generate_passwords` those without a password get one, which `password` then holds; otherwise these users set
    one through "Forgot password".
    """
    _store(accounts, keep=False)  # hashing takes long, so that mistakes are found before
    for account in accounts:
        if not account.password and generate_passwords:
            account.password = secrets.token_urlsafe(12)
        account.stored_password = make_password(account.password or None)
    _store(accounts, keep=True)


def _store(accounts: list[Account], *, keep: bool) -> None:
    groups = {group.name: group for group in Group.objects.all()}
    problems: list[str] = []
    with transaction.atomic():
        for account in accounts:
            found = _problems(account, groups.keys()) or _insert(account, groups)
            problems += [f"line {account.line}: {problem}" for problem in found]
        if problems or not keep:
            transaction.set_rollback(True)
    if problems:
        raise InvalidFileError(problems)


def _problems(account: Account, groups: Iterable[str]) -> list[str]:
    user = account.user()
    found = [name for name in [user.name_problem(user.username)] if name]
    try:
        validate_email(user.email)
    except ValidationError as error:
        found += error.messages
    if filter_users_by_email(user.email):
        found.append("another account has this e-mail address")
    if account.password and not account.stored_password:
        try:
            get_adapter().clean_password(account.password, user)
        except ValidationError as error:
            found += error.messages
    unknown = set(account.groups) - set(groups)
    return [*map(str, found), *(f"there is no group {name}" for name in sorted(unknown))]


def _insert(account: Account, groups: dict[str, Group]) -> list[str]:
    user = account.user()
    try:
        with transaction.atomic():
            user.save()
            user.groups.set([groups[name] for name in account.groups])
            EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    except IntegrityError:  # a sign-up took the name or the address at this moment
        return ["the name or the address is taken"]
    return []

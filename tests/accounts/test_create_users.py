"""`manage.py create_users`: all accounts of a CSV file, or none and every mistake with its line."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command

from accounts.models import UsedAddress, User
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def create(tmp_path: Path) -> Any:
    """A function that runs the command with this text, and returns what it printed."""

    def run(text: str, *arguments: str) -> str:
        path, out = tmp_path / "users.csv", StringIO()
        path.write_text(text, encoding="utf-8")
        call_command("create_users", str(path), *arguments, stdout=out, stderr=StringIO())
        return out.getvalue()

    return run


def test_all_rows_become_users(create: Any) -> None:
    """Accounts can log in with the given or the generated password, and their addresses are verified."""
    factories.group("班级")
    text = (
        "\ufeffusername,email,groups,password\n王小明,Ming@Example.org,班级,a long passphrase\nbob,bob@example.org,,\n"
    )
    header, generated = create(text, "--generate-passwords").splitlines()
    assert header == "username,password"
    name, password = generated.split(",")
    assert User.objects.get(username=name).check_password(password)
    user = User.objects.get(username="王小明")
    assert (user.email, user.check_password("a long passphrase")) == ("ming@example.org", True)
    assert [group.name for group in user.groups.all()] == ["班级"]
    assert EmailAddress.objects.get(user=user, verified=True, primary=True).email == "ming@example.org"
    assert UsedAddress.objects.filter(user_id=user.pk).exists()


def test_one_mistake_creates_no_account(create: Any) -> None:
    """Every mistake is listed with its line: taken names, also within the file, addresses, passwords and groups."""
    factories.user("alice")
    lines = [
        *("username,email,groups,password", "carol,carol@example.org,,a long passphrase"),
        *("ALICE,a@example.org,,a long passphrase", "dave,CAROL@example.org,,a long passphrase", ""),
        *("erin,not an address,,a long passphrase", "frank,f@example.org,nobody,short", "carol,g@example.org,,"),
    ]
    with pytest.raises(CommandError) as caught:
        create("\n".join(lines), "--generate-passwords")
    found = str(caught.value).splitlines()
    assert found.pop() == "No account was created."
    assert sorted({line.partition(":")[0] for line in found}) == [f"line {number}" for number in (3, 4, 6, 7, 8)]
    assert "line 7: there is no group nobody" in found
    assert list(User.objects.values_list("username", flat=True)) == ["alice"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header"),
        ("username,email,age\n", "line 1: the header"),
        ("username,email\n", "no accounts"),
        ("username,email\nbob\n", "line 2: 1 cells instead of 2"),
        ("username,email\nbob,bob@example.org\n", "line 2: no password, and without EMAIL_URL"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(create: Any, text: str, message: str) -> None:
    """The refusal names the line; a missing file or another encoding likewise."""
    with pytest.raises(CommandError, match=message):
        create(text)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """As spreadsheets in China write by default; a missing file is named too."""
    path = tmp_path / "users.csv"
    path.write_bytes("username,email\n王,w@example.org\n".encode("gb18030"))
    with pytest.raises(CommandError, match="not in UTF-8"):
        call_command("create_users", str(path))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("create_users", str(tmp_path / "absent.csv"))

"""Each advisory of a neighbouring product has tests here that show that its fault does not exist.

The table says which tests. A test that is renamed or deleted must be replaced in the table.
"""

import ast
from pathlib import Path

import pytest

from tests.servers import ROOT

ADVISORIES = {
    # The id of a stream was enough to read it.
    "CVE-2026-31950": (
        "tests/contract/test_access.py::test_each_caller_gets_the_status_of_the_matrix",
        "tests/contract/test_access.py::test_every_route_is_in_the_matrix",
        "tests/chat/test_push.py::test_a_ticket_opens_one_stream",
    ),
    # The id of a child was not tied to its parent.
    "CVE-2026-45349": ("tests/security/test_cve_2026_45349_child_of_another_parent.py",),
    # Another header or another entry point skipped a limit.
    "CVE-2026-45339": ("tests/security/test_cve_2026_45339_limits_by_header.py",),
    # The request chose the address that got the provider's key.
    "CVE-2024-6587": ("tests/security/test_cve_2024_6587_chosen_address.py",),
    # Text was sanitised before its last change, and stored script ran.
    "CVE-2026-45303": (
        "tests/browser/test_hostile_answers.py::test_all_payloads_in_one_answer_do_nothing",
        "tests/browser/test_hostile_answers.py::test_each_on_its_own",
        "tests/browser/test_hostile_answers.py::test_title",
    ),
    # A base URL led to private addresses.
    "CVE-2023-49785": ("tests/security/test_addresses.py::test_only_admitted_addresses_are_connected_to",),
    "CVE-2026-31943": (
        "tests/security/test_addresses.py::test_ipv4_inside_ipv6_is_checked",
        "tests/providers/test_transport.py::test_addresses_are_asked_about",
        "tests/providers/test_websocket.py::test_addresses_are_asked_about",
    ),
    # A disabled user kept access.
    "CVE-2024-22513": (
        "tests/security/test_cve_2024_22513_disabled_user.py",
        "tests/accounts/test_auth.py::test_a_disabled_user_is_refused",
        "tests/chat/test_processes.py::test_a_disabled_user_is_cut_off_everywhere",
    ),
}


def names_of_tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_each_advisory_has_its_tests(advisory: str) -> None:
    """The named tests exist, and the operator's page about security names the advisory."""
    for each in ADVISORIES[advisory]:
        path, _colons, name = each.partition("::")
        found = names_of_tests(ROOT / path)
        assert (name in found) if name else found, each
    assert advisory in (ROOT / "docs/security.md").read_text(encoding="utf-8")

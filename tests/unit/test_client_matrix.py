"""The table of clients tells what was driven, how far, and the worst that came of it."""

import sys

import pytest

from tests.make.client_matrix import PROPERTY, rows, table, version_of


def a_report(*exercised: str, outcome: str = "passed") -> pytest.TestReport:
    return pytest.TestReport(
        nodeid="tests/clients/test_lego.py::test_lego",
        location=("tests/clients/test_lego.py", 1, "test_lego"),
        keywords={},
        outcome=outcome,
        longrepr=None,
        when="call",
        user_properties=[(PROPERTY, list(exercised)), ("another", 1)],
    )


def test_what_several_tests_exercised_is_one_row_in_a_fixed_order():
    reports = [
        a_report("lego", "4.9.1", "http-01", "revoke", "a new thing"),
        a_report("lego", "4.9.1", "http-01", "order", "account"),
        a_report("caddy", "2.6.2", "http-01", "order"),
    ]
    assert (
        rows(reports)
        == rows(reversed(reports))
        == [
            ("caddy", "2.6.2", "http-01", "order", "passed"),
            ("lego", "4.9.1", "http-01", "account, order, revoke, a new thing", "passed"),
        ]
    )


def test_one_failure_is_what_is_told():
    reports = [
        a_report("lego", "4.9.1", "http-01", "order"),
        a_report("lego", "4.9.1", "http-01", "renew", outcome="failed"),
    ]
    assert [row[-1] for row in rows(reports)] == ["failed"]


def test_the_table_is_markdown():
    first, rule, row = table([("lego", "4.9.1", "http-01", "order", "passed")])
    assert first == "| client | version | challenge | exercised | result |"
    assert set(rule) == set("| -")
    assert row == "| lego   | 4.9.1   | http-01   | order     | passed |"


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("uacme: version 1.7.4", "1.7.4"),
        ("v3.1.4", "3.1.4"),
        ('{"ts":1795823879.0531557}\n2.6.2', "2.6.2"),
        ("Server version: Apache/2.4.71 (Debian)", "2.4.71"),
    ],
)
def test_a_version_is_found_in_what_a_program_says(said: str, version: str):
    assert version_of(sys.executable, "-c", f"print({said!r})") == version


def test_a_program_that_tells_no_version_is_named():
    with pytest.raises(AssertionError, match="does not tell its version"):
        version_of(sys.executable, "-c", "print('lego version dev')")

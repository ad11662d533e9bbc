"""Refusals in the log: the first at once, the rest in one line per five minutes, never many."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certeasy.jobs.refusals import DETAIL, NAMES, SUBJECTS, WINDOW, Refusals
from events.envelope import Actor, parse
from events.nodes import RequestRefused
from tests.fakes.clocks import HeldClock
from tests.fakes.faults import before, database_error
from tests.make.checks import check_node
from tests.make.node import ANode, a_node

ACCOUNT = Actor("account", "account-1")
MINUTES = WINDOW.total_seconds()


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ANode]:
    with a_node(tmp_path / "node") as made:
        yield made


@pytest.fixture
def refusals(node: ANode, clock: HeldClock) -> Refusals:
    return Refusals(node.committer, clock)


def recorded(node: ANode) -> list[RequestRefused]:
    records = [parse(line) for line in node.store.lines(0)]
    return [fact for record in records if isinstance(fact := record.event, RequestRefused)]


def test_the_first_refusal_is_recorded_at_once(node: ANode, refusals: Refusals) -> None:
    refusals.note(ACCOUNT, "policy", "not allowed by policy lab", ["a.test", "b.test"])
    assert recorded(node) == [
        RequestRefused("policy", "not allowed by policy lab", 1, ["a.test", "b.test"])
    ]
    last = parse(node.store.last_line() or b"")
    assert last.actor == ACCOUNT
    assert last.envelope.stream == "refusals/account-1"


def test_the_rest_of_five_minutes_is_one_line(
    node: ANode, refusals: Refusals, clock: HeldClock
) -> None:
    for _ in range(100):
        refusals.note(ACCOUNT, "policy", "not allowed")
    refusals.summarize()
    assert [fact.count for fact in recorded(node)] == [1]
    clock.pass_by(MINUTES)
    refusals.summarize()
    refusals.summarize()
    assert [fact.count for fact in recorded(node)] == [1, 99]


def test_a_single_refusal_needs_no_summary(
    node: ANode, refusals: Refusals, clock: HeldClock
) -> None:
    refusals.note(ACCOUNT, "policy", "not allowed")
    clock.pass_by(MINUTES)
    refusals.summarize()
    assert [fact.count for fact in recorded(node)] == [1]


def test_a_refusal_after_the_window_sums_up_and_begins_anew(
    node: ANode, refusals: Refusals, clock: HeldClock
) -> None:
    for _ in range(3):
        refusals.note(ACCOUNT, "policy", "not allowed")
    clock.pass_by(MINUTES)
    refusals.note(ACCOUNT, "policy", "not allowed still")
    assert [(f.count, f.detail) for f in recorded(node)] == [
        (1, "not allowed"),
        (2, "not allowed"),
        (1, "not allowed still"),
    ]


def test_kinds_and_subjects_are_counted_apart(node: ANode, refusals: Refusals) -> None:
    for account in ("account-1", "account-2"):
        for kind in ("policy", "limit"):
            refusals.note(Actor("account", account), kind, "no")
    assert len(recorded(node)) == 4


def test_more_subjects_than_a_thousand_are_not_remembered(
    node: ANode, refusals: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SUBJECTS == 1000
    monkeypatch.setattr("certeasy.jobs.refusals.SUBJECTS", 3)
    for number in range(10):
        refusals.note(Actor("account", f"account-{number}"), "policy", "no")
    refusals.note(Actor("account", "account-0"), "policy", "no")
    assert len(recorded(node)) == 3


def test_what_is_recorded_is_bounded_and_fit_for_every_database(
    node: ANode, refusals: Refusals
) -> None:
    refusals.note(ACCOUNT, "policy", "a\0b\ud800" + "c" * 1000, ["\0n.test"] * 50)
    [fact] = recorded(node)
    assert fact.detail.startswith("ab?c")
    assert len(fact.detail) <= DETAIL
    assert fact.names == ["n.test"] * NAMES


def test_what_cannot_be_recorded_now_is_counted_for_later(
    node: ANode, refusals: Refusals, clock: HeldClock
) -> None:
    node.faults.arm("begin", before(database_error))
    refusals.note(ACCOUNT, "policy", "no")
    refusals.note(ACCOUNT, "policy", "no")
    assert recorded(node) == []
    clock.pass_by(MINUTES)
    node.faults.arm("begin", before(database_error))
    refusals.summarize()
    assert recorded(node) == []
    refusals.summarize()
    assert [fact.count for fact in recorded(node)] == [2]


def test_what_is_counted_while_a_summary_fails_is_added(
    node: ANode, refusals: Refusals, clock: HeldClock
) -> None:
    for _ in range(3):
        refusals.note(ACCOUNT, "policy", "no")
    clock.pass_by(MINUTES)
    node.faults.arm("begin", before(database_error))
    refusals.note(ACCOUNT, "policy", "no")  # the sum of the window before fails, this one does not
    refusals.close()
    assert sum(fact.count for fact in recorded(node)) == 4


def test_a_node_that_stops_records_what_it_has_counted(node: ANode, refusals: Refusals) -> None:
    for _ in range(5):
        refusals.note(ACCOUNT, "policy", "no")
    refusals.close()
    refusals.close()
    assert [fact.count for fact in recorded(node)] == [1, 4]
    node.close()
    check_node(node.folder)

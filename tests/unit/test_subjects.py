"""Keys of those the log speaks about: stored with the first word, and gone when they are erased."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certeasy.commit import Command
from certeasy.commit.subjects import Subjects
from certeasy.decide.decision import Decision
from events.sealing import Sealed
from tests.make.node import SYSTEM, ANode, a_node, account_fact


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ANode]:
    with a_node(tmp_path / "node") as made:
        yield made


@pytest.fixture
def subjects(node: ANode) -> Subjects:
    return Subjects(node.store, node.ids)


def an_account(node: ANode, subjects: Subjects, name: str) -> Sealed:
    """Have an account made that speaks of a subject for the first time; return what it said."""
    subject, key = subjects.new(f"account/{name}")
    facts = ((f"account/{name}", account_fact(name, f"thumbprint of {name}")),)
    keys = ((subject.subject, key),)
    node.submit(Command(lambda _rows, _now: Decision(facts), SYSTEM, subject_keys=keys))
    return subjects.seal(subject, b"mailto:ops@lab.test")


def test_what_was_sealed_is_opened_by_whoever_has_the_database(
    node: ANode, subjects: Subjects
) -> None:
    sealed = an_account(node, subjects, "one")
    assert b"ops" not in sealed.box.encode()
    assert subjects.open(sealed) == b"mailto:ops@lab.test"
    assert Subjects(node.store, node.ids).open(sealed) == b"mailto:ops@lab.test"


def test_nothing_sealed_and_nothing_known_open_to_nothing(node: ANode, subjects: Subjects) -> None:
    sealed = an_account(node, subjects, "one")
    another = an_account(node, subjects, "two")
    assert subjects.open(None) is None
    assert subjects.get("account/unknown") is None
    assert subjects.open(Sealed("account/unknown", sealed.box)) is None
    assert subjects.open(Sealed(another.subject, sealed.box)) is None


def test_one_who_was_erased_is_unreadable_after_the_next_start(
    node: ANode, subjects: Subjects
) -> None:
    sealed = an_account(node, subjects, "one")
    with node.store.aside() as connection:
        connection.exec_driver_sql("DELETE FROM subject_keys")
    assert Subjects(node.store, node.ids).open(sealed) is None


def test_few_keys_are_kept_in_memory(
    node: ANode, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certeasy.commit.subjects.KEPT", 2)
    sealed = [an_account(node, subjects, name) for name in ("one", "two", "three")]
    assert all(subjects.open(each) for each in sealed)
    assert list(subjects._kept) == ["account/two", "account/three"]
    assert subjects.open(sealed[0])

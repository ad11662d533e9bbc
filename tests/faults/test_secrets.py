"""A secret is kept with the line that tells of it, or not at all, and goes with the one that ends
it."""

from pathlib import Path

import msgspec
import pytest

from certeasy.commit import Command, PoisonousCommand, Unavailable
from certeasy.commit.command import Pending
from certeasy.decide import eab
from certeasy.decide.decision import Decision
from events.eab import EabCreated, EabRevoked
from projections.eab import EAB_KEYS
from tests.fakes.faults import Fault, after, before, database_error, io_error
from tests.make.checks import check_node
from tests.make.node import SYSTEM, ANode, a_node

KID = "0" * 26
NAME = f"eab/{KID}"


def made(*, poison: bool = False) -> Command:
    """A key, with what stands for its MAC key."""
    facts = [(NAME, EabCreated(KID))]
    if poison:  # a key that is made a second time cannot be folded
        facts *= 2
    return Command(
        lambda _rows, _now: Decision(tuple(facts)), SYSTEM, secrets=((NAME, b"wrapped"),)
    )


def taken_back() -> Command:
    return Command(
        lambda _rows, _now: Decision(((NAME, EabRevoked(KID)),)), SYSTEM, dropped=(NAME,)
    )


FAULTS = {
    "before it is kept": ("secret", before(database_error), False),
    "after it is kept": ("secret", after(database_error), False),
    "before COMMIT": ("commit", before(database_error), False),
    "after COMMIT": ("commit", after(database_error), True),
    "in the journal": ("write", before(io_error), True),
}


@pytest.mark.parametrize(("step", "fault", "kept"), FAULTS.values(), ids=FAULTS)
def test_a_secret_is_kept_with_its_line_or_not_at_all(
    tmp_path: Path, step: str, fault: Fault, *, kept: bool
) -> None:
    with a_node(tmp_path / "node") as node:
        node.crash_at(step, fault)
        with pytest.raises(Unavailable):
            node.submit(made())
        node.die()
        with a_node(node.folder) as again:
            assert (again.store.secret(NAME) is not None) is kept
            assert (again.store.get(EAB_KEYS, KID) is not None) is kept
        check_node(node.folder)


@pytest.mark.parametrize(("step", "fault", "gone"), FAULTS.values(), ids=FAULTS)
def test_a_secret_goes_with_its_line_or_not_at_all(
    tmp_path: Path, step: str, fault: Fault, *, gone: bool
) -> None:
    with a_node(tmp_path / "node") as node:
        node.submit(made())
        node.crash_at(step, fault)
        with pytest.raises(Unavailable):
            node.submit(taken_back())
        node.die()
        with a_node(node.folder) as again:
            assert (again.store.secret(NAME) is None) is gone
            key = again.store.get(EAB_KEYS, KID)
            assert key is not None
            assert (key.status == "revoked") is gone
        check_node(node.folder)


def in_one_batch(node: ANode, *commands: Command) -> None:
    """Have commands stored in one batch."""
    pendings = [Pending(command) for command in commands]
    node.committer._commit_all(pendings)
    for pending in pendings:
        pending.wait()


def replaced(secret: bytes) -> Command:
    """Another secret in the place of one that may be there, as a renewed certificate is."""
    fact = EabCreated(secret.decode().rjust(26, "0"))
    decision = Decision(((f"eab/{fact.kid}", fact),))
    return Command(lambda _rows, _now: decision, SYSTEM, secrets=((NAME, secret),), dropped=(NAME,))


def test_a_secret_takes_the_place_of_another_in_one_batch_or_in_several(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as node:
        node.submit(replaced(b"1"))
        node.submit(replaced(b"2"))
        assert node.store.secret(NAME) == b"2"
        in_one_batch(node, replaced(b"3"), replaced(b"4"))
        assert node.store.secret(NAME) == b"4"
    check_node(tmp_path / "node")


def test_a_secret_that_is_made_and_destroyed_in_one_batch_was_never_kept(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as node:
        in_one_batch(node, made(), taken_back())
        assert node.store.secret(NAME) is None
        key = node.store.get(EAB_KEYS, KID)
        assert key is not None
        assert key.status == "revoked"
    check_node(tmp_path / "node")


def test_a_command_that_cannot_be_stored_leaves_no_secret(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as node:
        with pytest.raises(PoisonousCommand):
            node.submit(made(poison=True))
        assert node.store.secret(NAME) is None
    check_node(tmp_path / "node")


def test_a_decision_that_does_nothing_keeps_nothing(tmp_path: Path) -> None:
    """What was revoked before is not revoked again, and nothing is destroyed for it."""
    with a_node(tmp_path / "node") as node:
        node.submit(made())
        node.submit(Command(lambda _rows, _now: Decision(), SYSTEM, dropped=(NAME,)))
        assert node.store.secret(NAME) == b"wrapped"
        node.submit(Command(lambda _rows, _now: Decision(), SYSTEM, secrets=(("x", b"y"),)))
        assert node.store.secret("x") is None


def test_a_changed_row_gives_no_key_more_uses_than_the_log_does(tmp_path: Path) -> None:
    """Who can write to the database gains nothing: decisions are made on signed lines."""
    with a_node(tmp_path / "node") as node:
        node.submit(made())
        node.submit(taken_back())
    with a_node(tmp_path / "node") as node:
        row = node.store.get(EAB_KEYS, KID)
        assert row is not None
        forged = msgspec.structs.replace(row, status="valid", revoked="")
        with node.store.repeatable() as transaction:
            transaction.store({EAB_KEYS: {(KID,): forged}})
        found = node.store.get(EAB_KEYS, KID)
        assert found is not None
        assert found.status == "valid"
        seen: list[str] = []

        def look(rows, _now):
            key = rows.get(EAB_KEYS, KID)
            assert key is not None
            seen.append(key.status)
            return eab.revoke(rows, kid=KID)

        node.submit(Command(look, SYSTEM))
        assert seen == ["valid", "revoked"]

"""A command that cannot be stored harms nobody else; one that is refused is refused alone."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certeasy.commit import (
    Command,
    Committed,
    GuardFailed,
    NonceUsed,
    PoisonousCommand,
    Unavailable,
    UsedNonce,
)
from certeasy.commit.batch import Batch, End, HalfRecorded
from certeasy.commit.command import Pending
from certeasy.commit.committer import QUEUE
from certeasy.decide.decision import Decision, KeyUnused, Reader
from certeasy.decide.problems import Problem, Refused
from certeasy.store import DatabaseUnavailable
from events.accounts import AccountKeyChanged
from events.envelope import ZERO_HASH, timestamp
from events.orders import (
    ChallengeAccepted,
    ChallengeValidated,
    Identifier,
    OfferedAuthorization,
    OfferedChallenge,
    OrderCreated,
    OrderFinalized,
    OrderReady,
)
from events.registry import Event
from projections.accounts import ACCOUNTS
from projections.orders import ORDERS, PENDING, PROCESSING, READY, VALID
from projections.tables import Key, Table, WorkingRows
from tests.fakes.faults import before, database_error, io_error
from tests.make.checks import check_node
from tests.make.node import (
    SYSTEM,
    TOKEN,
    ANode,
    a_node,
    account_fact,
    command,
    order_command,
    order_fact,
)
from tests.make.waiting import soon


class NobodyKnowsThis(Event, frozen=True):
    """An event without a name."""


def unnamed() -> Command:
    return command(("order/x", NobodyKnowsThis()))


def too_big_a_number() -> Command:
    return command(("order/x", ChallengeValidated(0, 0, {"bytes": 1 << 70})))


def half_a_character() -> Command:
    return order_command("halved", "\ud800")


def half_a_character_in_the_stream() -> Command:
    return command(("order/\udfff", OrderReady()))


def before_it_was_created() -> Command:
    return command(("order/never", OrderReady()))


def too_long_a_line() -> Command:
    return command(("order/x", OrderFinalized(b"x" * 300_000, "0" * 64)))


def too_many_lines() -> Command:
    return command(*[(f"test/{n}", ChallengeAccepted(0, 0)) for n in range(1025)])


def trips_over_itself() -> Command:
    def decide(_rows: Reader, _now: datetime) -> Decision:
        raise ZeroDivisionError

    return Command(decide, SYSTEM)


def a_key_in_use() -> Command:
    facts = (("account/other", account_fact("other", "known")),)
    return Command(lambda _rows, _now: Decision(facts, (KeyUnused("known"),)), SYSTEM)


def not_wanted() -> Command:
    def decide(_rows: Reader, _now: datetime) -> Decision:
        raise Refused(Problem.UNAUTHORIZED, "not yours")

    return Command(decide, SYSTEM)


def a_used_nonce() -> Command:
    return order_command("repeated", nonce="used")


def a_subject_twice() -> Command:
    facts = (("account/x", account_fact("x", "another")),)
    keys = (("subject", b"1"), ("subject", b"2"))
    return Command(lambda _rows, _now: Decision(facts), SYSTEM, subject_keys=keys)


POISON: dict[Callable[[], Command], type[Exception]] = {
    unnamed: PoisonousCommand,
    too_big_a_number: PoisonousCommand,
    half_a_character: PoisonousCommand,
    half_a_character_in_the_stream: PoisonousCommand,
    before_it_was_created: PoisonousCommand,
    too_long_a_line: PoisonousCommand,
    too_many_lines: PoisonousCommand,
    trips_over_itself: PoisonousCommand,
    a_subject_twice: PoisonousCommand,
    a_key_in_use: GuardFailed,
    not_wanted: Refused,
    a_used_nonce: NonceUsed,
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ANode]:
    with a_node(tmp_path / "node") as made:
        yield made


@pytest.mark.parametrize("poison", POISON, ids=lambda poison: poison.__name__)
@pytest.mark.parametrize("place", [0, 7, 19])
def test_what_cannot_be_stored_harms_only_itself(
    node: ANode, poison: Callable[[], Command], place: int
) -> None:
    node.submit(command(("account/first", account_fact("first", "known"))))
    node.submit(order_command("first", nonce="used"))
    good = [node.ids.new() for _ in range(19)]
    with node.together(decided=False) as waiting:
        waiting.extend(order_command(order) for order in good)
        waiting.insert(place, poison())
    outcomes = list(waiting.outcomes)
    assert type(outcomes.pop(place)) is POISON[poison]
    assert [type(outcome) for outcome in outcomes] == [Committed] * 19
    assert all(node.has(order) for order in good)
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_several_poisons_in_one_batch_are_all_found(node: ANode) -> None:
    with node.together(decided=False) as waiting:
        waiting.extend(order_command(node.ids.new()) for _ in range(30))
        for place in (29, 11, 10, 0):
            waiting.insert(place, too_long_a_line())
    found = [n for n, each in enumerate(waiting.outcomes) if isinstance(each, PoisonousCommand)]
    assert found == [0, 11, 13, 32]
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_decider_that_trips_in_the_request_never_reaches_the_committer(node: ANode) -> None:
    with pytest.raises(ZeroDivisionError):
        node.submit(trips_over_itself())
    node.an_order()


def test_a_row_that_cannot_be_loaded_is_no_fault_of_the_command(node: ANode) -> None:
    """An error of the database inside a decider ends the batch: half of it must not be stored."""
    order, other = node.an_order(), node.ids.new()
    node.committer._hot.clear()

    def decide(rows: Reader, _now: datetime) -> Decision:
        node.faults.arm("other", before(database_error))
        accepted = ((f"order/{order}", ChallengeAccepted(0, 0)),)
        return Decision(accepted if rows.get(ORDERS, order) else ())

    with node.together(decided=False) as waiting:
        waiting.extend([order_command(other), Command(decide, SYSTEM)])
    assert [type(outcome) for outcome in waiting.outcomes] == [Unavailable, Unavailable]
    assert not node.has(other)
    assert node.order(order).authorizations[0].challenges[0].status == PENDING


def test_a_database_that_refuses_everything_is_not_taken_for_poison(node: ANode) -> None:
    """What also happens to a transaction without a command is no command's fault: the node ends."""
    node.faults.arm("lock", before(lambda: database_error(sqlite3.SQLITE_MISUSE)), times=50)
    with pytest.raises((PoisonousCommand, Unavailable)):
        node.an_order()
    with pytest.raises(Unavailable):
        node.an_order()
    soon(lambda: node.stops)


def test_a_command_that_changes_nothing_is_answered_and_leaves_no_line(node: ANode) -> None:
    lines = node.journal.confirmed
    committed = node.submit(Command(lambda _rows, _now: Decision(), SYSTEM))
    assert committed.records == ()
    assert committed.states() == {}
    assert node.journal.confirmed == lines


def test_a_request_that_cannot_read_is_told_to_come_again(node: ANode) -> None:
    order = node.an_order()
    node.committer._hot.clear()
    node.faults.arm("look up", before(lambda: DatabaseUnavailable("away")))

    def decide(rows: Reader, _now: datetime) -> Decision:
        rows.get(ORDERS, order)
        return Decision()

    with pytest.raises(Unavailable, match="away"):
        node.submit(Command(decide, SYSTEM))


def test_what_was_committed_is_seen_as_it_was_then(node: ANode) -> None:
    order, other = node.ids.new(), node.an_order()
    first = node.submit(order_command(order))
    node.submit(command((f"order/{order}", ChallengeAccepted(0, 0))))
    states = [first.get(ORDERS, order), node.committer.get(ORDERS, order)]
    assert [each.authorizations[0].challenges[0].status for each in states if each] == [
        PENDING,
        PROCESSING,
    ]
    assert first.get(ORDERS, other) == node.committer.get(ORDERS, other)
    assert first.get(ORDERS, "unknown") is None


# -- guards and deciders under the lock ----------------------------------------------------------


def test_of_many_accounts_with_one_key_exactly_one_is_made(node: ANode) -> None:
    commands = [_register(node.ids.new(), "the same key") for _ in range(32)]
    outcomes = _at_once(node, commands)
    assert (
        sorted(type(outcome).__name__ for outcome in outcomes)
        == ["Committed"] + ["GuardFailed"] * 31
    )
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_of_many_accounts_with_one_key_in_one_batch_exactly_one_is_made(node: ANode) -> None:
    with node.together() as waiting:
        waiting.extend(_register(node.ids.new(), "the same key") for _ in range(32))
    assert [type(outcome) for outcome in waiting.outcomes] == [Committed] + [GuardFailed] * 31


def test_a_key_that_is_given_up_in_a_batch_is_free_for_the_next_command_in_it(node: ANode) -> None:
    """Whoever registers the key that an account has just given up is told of no other account."""
    first, second, third = (node.ids.new() for _ in range(3))
    node.submit(_register(first, "one"))
    with node.together() as waiting:
        waiting.append(_rekey(first, "one", "two"))
        waiting.append(_register(second, "one"))
        waiting.append(_rekey(first, "two", "three"))
        waiting.append(_register(third, "two"))
        waiting.append(_register(node.ids.new(), "three"))
        waiting.append(_register(node.ids.new(), "one"))
    assert [type(outcome) for outcome in waiting.outcomes] == [Committed] * 4 + [GuardFailed] * 2
    rows = {each: node.committer.get(ACCOUNTS, each) for each in (first, second, third)}
    assert [row and row.thumbprint for row in rows.values()] == ["three", "one", "two"]


def _rekey(account_id: str, previous: str, thumbprint: str) -> Command:
    fact = AccountKeyChanged(account_id, previous, thumbprint, {"kty": "EC"})
    facts = ((f"account/{account_id}", fact),)
    return Command(lambda _rows, _now: Decision(facts, (KeyUnused(thumbprint),)), SYSTEM)


def _register(account_id: str, thumbprint: str) -> Command:
    facts = ((f"account/{account_id}", account_fact(account_id, thumbprint)),)
    return Command(lambda _rows, _now: Decision(facts, (KeyUnused(thumbprint),)), SYSTEM)


def test_a_hundred_outcomes_on_one_order_are_each_decided_on_what_came_before(node: ANode) -> None:
    order = node.ids.new()
    names = [Identifier("dns", f"{n}.lab.test") for n in range(100)]
    offered = tuple(OfferedAuthorization(i, (OfferedChallenge("http-01", "t"),)) for i in names)
    created = OrderCreated(order, "a", tuple(names), offered, "2036-01-01T00:00:00Z", "p", "c")
    stream = f"order/{order}"
    accepted = [(stream, ChallengeAccepted(n, 0)) for n in range(100)]
    node.submit(command((stream, created), *accepted))
    decided: list[int] = []

    def proven(n: int) -> Command:
        def decide(rows: Reader, _now: datetime) -> Decision:
            decided.append(n)
            seen = rows.get(ORDERS, order)
            assert seen is not None
            others = [each for i, each in enumerate(seen.authorizations) if i != n]
            last = all(each.status == VALID for each in others)
            ready = ((stream, OrderReady()),) if last else ()
            return Decision(((stream, ChallengeValidated(n, 0, {})), *ready))

        return Command(decide, SYSTEM)

    outcomes = _at_once(node, [proven(n) for n in range(100)])
    assert all(isinstance(each, Committed) for each in outcomes)
    ready = [r for each in outcomes for r in each.records if r.envelope.type == "order.ready"]
    assert len(ready) == 1
    assert node.order(order).status == READY
    assert len(decided) <= 200  # once in the request, at most once more under the lock
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def _at_once(node: ANode, commands: list[Command]) -> list[Committed | Exception]:
    together = threading.Barrier(len(commands))
    outcomes: list[Committed | Exception] = []

    def submit(each: Command) -> None:
        together.wait()
        try:
            outcomes.append(node.submit(each))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked at
            outcomes.append(error)

    threads = [threading.Thread(target=submit, args=(each,)) for each in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_command_that_changes_nothing_uses_its_nonce_up_and_keeps_nothing_else(
    node: ANode,
) -> None:
    """Alone or beside others; a subject that nothing is said about needs no key."""
    expires = node.clock.now() + timedelta(minutes=2)
    alone, beside = (
        Command(
            lambda _rows, _now: Decision(), SYSTEM, UsedNonce(nonce, expires), ((nonce, b"key"),)
        )
        for nonce in ("n-1", "n-2")
    )
    node.submit(alone)
    with node.together() as waiting:
        waiting.extend([beside, order_command("first")])
    assert [len(outcome.records) for outcome in waiting.outcomes] == [0, 1]
    for nonce in ("n-1", "n-2"):
        assert node.store.subject_key(nonce) is None
        with pytest.raises(NonceUsed):
            node.submit(order_command("second", nonce=nonce))


# -- nonces --------------------------------------------------------------------------------------


def test_a_nonce_changes_something_once_also_after_a_crash(node: ANode) -> None:
    node.submit(order_command("first", nonce="n-1"))
    with pytest.raises(NonceUsed):
        node.submit(order_command("second", nonce="n-1"))
    node.die()
    with a_node(node.folder) as again:
        with pytest.raises(NonceUsed):
            again.submit(order_command("third", nonce="n-1"))
        again.submit(order_command("fourth", nonce="n-2"))
        assert [again.has(order) for order in ("first", "second", "third", "fourth")] == [
            True,
            False,
            False,
            True,
        ]


def test_a_nonce_in_two_commands_of_one_batch_changes_one_thing(node: ANode) -> None:
    with node.together() as waiting:
        waiting.extend(order_command(order, nonce="n-1") for order in ("first", "second"))
    assert [type(outcome) for outcome in waiting.outcomes] == [Committed, NonceUsed]
    assert not node.has("second")


def test_a_nonce_whose_commit_was_lost_is_still_good(node: ANode) -> None:
    node.faults.arm("commit", before(database_error))
    with pytest.raises(Unavailable):
        node.submit(order_command("first", nonce="n-1"))
    node.submit(order_command("first", nonce="n-1"))


# -- the queue -----------------------------------------------------------------------------------


def test_no_more_changes_wait_than_the_queue_holds(node: ANode) -> None:
    with node.together() as waiting:
        queue = node.committer._queue
        while not queue.full():
            queue.put(Pending(order_command(node.ids.new())))
        assert queue.qsize() == QUEUE
        with pytest.raises(Unavailable, match="waiting"):
            node.an_order()
        assert waiting == []
    node.an_order()
    assert node.store.head().position > QUEUE


def test_what_waits_when_the_node_stops_is_stored_or_told(node: ANode) -> None:
    order = node.ids.new()
    with node.together() as waiting:
        waiting.append(order_command(order))
        stopping = threading.Thread(target=node.committer.stop)
        stopping.start()
        while not node.committer._closing:
            pass
        with pytest.raises(Unavailable, match="stopping"):
            node.an_order()
        waiting.clear()
    stopping.join()
    with pytest.raises(Unavailable, match="stopping"):
        node.an_order()
    node.opened.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_listener_that_fails_changes_nothing(node: ANode) -> None:
    def listener(_committed: Committed) -> None:
        raise io_error()

    node.committer.listeners.append(listener)
    node.an_order()
    node.an_order()


def test_a_command_that_fails_half_recorded_leaves_nothing_of_itself(node: ANode) -> None:
    """Its first line was numbered and folded, its second one stumbles over a row."""
    good, other = node.ids.new(), node.ids.new()

    def load(_table: Table[Any], key: Key) -> None:
        if key == ("stumbles",):
            raise PoisonousCommand("the log cannot be believed")

    facts = (order_fact("first", TOKEN), order_fact("stumbles", TOKEN))
    half = command(*[(f"order/{each.order_id}", each) for each in facts])
    with node.store.transaction() as transaction:
        batch = Batch(
            transaction,
            WorkingRows(load),
            End(0, ZERO_HASH, 0, ZERO_HASH),
            server_id=node.opened.identity.server_id,
            key=node.opened.identity.key,
            at=timestamp(node.clock.now()),
            current=node.committer,
            versions={},
        )
        batch.run([Pending(order_command(good))])
        with pytest.raises(HalfRecorded, match="cannot be believed"):
            batch.run([Pending(half), Pending(order_command(other))])

"""Whatever two nodes on one database meet, in whatever order: what was acknowledged stays.

Hypothesis makes up histories: batches of every kind of command, steps that fail before and after
they took effect, a kill -9 at each of them, damaged journals, starts that are cut short, clocks
that go astray, nodes that are suspended and wake too late, and the other node taking over. After
every step, and strictly at the end, `Town` looks at the whole.

    pytest tests/faults/test_machine.py                                     # 200 histories
    pytest tests/faults/test_machine.py -n 0 --hypothesis-profile=night

The second takes 2,000; `--hypothesis-seed=N` makes it take the same ones again. On PostgreSQL a
history takes several times as long, so there are fewer of them unless it is night.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.make.machine import (
    BOOT_STEPS,
    DATABASE_STEPS,
    NODES,
    SLEEPS,
    Asked,
    Database,
    PostgresDatabase,
    SqliteDatabase,
    Town,
    Trouble,
)

NIGHT = settings.default.max_examples > 1000
HISTORIES = {"sqlite": 2000 if NIGHT else 200, "postgres": 2000 if NIGHT else 25}
STEPS = 8
Commands = list[tuple[str, int]]

COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["order", "reuse", "account", "proof", "proof", "poison"]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=4,
)
TROUBLES = st.one_of(
    st.builds(
        Trouble,
        st.sampled_from(DATABASE_STEPS),
        st.sampled_from(["before", "after"]),
        st.booleans(),
    ),
    st.builds(Trouble, st.just("commit"), st.sampled_from(["before", "after"]), st.booleans()),
    st.builds(
        Trouble,
        st.just("write"),
        st.sampled_from(["before", "after", "torn", "zeroed", "full"]),
        st.booleans(),
    ),
    st.builds(Trouble, st.just("sync"), st.sampled_from(["before", "after"]), st.booleans()),
    st.builds(Trouble, st.just("free"), st.sampled_from(["before", "no room"])),
)
BOOT_TROUBLES = st.builds(
    Trouble, st.sampled_from(BOOT_STEPS), st.sampled_from(["before", "after"]), st.booleans()
)


class Machine(RuleBasedStateMachine):
    """A town, and what may happen in it. One node is up at a time, `here`; or none."""

    database: type[Database] = SqliteDatabase

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="certeasy-machine-")
        self.town = Town(self.database(Path(self.folder.name)))

    @property
    def on_one_host(self) -> bool:
        """Whether a lock of the host keeps others out for as long as a node's process is there."""
        return self.town.database.one_host

    @property
    def here(self) -> str | None:
        return next(iter(self.town.up), None)

    def asked(self, kind: str, number: int) -> Asked:
        match kind:
            case "order":
                return self.town.an_order()
            case "reuse":
                return self.town.an_order(reuse=number)
            case "account":
                return self.town.an_account(number % 2)
            case "proof":
                return self.town.a_proof(number)
            case _:
                return self.town.a_poisonous_one(number)

    # -- a node at work --------------------------------------------------------------------------

    @precondition(lambda self: self.here)
    @rule(commands=COMMANDS)
    def all_goes_well(self, commands: Commands) -> None:
        self.town.submit(self.here, [self.asked(*each) for each in commands])

    @precondition(lambda self: self.here)
    @rule(troubles=st.lists(st.tuples(COMMANDS, TROUBLES, st.booleans()), min_size=1, max_size=4))
    def steps_fail(self, troubles: list[tuple[Commands, Trouble, bool]]) -> None:
        """One after the other; clients who were told to try again may do so at once."""
        for commands, trouble, again in troubles:
            if self.here:
                self.town.submit(self.here, [self.asked(*each) for each in commands], trouble)
                self.town.check()
            if self.here and again:
                self.town.submit(self.here, [self.asked(*each) for each in commands])

    @precondition(lambda self: self.here)
    @rule()
    def it_is_left_alone(self) -> None:
        self.town.left_alone(self.here)

    @precondition(lambda self: self.here)
    @rule()
    def it_stops(self) -> None:
        self.town.stop(self.here)

    @precondition(lambda self: self.here)
    @rule()
    def it_is_killed(self) -> None:
        self.town.die(self.here)

    @precondition(lambda self: self.here and not self.town.asleep and not self.on_one_host)
    @rule(commands=COMMANDS, step=st.sampled_from(SLEEPS))
    def it_falls_asleep(self, commands: Commands, step: str) -> None:
        self.town.falls_asleep(self.here, [self.asked(*each) for each in commands], step)

    @precondition(lambda self: self.town.asleep)
    @rule()
    def it_wakes(self) -> None:
        self.town.wakes(next(iter(self.town.asleep)))

    @precondition(lambda self: self.here and not self.town.asleep)
    @rule()
    def another_is_refused_beside_it(self) -> None:
        other = next(node for node in NODES if node != self.here)
        self.town.is_refused(other, self.here)

    # -- no node at work -------------------------------------------------------------------------

    @precondition(lambda self: not self.here)
    @rule(node=st.sampled_from(NODES), hasty=st.booleans())
    def one_starts(self, node: str, hasty: bool) -> None:
        if self.may_start(node):
            self.take_turns(node, hasty=hasty)
            self.town.start(node)

    @precondition(lambda self: not self.here)
    @rule(node=st.sampled_from(NODES), trouble=BOOT_TROUBLES)
    def a_start_fails(self, node: str, trouble: Trouble) -> None:
        if self.may_start(node):
            self.take_turns(node, hasty=False)
            self.town.start(node, trouble)

    def may_start(self, node: str) -> bool:
        """Wake the node itself if it sleeps."""
        self.town.wakes(node)
        return not self.here

    def take_turns(self, node: str, *, hasty: bool) -> None:
        """Wait until the other one's lease has run out; the `hasty` try before."""
        for other in NODES:
            if other != node:
                if hasty:
                    self.town.is_refused(node, other)
                self.town.database.let_lease_run_out()

    @precondition(lambda self: not self.here and not self.town.asleep)
    @rule(
        node=st.sampled_from(NODES),
        how=st.sampled_from(["cut", "zeroed", "rubbish", "gone"]),
        size=st.integers(1, 3000),
    )
    def a_journal_is_hurt(self, node: str, how: str, size: int) -> None:
        self.town.hurt_journal(node, how, size)

    @precondition(lambda self: not self.here and not self.town.asleep and self.town.hurt)
    @rule()
    def it_is_refilled(self) -> None:
        node = min(self.town.hurt)
        self.take_turns(node, hasty=False)
        self.town.refill(node)

    # -- time ------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 4, 70, 600, -1, -4, -5, -7, -30, -3000]))
    def the_clock_moves(self, seconds: int) -> None:
        self.town.move_clock(seconds)

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def everything_holds(self) -> None:
        self.town.check()

    def teardown(self) -> None:
        try:
            self.town.finish()
        finally:
            self.town.close()
            self.folder.cleanup()


@pytest.mark.timeout(0 if NIGHT else 900)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_history_loses_or_repeats_anything(request: pytest.FixtureRequest, kind: str) -> None:
    machine = Machine
    if kind == "postgres":
        there = {"server": request.getfixturevalue("postgres")}
        database = type("Town's database", (PostgresDatabase,), there)
        machine = type("PostgresMachine", (Machine,), {"database": database})
    looked_for = settings(
        max_examples=HISTORIES[kind],
        stateful_step_count=STEPS,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=looked_for)

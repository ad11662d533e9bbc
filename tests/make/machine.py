"""Two nodes that take turns on one database, whatever is done to them; and what the log must say.

    with TemporaryDirectory() as folder:
        town = Town(SqliteDatabase(Path(folder)))
        town.start("a")
        town.submit("a", [town.an_order()], Trouble("commit", "after", kill=True))
        town.check()

A `Town` remembers what it was told: what was acknowledged must be there for ever, what was refused
must have left nothing. What is unknown may be either. `check` may be called at any moment, `finish`
once, at the end. A town on another database is one more class like `SqliteDatabase`.

A node can be killed at any step, and it can be suspended: it `falls_asleep` in the middle of its
work, and when it `wakes` another may have its place.

The same history goes the same way each time: a committer takes a turn when the town gives it one,
and the town goes on when that turn is over.
"""

# ruff: noqa: PT017 - what a refusal says is looked at where it is caught; this is no test

import atexit
import re
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Protocol

import msgspec
import psycopg

from certeasy.cluster import boot
from certeasy.cluster.boot import BootRefused
from certeasy.commit import (
    Command,
    Committed,
    Committer,
    GuardFailed,
    NonceUsed,
    PoisonousCommand,
    Unavailable,
    UsedNonce,
)
from certeasy.commit.command import Pending
from certeasy.commit.committer import CLOCK_SKEW, NONCE_SLACK
from certeasy.decide.decision import Decision, KeyUnused, Reader
from certeasy.decide.problems import Problem, Refused
from certeasy.ids import RandomIds
from certeasy.settings import DatabaseSettings, Settings
from certeasy.store import DatabaseUnavailable, Store
from events.accounts import AccountCreated
from events.envelope import Record, parse, timestamp
from events.nodes import JournalRefilled, NodeEndorsed, RequestRefused
from events.orders import ChallengeAccepted, ChallengeValidated, OrderReady
from events.registry import Event
from projections.orders import ORDERS
from tests.fakes.clocks import HeldClock
from tests.fakes.faults import (
    Action,
    Fault,
    Faults,
    after,
    before,
    database_error,
    io_error,
    no_space,
)
from tests.make.checks import check_node
from tests.make.node import SYSTEM, ANode, account_fact, node_settings, order_fact
from tests.make.postgres import Postgres, settings_of
from tests.make.waiting import soon

NODES = ("a", "b")
EVERYTHING = 1 << 62
LIVES = timedelta(minutes=2)  # a nonce
REFUSALS = (Refused, GuardFailed, NonceUsed, PoisonousCommand)
_MARK = re.compile(rb"mark-[0-9]+")


# -- the database they share ---------------------------------------------------------------------


class Database(Protocol):
    """Where a town's log is kept."""

    folder: Path
    one_host: bool  # a lock of the host keeps others out for as long as a node's process is there

    def begin(self, found: Callable[[], None]) -> None:
        """Call `found`, by which both nodes join, or bring back what it made another time."""
        ...

    def error(self) -> Exception:
        """Return what its driver raises when the database is gone."""
        ...

    def settings(self, node: str) -> Settings:
        """Return the settings of a node with a workdir of its own."""
        ...

    def store(self) -> Store:
        """Open it, to be looked at beside a node at work."""
        ...

    def let_lease_run_out(self) -> None:
        """Let the time pass for which a node that is gone still has the writer's place."""
        ...

    def check(self, folders: Sequence[Path], acknowledged: Sequence[Record]) -> None:
        """Look strictly at all of it, with no node at work."""
        ...

    def close(self) -> None:
        """Remove what does not lie in the folder."""
        ...


class SqliteDatabase:
    """A file beside the nodes' workdirs."""

    begun: Path | None = None
    one_host = True
    error = staticmethod(database_error)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "shared" / "db.sqlite"

    def begin(self, found: Callable[[], None]) -> None:
        if SqliteDatabase.begun is None:
            self.path.parent.mkdir()
            found()
            kept = mkdtemp(prefix="certeasy-machine-begun-")
            atexit.register(shutil.rmtree, kept, ignore_errors=True)
            SqliteDatabase.begun = shutil.copytree(self.folder, Path(kept, "begun"))
        else:
            shutil.copytree(SqliteDatabase.begun, self.folder, dirs_exist_ok=True)

    def settings(self, node: str) -> Settings:
        return node_settings(self.folder / node, database=self.path)

    def store(self) -> Store:
        return Store.sqlite(self.path)

    def let_lease_run_out(self) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("UPDATE log_head SET lease_until = 0")

    def check(self, folders: Sequence[Path], acknowledged: Sequence[Record]) -> None:
        check_node(*folders, database=self.path, acknowledged=acknowledged)

    def close(self) -> None:
        """Nothing."""


class PostgresDatabase:
    """A database of its own on a server that runs; both nodes join once, in a template."""

    one_host = False
    server: Postgres  # a subclass has one
    begun: tuple[Path, str] | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._name = ""

    def begin(self, found: Callable[[], None]) -> None:
        kind = type(self)
        if kind.begun is None:
            self._name = self.server.a_database().rpartition("/")[2]
            found()
            kept = mkdtemp(prefix="certeasy-machine-begun-")
            atexit.register(shutil.rmtree, kept, ignore_errors=True)
            kind.begun = shutil.copytree(self.folder, Path(kept, "begun")), self._name
        folder, template = kind.begun
        shutil.copytree(folder, self.folder, dirs_exist_ok=True)
        self._name = f"{template}_{next(_NUMBERS)}"
        self.server.ask(f"CREATE DATABASE {self._name} TEMPLATE {template}")

    def error(self) -> Exception:
        return psycopg.OperationalError("made by a test")

    def settings(self, node: str) -> Settings:
        return node_settings(self.folder / node, server=self._database())

    def store(self) -> Store:
        return Store.open(self._database())

    def _database(self) -> DatabaseSettings:
        return settings_of(self.server.dsn(self._name))

    def let_lease_run_out(self) -> None:
        self.server.ask("UPDATE log_head SET lease_until = 0", self._name)

    def check(self, folders: Sequence[Path], acknowledged: Sequence[Record]) -> None:
        check_node(*folders, database=self._database(), acknowledged=acknowledged)

    def close(self) -> None:
        self.server.ask(f"DROP DATABASE {self._name} WITH (FORCE)")


_NUMBERS = count(1)


# -- what goes wrong -----------------------------------------------------------------------------


def torn(action: Action) -> None:
    """Half of it reaches the file."""
    action(action.data[: len(action.data) // 2])
    raise io_error()


def zeroed(action: Action) -> None:
    """The file grows, but holds zeros where the data should be."""
    action(bytes(len(action.data)))
    raise io_error()


def full(_action: Action) -> None:
    """There is no room."""
    raise no_space()


def no_room(_action: Action) -> int:
    """The disk says so when it is asked."""
    return 0


DATABASE_STEPS = ("begin", "lock", "insert", "rows", "advance", "move", "commit")
SLEEPS = ("free", "begin", "write", "sync")
BOOT_STEPS = ("look up", "begin", "other", "commit", "open", "truncate", "write", "sync")


def out_of_service() -> DatabaseUnavailable:
    return DatabaseUnavailable("the database is out of service, says a test")


class Trouble(msgspec.Struct, frozen=True):
    """A step that goes wrong: `how` is before or after it took effect, or half; killed there, the
    process does nothing more."""

    step: str
    how: str
    kill: bool = False

    def fault(self, database_error: Callable[[], Exception]) -> Fault:
        """Return what happens at the step."""
        error: Callable[[], Exception] = io_error
        if self.step in (*DATABASE_STEPS, "other"):
            error = database_error
        elif self.step == "look up":
            error = out_of_service
        faults: dict[str, Fault] = {
            "before": before(error),
            "after": after(error),
            "torn": torn,
            "zeroed": zeroed,
            "full": full,
            "no room": no_room,
        }
        return faults[self.how]

    def arm(self, faults: Faults) -> None:
        """Let it happen next time."""
        fault = self.fault(faults.database_error)
        if self.kill:
            faults.kill(self.step, fault)
        else:
            faults.arm(self.step, fault)


# -- what is asked -------------------------------------------------------------------------------


class Asked(msgspec.Struct, frozen=True):
    """A command, and the mark that is in the log if and only if it was stored."""

    mark: bytes
    command: Command
    poisonous: bool = False


class Together(Pending):
    """Several commands, or none, that the committer takes in one turn."""

    def __init__(self, each: Sequence[Pending]) -> None:
        super().__init__(_always())
        self.each = each

    def fail(self, error: BaseException) -> None:
        for one in self.each:
            one.fail(error)


class SteppedCommitter(Committer):
    """A committer that takes a turn when it is given something, and never because of the time."""

    _taken = 0  # what it has in hand, as its queue counts

    def _take(self) -> tuple[list[Pending], bool]:
        for _ in range(self._taken):
            self._queue.task_done()
        batch, go_on = super()._take()
        while go_on and not batch:
            batch, go_on = super()._take()
        self._taken = len(batch) + (not go_on)
        several = [one.each if isinstance(one, Together) else (one,) for one in batch]
        return [one for each in several for one in each], go_on

    def give(self, commands: Sequence[Command]) -> list[Pending | Exception]:
        """Have them taken in one turn; return for each what waits for its answer, or why it was
        refused before. Of none at all, that is a turn in which it looks after itself."""
        given = [self._given(each) for each in commands]
        together = Together([each for each in given if isinstance(each, Pending)])
        if self.stopped is None:
            self._enqueue(together)
        else:
            together.fail(Unavailable(self.stopped))
        return given

    def _given(self, command: Command) -> Pending | Exception:
        try:
            return self._prepared(command)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            return error

    def settle(self, until: Callable[[], bool] = lambda: False) -> None:
        """Return when it has nothing in hand any more, or at something that comes before."""
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and self._thread.is_alive() and not until():
                self._queue.all_tasks_done.wait(0.005)


class SteppedNode(ANode):
    """A node whose committer is stepped."""

    committer: SteppedCommitter
    make_committer = SteppedCommitter


class Town:
    """Nodes a and b, and what is known of what they were asked."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = HeldClock()
        self.latest_ever = self.clock.now()
        self.up: dict[str, SteppedNode] = {}
        self.asleep: dict[str, Sleeper] = {}
        self.hurt: set[str] = set()  # nodes whose journal lost lines that were on disk
        self.acknowledged: list[Record] = []
        self.of_node: dict[str, list[Record]] = {node: [] for node in NODES}
        self.refused: set[bytes] = set()
        self.orders: list[str] = []
        self.nonces: dict[str, tuple[datetime, list[bytes]]] = {}  # expiry, marks that used it
        self._made = 0
        self._ids = RandomIds(self.clock)
        self._log: list[Record] = []
        self._marks: Counter[bytes] = Counter()
        database.begin(self._found)
        self._looking = database.store()
        self.start("a")

    # -- the beginning and the end ---------------------------------------------------------------

    def _found(self) -> None:
        """Let both nodes join, and each know the other."""
        self.start("a")
        self.stop("a")
        self.start("b")
        kid = self.up["b"].opened.identity.key.public.kid
        server_id = self.up["b"].opened.identity.server_id
        self.stop("b")
        self.start("a")
        stream = f"node/{server_id}"
        self.up["a"].submit(_always((stream, NodeEndorsed(server_id, kid))))
        self.stop("a")

    def finish(self) -> None:
        """Bring every node level, and look strictly at everything."""
        self.clock.set_to(max(self.clock.now(), self.latest_ever) + timedelta(seconds=1))
        for node in NODES:
            self.wakes(node)
        for node in NODES:
            self.stop_all()
            self.database.let_lease_run_out()
            if node in self.hurt:
                self.refill(node)
            self.start(node)
            outcome = self.submit(node, [self.an_order()])[0]
            assert isinstance(outcome, Committed), outcome
            self.check()
        self.stop_all()
        folders = [self.database.settings(node).workdir for node in NODES]
        self.database.check(folders, self.acknowledged)

    def close(self) -> None:
        """Let go of everything."""
        for sleeper in self.asleep.values():
            sleeper.gate.set()
        for node in (*self.up.values(), *(sleeper.node for sleeper in self.asleep.values())):
            node.faults.disarm()
            node.abandon()
        self.up, self.asleep = {}, {}
        self._looking.close()
        self.database.close()

    # -- nodes -----------------------------------------------------------------------------------

    def start(self, name: str, trouble: Trouble | None = None) -> bool:
        """Start a node, unless it must not or cannot; whatever refuses it must have a reason."""
        faults = Faults(self.database.error)
        if trouble is not None:
            trouble.arm(faults)
        try:
            node = SteppedNode(self.database.settings(name), self.clock, faults=faults)
        except BootRefused as refusal:
            assert name in self.hurt, f"a start was refused: {refusal}"
            assert "journal refill" in str(refusal)
            return False
        except (Unavailable, DatabaseUnavailable, OSError) as error:
            assert faults.met or self.behind(), f"a start failed: {error}"
            return False
        node.committer.settle()
        node.faults.disarm()
        self.up[name] = node
        if node.faults.dead:
            self.die(name)
            return False
        self.hurt.discard(name)
        return True

    def stop(self, name: str) -> None:
        """Stop a node in good order, as far as it can."""
        node = self.up.pop(name)
        node.faults.disarm()
        try:
            node.close()
        except Unavailable as error:
            assert self.behind() or node.committer.stopped, error
            node.abandon()

    def stop_all(self) -> None:
        """Stop whoever is up."""
        for name in list(self.up):
            self.stop(name)

    def left_alone(self, name: str) -> None:
        """Let a node look after itself: it comes out of its troubles, unless the clock is wrong."""
        committer = self.up[name].committer
        committer.give([])
        committer.settle()
        assert committer.trouble() is None or self.behind(), committer.trouble()

    def die(self, name: str) -> None:
        """Let a node be gone, here and now: nothing that it does takes effect any more."""
        node = self.up.pop(name)
        node.faults.disarm()
        node.faults.dead = True
        node.abandon()

    def falls_asleep(self, name: str, asked: Sequence[Asked], step: str) -> None:
        """Suspend a node, outside a transaction, when it comes to this step of storing these.

        One that accepts nothing now is left awake.
        """
        node = self.up[name]
        if self.behind():
            return
        self.left_alone(name)
        sleeper = Sleeper(node, asked)
        node.faults.arm(step, sleeper.sleep)
        sleeper.waiting = node.committer.give([one.command for one in asked])
        node.committer.settle(sleeper.entered.is_set)
        node.faults.disarm()
        self.asleep[name] = sleeper
        del self.up[name]
        if not sleeper.entered.is_set():
            self.wakes(name)

    def wakes(self, name: str) -> None:
        """Let a node go on. If another has its place, it stores nothing any more, and ends."""
        sleeper = self.asleep.pop(name, None)
        if sleeper is None:
            return
        node, before = sleeper.node, self._looking.head()
        node.faults.disarm()
        sleeper.gate.set()
        outcomes = [_outcome(one) for one in sleeper.waiting]
        node.committer.settle()
        self.up[name] = node
        for one, outcome in zip(sleeper.asked, outcomes, strict=True):
            self._remember(name, one, outcome)
        if before.writer == node.opened.identity.server_id and before.epoch == node.opened.epoch:
            return
        late = self.an_order()
        refused = _outcome(node.committer.give([late.command])[0])
        self._remember(name, late, refused)
        assert isinstance(refused, Unavailable), f"a late riser stored something: {refused}"
        soon(lambda: node.committer.stopped)  # it goes no further than to say so
        assert self._looking.head().position == before.position, "a late riser stored something"
        node.abandon()
        del self.up[name]

    def is_refused(self, name: str, other: str) -> None:
        """Start a node while another one has the place, be that alive or gone: it is refused,
        naming that one, unless the lease has run out. What is stored renews it here, and never the
        time, so that a busy machine may be too slow for it."""
        head = self._looking.head()
        holder = (self.database.settings(other).workdir / "server_id").read_text().strip()
        locked = self.database.one_host and other in self.up
        if not locked and (head.writer != holder or head.lease_until <= head.now):
            return
        try:
            ANode(self.database.settings(name), self.clock).abandon()
        except BootRefused as refusal:
            assert holder in str(refusal), refusal
            return
        left = head.lease_until - self._looking.head().now
        assert not locked, f"node {name} started beside {other}, on one host"
        assert left <= 0, f"node {name} took the place of {other}, whose lease had {left} s left"
        if other in self.up:
            self.die(other)

    def hurt_journal(self, name: str, how: str, size: int) -> None:
        """Damage the end of the journal of a node that is down, as a disk might."""
        path = self.database.settings(name).workdir / "audit.log"
        if not path.exists():
            return
        data = path.read_bytes()
        kept = max(0, len(data) - size)
        match how:
            case "cut":
                path.write_bytes(data[:kept])
            case "zeroed":
                path.write_bytes(data[:kept] + bytes(len(data) - kept))
            case "rubbish":
                path.write_bytes(data + b'\xff\n{"v":1,"position":7}\n' + bytes(size % 999))
            case _:
                path.unlink()
                self.hurt.add(name)

    def refill(self, name: str) -> None:
        """Have an administrator refill a node's journal, as `certeasy journal refill` does."""
        opened = boot.open_node(self.database.settings(name), self._ids)
        try:
            standing = boot.level(opened, most=EVERYTHING)
            committer = Committer(opened.store, opened.journal, self.clock)
            committer.start(boot.take_place(opened, self.clock, self._ids), standing)
            stream = f"node/{opened.identity.server_id}"
            try:
                committer.submit(_always((stream, JournalRefilled(1, standing.seq, "a test"))))
            except Unavailable:
                assert self.behind()
            committer.stop()
        finally:
            opened.close()
        self.hurt.discard(name)

    # -- time ------------------------------------------------------------------------------------

    def move_clock(self, seconds: float) -> None:
        """Let time pass, or (negative) set the clock back."""
        if seconds >= 0:
            self.clock.pass_by(seconds)
        else:
            self.clock.set_to(self.clock.now() + timedelta(seconds=seconds))
        self.latest_ever = max(self.latest_ever, self.clock.now())

    def behind(self) -> bool:
        """Whether the clock is so far behind the log that nothing may be accepted."""
        self._read()
        latest = self._log[-1].envelope.at if self._log else ""
        return timestamp(self.clock.now() + CLOCK_SKEW) < latest

    # -- commands --------------------------------------------------------------------------------

    def _mark(self) -> bytes:
        self._made += 1
        return b"mark-%d" % self._made

    def a_nonce(self, mark: bytes, reuse: int | None = None) -> UsedNonce | None:
        """Return a new nonce, or one that was used before and is still good at the door."""
        now = self.clock.now()
        good = [
            name
            for name, (expires, _) in self.nonces.items()
            if expires > now and self.latest_ever - NONCE_SLACK < expires
        ]
        if reuse is not None and good:
            name = good[reuse % len(good)]
        else:
            name = f"nonce {len(self.nonces)}"
            self.nonces[name] = (now + LIVES, [])
        self.nonces[name][1].append(mark)
        return UsedNonce(name, self.nonces[name][0])

    def an_order(self, reuse: int | None = None) -> Asked:
        """An order, with a nonce: a new one, or one that was used before."""
        mark, order_id = self._mark(), self._ids.new()
        self.orders.append(order_id)
        fact = order_fact(order_id, mark.decode())
        nonce = self.a_nonce(mark, reuse)
        return Asked(mark, _always((f"order/{order_id}", fact), nonce=nonce))

    def an_account(self, key: int) -> Asked:
        """An account for one of a few keys, if no other has that."""
        mark = self._mark()
        fact = account_fact(mark.decode(), f"key {key}")
        decision = Decision(((f"account/{mark.decode()}", fact),), (KeyUnused(f"key {key}"),))
        return Asked(mark, Command(lambda _rows, _now: decision, SYSTEM))

    def a_proof(self, which: int) -> Asked:
        """An order made ready, if it is there and pending: decided on its row."""
        mark = self._mark()
        order_id = self.orders[min(which, len(self.orders) - 1)] if self.orders else "none"

        def decide(rows: Reader, _now: datetime) -> Decision:
            order = rows.get(ORDERS, order_id)
            if order is None or order.status != "pending":
                raise Refused(Problem.MALFORMED, "not pending")
            proven = ChallengeValidated(0, 0, {"mark": mark.decode()})
            facts = (ChallengeAccepted(0, 0), proven, OrderReady())
            return Decision(tuple((f"order/{order_id}", fact) for fact in facts))

        return Asked(mark, Command(decide, SYSTEM))

    def a_poisonous_one(self, kind: int) -> Asked:
        """A command that cannot be stored: half a character, too long a line, a contradiction."""
        mark = self._mark()
        said = mark.decode()
        poison = (
            RequestRefused("policy", f"{said} \ud800"),
            RequestRefused("policy", said + "x" * (1 << 18)),
            ChallengeValidated(0, 0, {"mark": said}),
        )[kind % 3]
        command = _always((f"order/{said}", poison), nonce=self.a_nonce(mark))
        return Asked(mark, command, poisonous=True)

    def submit(
        self, name: str, asked: Sequence[Asked], trouble: Trouble | None = None
    ) -> list[Committed | Exception]:
        """Have commands stored as one batch; the trouble comes at its step or just behind it.

        What is answered is remembered. A node that was killed by the trouble is down afterwards.
        """
        node, behind = self.up[name], self.behind()
        if trouble is not None:
            trouble.arm(node.faults)
        outcomes = [_outcome(one) for one in node.committer.give([one.command for one in asked])]
        node.committer.settle()
        node.faults.disarm()
        for one, outcome in zip(asked, outcomes, strict=True):
            self._remember(name, one, outcome)
            if trouble is None and isinstance(outcome, Unavailable):
                assert behind, f"nothing is wrong, and nothing is accepted: {outcome}"
        if node.faults.dead:
            self.die(name)
        return outcomes

    def _remember(self, name: str, asked: Asked, outcome: Committed | Exception) -> None:
        node = self.up[name]
        if isinstance(outcome, Committed):
            self.acknowledged.extend(outcome.records)
            self.of_node[name].extend(outcome.records)
            assert asked.mark in b"".join(record.line for record in outcome.records)
        elif isinstance(outcome, REFUSALS):
            assert asked.poisonous or not isinstance(outcome, PoisonousCommand), outcome
            self.refused.add(asked.mark)
        elif isinstance(outcome, Unavailable):
            unknown = "outcome unknown" in outcome.reason or node.faults.dead
            if not unknown:
                self.refused.add(asked.mark)
        else:
            raise outcome

    # -- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        """What must hold at any moment, also with a node at work or a crash just behind us."""
        self._read()
        lines = {record.line for record in self._log}
        lost = [r.envelope.position for r in self.acknowledged if r.line not in lines]
        assert not lost, f"acknowledged, but not in the database: positions {lost}"
        wrong = sorted(mark for mark in self.refused if self._marks[mark])
        assert not wrong, f"refused, but stored: {wrong}"
        for name, (_, marks) in self.nonces.items():
            used = [mark for mark in marks if self._marks[mark]]
            assert len(used) < 2, f"{name} was good for {used}"
        self._check_facts()
        for name in NODES:
            self._check_journal(name)

    def _check_facts(self) -> None:
        facts = [record.event for record in self._log]
        keys = Counter(fact.thumbprint for fact in facts if isinstance(fact, AccountCreated))
        assert all(times == 1 for times in keys.values()), f"accounts of one key: {keys}"
        ready = Counter(r.envelope.stream for r in self._log if r.envelope.type == "order.ready")
        assert all(times == 1 for times in ready.values()), f"ready twice: {ready}"

    def _check_journal(self, name: str) -> None:
        """A node's journal is never ahead of the database; and, unless there is trouble, holds
        what was acknowledged, synced."""
        path = self.database.settings(name).workdir / "audit.log"
        written = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        stored = {record.line for record in self._log}
        node = self.up.get(name)
        if node is None or node.committer.trouble() is not None:
            ahead = [line for line in written if line not in stored and _is_line(line)]
            assert not ahead, f"the journal of {name} is ahead of the database"
            return
        assert all(line in stored for line in written), f"the journal of {name} has more"
        synced = set(path.read_bytes()[: node.faults.synced].split(b"\n"))
        missing = [r.envelope.seq for r in self.of_node[name] if r.line not in synced]
        assert not missing, f"acknowledged by {name}, but not synced to its journal: seq {missing}"

    def _read(self) -> None:
        """Read on in the database; each line must continue the log."""
        for line in self._looking.lines(len(self._log)):
            record = parse(line)
            place = record.envelope
            assert place.position == len(self._log) + 1
            assert not self._log or place.head == self._log[-1].hash
            self._log.append(record)
            self._marks.update(set(_MARK.findall(line)))


class Sleeper:
    """A node that is suspended, and what it was about to store."""

    def __init__(self, node: ANode, asked: Sequence[Asked]) -> None:
        self.node = node
        self.asked = asked
        self.waiting: list[Pending | Exception] = []
        self.entered, self.gate = threading.Event(), threading.Event()

    def sleep(self, action: Action) -> object:
        """The fault that holds the committer until the gate is open."""
        self.entered.set()
        self.gate.wait()
        return action()


def _is_line(line: bytes) -> bool:
    try:
        parse(line)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is none
        return False
    return True


def _always(*facts: tuple[str, Event], nonce: UsedNonce | None = None) -> Command:
    """Return a command that records these facts, whatever the rows say."""
    return Command(lambda _rows, _now: Decision(facts), SYSTEM, nonce)


def _outcome(of: Pending | Exception) -> Committed | Exception:
    if isinstance(of, Exception):
        return of
    try:
        return of.wait()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
        return error


__all__ = [
    "BOOT_STEPS",
    "DATABASE_STEPS",
    "NODES",
    "SLEEPS",
    "Asked",
    "Database",
    "PostgresDatabase",
    "SqliteDatabase",
    "Town",
    "Trouble",
]

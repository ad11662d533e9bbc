"""A node without listeners: its locks, its probe, its committer, on real SQLite in a folder.

    with a_node(folder) as node:
        order = node.an_order()
        node.faults.arm("sync", before(io_error))

What was acknowledged is remembered, so that a test can ask for it after a crash.
"""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from certeasy.clock import Clock, SystemClock
from certeasy.cluster import boot
from certeasy.commit import Command, Committed, Committer, UsedNonce
from certeasy.commit.command import Pending, Unavailable
from certeasy.decide.decision import Decision, Reader
from certeasy.ids import RandomIds
from certeasy.settings import (
    AuditSettings,
    DatabaseSettings,
    SecretsSettings,
    ServerSettings,
    Settings,
)
from events.accounts import AccountCreated
from events.envelope import Actor, Record
from events.nodes import SettingsLoaded
from events.orders import Identifier, OfferedAuthorization, OfferedChallenge, OrderCreated
from events.registry import Event
from journal.segments import closed_path
from projections.orders import ORDERS, Order
from tests.fakes.faults import Action, Fault, Faults, FaultyDisk, FaultyStore

SYSTEM = Actor("system", "test")
LOADED = SettingsLoaded("a" * 64, {"made": "by a test"})
HEADROOM = 1 << 16
TOKEN = "a-token"


def node_settings(
    folder: Path, *, database: Path | None = None, server: DatabaseSettings | None = None
) -> Settings:
    """Settings of a node that has everything in one folder, or shares another's database.

    With a database `server`, nodes beside each other share the key file that lies there.
    """
    settings = Settings(
        workdir=folder,
        server=ServerSettings(url=("https://acme.lab.test",)),
        audit=AuditSettings(min_free_bytes=HEADROOM),
    )
    if server is not None:
        shared = SecretsSettings(key_file=folder.with_name("secret.key"))
        return msgspec.structs.replace(settings, database=server, secrets=shared)
    if database is None:
        return settings
    return msgspec.structs.replace(
        settings,
        database=DatabaseSettings(path=database),
        secrets=SecretsSettings(key_file=database.with_name("secret.key")),
    )


class Waiting(list[Command]):
    """Commands that wait for each other; `outcomes` are in their order."""

    outcomes: Sequence[Committed | Exception] = ()


class ANode:
    """A node in service. `stops` are the reasons for which it ended itself."""

    make_committer = Committer

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        faults: Mapping[str, Fault] | Faults | None = None,
    ) -> None:
        self.settings = settings
        self.folder = settings.workdir
        self.clock = clock or SystemClock()
        self.ids = RandomIds(SystemClock())
        self.faults = faults if isinstance(faults, Faults) else Faults()
        if faults is not None and not isinstance(faults, Faults):
            for step, fault in faults.items():
                self.faults.arm(step, fault)
        self.acknowledged: list[Record] = []
        self.stops: list[str] = []
        self._remember = threading.Lock()
        self._snapshot = self.folder.with_name(f"{self.folder.name}.crashed")
        self._known_at_crash: list[Record] = []
        self.opened = boot.open_node(
            settings,
            self.ids,
            make_store=FaultyStore.made_with(self.faults),
            disk=FaultyDisk(self.faults),
        )
        try:
            self._enter()
        except BaseException:
            self.opened.close()
            raise

    def _enter(self) -> None:
        standing = boot.level(self.opened)
        self.store, self.journal = self.opened.store, self.opened.journal
        rotate = self.settings.audit.rotate
        self.committer = self.make_committer(self.store, self.journal, self.clock, rotate)
        self.committer.on_stop = self.stops.append
        self.committer.start(boot.take_place(self.opened, self.clock, self.ids), standing)
        try:
            boot.announce(self.opened, self.committer, self.settings, LOADED)
        except BaseException:
            self.committer.stop()
            raise

    # -- what it is asked to do --------------------------------------------------------------------

    def submit(self, command: Command) -> Committed:
        """Submit; what comes back is acknowledged."""
        committed = self.committer.submit(command)
        with self._remember:
            self.acknowledged.extend(committed.records)
        return committed

    def an_order(self) -> str:
        """Have an order created; return its id."""
        order_id = self.ids.new()
        self.submit(order_command(order_id, self.ids.token()))
        return order_id

    def an_order_at_last(self, tries: int = 5) -> str:
        """Have an order created, however often it takes; return its id."""
        for _ in range(tries):
            with suppress(Unavailable):
                return self.an_order()
        return self.an_order()

    def close_segment(self) -> Path:
        """Have the journal's active file closed; return the name that it gets, or should get."""
        committed = self.committer.close_segment(SYSTEM)
        with self._remember:
            self.acknowledged.extend(committed.records)
        fact = committed.records[-1].event
        return closed_path(self.journal.path, fact.first_seq, fact.last_seq)

    def some_orders(self, count: int) -> Command:
        """Return one command that creates several orders."""
        made = [self.ids.new() for _ in range(count)]
        return command(*[(f"order/{each}", order_fact(each, TOKEN)) for each in made])

    def has(self, order_id: str) -> bool:
        """Whether the database has this order, asked past every cache."""
        return self.store.get(ORDERS, order_id) is not None

    def order(self, order_id: str) -> Order:
        """Return an order that must be there."""
        order = self.store.get(ORDERS, order_id)
        assert order is not None
        return order

    @contextmanager
    def together(
        self, then: Callable[[], object] = lambda: None, *, decided: bool = True
    ) -> "Iterator[Waiting]":
        """Have the commands that the block collects stored as one batch; their outcomes follow it.

        `then` is called when the batch begins. Unless `decided`, commands are first looked at under
        the lock.
        """
        waiting, entered, gate = Waiting(), threading.Event(), threading.Event()

        def hold(action: Action) -> object:
            entered.set()
            gate.wait(20)
            return action()

        def begin(action: Action) -> object:
            then()
            return action()

        self.faults.arm("free", hold)  # what the committer asks first, with nothing begun
        self.faults.arm("free", begin)
        first = threading.Thread(target=self.an_order)
        first.start()
        entered.wait(20)
        try:
            yield waiting
            prepared = self.committer._prepared if decided else Pending
            queued = [self.committer._enqueue(prepared(each)) for each in waiting]
        finally:
            gate.set()
            first.join()
        waiting.outcomes = [self._outcome(each) for each in queued]

    def _outcome(self, pending: Pending) -> Committed | Exception:
        try:
            committed = pending.wait()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            return error
        with self._remember:
            self.acknowledged.extend(committed.records)
        return committed

    # -- its end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave service in good order."""
        self.faults.disarm()
        if self.committer.stopped is None:
            boot.farewell(self.opened, self.committer)
        self.abandon()

    def abandon(self) -> None:
        """Close everything without a word in the log."""
        self.committer.stop()
        self.opened.close()

    def crash_at(self, step: str, then: Fault | None = None) -> None:
        """Let the process die at its next step of this name: `then` still happens to that step."""

        def die(action: Action) -> object:
            try:
                return then(action) if then else action()
            finally:
                self.freeze()

        self.faults.arm(step, die)

    def crash_before(self, step: str) -> None:
        """Let the process die right before its next step of this name."""

        def die(action: Action) -> object:
            self.freeze()
            return action()

        self.faults.arm(step, die)

    def freeze(self) -> None:
        """Keep the folder as it is at this moment, as a kill -9 would leave it."""
        if self._snapshot.exists():
            return
        with self._remember:
            self._known_at_crash = list(self.acknowledged)
        shutil.copytree(self.folder, self._snapshot, ignore=shutil.ignore_patterns("*-shm"))

    def die(self) -> list[Record]:
        """Be gone as of the moment that was frozen, or now; return what was acknowledged by then.

        The committer must be at rest, or the moment frozen before.
        """
        self.freeze()
        self.faults.disarm()
        self.abandon()
        shutil.rmtree(self.folder)
        self._snapshot.rename(self.folder)
        return self._known_at_crash


@contextmanager
def a_node(
    folder: Path, *, clock: Clock | None = None, settings: Settings | None = None
) -> Iterator[ANode]:
    """Open a node in the folder, and close it in good order unless it is gone by then."""
    node = ANode(settings or node_settings(folder), clock)
    try:
        yield node
    finally:
        if node.journal.is_open or node.committer.stopped is None:
            node.close()
        else:
            node.abandon()


# -- commands ------------------------------------------------------------------------------------


def order_fact(order_id: str, token: str, name: str = "web.lab.test") -> OrderCreated:
    """Return the fact of an order for one name."""
    identifier = Identifier("dns", name)
    offered = OfferedAuthorization(identifier, (OfferedChallenge("http-01", token),))
    expires = "2036-12-01T00:00:00.000000Z"
    return OrderCreated(order_id, "account", (identifier,), (offered,), expires, "lab", "lab-ca")


def order_command(
    order_id: str, token: str = TOKEN, *, nonce: str = "", name: str = "web.lab.test"
) -> Command:
    """Return the command that creates an order."""
    fact = order_fact(order_id, token, name)
    return command((f"order/{order_id}", fact), nonce=nonce)


def account_fact(account_id: str, thumbprint: str) -> AccountCreated:
    """Return the fact of an account."""
    return AccountCreated(account_id, thumbprint, {"kty": "OKP"})


def command(
    *facts: tuple[str, Event], nonce: str = "", then: Callable[[], None] | None = None
) -> Command:
    """Return a command that records these facts, whatever the rows say."""

    def decide(_rows: Reader, _now: datetime) -> Decision:
        if then is not None:
            then()
        return Decision(tuple(facts))

    used = UsedNonce(nonce, SystemClock().now() + timedelta(minutes=2)) if nonce else None
    return Command(decide, SYSTEM, used)

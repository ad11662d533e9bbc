"""The committer: the one way to change anything.

One thread takes everything that is waiting and stores it in one database transaction, then in the
journal with one write and one sync, and only then answers. What arrives meanwhile is the next
batch; there is no timer. The rules it keeps:

(1) No answer leaves before its events are committed in the database and on disk in the journal.
(2) The database is the moment it happens. The journal is never ahead of it, and at most one batch
    behind.
(3) What the thread remembers of the log's end moves only after COMMIT.
(4) A command that is refused, or that cannot be stored, harms nobody else in its batch.
(5) After any error of the journal or of COMMIT nothing is accepted before catching up has
    succeeded.
(6) A node that has lost the writer's place, or its own history, stops.
(7) The line that closes a segment is the last one of its file: the file gets its final name before
    anything else is stored.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from certeasy.clock import Clock
from certeasy.commit.batch import Batch, End
from certeasy.commit.chain import BrokenChain, after
from certeasy.commit.command import (
    Command,
    Committed,
    NonceUsed,
    Pending,
    PoisonousCommand,
    TrackingReader,
    Unavailable,
)
from certeasy.commit.from_log import from_log
from certeasy.commit.hot import HotRows
from certeasy.commit.keys import NodeKeys
from certeasy.commit.rotation import Closing, NothingToClose, Rotation, finish
from certeasy.commit.vouched import Vouched
from certeasy.commit.watch import Watch
from certeasy.log import logger, without_figures
from certeasy.metrics import Metrics
from certeasy.settings import RotateSettings
from certeasy.store import (
    CommitUnknown,
    DatabaseUnavailable,
    Head,
    HistoryLost,
    NonceStored,
    PlaceLost,
    Store,
    Transaction,
)
from certeasy.store.schema import FORMAT
from events.counting import counted
from events.envelope import Actor, Record, parse, second_of, timestamp
from events.nodes import JournalSegmentClosed
from events.signing import SigningKey
from journal.file import Journal, JournalClosed, JournalTouched, NoRoom
from journal.segments import CLOSING
from projections.accounts import Account
from projections.certificates import Certificate, Issuer
from projections.fold import streams_of
from projections.nodes import NODES
from projections.orders import Order
from projections.tables import Key, Table, WorkingRows

S = TypeVar("S", bound=msgspec.Struct)

BATCH = 256
QUEUE = 2048
HEARTBEAT = 5.0  # seconds between renewals of the lease while nothing is committed
SEEN = 60.0  # seconds between updates of servers.last_seen
CLOCK_SKEW = timedelta(seconds=5)  # behind the log's latest time without a word
NONCE_SLACK = timedelta(minutes=1)  # nonces are kept so much longer, for clocks that are set back

SYSTEM = Actor("system", "node")

log = logger("committer")


LOST = (PlaceLost, HistoryLost, JournalTouched)  # nothing that waiting or trying again mends


class Place(msgspec.Struct, frozen=True):
    """Who commits: the node, this start of it, and the epoch in which it has the writer's place."""

    server_id: str
    boot_id: str
    epoch: int
    key: SigningKey


class Standing(msgspec.Struct, frozen=True):
    """Where the probe found this node: the end of its own history in the database."""

    seq: int
    prev: str
    accepted_at: str = ""  # a latest time ahead of the clock that an administrator has accepted
    began: str = ""  # when the first line of the journal's active file was written, if it has one
    mended: int = 0  # how many lines the journal lacked, which were written again
    at: str = ""  # the log's latest time


class Committer:
    """Stores commands, one batch after the other."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        clock: Clock,
        rotate: RotateSettings = RotateSettings(),  # noqa: B008 - frozen
        metrics: Metrics | None = None,
    ) -> None:
        """Put the parts together; nothing happens before `start`."""
        self.watch = Watch()
        self.listeners: list[Callable[[Committed], None]] = []
        self.on_stop: Callable[[str], None] = lambda _reason: None
        self.stopped: str | None = "the node is starting"
        self.fault: str | None = None  # why the thread had to end, if it had to
        self.turns = 0  # grows as long as the thread lives: every few seconds at the least
        self.position = 0  # of the last event it has committed
        self._metrics = metrics or Metrics()
        self._store = store
        self._journal = journal
        self._clock = clock
        self._rotate = rotate
        self._hot = HotRows()
        self._queue: queue.Queue[Pending | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._closing = False
        self._beaten = self._seen = 0.0
        self._trouble: str | None = None  # why nothing is accepted before catching up
        self._refusing: str | None = None  # why the last batch was refused, nothing stored

    # -- for everybody -------------------------------------------------------------------------

    def start(self, place: Place, standing: Standing) -> None:
        """Begin to commit from where the probe found this node."""
        self._place = place
        self._vouched = Vouched(place.key.public)
        self._seq, self._prev = standing.seq, standing.prev
        self._in_journal = (standing.seq, standing.prev)
        self._maybe: tuple[int, str] | None = None  # where we are if an unanswered COMMIT was kept
        self._last: Record | None = None  # the last line that this committer wrote to the journal
        self._rotation = Rotation(self._rotate, standing.began)
        self._accepted_at = standing.accepted_at
        self._latest = datetime.fromisoformat(standing.at) if standing.at else None
        self._beaten = self._seen = self._clock.monotonic()
        self._hot.clear()  # whoever looked before this node had the place
        self.stopped = None
        self._thread.start()

    def stop(self) -> None:
        """Store what is waiting, release the writer's place and end the thread. Further commands
        are refused."""
        self._closing = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self.stopped = self.stopped or "the node is stopping"
        self._refuse_waiting()

    def submit(self, command: Command) -> Committed:
        """Return once the command's events are in the database and on disk in the journal.

        The decision is first made here, on rows as they are now: what is refused never waits, and
        the committer decides again only where a row has changed since, or another second has
        begun. Raises what the decider raises, GuardFailed or NonceUsed where the moment refused it,
        PoisonousCommand if it cannot be stored, and Unavailable if nothing can be stored now, or if
        it is unknown whether it was.
        """
        return self._enqueue(self._prepared(command)).wait()

    def close_segment(
        self, actor: Actor, subject_keys: tuple[tuple[str, bytes], ...] = ()
    ) -> Committed:
        """Have the journal's active file closed now; return once that is recorded.

        The file gets its final name right after, before anything else is stored. Raises
        NothingToClose where it has no line, and what `submit` raises where nothing can be stored.
        """
        if self.stopped is not None or self._closing:
            raise Unavailable(self.stopped or "the node is stopping")
        return self._enqueue(Closing(actor, subject_keys)).wait()

    def accept_clock(self, latest: str) -> None:
        """Go on while the clock is behind this time, the log's latest: an administrator knows."""
        self._accepted_at = latest

    def now(self) -> datetime:
        """Return the time that decisions are made at: the clock's, and never before the log's
        latest."""
        here, latest = self._clock.now(), self._latest
        return here if latest is None else max(here, latest)

    def get(self, table: Table[S], *key: str) -> S | None:
        """Return a row as it is now, from memory where it was changed lately, else from the
        database."""
        hot = self._hot
        changes, state = hot.changes, hot.get(table, key)
        if state is not None or hot.is_missing(table, key):
            return state
        state = self._store.get(table, *key)
        # Else it is not this node alone that writes, or a COMMIT may be about to take effect.
        if state is None and self.stopped is None and self._trouble is None:
            hot.missed(table, key, changes)
        return state

    def account_with_key(self, thumbprint: str) -> Account | None:
        """Return the account with this key, or None."""
        return self._store.account_with_key(thumbprint)

    def certificates_with_serial(self, serial: str) -> list[Certificate]:
        """Return the certificates with this serial (lower-case hex), one of each issuer."""
        return self._store.certificates_with_serial(serial)

    def certificate_with_sha256(self, fingerprint: str) -> Certificate | None:
        """Return the certificate with this SHA-256 (lower-case hex), or None."""
        return self._store.certificate_with_sha256(fingerprint)

    def seats(self) -> int:
        """Return how many accounts are managed servers now, by the license's count."""
        return self._store.seats(self.now())

    def orders_of(self, account_id: str, after: str = "", most: int = 200) -> list[Order]:
        """Return an account's orders, oldest first, from behind the id `after`."""
        return self._store.orders_of(account_id, after, most)

    def orders_of_name(self, account_id: str, name: str, at: str, most: int) -> list[str]:
        """Return ids of an account's orders for a name that run out after `at`, the newest
        first."""
        return self._store.orders_of_name(account_id, name, at, most)

    def issuers_of(self, authority: str) -> list[Issuer]:
        """Return the certificates that an authority's chains may be built from."""
        return self._store.issuers_of(authority)

    @property
    def waiting(self) -> int:
        """How many commands wait to be stored."""
        return self._queue.qsize()

    @property
    def epoch(self) -> int:
        """How often the writer's place has changed hands, to this node's time."""
        return self._place.epoch

    @property
    def seq(self) -> int:
        """The number of the last line in the journal."""
        return self._in_journal[0]

    @property
    def lag(self) -> int:
        """How many events the database has that the journal does not have yet."""
        return max(self._seq - self._in_journal[0], 0)

    def trouble(self) -> str | None:
        """Return why nothing is accepted at the moment, or None."""
        return self.stopped or self._trouble or self._refusing

    def _prepared(self, command: Command) -> Pending:
        if self.stopped is not None or self._closing:
            raise Unavailable(self.stopped or "the node is stopping")
        reader, now = TrackingReader(self), self.now()
        try:
            decision = command.decide(reader, now)
        except DatabaseUnavailable as error:
            raise Unavailable(str(error)) from error
        return Pending(command, decision, reader.reads, second_of(timestamp(now)))

    def _enqueue(self, pending: Pending) -> Pending:
        try:
            self._queue.put_nowait(pending)
        except queue.Full:
            raise Unavailable(f"{QUEUE} changes are waiting to be stored") from None
        if self.stopped is not None:  # the thread may have ended between the check and the put
            self._refuse_waiting()
        return pending

    def _refuse_waiting(self) -> None:
        while True:
            try:
                pending = self._queue.get_nowait()
            except queue.Empty:
                return
            if pending is not None:
                pending.fail(Unavailable(self.stopped or "the node is stopping"))

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
            self._release()
        except LOST as error:
            self._end(f"{error}; the node stops")
        except BaseException as error:
            log.exception("the committer met something it does not know")
            self._end(f"the committer met something it does not know: {error!r}")

    def _end(self, reason: str) -> None:
        log.error(reason)
        self.stopped = self.fault = reason
        self._journal.close()
        self._refuse_waiting()
        self.on_stop(reason)

    def _turn(self) -> bool:
        """Take what is waiting, or look after the lease; return False when told to stop."""
        batch, go_on = self._take()
        self.turns += 1
        try:
            if self._trouble is not None:
                self._catch_up()
            self._commit_all(batch)
            self._look_after()
            if self._refusing is not None:
                log.warning("changes are accepted again")
            self._refusing = None
        except Unavailable as error:
            if without_figures(error.reason) != without_figures(self._refusing or ""):
                log.error("nothing is accepted: %s", error.reason)
            self._refusing = error.reason
            for pending in batch:
                pending.fail(error)
        except BaseException as error:
            for pending in batch:
                pending.fail(Unavailable(f"the node stops: {error}"))
            raise
        return go_on

    def _take(self) -> tuple[list[Pending], bool]:
        wait = 1.0 if self._trouble or self._refusing else HEARTBEAT
        batch: list[Pending] = []
        try:
            pending = self._queue.get(timeout=wait)
            while pending is not None:
                batch.append(pending)
                if len(batch) == BATCH:
                    return batch, True
                pending = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False  # the None that `stop` sends

    def _commit_all(self, batch: Sequence[Pending]) -> None:
        """Store the batch; then close the segment, if somebody asks for that or it is time."""
        commands = [pending for pending in batch if not isinstance(pending, Closing)]
        if commands:
            self._commit(commands)
        for closing in batch:
            if isinstance(closing, Closing):
                self._close_segment(closing, "asked")
        due = self._rotation.due(self._journal.confirmed, self._clock.now())
        if due is not None:
            self._close_segment(Closing(SYSTEM), due)

    def _commit(self, commands: Sequence[Pending]) -> None:
        """Store the commands and answer them; what cannot be stored is bisected out."""
        begun = self._clock.monotonic()
        try:
            batch = self._store_batch(commands)
        except (Unavailable, *LOST):
            raise
        except Exception as error:  # noqa: BLE001 - of whatever kind: one of them cannot be stored
            if len(commands) == 1:
                self._take_out(commands[0], error)
                return
            middle = len(commands) // 2
            self._commit(commands[:middle])
            self._commit(commands[middle:])
            return
        self._moved(batch)
        stored = self._clock.monotonic()
        self._write_journal(batch)
        written = self._clock.monotonic()
        self._answer(batch)
        self._metrics.batch_stored(len(commands), stored - begun, written - stored)

    def _take_out(self, pending: Pending, error: Exception) -> None:
        """Answer the one command that cannot be stored, if it is to blame and not the database."""
        if isinstance(error, NonceStored):
            pending.fail(NonceUsed(str(error)))
            return
        log.error("a command cannot be stored: %r", error)
        pending.fail(PoisonousCommand(f"it cannot be stored: {error}"))
        self._beat()

    def _store_batch(self, commands: Sequence[Pending]) -> Batch:
        self._check_room()
        try:
            with self._store.transaction() as transaction:
                batch = self._decide(transaction, commands)
                transaction.keep_nonces(batch.nonces.items())
                if batch.records:
                    self._keep(transaction, batch)
                self._maybe = (batch.end.seq, batch.end.prev)
        except DatabaseUnavailable as error:
            self._maybe = None
            raise Unavailable(str(error)) from error
        except CommitUnknown as error:
            self._trouble = str(error)
            self._hot.clear()  # what it knows may be what was before
            raise Unavailable(f"outcome unknown: {error}") from error
        except BaseException:
            self._maybe = None
            raise
        return batch

    def _decide(self, transaction: Transaction, commands: Sequence[Pending]) -> Batch:
        head = self._lock(transaction)
        end = End(head.position, head.hash, self._seq, self._prev)
        rows = WorkingRows(lambda table, key: self._loaded(transaction, table, key))
        batch = Batch(
            transaction,
            rows,
            end,
            server_id=self._place.server_id,
            key=self._place.key,
            at=self._time(head.at),
            current=self,
            versions=self._hot.versions,
        )
        batch.run(commands)
        return batch

    def _lock(self, transaction: Transaction) -> Head:
        head = transaction.lock(self._place.server_id, self._place.epoch)
        if head.format != FORMAT:
            raise PlaceLost(
                f"the database was brought to format {head.format}, this version writes {FORMAT}"
            )
        return head

    def _loaded(self, transaction: Transaction, table: Table[Any], key: Key) -> Any:
        """Return a row for a decision: from memory, or as the log made it.

        What the tables say is good enough to show, but nothing is decided on it: whoever can write
        to the database could make an order ready there that nothing was proven for.
        """
        state = self._hot.get(table, key)
        if state is not None or self._hot.is_missing(table, key):
            return state
        state = transaction.load(table, key)
        if state is None:
            self._hot.missed(table, key, self._hot.changes)
            return None
        streams = streams_of(table, key)
        if not streams:
            return state
        true = from_log(transaction, self._vouched, table, key, streams)
        if true != state:
            log.error("the row of %s %s is not what the log says; the log counts", table.name, key)
        self._hot.update({table: {key: true}}, {})
        return true

    def _keep(self, transaction: Transaction, batch: Batch) -> None:
        transaction.append(batch.records)
        changes = batch.rows.changes()
        transaction.store(changes)
        transaction.drop_subjects(batch.erased)
        transaction.keep_subjects(batch.subject_keys)
        for name in batch.dropped:
            transaction.drop_secret(name)
        for name, wrapped in batch.secrets.items():
            transaction.keep_secret(name, wrapped)
        new = (batch.end.seq, batch.end.prev)
        place = self._place
        mine = changes.get(NODES, {}).get((place.server_id,))
        if mine is not None:  # it registered, or gave its key up
            transaction.use_key(place.server_id, mine.kid, mine.x)
        transaction.advance(place.server_id, place.boot_id, (self._seq, self._prev), new)
        transaction.move_head(batch.records[-1])

    def _moved(self, batch: Batch) -> None:
        """COMMIT has succeeded: remember the new end."""
        self._seq, self._prev, self._maybe = batch.end.seq, batch.end.prev, None
        if batch.records:
            self._latest = datetime.fromisoformat(batch.records[-1].envelope.at)
        self._hot.update(batch.rows.changes(), batch.versions)
        self._beaten = self._clock.monotonic()
        self.position = batch.end.position

    def _write_journal(self, batch: Batch) -> None:
        if not batch.records:
            return
        try:
            self._journal.append([record.line for record in batch.records])
        except (OSError, JournalClosed) as error:
            self._trouble = f"the journal cannot be written: {error}"
            unknown = Unavailable(f"outcome unknown: {self._trouble}")
            for pending, _ in batch.answers:
                pending.fail(unknown)
            raise unknown from error
        self._in_journal = (self._seq, self._prev)
        self._last = batch.records[-1]
        self._rotation.wrote(batch.records[0].envelope.at)

    def _answer(self, batch: Batch) -> None:
        for pending, outcome in batch.answers:
            if isinstance(outcome, Committed):
                pending.succeed(outcome)
                self._tell(outcome)
            else:
                pending.fail(outcome)

    def _tell(self, committed: Committed) -> None:
        self.watch.tell(committed)
        for listener in self.listeners:
            try:
                listener(committed)
            except Exception:
                log.exception("a listener failed; what was committed stands")

    # -- the segments of the journal -----------------------------------------------------------

    def _close_segment(self, closing: Closing, reason: str) -> None:
        """Commit that the active file ends here, as the last line in it, and begin another."""
        first, last = self._journal.first, self._seq + 1
        if first == last:
            closing.fail(NothingToClose(f"{self._journal.path} has no line that could be closed"))
            return
        fact = JournalSegmentClosed(first, last, self._prev, reason)
        closing.tell(f"node/{self._place.server_id}", fact)
        self._commit([closing])
        if self._in_journal[0] != last:  # it could not be stored, which was logged
            self._rotation.put_off(self._journal.confirmed, timestamp(self._clock.now()))
        try:
            self._finish_segment()
        except OSError as error:
            self._trouble = f"the journal cannot go on behind the segment it closed: {error}"
            raise Unavailable(self._trouble) from error

    def _finish_segment(self) -> None:
        """Where the last line closes the active file, give it its name and begin another."""
        if self._last is None or self._last.envelope.type != CLOSING:
            return
        finish(self._journal, self._last)
        if self._journal.confirmed:
            self._rotation.put_off(self._journal.confirmed, self._last.envelope.at)
        else:
            self._rotation.begin()

    # -- keeping whole -------------------------------------------------------------------------

    def _check_room(self) -> None:
        """Refuse before COMMIT while the journal's disk is too full to be sure of writing it."""
        try:
            self._journal.check_room()
        except (NoRoom, OSError) as error:
            raise Unavailable(str(error)) from error

    def _catch_up(self) -> None:
        """Find out what the database has kept, write to the journal what it lacks, and go on.

        The boot probe does the same: a crash takes the same road as a start.
        """
        self._beat()
        try:
            mine = self._store.server(self._place.server_id)
        except DatabaseUnavailable as error:
            raise Unavailable(str(error)) from error
        if mine is None or (mine.seq, mine.hash) not in ((self._seq, self._prev), self._maybe):
            raise HistoryLost(
                f"the database does not have node {self._place.server_id} where it was left"
            )
        self._seq, self._prev, self._maybe = mine.seq, mine.hash, None
        self._hot.clear()
        try:
            self._journal.reopen()
            missing = self._missing()
            if missing:
                self._journal.append(missing)
                self._last = parse(missing[-1])
                self._rotation.wrote(parse(missing[0]).envelope.at)
            self._in_journal = (self._seq, self._prev)
            self._finish_segment()
        except (OSError, DatabaseUnavailable) as error:
            raise Unavailable(f"the journal cannot catch up: {error}") from error
        written = counted(len(missing), "line was", "lines were")
        log.warning("caught up: %s written to the journal", written)
        self._trouble = None

    def _missing(self) -> list[bytes]:
        """Return the lines that the journal lacks, once they are known to be this node's own."""
        place = self._place
        lines = list(self._store.lines_of(place.server_id, self._in_journal[0]))
        try:
            end = after(self._in_journal, lines, place.server_id, NodeKeys(place.key.public))
        except BrokenChain as error:
            raise HistoryLost(
                f"the database's lines do not continue the journal: {error}"
            ) from error
        if end != (self._seq, self._prev):
            raise HistoryLost(f"the database's lines end at seq {end[0]}, not at {self._seq}")
        return lines

    def _look_after(self) -> None:
        """Renew the lease, tell that the node lives, forget old nonces: all in the one writing
        thread."""
        now = self._clock.monotonic()
        if not self._refusing and now - self._beaten < HEARTBEAT and now - self._seen < SEEN:
            return
        self._check_room()
        self._beat(seen=now - self._seen >= SEEN)

    def _beat(self, *, seen: bool = False) -> None:
        """Commit a transaction that changes nothing but the lease, and what is `seen` of this node.

        Raises Unavailable where that cannot be done.
        """
        now, wall = self._clock.monotonic(), self._clock.now()
        try:
            with self._store.transaction() as transaction:
                self._time(self._lock(transaction).at)
                if seen:
                    transaction.seen(self._place.server_id, timestamp(wall))
                    transaction.drop_nonces(int((wall - NONCE_SLACK).timestamp()))
        except (DatabaseUnavailable, CommitUnknown) as error:
            raise Unavailable(str(error)) from error
        self._beaten = now
        if seen:
            self._seen = now

    def _time(self, latest: str) -> str:
        """Return the time of this batch: the clock's, and never before the log's latest."""
        now = self._clock.now()
        at = timestamp(now)
        if at >= latest:
            return at
        ahead = datetime.fromisoformat(latest) - now
        if ahead > CLOCK_SKEW and latest != self._accepted_at:
            # Without the clock's own reading: the reason stays the same while it is true, so that
            # the log gets one line about it and not one a second.
            raise Unavailable(
                f"the clock is more than {CLOCK_SKEW.seconds} s behind the log's latest time"
                f" ({latest}): set the clock right, or run 'certeasy clock accept -f config.yml'"
            )
        return latest

    def _release(self) -> None:
        """Let another node take the place at once."""
        try:
            with self._store.transaction() as transaction:
                transaction.release_place(self._place.server_id, self._place.epoch)
        except (DatabaseUnavailable, CommitUnknown) as error:
            log.warning("the writer's place was not released, it runs out by itself: %s", error)
        self.stopped = "the node is stopping"
        self._journal.close()

"""What every database must do for the log, whichever it is.

Another database is put to the same by a subclass with a `store` of its own and, as `another`, a
second node's store on the same database.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from certeasy.audit.verifying import Given
from certeasy.commit.rebuild import check, rebuild
from certeasy.commit.restore import restore
from certeasy.store import (
    LEASE_SECONDS,
    DatabaseUnavailable,
    HistoryLost,
    NonceStored,
    PlaceLost,
    Server,
    Store,
    Transaction,
)
from certeasy.store.inventory import AccountsWanted, CertificatesWanted
from certeasy.store.schema import FORMAT
from events.envelope import ZERO_HASH, Record, parse
from projections.accounts import ACCOUNTS, Account
from projections.certificates import CERTIFICATES, ISSUERS, Certificate
from projections.fold import TABLES, VERSION, fold
from projections.jobs import ISSUE, JOBS, VALIDATE, Job
from projections.orders import ORDERS, PENDING, READY, Order
from projections.revocations import PUBLISHED, REVOCATIONS
from projections.suspects import SUSPECTS
from projections.tables import Table, WorkingRows
from tests.make.journals import ALog, a_log
from tests.make.stories import (
    a_campaign,
    a_loss,
    a_recovery,
    every_story,
    later_stories,
)
from tests.make.waiting import soon

NODE = "11111111-0000-4000-8000-000000000001"
OTHER = "22222222-0000-4000-8000-000000000002"
BOOT = "33333333-0000-4000-8000-000000000003"


def a_server(server_id: str = NODE, **changes: Any) -> Server:
    server = Server(
        server_id,
        "node1.corp.internal",
        "k" * 43,
        "x" * 43,
        "2026-11-23T12:00:00.000000Z",
        "2026-11-23T12:00:00.000000Z",
        0,
        ZERO_HASH,
        "",
        "f" * 64,
    )
    return msgspec.structs.replace(server, **changes)


def a_job(job_id: str, position: int = 1, kind: str = ISSUE) -> Job:
    return Job(id=job_id, kind=kind, order_id="order", account_id="account", position=position)


def store_records(transaction: Transaction, records: list[Record]) -> None:
    """Store lines with the rows they make, as a committer does."""
    rows = WorkingRows(transaction.load)
    for record in records:
        fold(record, rows)
    transaction.append(records)
    transaction.store(rows.changes())
    transaction.move_head(records[-1])


def store_log(store: Store, log: ALog) -> None:
    with store.transaction() as transaction:
        store_records(transaction, log.records)


class Stopped(Exception):
    """Raised by a test in the middle of a transaction."""


def stop(_transaction: object) -> None:
    raise Stopped


def in_one(store: Store, *steps: Callable[[Transaction], object]) -> None:
    """Do these steps in one transaction."""
    with store.transaction() as transaction:
        for step in steps:
            step(transaction)


def made(log: ALog, table: Table[Any]) -> list[Any]:
    """Return the rows of a table that a log makes."""
    rows = WorkingRows(lambda _table, _key: None)
    for record in log.records:
        fold(record, rows)
    return [row for row in rows.changes()[table].values() if row is not None]


UNIQUE = r"(?i)unique"


class StoreContract:
    @pytest.fixture
    def fresh(self) -> Iterator[Store]:
        """An empty database."""
        raise NotImplementedError

    @pytest.fixture
    def another(self) -> Iterator[Store]:
        """A second store on the same database."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, fresh: Store) -> Store:
        fresh.create("installation")
        return fresh

    @pytest.fixture
    def log(self) -> ALog:
        log = a_log()
        every_story(log)
        return log

    # -- making ----------------------------------------------------------------------------------

    def test_a_new_database_is_empty_until_it_is_made(self, fresh: Store) -> None:
        assert fresh.is_empty()
        fresh.create("installation")
        assert not fresh.is_empty()
        head = fresh.head()
        assert (head.position, head.hash, head.at, head.epoch) == (0, ZERO_HASH, "", 0)
        assert (head.writer, head.lease_until, head.format) == ("", 0.0, FORMAT)
        assert (head.installation_id, head.projections) == ("installation", VERSION)
        assert fresh.servers() == []
        assert list(fresh.lines(0)) == []
        assert fresh.last_line() is None
        assert not fresh.has_secrets()

    def test_making_it_again_changes_nothing(self, store: Store, log: ALog) -> None:
        store_log(store, log)
        store.create("another installation")
        assert store.head().installation_id == "installation"
        assert store.head().position == log.position

    # -- transactions ----------------------------------------------------------------------------

    def test_what_a_block_did_is_stored_at_its_end(self, store: Store, another: Store) -> None:
        with store.transaction() as transaction:
            transaction.register(a_server())
            assert another.servers() == []
        assert another.servers() == [a_server()]

    def test_an_exception_rolls_back_and_goes_on_its_way(self, store: Store) -> None:
        with pytest.raises(Stopped):
            in_one(store, lambda t: t.register(a_server()), stop)
        assert store.servers() == []
        with store.transaction() as transaction:
            transaction.register(a_server())
        assert len(store.servers()) == 1

    def test_a_statement_that_is_refused_rolls_back_everything(self, store: Store) -> None:
        with pytest.raises(Exception, match=UNIQUE):
            in_one(
                store,
                lambda t: t.keep_secret("first", b"1"),
                lambda t: t.register(a_server()),
                lambda t: t.register(a_server()),
            )
        assert store.servers() == []
        assert not store.has_secrets()

    def test_transactions_of_threads_follow_each_other(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.register(a_server())

        def take() -> None:
            for _ in range(10):
                with store.transaction() as transaction:
                    transaction.take_place(NODE, transaction.head().epoch)

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.head().epoch == 40

    def test_transactions_of_nodes_follow_each_other(self, store: Store, another: Store) -> None:
        def take(mine: Store) -> None:
            for _ in range(10):
                with mine.transaction() as transaction:
                    transaction.take_place(NODE, transaction.head().epoch)

        threads = [threading.Thread(target=take, args=(each,)) for each in (store, another)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.head().epoch == 20

    # -- the place -------------------------------------------------------------------------------

    def test_the_place_is_taken_held_and_given_back(self, store: Store) -> None:
        with store.transaction() as transaction:
            epoch = transaction.take_place(NODE, 0)
        assert epoch == 1
        head = store.head()
        assert (head.writer, head.epoch) == (NODE, 1)
        assert 0 < head.lease_until - head.now <= LEASE_SECONDS
        with store.transaction() as transaction:
            locked = transaction.lock(NODE, 1)
            assert (locked.position, locked.writer, locked.format) == (0, NODE, FORMAT)
            assert transaction.head().epoch == 1
        with store.transaction() as transaction:
            transaction.release_place(NODE, 1)
        assert store.head().lease_until == 0

    def test_a_lock_renews_the_lease(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.take_place(NODE, 0)
        first = store.head()
        soon(lambda: store.head().now > first.now)
        with store.transaction() as transaction:
            assert transaction.lock(NODE, 1).lease_until >= first.lease_until
        assert store.head().lease_until > first.lease_until

    @pytest.mark.parametrize(("node", "epoch"), [(OTHER, 1), (NODE, 0), (NODE, 2)])
    def test_who_does_not_hold_the_place_gets_no_lock(
        self, store: Store, node: str, epoch: int
    ) -> None:
        with store.transaction() as transaction:
            transaction.take_place(NODE, 0)
        with pytest.raises(PlaceLost, match=node), store.transaction() as transaction:
            transaction.lock(node, epoch)
        with store.transaction() as transaction:
            transaction.release_place(node, epoch)
        assert store.head().lease_until > 0

    def test_the_place_is_taken_by_the_quicker(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.take_place(NODE, 0)
        with pytest.raises(PlaceLost), store.transaction() as transaction:
            transaction.take_place(OTHER, 0)
        assert store.head().writer == NODE

    # -- nodes -----------------------------------------------------------------------------------

    def test_nodes_are_known_by_their_id(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.register(a_server())
            transaction.register(a_server(OTHER, last_seen="2026-11-24T12:00:00.000000Z"))
        assert store.server(NODE) == a_server()
        assert store.server("unknown") is None
        assert [server.server_id for server in store.servers()] == [OTHER, NODE]

    def test_a_start_and_a_sign_of_life_touch_one_node(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.register(a_server())
            transaction.register(a_server(OTHER))
            transaction.started(NODE, BOOT, "host2", "e" * 64, "2026-11-25T00:00:00.000000Z")
            transaction.seen(OTHER, "2026-11-26T00:00:00.000000Z")
        assert store.server(NODE) == a_server(
            hostname="host2",
            boot_id=BOOT,
            fingerprint="e" * 64,
            last_seen="2026-11-25T00:00:00.000000Z",
        )
        assert store.server(OTHER) == a_server(OTHER, last_seen="2026-11-26T00:00:00.000000Z")

    @pytest.mark.parametrize(
        "wrong", [{"seq": 1}, {"hash": "b" * 64}, {"boot_id": OTHER}, {"server_id": OTHER}]
    )
    def test_a_node_s_end_moves_only_from_where_it_was(
        self, store: Store, wrong: dict[str, Any]
    ) -> None:
        with store.transaction() as transaction:
            transaction.register(a_server(**{"boot_id": BOOT} | wrong))
        with pytest.raises(HistoryLost, match=NODE), store.transaction() as transaction:
            transaction.advance(NODE, BOOT, (0, ZERO_HASH), (3, "a" * 64))
        with store.transaction() as transaction:
            transaction.register(a_server("right", boot_id=BOOT))
            transaction.advance("right", BOOT, (0, ZERO_HASH), (3, "a" * 64))
        right = store.server("right")
        assert right is not None
        assert (right.seq, right.hash) == (3, "a" * 64)

    # -- the log ---------------------------------------------------------------------------------

    def test_lines_come_back_byte_for_byte_in_their_order(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("certeasy.store.store.PAGE", 3)
        log = a_log(nodes=2)
        for number in range(10):
            log.a_start(by=number % 2)
        store_log(store, log)
        lines = [record.line for record in log.records]
        assert list(store.lines(0)) == lines
        assert list(store.lines(4)) == lines[4:]
        assert list(store.lines(2, until=9)) == lines[2:9]
        assert list(store.lines(len(lines))) == []
        for node in log.nodes:
            assert list(store.lines_of(node.server_id, 0)) == [r.line for r in node.records]
            assert list(store.lines_of(node.server_id, 4)) == [r.line for r in node.records[4:]]
        assert list(store.lines_of("unknown", 0)) == []
        assert store.last_line() == lines[-1]

    def test_a_log_is_restored_with_the_lines_that_are_no_part_of_it(
        self, fresh: Store, tmp_path: Path
    ) -> None:
        log = a_log(nodes=2)
        every_story(log)
        log.a_start(by=1)
        lost = a_loss(log, lambda: log.an_order("lost.corp.internal", by=1), by=1)
        log.a_start()
        a_recovery(log, lost, by=1)
        given = Given([[path] for path in log.write(tmp_path)])
        assert restore(fresh, given).lines == log.position
        assert list(fresh.lines(0)) == [record.line for record in log.records]
        for node in log.nodes:
            assert list(fresh.lines_of(node.server_id, 0)) == [r.line for r in node.records]
        assert list(fresh.orphans(log.nodes[1].server_id)) == [record.line for record in lost]
        assert {(s.server_id, s.seq) for s in fresh.servers()} == {
            (node.server_id, len(node.records)) for node in log.nodes
        }
        assert check(fresh) == (log.position, [])
        log.a_start()
        log.write(tmp_path)
        assert restore(fresh, given).lines == 1
        assert check(fresh) == (log.position, [])

    def test_the_newest_line_of_a_type_is_found(self, store: Store, log: ALog) -> None:
        first = log.a_start()
        last = log.a_start()
        store_log(store, log)
        assert first.line != last.line
        streams = [first.envelope.stream, "node/another"]
        assert store.last_of_type("node.started", streams) == last.line
        assert store.last_of_type("node.stopped", streams) is None
        assert store.last_of_type("node.started", ["node/another"]) is None

    def test_lines_of_one_type_in_a_stream_come_in_their_order(self, store: Store) -> None:
        log = a_log(nodes=2)
        streams = [f"node/{node.server_id}" for node in log.nodes]
        said = [log.a_start(by=number % 2) for number in range(6)]
        store_log(store, log)
        for by, stream in enumerate(streams):
            found = list(store.lines_in(stream, "node.started"))
            assert found == [record.line for record in said[by::2]]
        assert list(store.lines_in(streams[0], "node.stopped")) == []
        assert list(store.lines_in("node/unknown", "node.started")) == []

    def test_the_head_moves_to_a_line(self, store: Store, log: ALog) -> None:
        store_log(store, log)
        head, last = store.head(), log.records[-1]
        assert (head.position, head.hash, head.at) == (
            log.position,
            last.hash,
            last.envelope.at,
        )

    @pytest.mark.parametrize("same", ["position", "seq", "version"])
    def test_a_place_in_the_log_is_taken_once(self, store: Store, same: str) -> None:
        log = a_log()
        first, second = log.a_start(), log.a_start()
        values = {name: getattr(first.envelope, name) for name in ("position", "seq", "version")}
        envelope = msgspec.structs.replace(second.envelope, **{same: values[same]})
        with pytest.raises(Exception, match=UNIQUE), store.transaction() as transaction:
            transaction.append([first, Record(envelope, second.line)])
        assert list(store.lines(0)) == []

    def test_a_stream_s_version_is_how_many_events_it_has(self, store: Store, log: ALog) -> None:
        store_log(store, log)
        with store.transaction() as transaction:
            for stream, version in log.versions.items():
                assert transaction.version_of(stream) == version
            assert transaction.version_of("order/unknown") == 0

    # -- projections -----------------------------------------------------------------------------

    def test_rows_are_seen_at_once_inside_and_after_the_commit_outside(
        self, store: Store, another: Store, log: ALog
    ) -> None:
        account = log.an_account()
        with store.transaction() as transaction:
            store_records(transaction, log.records)
            assert transaction.load(ACCOUNTS, (account,)) is not None
            assert transaction.load(ACCOUNTS, ("unknown",)) is None
            assert another.get(ACCOUNTS, account) is None
        assert another.get(ACCOUNTS, account) is not None
        assert another.get(ACCOUNTS, "unknown") is None

    def test_every_kind_of_row_comes_back_as_it_was(self, store: Store, log: ALog) -> None:
        log.an_order("open.corp.internal")
        later_stories(log)
        log.a_node(invitation=log.an_invitation())
        log.a_node()
        pending = log.a_new_order("pending.corp.internal", account=log.an_account())
        rows = WorkingRows(lambda _table, _key: None)
        for record in log.records:
            fold(record, rows)
        rows.put(JOBS, a_job(f"{pending}-0-0", log.position, VALIDATE))
        with store.transaction() as transaction:
            transaction.store(rows.changes())
        assert set(rows.changes()) == set(TABLES)
        for table, changed in rows.changes().items():
            for key, state in changed.items():
                assert store.get(table, *key) == state

    def test_certificates_and_accounts_are_found_by_what_is_asked_for(
        self, store: Store, log: ALog
    ) -> None:
        later_stories(log)
        store_log(store, log)
        certificates: list[Certificate] = sorted(made(log, CERTIFICATES), key=lambda c: c.id)
        accounts: list[Account] = sorted(made(log, ACCOUNTS), key=lambda a: a.id)
        now = sorted(c.not_after for c in certificates)[len(certificates) // 2]
        account, serial, name = accounts[0].id, certificates[1].serial, certificates[-1].names[0]
        wishes: list[tuple[CertificatesWanted, Callable[[Certificate], bool]]] = [
            (CertificatesWanted(now), lambda _: True),
            (CertificatesWanted(now, name=name), lambda c: name in c.names),
            (CertificatesWanted(now, account_id=account), lambda c: c.account_id == account),
            (CertificatesWanted(now, serial=serial), lambda c: c.serial == serial),
            (CertificatesWanted(now, status="revoked"), lambda c: bool(c.revoked)),
            (
                CertificatesWanted(now, status="expired"),
                lambda c: not c.revoked and c.not_after <= now,
            ),
            (
                CertificatesWanted(now, status="valid"),
                lambda c: not c.revoked and c.not_after > now,
            ),
            (CertificatesWanted(now, until=now), lambda c: c.not_after <= now),
        ]
        for wanted, is_wanted in wishes:
            right = [c.id for c in certificates if is_wanted(c)]
            assert [c.id for c in store.certificates_wanted(wanted)] == right, wanted
            for n, id_ in enumerate(right, start=1):
                behind = store.certificates_wanted(wanted, id_)
                assert [c.id for c in behind] == right[n:], wanted
        for asked in (
            AccountsWanted(),
            AccountsWanted(status="revoked"),
            AccountsWanted(eab=accounts[-1].eab),
        ):
            found = [
                a.id
                for a in accounts
                if asked.status in {"", a.status} and asked.eab in {"", a.eab}
            ]
            assert [a.id for a in store.accounts_wanted(asked)] == found, asked

    def test_what_has_been_over_for_long_is_found_unless_something_of_it_is_open(
        self, store: Store, log: ALog
    ) -> None:
        account = log.an_account()
        log.an_order("open.corp.internal", account=account)
        later_stories(log)
        log.now -= timedelta(days=100)
        fresh = log.an_order("fresh.corp.internal", account=account)
        failed = log.a_failed_order("no.corp.internal", account=account)
        store_log(store, log)
        orders: dict[str, Order] = {order.id: order for order in made(log, ORDERS)}
        certificates: dict[str, Certificate] = {c.id: c for c in made(log, CERTIFICATES)}
        revoked = [r for r in made(log, REVOCATIONS) if r.state != PUBLISHED]
        kept = {s.order_id for s in made(log, SUSPECTS)} | {r.order_id for r in revoked}
        assert kept & set(orders)
        cutoffs = [certificates[fresh].not_after, orders[failed].expires, "2099-01-01T00:00:00Z"]
        for cutoff in [*cutoffs, "2026-01-01T00:00:00Z"]:
            over = {
                id_
                for id_ in {*orders, *certificates} - kept
                if id_ not in orders
                or (orders[id_].status in {"valid", "invalid"} and orders[id_].expires < cutoff)
                if id_ not in certificates or certificates[id_].not_after < cutoff
                if id_ in certificates or orders[id_].status == "invalid"
            }
            assert set(store.over(cutoff, 1000)) == over, cutoff
            assert len(store.over(cutoff, 3)) == min(3, len(over))
        found = store.revocations_among(list(orders))
        assert found == sorted(r.id for r in made(log, REVOCATIONS))
        assert {r.id for r in revoked} <= set(found)
        assert store.revocations_among([]) == []

    def test_rows_are_replaced_and_removed(self, store: Store) -> None:
        jobs = [a_job(f"job-{n}", n) for n in range(4)]
        self._put(store, *jobs)
        self._put(store, msgspec.structs.replace(jobs[1], position=9), remove=["job-0", "job-7"])
        assert [(job.id, job.position) for job in store.jobs()] == [
            ("job-2", 2),
            ("job-3", 3),
            ("job-1", 9),
        ]

    def _put(self, store: Store, *jobs: Job, remove: list[str] | None = None) -> None:
        rows = WorkingRows(lambda _table, _key: None)
        for job in jobs:
            rows.put(JOBS, job)
        for job_id in remove or []:
            rows.delete(JOBS, job_id)
        with store.transaction() as transaction:
            transaction.store(rows.changes())

    def test_texts_are_compared_letter_by_letter(self, store: Store) -> None:
        names = ["job-a", "JOB-A", "job-a ", "job-\u00e4", "job-a\u0308"]
        self._put(store, *[a_job(name, n) for n, name in enumerate(names)])
        assert [store.get(JOBS, name) for name in names] == store.jobs()
        assert len(store.jobs()) == len(names)

    def test_accounts_are_found_by_their_key(self, store: Store, log: ALog) -> None:
        account = log.an_account()
        store_log(store, log)
        found = store.get(ACCOUNTS, account)
        assert found is not None
        assert store.account_with_key(found.thumbprint) == found
        assert store.account_with_key("unknown") is None
        with store.transaction() as transaction:
            assert transaction.account_with_key(found.thumbprint) == account
            assert transaction.account_with_key("unknown") is None

    def test_certificates_are_found_by_serial_and_fingerprint(
        self, store: Store, log: ALog
    ) -> None:
        order = log.an_order("one.corp.internal")
        store_log(store, log)
        found = store.get(CERTIFICATES, order)
        assert found is not None
        assert store.certificates_with_serial(found.serial) == [found]
        assert store.certificate_with_sha256(found.sha256) == found
        assert store.certificates_with_serial("unknown") == []
        assert store.certificate_with_sha256("unknown") is None
        assert store.get(ISSUERS, found.chain[0]) is not None

    def test_certificates_in_force_are_listed(self, store: Store, log: ALog) -> None:
        log.an_issuer()
        orders = [log.an_order(f"n{number}.corp.internal") for number in range(3)]
        log.a_revocation(orders[1])
        store_log(store, log)
        assert store.certificate_count() == 4
        found = list(store.certificates("2026-12-01T00:00:00Z"))
        assert [certificate.id for certificate in found] == [orders[0], orders[2]]
        assert found[0] == store.get(CERTIFICATES, orders[0])
        assert list(store.certificates("2028-01-01T00:00:00Z")) == []

    def test_orders_are_counted_by_status(self, store: Store, log: ALog) -> None:
        account = log.an_account()
        log.an_order("one.corp.internal", account=account)
        for number in range(3):
            log.a_new_order(f"n{number}.corp.internal", account=account)
        store_log(store, log)
        right = Counter(order.status for order in made(log, ORDERS))
        assert right[PENDING] >= 3
        assert store.orders_by_status() == right

    def test_certificates_that_end_by_a_time_come_in_the_order_of_their_ends(
        self, store: Store, log: ALog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orders = [log.an_order(f"n{number}.corp.internal") for number in range(7)]
        log.a_revocation(orders[1])
        store_log(store, log)
        right = [c for c in made(log, CERTIFICATES) if not c.revoked]
        right.sort(key=lambda c: (c.not_after, c.id))
        first, last = (datetime.fromisoformat(right[n].not_after) for n in (0, -1))
        monkeypatch.setattr("certeasy.store.store.PAGE", 2)  # what ends together, on several
        second = timedelta(seconds=1)
        pages = list(store.certificates_ending(first - second, last))
        assert [c for page in pages for c in page] == right
        assert max(map(len, pages)) == 2
        assert list(store.certificates_ending(last, last + second)) == []
        assert list(store.certificates_ending(first - 2 * second, first - second)) == []

    def test_the_latest_certificate_for_a_name_is_found_unless_it_was_revoked(
        self, store: Store, log: ALog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account = log.an_account()
        one, two, three = (log.an_order("one.corp.internal", account=account) for _ in range(3))
        other = log.an_order("other.corp.internal", account=account)
        log.a_new_order("one.corp.internal", account=account)  # there is no certificate of it yet
        log.a_revocation(three)
        store_log(store, log)
        names = ["nobody.corp.internal", "one.corp.internal", "other.corp.internal"]
        monkeypatch.setattr("certeasy.store.counts.NAMES_AT_ONCE", 2)
        assert store.latest_for(names, one) == {names[1]: two, names[2]: other}
        assert store.latest_for(names, two) == {names[2]: other}
        assert store.latest_for([], "") == {}

    def test_a_campaign_s_certificates_and_a_name_s_orders_are_listed(
        self, store: Store, log: ALog
    ) -> None:
        account = log.an_account()
        orders = [log.an_order("one.corp.internal", account=account) for _ in range(3)]
        a_campaign(log, *orders)
        campaign = a_campaign(log, *orders[:2])
        store_log(store, log)
        assert list(store.campaign(campaign)) == orders[:2]
        assert list(store.campaign("unknown")) == []
        assert list(store.orders_for("one.corp.internal")) == orders
        assert list(store.orders_for("corp.internal")) == []

    def test_an_account_s_orders_come_oldest_first_page_by_page(self, store: Store) -> None:
        log = a_log()
        mine, other = log.an_account(), log.an_account()
        orders = [log.a_new_order(f"{n}.corp.internal", account=mine) for n in range(5)]
        log.a_new_order("other.corp.internal", account=other)
        store_log(store, log)
        assert [order.id for order in store.orders_of(mine)] == orders
        assert [order.id for order in store.orders_of(mine, most=2)] == orders[:2]
        page = store.orders_of(mine, after=orders[1], most=2)
        assert [order.id for order in page] == orders[2:4]
        assert page[0] == store.get(ORDERS, orders[2])
        assert store.orders_of("unknown") == []

    def test_an_account_s_orders_for_a_name_come_newest_first(self, store: Store) -> None:
        log = a_log()
        mine, other = log.an_account(), log.an_account()
        name = "web.corp.internal"
        orders = [log.a_new_order(name, f"{n}.corp.internal", account=mine) for n in range(3)]
        log.a_new_order(name, account=other)
        log.a_new_order("other.corp.internal", account=mine)
        store_log(store, log)
        now = "2026-11-23T12:00:00Z"
        assert store.orders_of_name(mine, name, now, 9) == orders[::-1]
        assert store.orders_of_name(mine, name, now, 2) == orders[:0:-1]
        assert store.orders_of_name(mine, name, "2027-01-01T00:00:00Z", 9) == []
        assert store.orders_of_name("unknown", name, now, 9) == []

    def test_orders_whose_time_ran_out_are_found_the_first_first(self, store: Store) -> None:
        log = a_log()
        mine = log.an_account()
        orders = [log.a_new_order(f"{n}.corp.internal", account=mine) for n in range(3)]
        log.an_order("done.corp.internal", account=mine)
        log.a_known_order("ready.corp.internal", account=mine)
        store_log(store, log)
        late = "2027-01-01T00:00:00Z"
        assert store.run_out(PENDING, late, 9) == orders
        assert store.run_out(PENDING, late, 2) == orders[:2]
        assert len(store.run_out(READY, late, 9)) == 1
        assert store.run_out(PENDING, "2026-11-23T00:00:00Z", 9) == []

    def test_the_version_of_the_folds_is_recorded(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.set_projections(7)
        assert store.head().projections == 7

    # -- nonces, subjects, secrets ---------------------------------------------------------------

    def test_a_nonce_is_kept_once(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.keep_nonces([("n-1", 100), ("n-2", 200)])
            transaction.keep_nonces([])
        with pytest.raises(NonceStored):
            in_one(
                store,
                lambda t: t.keep_secret("beside it", b"1"),
                lambda t: t.keep_nonces([("n-3", 300), ("n-2", 200)]),
            )
        assert not store.has_secrets()
        with store.transaction() as transaction:
            transaction.keep_nonces([("n-3", 300)])

    def test_nonces_are_forgotten_when_they_have_expired(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.keep_nonces([("n-1", 100), ("n-2", 200)])
            transaction.drop_nonces(200)
            transaction.keep_nonces([("n-1", 100)])
        with pytest.raises(NonceStored), store.transaction() as transaction:
            transaction.keep_nonces([("n-2", 200)])

    def test_a_subject_has_one_key(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.keep_subjects([("account/1", b"\0key 1"), ("account/2", b"key 2")])
            transaction.keep_subjects([])
        assert store.subject_key("account/1") == b"\0key 1"
        assert store.subject_key("account/3") is None
        with pytest.raises(Exception, match=UNIQUE), store.transaction() as transaction:
            transaction.keep_subjects([("account/1", b"another")])
        assert store.subject_key("account/1") == b"\0key 1"

    def test_a_subject_s_key_is_dropped_and_may_be_followed_by_another(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.keep_subjects([("account/1", b"key 1"), ("account/2", b"key 2")])
        with store.transaction() as transaction:
            transaction.drop_subjects(["account/1", "account/3"])
            transaction.drop_subjects([])
        assert store.subject_key("account/1") is None
        assert store.subject_key("account/2") == b"key 2"
        with store.transaction() as transaction:
            transaction.drop_subjects(["account/2"])
            transaction.keep_subjects([("account/2", b"key 3")])
        assert store.subject_key("account/2") == b"key 3"
        store.scrub([b"key 1", b"key 2"])
        assert store.subject_key("account/2") == b"key 3"

    def test_a_secret_is_dropped_and_others_stay(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.keep_secret("eab/1", b"1")
            transaction.keep_secret("eab/2", b"2")
        with store.transaction() as transaction:
            transaction.drop_secret("eab/1")
            transaction.drop_secret("eab/3")
        assert store.secret("eab/1") is None
        assert store.secret("eab/2") == b"2"
        with store.transaction() as transaction:
            transaction.drop_secret("eab/2")
            transaction.keep_secret("eab/2", b"3")
        assert store.secret("eab/2") == b"3"

    def test_a_secret_is_kept_under_its_name(self, store: Store) -> None:
        with store.transaction() as transaction:
            transaction.keep_secret("nonces", b"\0wrapped")
        assert store.has_secrets()
        assert store.secret("nonces") == b"\0wrapped"
        assert store.secret("another") is None
        with pytest.raises(Exception, match=UNIQUE), store.transaction() as transaction:
            transaction.keep_secret("nonces", b"another")
        assert store.secret("nonces") == b"\0wrapped"

    # -- reading beside writing ------------------------------------------------------------------

    def test_any_number_of_threads_may_read_while_one_writes(self, store: Store, log: ALog) -> None:
        store_log(store, log)
        together, failures = threading.Barrier(40), list[BaseException]()

        def read() -> None:
            together.wait()
            try:
                for _ in range(5):
                    assert store.head().position == log.position
                    assert len(list(store.lines(0))) == log.position
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread
                failures.append(error)

        with store.transaction() as transaction:
            transaction.register(a_server())
            threads = [threading.Thread(target=read) for _ in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert failures == []

    # -- folding anew ----------------------------------------------------------------------------

    def test_what_was_stored_is_what_a_fold_makes(self, store: Store, log: ALog) -> None:
        store_log(store, log)
        assert check(store) == (log.position, [])

    def test_a_rebuild_puts_a_fresh_fold_in_the_place_of_the_tables(
        self, store: Store, log: ALog
    ) -> None:
        store_log(store, log)
        kept = store.get(ORDERS, store.orders_of(self._account(store))[0].id)
        self._put(store, a_job("left behind"))
        with store.transaction() as transaction:
            transaction.set_projections(VERSION + 1)
        assert len(check(store)[1]) == 1
        assert rebuild(store) == log.position
        assert check(store) == (log.position, [])
        assert store.head().projections == VERSION
        assert kept is not None
        assert store.get(ORDERS, kept.id) == kept
        assert rebuild(store) == log.position  # the tables bear the names they had

    def _account(self, store: Store) -> str:
        rows = WorkingRows(lambda _table, _key: None)
        accounts = [self._made(line, rows) for line in store.lines(0)]
        return next(each.id for each in accounts if each and store.orders_of(each.id))

    def _made(self, line: bytes, rows: WorkingRows) -> Any:
        rows.latest = {}
        fold(parse(line), rows)
        return next((s for (table, _), s in rows.latest.items() if table is ACCOUNTS), None)

    def test_a_fold_in_short_pages_makes_the_same_rows(
        self, store: Store, log: ALog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("certeasy.commit.rebuild.PAGE", 1)
        monkeypatch.setattr("certeasy.store.shadow.PAGE", 2)
        log.an_order("more.corp.internal", "names.corp.internal")
        store_log(store, log)
        pages: list[int] = []
        assert check(store, pages.append) == (log.position, [])
        assert pages == list(range(1, log.position + 1))
        assert rebuild(store) == log.position
        assert check(store) == (log.position, [])

    def test_every_row_that_is_not_what_the_log_says_is_named(
        self, store: Store, log: ALog
    ) -> None:
        store_log(store, log)
        self._put(store, a_job("a job"))
        with store.aside() as connection:
            connection.exec_driver_sql("UPDATE nodes SET hostname = 'elsewhere'")
            connection.execute(sa.text("DELETE FROM order_names WHERE name LIKE 'w%'"))
        created = next(r for r in log.records if r.envelope.type == "order.created")
        order = created.envelope.stream.partition("/")[2]
        assert [str(difference) for difference in check(store)[1]] == [
            f"nodes {log.nodes[0].server_id}: not what the log says",
            f"order_names web.corp.internal {order}: missing in the table, the log has it",
            f"order_names www.corp.internal {order}: missing in the table, the log has it",
            "jobs a job: in the table, but the log does not have it",
        ]

    def test_a_rebuild_that_fails_leaves_the_tables_as_they_were(
        self, store: Store, log: ALog
    ) -> None:
        store_log(store, log)
        self._put(store, a_job("still here"))

        with pytest.raises(Stopped):
            rebuild(store, stop)
        assert store.get(JOBS, "still here") is not None
        assert rebuild(store) == log.position

    def test_a_check_sees_one_moment_and_holds_up_nobody(self, store: Store, log: ALog) -> None:
        store_log(store, log)

        def meanwhile(_done: int) -> None:
            self._put(store, a_job("later"))

        assert check(store, meanwhile) == (log.position, [])
        assert [str(difference) for difference in check(store)[1]] == [
            "jobs later: in the table, but the log does not have it"
        ]

    def test_a_table_that_is_gone_is_named_and_out_of_service(self, store: Store) -> None:
        with store.aside() as connection:
            connection.exec_driver_sql("DROP TABLE secrets")
        with pytest.raises(DatabaseUnavailable, match="secrets"):
            store.secret("nonces")
        with (
            pytest.raises(DatabaseUnavailable, match="secrets"),
            store.transaction() as transaction,
        ):
            transaction.keep_secret("nonces", b"1")

    def test_a_column_that_is_gone_is_named_and_out_of_service(
        self, store: Store, log: ALog
    ) -> None:
        with store.aside() as connection:
            connection.exec_driver_sql("ALTER TABLE events RENAME COLUMN hash TO other")
        with pytest.raises(DatabaseUnavailable, match="hash"):
            store_log(store, log)

    def test_a_projection_that_is_gone_is_told_by_a_check_and_made_anew_from_the_log(
        self, store: Store, log: ALog
    ) -> None:
        store_log(store, log)
        with store.aside() as connection:
            connection.exec_driver_sql("DROP TABLE name_sets")
        with pytest.raises(DatabaseUnavailable, match="name_sets"):
            check(store)
        assert rebuild(store) == log.position
        assert check(store) == (log.position, [])

    # -- beside the log --------------------------------------------------------------------------

    def test_what_is_no_decision_is_stored_beside_the_log(
        self, store: Store, another: Store
    ) -> None:
        with store.transaction() as transaction:
            transaction.register(a_server())
        self._write_aside(store, "aside", lambda _connection: None)
        assert another.servers()[0].hostname == "aside"
        with pytest.raises(Stopped):
            self._write_aside(store, "never", stop)
        assert another.servers()[0].hostname == "aside"

    def _write_aside(self, store: Store, name: str, then: Callable[[object], None]) -> None:
        with store.aside() as connection:
            connection.execute(sa.text("UPDATE servers SET hostname = :name"), {"name": name})
            then(connection)

"""Folding is deterministic: rows depend on the lines alone, however they were cut into batches."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.accounts import AccountContactsChanged, AccountDeactivated
from events.certificates import CertificateReplaced, CertificateRevoked
from events.envelope import Record, parse
from events.nodes import NodeEndorsed, NodeRetired, NodeStopped
from events.orders import OrderReady
from events.registry import TYPES
from projections.accounts import ACCOUNTS, DEACTIVATED, VALID
from projections.certificates import CERTIFICATES, ISSUERS
from projections.eab import EAB_KEYS
from projections.fold import FOLDS, TABLES, fold
from projections.jobs import ISSUE, JOBS, VALIDATE
from projections.nodes import INSTALLATION, NODES
from projections.orders import INVALID, ORDER_NAMES, ORDERS, PENDING, PROCESSING, READY
from projections.renewals import RENEWALS
from projections.tables import WorkingRows
from tests.make.journals import INSTALLATION as INSTALLATION_ID
from tests.make.journals import ISSUER, ALog, a_log
from tests.make.stories import (
    a_campaign,
    a_loss,
    a_recovery,
    a_renewal,
    every_story,
    later_stories,
)

Stored = dict[tuple[Any, tuple[str, ...]], Any]


def folded(records: Iterable[Record], batch: int = 1) -> Stored:
    """Fold in batches, storing after each as a database does; rows are kept as they are stored."""
    stored: Stored = {}

    def load(table, key):
        row = stored.get((table, key))
        return None if row is None else table.to_state(tuple(row.values()))

    rows = WorkingRows(load)
    for count, record in enumerate(records, start=1):
        fold(parse(record.line), rows)
        if count % batch == 0:
            store(rows, stored)
    store(rows, stored)
    return stored


def store(rows: WorkingRows, stored: Stored) -> None:
    for table, changed in rows.changes().items():
        for key, state in changed.items():
            if state is None:
                stored.pop((table, key), None)
            else:
                stored[table, key] = table.to_row(state)
    rows.forget()


def state(stored: Stored, table, *key):
    row = stored.get((table, key))
    return None if row is None else table.to_state(tuple(row.values()))


@pytest.fixture(scope="module")
def stories() -> ALog:
    log = a_log(nodes=2)
    log.a_node(invitation=log.an_invitation())
    log.a_key_rotation(by=2)
    log.a_retirement(1)
    every_story(log)
    later_stories(log)
    log.a_new_order("open.corp.internal", account=log.an_account(by=1), by=1)
    lost = a_loss(log, lambda: log.an_order("lost.corp.internal", by=1), by=1)
    log.a_start()
    a_recovery(log, lost, by=1)
    return log


def test_every_story_is_told_with_every_fold(stories):
    told = {TYPES[record.envelope.type] for record in stories.records}
    assert told >= set(FOLDS)


@given(st.integers(1, 40))
def test_rows_do_not_depend_on_how_lines_were_batched(stories, batch):
    assert folded(stories.records, batch) == folded(stories.records)


@given(st.integers(0, 40))
def test_a_fold_can_be_stopped_and_gone_on_with(stories, cut):
    stored: Stored = {}
    rows = WorkingRows(lambda table, key: state(stored, table, *key))
    for part in (stories.records[:cut], stories.records[cut:]):
        for record in part:
            fold(record, rows)
        store(rows, stored)
    assert stored == folded(stories.records)


def test_rows_are_read_back_as_they_were_stored(stories):
    stored = folded(stories.records)
    assert {table for table, _key in stored} == set(TABLES)
    for (table, key), row in stored.items():
        read = table.to_state(tuple(row.values()))
        assert table.key_of(read) == key
        assert table.to_row(read) == row
        assert list(row) == [column.name for column in table.columns]


def test_an_issued_order_is_valid_and_leaves_no_work():
    log = a_log()
    log.an_issuer()
    order_id = log.an_order("web.corp.internal", "www.corp.internal")
    stored = folded(log.records)
    order = state(stored, ORDERS, order_id)
    assert (order.status, order.attempt, order.in_doubt, order.csr) == ("valid", 1, False, b"")
    assert [authorization.status for authorization in order.authorizations] == ["valid", "valid"]
    assert order.authorizations[1].challenges[0].validated.startswith("2026-11-23T12:00:")
    certificate = state(stored, CERTIFICATES, order_id)
    assert certificate.names == ("web.corp.internal", "www.corp.internal")
    assert state(stored, ISSUERS, certificate.chain[0]).certificate == ISSUER
    assert state(stored, ORDER_NAMES, "www.corp.internal", order_id).order_id == order_id
    assert not any(table is JOBS for table, _key in stored)


def steps(log: ALog) -> list[tuple[str, bool, set[str]]]:
    """Return the order's status, doubt and kinds of work after each of its lines."""
    seen = []
    for count, record in enumerate(log.records, start=1):
        stream, _, order_id = record.envelope.stream.partition("/")
        if stream in ("order", "certificate"):
            stored = folded(log.records[:count])
            order = state(stored, ORDERS, order_id)
            work = {row["kind"] for (table, _key), row in stored.items() if table is JOBS}
            seen.append((order.status, order.in_doubt, work))
    return seen


def test_an_order_goes_from_pending_over_ready_and_processing_to_valid():
    log = a_log()
    log.an_order("web.corp.internal")
    assert steps(log) == [
        (PENDING, False, set()),
        (PENDING, False, {VALIDATE}),
        (PENDING, False, set()),
        (READY, False, set()),
        (PROCESSING, False, {ISSUE}),
        (PROCESSING, True, {ISSUE}),
        ("valid", False, set()),
    ]


def test_a_failed_challenge_ends_the_order():
    log = a_log()
    order_id = log.a_failed_order("down.corp.internal", account=log.an_account())
    order = state(folded(log.records), ORDERS, order_id)
    assert order.status == INVALID
    assert order.error.detail == "down.corp.internal: connection refused"
    assert order.authorizations[0].status == INVALID
    assert order.authorizations[0].challenges[0].error == order.error
    assert steps(log)[-1] == (INVALID, False, set())


def test_a_denied_order_is_in_doubt_between_submission_and_outcome():
    log = a_log()
    log.a_denied_order("odd.corp.internal", account=log.an_account())
    assert [doubt for _status, doubt, _work in steps(log)[5:]] == [True, False, True, False, False]
    assert steps(log)[-1] == (INVALID, False, set())


def test_an_order_that_ends_drops_what_was_left_to_do():
    log = a_log()
    order_id = log.a_half_validated_order("a.corp.internal", account=log.an_account())
    stored = folded(log.records)
    assert state(stored, ORDERS, order_id).status == INVALID
    assert not any(table is JOBS for table, _key in stored)


def test_an_account_is_created_changed_and_closed():
    log = a_log()
    account_id = log.an_account()
    account = state(folded(log.records), ACCOUNTS, account_id)
    assert (account.status, account.terms_agreed) == (VALID, True)
    assert account.contact is not None
    log.an_account_s_end(account_id)
    closed = state(folded(log.records), ACCOUNTS, account_id)
    assert (closed.status, closed.contact) == (DEACTIVATED, None)
    assert closed.position == log.position


def test_a_revoked_certificate_says_when_and_why():
    log = a_log()
    order_id = log.an_order("web.corp.internal")
    assert state(folded(log.records), CERTIFICATES, order_id).revoked == ""
    line = log.a_revocation(order_id, reason=1).envelope
    revoked = state(folded(log.records), CERTIFICATES, order_id)
    assert (revoked.revoked, revoked.reason, revoked.position) == (line.at, 1, line.position)


def test_a_renewal_is_linked_in_both_directions():
    log = a_log()
    first, second = a_renewal(log)
    stored = folded(log.records)
    before, after = (state(stored, CERTIFICATES, order) for order in (first, second))
    assert (before.replaces, before.replaced_by) == ("", second)
    assert (after.replaces, after.replaced_by) == (first, "")
    assert state(stored, RENEWALS, first).successor == second
    assert state(stored, RENEWALS, second) is None


def test_a_campaign_is_known_of_each_certificate_and_the_latest_counts():
    log = a_log()
    first, second = a_renewal(log)
    a_campaign(log, first, second)
    latest = a_campaign(log, second)
    stored = folded(log.records)
    one, other = (state(stored, RENEWALS, order) for order in (first, second))
    assert (one.successor, other.successor) == (second, "")
    assert other.campaign == latest != one.campaign
    assert other.start < other.end


def test_a_key_for_bindings_counts_its_accounts_and_ends():
    log = a_log()
    kid = log.an_eab_key(max_uses=3, allow=(".corp.internal/1",), comment="the shops")
    account = log.an_account(eab=kid)
    log.an_account(eab=kid)
    stored = folded(log.records)
    key = state(stored, EAB_KEYS, kid)
    assert (key.status, key.uses, key.max_uses, key.comment) == ("valid", 2, 3, "the shops")
    assert state(stored, ACCOUNTS, account).eab == kid
    log.an_eab_revocation(kid)
    key = state(folded(log.records), EAB_KEYS, kid)
    assert (key.status, key.uses, key.allow) == ("revoked", 2, (".corp.internal/1",))
    assert key.revoked == log.records[-1].envelope.at


def test_a_recovered_account_is_bound_as_before():
    log = a_log(nodes=2)
    kid = log.an_eab_key()
    lost = a_loss(log, lambda: log.an_account(eab=kid, by=1), by=1)
    log.a_start()
    a_recovery(log, lost, by=1)
    [account] = [
        state(folded(log.records), ACCOUNTS, record.event.account_id)
        for record in log.records
        if record.envelope.type == "account.recovered"
    ]
    assert account.eab == kid


def test_nodes_are_registered_and_endorsed():
    log = a_log(nodes=1)
    log.a_node(endorsed=False)
    stored = folded(log.records)
    first, second = (state(stored, NODES, node.server_id) for node in log.nodes)
    assert (first.endorsed, second.endorsed) == (1, 0)
    log.say(NodeEndorsed(second.server_id, second.kid), f"node/{second.server_id}")
    assert state(folded(log.records), NODES, second.server_id).endorsed == 1
    installation = state(stored, INSTALLATION, INSTALLATION_ID)
    assert installation.kid == log.nodes[0].key.public.kid


def test_events_that_no_projection_keeps_change_nothing():
    log = a_log()
    before = folded(log.records)
    log.say(NodeStopped("boot"), "node/x")
    assert folded(log.records) == before


@pytest.mark.parametrize(
    ("fact", "stream"),
    [
        (AccountDeactivated("nobody"), "account/nobody"),
        (AccountContactsChanged("nobody"), "account/nobody"),
        (OrderReady(), "order/nothing"),
        (CertificateRevoked("nothing", "07", 1, "account"), "certificate/nothing"),
        (CertificateReplaced("nothing", "07", "other", "08"), "certificate/nothing"),
        (NodeRetired("nobody", 1, "0" * 64), "node/nobody"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_log_that_speaks_of_what_it_never_made_is_refused(fact, stream):
    log = a_log()
    log.say(fact, stream)
    with pytest.raises(LookupError):
        folded(log.records)

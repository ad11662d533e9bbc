"""One strict look at the whole of a node: what must hold after whatever was done to it."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from certeasy.commit.rebuild import check
from certeasy.settings import DatabaseSettings
from certeasy.store import Store
from events.envelope import Record, parse
from events.orders import OrderCreated
from journal.lines import read_journal, segments
from journal.verify import Summary, verify


def check_node(
    folder: Path,
    *others: Path,
    database: Path | DatabaseSettings | None = None,
    acknowledged: Iterable[Record] = (),
    trusted: Iterable[str] = (),
) -> Summary:
    """Look at a node that is at rest (and at `others` that shared its database); return the proof.

    Journals verify; the database holds the same lines, byte for byte; its head and its nodes' rows
    agree with them; a fold of the log gives the stored rows; no order was made twice; and
    everything that was acknowledged is there.
    """
    if not isinstance(database, DatabaseSettings):
        database = DatabaseSettings(path=database or folder / "db.sqlite")
    store = Store.open(database)
    try:
        return _check(store, [folder, *others], list(acknowledged), set(trusted))
    finally:
        store.close()


def _check(
    store: Store, folders: list[Path], acknowledged: list[Record], trusted: set[str]
) -> Summary:
    journals = [segments(folder / "audit.log") for folder in folders]
    proof = verify([read_journal(files) for files in journals], trusted=trusted)
    records = sorted(
        (parse(line.data) for files in journals for line in read_journal(files)),
        key=lambda record: record.envelope.position,
    )
    assert [r.envelope.position for r in records] == list(range(1, len(records) + 1))
    assert list(store.lines(0)) == [r.line for r in records], "database and journals differ"
    head = store.head()
    assert (head.position, head.hash, head.at) == (
        len(records),
        records[-1].hash,
        records[-1].envelope.at,
    )
    last = {r.envelope.server_id: (r.envelope.seq, r.hash) for r in records}
    assert {s.server_id: (s.seq, s.hash) for s in store.servers()} == last
    created = Counter(f.order_id for r in records if isinstance(f := r.event, OrderCreated))
    assert not [order for order, times in created.items() if times > 1], "an order made twice"
    known = {record.line for record in records}
    lost = [r.envelope.position for r in acknowledged if r.line not in known]
    assert not lost, f"acknowledged, but gone: positions {lost}"
    folded, different = check(store)
    assert folded == len(records)
    assert different == []
    return proof

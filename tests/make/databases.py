"""A server's database holding a log that was made by sentences, as the real store writes it."""

from pathlib import Path

from certeasy.store import Server, Store
from events.nodes import NodeKeyRotated, NodeRegistered, NodeStarted
from projections.fold import fold
from projections.tables import WorkingRows
from tests.make.journals import INSTALLATION, ALog, ANode

BOOT = "b007b007-0000-4000-8000-000000000001"


def a_database(log: ALog, path: Path) -> Path:
    """Write the whole log into a new SQLite file, and return its path."""
    store = Store.sqlite(path)
    try:
        store.create(INSTALLATION)
        with store.transaction() as transaction:
            rows = WorkingRows(transaction.load)
            for record in log.records:
                fold(record, rows)
            for node in log.nodes:
                transaction.register(_server(node))
            transaction.append(log.records)
            transaction.store(rows.changes())
            transaction.keep_subjects(log.subjects.items())
            if log.records:
                transaction.move_head(log.records[-1])
    finally:
        store.close()
    return path


def _server(node: ANode) -> Server:
    last = node.records[-1]
    facts = [record.event for record in node.records]
    starts = [fact for fact in facts if isinstance(fact, NodeStarted)]
    # As of its last line: who made the log may have turned the node's key since.
    told = [fact for fact in facts if isinstance(fact, NodeRegistered | NodeKeyRotated)]
    key = told[-1] if told else node.key.public
    return Server(
        server_id=node.server_id,
        hostname=node.hostname,
        kid=key.kid,
        x=key.x,
        first_seen=node.records[0].envelope.at,
        last_seen=last.envelope.at,
        seq=last.envelope.seq,
        hash=last.hash,
        boot_id=starts[-1].boot_id if starts else BOOT,
        fingerprint="f" * 64,
    )

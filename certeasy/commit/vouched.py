"""Whose lines a node believes when it decides: what the log says of keys, each line held against
its signature.

The tables `nodes` and `node_keys` say the same, and are good enough to show. But whoever can write
to the database could give a key of his own to a node there, and sign with it that an order is
ready.
"""

from certeasy.store import Transaction
from events.envelope import BrokenLine, Record, parse
from events.nodes import NodeKeyRotated, NodeRetired
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from events.signing import BadSignature, PublicKey
from journal.breaks import JournalBroken, Line
from journal.trust import Trust

_UNREADABLE = (BrokenLine, UnknownEvent, NewerSchema, UndecodableEvent, JournalBroken)


class Vouched:
    """The keys that count besides this node's own; read once, for only this node adds lines."""

    def __init__(self, own: PublicKey) -> None:
        """`own` is the key that this node signs with, known first-hand."""
        self._own = own
        self._trust: Trust | None = None
        self._ends: dict[tuple[str, str], int] = {}  # a node's key: the last seq it signs
        self._gone: dict[str, int] = {}  # a node that was retired: its last seq

    def key_of(self, transaction: Transaction, record: Record) -> PublicKey:
        """Return the key that signed a line; raises BadSignature if it does not count there."""
        if record.kid == self._own.kid:
            return self._own
        if self._trust is None:
            self._trust = self._read(transaction)
        line = record.envelope
        signer = self._trust.signers.get(line.server_id)
        key = self._trust.key(record.kid)
        if signer is None or key is None or record.kid not in signer.kids:
            raise BadSignature(f"signed with {record.kid}, which is no endorsed node's key")
        if not signer.trusted and self._own.kid not in signer.kids:
            raise BadSignature(f"signed with {record.kid}, which is no endorsed node's key")
        last = self._ends.get((line.server_id, record.kid))
        if last is not None and line.seq > last:
            raise BadSignature(f"signed with {record.kid}, given up at seq {last} of its node")
        if line.seq > self._gone.get(line.server_id, line.seq):
            raise BadSignature(f"node {line.server_id} was retired before it")
        return key

    def _read(self, transaction: Transaction) -> Trust:
        """Follow the lines about nodes from the one that began the log."""
        trust = Trust()
        for data in transaction.lines_about_nodes():
            try:
                self._follow(trust, Line("the database", 0, 0, data), parse(data))
            except (*_UNREADABLE, BadSignature) as error:
                raise BadSignature(f"what the log says of nodes is broken: {error}") from error
        return trust

    def _follow(self, trust: Trust, line: Line, record: Record) -> None:
        fact, where = record.event, record.envelope
        if isinstance(fact, NodeRetired):  # its last line is not among these; `verify` looks at it
            signer = trust.signers.get(where.server_id)
            if signer is None or signer.key is None or not signer.trusted:
                raise BadSignature(
                    f"node {where.server_id}, which retires another, is not endorsed"
                )
            if record.kid != signer.kid:
                raise BadSignature(f"signed with {record.kid}, not with {signer.kid}")
            record.verify(signer.key)
            self._gone.setdefault(fact.server_id, fact.last_seq)
            return
        for key, _line, signed in trust.checks(line, record):
            signed.verify(key)
        if isinstance(fact, NodeKeyRotated):
            self._ends[where.server_id, fact.previous] = where.seq

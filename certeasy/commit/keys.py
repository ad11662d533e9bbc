"""The keys that one node has signed with, each vouched for by the one that came after it.

Its present key is known first-hand. An earlier one is named by the line that gave it up, which
carries the statement of the key that took over (`events.statements`): whoever can only write to the
database cannot give a node a key.
"""

from collections.abc import Iterable, Iterator

from events.envelope import BrokenLine, Record, parse
from events.nodes import NodeKeyRotated, NodeRegistered, NodeRetired
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from events.signing import BadSignature, PublicKey
from events.statements import check, succeeding


class NodeKeys:
    """The keys of a node: the present one, and those given up, each with its last seq."""

    def __init__(self, current: PublicKey) -> None:
        self._keys: dict[str, tuple[PublicKey, int | None]] = {current.kid: (current, None)}

    def add_earlier(self, key: PublicKey, last_seq: int) -> None:
        """Know a key that the node gave up with its line `last_seq`."""
        self._keys.setdefault(key.kid, (key, last_seq))

    def check(self, record: Record) -> None:
        """Raise BadSignature unless a line of this node is signed with the key it had there."""
        key, last_seq = self._keys.get(record.kid, (None, None))
        if key is None:
            raise BadSignature(f"signed with {record.kid}, which is no key of this node")
        if last_seq is not None and record.envelope.seq > last_seq:
            raise BadSignature(f"signed with {record.kid}, which was given up at seq {last_seq}")
        record.verify(key)

    def __contains__(self, kid: str) -> bool:
        """Whether the node ever had the key with this id."""
        return kid in self._keys


def read_keys(stream: Iterable[bytes], server_id: str, current: PublicKey) -> NodeKeys:
    """Return a node's keys, from the lines of its own stream and the key that it has now.

    A line that is broken, or proves nothing, adds no key.
    """
    publics = {current.kid: current}
    turns: dict[str, tuple[NodeKeyRotated, int]] = {}
    for record, fact in _facts(stream):
        if record.envelope.server_id != server_id:
            continue
        if isinstance(fact, NodeRegistered | NodeKeyRotated) and (key := _public(fact.x)):
            publics[key.kid] = key
        if isinstance(fact, NodeKeyRotated):
            turns.setdefault(fact.kid, (fact, record.envelope.seq))
    keys = NodeKeys(current)
    kid = current.kid
    while kid in turns:
        fact, seq = turns.pop(kid)
        previous = publics.get(fact.previous)
        if previous is None or not _is_stated(fact, publics[kid], server_id):
            break
        keys.add_earlier(previous, seq)
        kid = previous.kid
    return keys


def has_rotated(stream: Iterable[bytes], server_id: str, kid: str) -> bool:
    """Whether a node has gone to the key with this id, by its stream."""
    return any(
        isinstance(fact, NodeKeyRotated)
        and fact.kid == kid
        and record.envelope.server_id == server_id
        for record, fact in _facts(stream)
    )


def retirement(stream: Iterable[bytes], server_id: str) -> Record | None:
    """Return the line by which another node retired this one, from its stream; None if none did."""
    return next(
        (
            record
            for record, fact in _facts(stream)
            if isinstance(fact, NodeRetired)
            and fact.server_id == server_id != record.envelope.server_id
        ),
        None,
    )


def _facts(stream: Iterable[bytes]) -> Iterator[tuple[Record, object]]:
    for line in stream:
        try:
            record = parse(line)
            yield record, record.event
        except (BrokenLine, UnknownEvent, NewerSchema, UndecodableEvent):
            continue


def _public(x: str) -> PublicKey | None:
    try:
        return PublicKey(x)
    except ValueError:
        return None


def _is_stated(fact: NodeKeyRotated, key: PublicKey, server_id: str) -> bool:
    try:
        check(fact.jws, key, succeeding(server_id, key.kid, fact.previous))
    except BadSignature:
        return False
    return True

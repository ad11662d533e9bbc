"""One node's lines out of the database, held against what that node has signed.

What is put back into a journal is looked at first: a journal never vouches for a row that somebody
else wrote.
"""

from collections.abc import Iterable

from certeasy.commit.keys import NodeKeys
from events.envelope import BrokenLine, parse
from events.signing import BadSignature

End = tuple[int, str]  # a seq, and the hash of the line that has it


class BrokenChain(Exception):
    """A line is not the one that this node signed next."""


def after(end: End, lines: Iterable[bytes], server_id: str, keys: NodeKeys) -> End:
    """Follow a node's lines from behind `end`; return the seq and the hash of the last one.

    Raises BrokenChain at the first that is broken, out of order, or not signed with the key that
    the node had there.
    """
    seq, prev = end
    for line in lines:
        seq += 1
        try:
            record = parse(line)
            keys.check(record)
        except (BrokenLine, BadSignature) as error:
            raise BrokenChain(f"seq {seq}: {error}") from None
        found = record.envelope
        if (found.server_id, found.seq, found.prev) != (server_id, seq, prev):
            raise BrokenChain(
                f"seq {seq} of node {server_id} is missing or in disorder: node {found.server_id},"
                f" seq {found.seq} with prev {found.prev} stands there"
            )
        prev = record.hash
    return seq, prev

"""The installation's nodes as the log made them: their keys, and who vouches for them.

The rules are those of the proof (`journal.trust`): what a node says of another counts from where it
is endorsed itself.
"""

import msgspec
from msgspec.structs import replace

from events.envelope import Envelope
from events.nodes import (
    InstallationCreated,
    NodeEndorsed,
    NodeInvited,
    NodeKeyRotated,
    NodeRegistered,
    NodeRetired,
    doubt,
)
from projections.tables import Column, Contradiction, Rows, Table


class Node(msgspec.Struct, frozen=True):
    """A node and the key it signs with now; `endorsed` is 1 once an endorsed node vouches for it.

    `retired` is the time at which the node `retired_by` told that it is gone, empty before.
    """

    server_id: str
    hostname: str
    kid: str
    x: str
    first_seen: str
    endorsed: int
    retired: str = ""
    retired_by: str = ""


NODES = Table(
    "nodes",
    Node,
    [
        Column("server_id", size=36),
        Column("hostname"),
        Column("kid", size=43),
        Column("x", size=43),
        Column("first_seen", size=32),
        Column("endorsed", "integer"),
        Column("retired", size=32),
        Column("retired_by", size=36),
    ],
    key=("server_id",),
    body=False,
)


class NodeKey(msgspec.Struct, frozen=True):
    """A key that a node signs with from its line `first_seq` on; up to `last_seq`, if given up."""

    server_id: str
    kid: str
    x: str
    first_seq: int
    last_seq: int | None = None


NODE_KEYS = Table(
    "node_keys",
    NodeKey,
    [
        Column("server_id", size=36),
        Column("kid", size=43),
        Column("x", size=43),
        Column("first_seq", "integer"),
        Column("last_seq", "integer", nullable=True),
    ],
    key=("server_id", "kid"),
    body=False,
)


class Endorsement(msgspec.Struct, frozen=True):
    """The node `by` vouches for a node with this key, whether that has registered yet or not."""

    server_id: str
    kid: str
    by: str


ENDORSEMENTS = Table(
    "endorsements",
    Endorsement,
    [Column("server_id", size=36), Column("kid", size=43), Column("by", size=36)],
    key=("server_id", "kid"),
    body=False,
)


class Invited(msgspec.Struct, frozen=True):
    """An invitation by the node `by`; `used_by` is the node that has joined with it, if any."""

    kid: str
    x: str
    expires: str
    by: str
    used_by: str = ""


INVITATIONS = Table(
    "invitations",
    Invited,
    [
        Column("kid", size=43),
        Column("x", size=43),
        Column("expires", size=32),
        Column("by", size=36),
        Column("used_by", size=36),
    ],
    key=("kid",),
    body=False,
)


class Installation(msgspec.Struct, frozen=True):
    """The installation's id, its trust anchor and the setting that all nodes must share."""

    installation_id: str
    kid: str
    topology: str
    created: str


INSTALLATION = Table(
    "installation",
    Installation,
    [
        Column("installation_id", size=36),
        Column("kid", size=43),
        Column("topology", size=16),
        Column("created", size=32),
    ],
    key=("installation_id",),
    body=False,
)


def installed(fact: InstallationCreated, line: Envelope, rows: Rows) -> None:
    """The log began."""
    rows.put(INSTALLATION, Installation(fact.installation_id, fact.kid, fact.topology, line.at))


def registered(fact: NodeRegistered, line: Envelope, rows: Rows) -> None:
    """A node made itself known; the one that began the log (position 2 follows 1) is its own
    anchor."""
    invited = _joins_by_invitation(fact, line, rows)
    known = rows.get(NODES, fact.server_id)
    if known is not None:  # again, with the key it has
        endorsed = int(known.endorsed or invited)
        rows.put(NODES, replace(known, hostname=fact.hostname, endorsed=endorsed))
        return
    first = line.position == 2 and line.seq == 2  # noqa: PLR2004 - the line after installation.created
    vouched = rows.get(ENDORSEMENTS, fact.server_id, fact.kid) is not None
    node = Node(
        fact.server_id,
        fact.hostname,
        fact.kid,
        fact.x,
        line.at,
        int(first or vouched or invited),
    )
    rows.put(NODES, node)
    rows.put(NODE_KEYS, NodeKey(fact.server_id, fact.kid, fact.x, 1))


def _joins_by_invitation(fact: NodeRegistered, line: Envelope, rows: Rows) -> bool:
    """Tell whether the invitation endorses this node; then it is used."""
    row = None if fact.invitation is None else rows.get(INVITATIONS, fact.invitation.kid)
    if row is None or doubt(NodeInvited(row.kid, row.x, row.expires), row.used_by, fact, line.at):
        return False
    rows.put(INVITATIONS, replace(row, used_by=fact.server_id))
    return True


def endorsed(fact: NodeEndorsed, line: Envelope, rows: Rows) -> None:
    """An endorsed node vouches for another, by one of its keys."""
    if not _is_endorsed(rows, line.server_id):
        return
    rows.put(ENDORSEMENTS, Endorsement(fact.server_id, fact.kid, line.server_id))
    node = rows.get(NODES, fact.server_id)
    if node is not None and rows.get(NODE_KEYS, fact.server_id, fact.kid) is not None:
        rows.put(NODES, replace(node, endorsed=1))


def invited(fact: NodeInvited, line: Envelope, rows: Rows) -> None:
    """An endorsed node vouches for whichever node has the invitation's key."""
    if _is_endorsed(rows, line.server_id) and rows.get(INVITATIONS, fact.kid) is None:
        rows.put(INVITATIONS, Invited(fact.kid, fact.x, fact.expires, line.server_id))


def key_rotated(fact: NodeKeyRotated, line: Envelope, rows: Rows) -> None:
    """A node gave its key up for another, behind this line."""
    node = rows.get(NODES, fact.server_id)
    key = rows.get(NODE_KEYS, fact.server_id, fact.previous)
    if node is None or key is None or node.kid != fact.previous:
        raise Contradiction(
            line.position, f"node {fact.server_id} gives up the key {fact.previous}, not its own"
        )
    rows.put(NODE_KEYS, replace(key, last_seq=line.seq))
    rows.put(NODE_KEYS, NodeKey(fact.server_id, fact.kid, fact.x, line.seq + 1))
    rows.put(NODES, replace(node, kid=fact.kid, x=fact.x))


def retired(fact: NodeRetired, line: Envelope, rows: Rows) -> None:
    """A node is gone for good."""
    node = rows.get(NODES, fact.server_id)
    key = None if node is None else rows.get(NODE_KEYS, fact.server_id, node.kid)
    if node is None or key is None:
        raise Contradiction(line.position, f"node {fact.server_id} is retired, but unknown")
    rows.put(NODE_KEYS, replace(key, last_seq=fact.last_seq))
    rows.put(NODES, replace(node, retired=line.at, retired_by=line.server_id))


def _is_endorsed(rows: Rows, server_id: str) -> bool:
    node = rows.get(NODES, server_id)
    return node is not None and node.endorsed == 1

"""The installation's nodes as the log made them."""

import msgspec
from msgspec.structs import replace

from events.envelope import Envelope
from events.nodes import InstallationCreated, NodeEndorsed, NodeRegistered
from projections.tables import Column, Contradiction, Rows, Table


class Node(msgspec.Struct, frozen=True):
    """A node and the key it signs with; `endorsed` is 1 once an endorsed node vouches for it."""

    server_id: str
    hostname: str
    kid: str
    x: str
    first_seen: str
    endorsed: int


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
    ],
    key=("server_id",),
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
    first = line.position == 2 and line.seq == 2  # noqa: PLR2004 - the line after installation.created
    node = Node(fact.server_id, fact.hostname, fact.kid, fact.x, line.at, int(first))
    rows.put(NODES, node)


def endorsed(fact: NodeEndorsed, line: Envelope, rows: Rows) -> None:
    """An endorsed node vouches for another."""
    node = rows.get(NODES, fact.server_id)
    if node is None:
        raise Contradiction(line.position, f"node {fact.server_id} is endorsed, but unknown")
    rows.put(NODES, replace(node, endorsed=1))

"""What an administrator may do about nodes: invite and register them, vouch for them, change their
keys, retire them.

Only a node that is endorsed itself vouches for others: what another one says would stand in the
log, and no proof would count it.
"""

from datetime import datetime

from certeasy.decide.decision import Decision, Reader
from events.envelope import timestamp
from events.nodes import (
    NodeEndorsed,
    NodeInvited,
    NodeKeyRotated,
    NodeRegistered,
    NodeRetired,
    doubt,
)
from projections.nodes import ENDORSEMENTS, INVITATIONS, NODES, Node


class NodeRefused(Exception):
    """A change to the nodes that may not be; one line says why, and what to do."""


def stream(server_id: str) -> str:
    """Return the stream of a node's facts."""
    return f"node/{server_id}"


def endorse(rows: Reader, *, by: str, server_id: str, kid: str) -> Decision:
    """Vouch for a node with this key, whether it has registered yet or not."""
    _check_endorsed(rows, by)
    node = rows.get(NODES, server_id)
    if node is not None and node.kid != kid:
        raise NodeRefused(
            f"node {server_id} signs with key {node.kid}, not with {kid}: compare the key's id with"
            " what that node said when it started"
        )
    if node is not None and node.retired:
        raise NodeRefused(f"node {server_id} was retired at {node.retired}")
    if (node is not None and node.endorsed) or rows.get(ENDORSEMENTS, server_id, kid) is not None:
        return Decision()
    return Decision(((stream(server_id), NodeEndorsed(server_id, kid)),))


def invite(rows: Reader, *, by: str, fact: NodeInvited) -> Decision:
    """Vouch beforehand for the node that will have the invitation's key."""
    _check_endorsed(rows, by)
    return Decision(((f"invitation/{fact.kid}", fact),))


def join(rows: Reader, now: datetime, *, fact: NodeRegistered) -> Decision:
    """Register a node by its invitation; nothing happens if it is endorsed already."""
    node = rows.get(NODES, fact.server_id)
    if node is not None and node.endorsed:
        return Decision()
    kid = fact.invitation.kid if fact.invitation else ""
    row = rows.get(INVITATIONS, kid)
    invited = None if row is None else NodeInvited(row.kid, row.x, row.expires)
    why = doubt(invited, row.used_by if row else "", fact, timestamp(now))
    if why:
        raise NodeRefused(
            f"the token is not good here: {why}. Have another made with 'certeasy node invite -f"
            " config.yml' on an endorsed node of this installation"
        )
    return Decision(((stream(fact.server_id), fact),))


def rotate_key(rows: Reader, *, fact: NodeKeyRotated) -> Decision:
    """Give a node's key up for another."""
    node = registered(rows, fact.server_id)
    if node.kid != fact.previous:
        raise NodeRefused(f"node {fact.server_id} has key {node.kid} by now, not {fact.previous}")
    return Decision(((stream(fact.server_id), fact),))


def retire(rows: Reader, *, by: str, fact: NodeRetired) -> Decision:
    """Tell that a node is gone for good; nothing happens if that was told before."""
    if fact.server_id == by:
        raise NodeRefused(
            f"node {by} cannot retire itself: retire it on another node that is endorsed"
        )
    _check_endorsed(rows, by)
    node = rows.get(NODES, fact.server_id)
    if node is None:
        raise NodeRefused(
            f"the log knows no node {fact.server_id}; 'certeasy node list -f config.yml' shows"
            " which there are"
        )
    if node.retired:
        return Decision()
    return Decision(((stream(fact.server_id), fact),))


def registered(rows: Reader, server_id: str) -> Node:
    """Return the row of this very node; raises NodeRefused if it has none, or is retired."""
    node = rows.get(NODES, server_id)
    if node is None:
        raise NodeRefused(
            f"node {server_id} has not registered yet: start it once, or let it join, first"
        )
    return node


def _check_endorsed(rows: Reader, by: str) -> None:
    if not registered(rows, by).endorsed:
        raise NodeRefused(
            f"node {by} is not endorsed itself, so nothing that it says of other nodes counts; type"
            " this on a node that is ('certeasy node list -f config.yml' shows which)"
        )

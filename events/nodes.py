"""Facts about the installation and its nodes."""

import msgspec

from events.registry import Data, Event, event, upcaster
from events.signing import BadSignature, PublicKey
from events.statements import check, joining


@event("installation.created")
class InstallationCreated(Event, frozen=True):
    """The first line of a log. The key that signed it is the installation's trust anchor."""

    installation_id: str
    kid: str
    topology: str


class Invitation(msgspec.Struct, frozen=True):
    """The word of the invitation's key `kid` that a node may join: a detached JWS (`joining`)."""

    kid: str
    jws: str


@event("node.registered", schema=2)
class NodeRegistered(Event, frozen=True):
    """A node made itself known: its id, its host, and the public key (JWK `x`) that signs its
    lines.

    With a good `invitation` it is endorsed from here on.
    """

    installation_id: str
    server_id: str
    hostname: str
    kid: str
    x: str
    invitation: Invitation | None = None


@upcaster("node.registered", 1)
def _registered_1_to_2(data: Data) -> Data:
    """Read what was written before there were invitations."""
    return data


@event("node.invited")
class NodeInvited(Event, frozen=True):
    """An endorsed node vouches beforehand for one node: that which has the private half of this key
    (JWK `x`), and registers by `expires`."""

    kid: str
    x: str
    expires: str


@event("node.endorsed")
class NodeEndorsed(Event, frozen=True):
    """An endorsed node vouches for another node's key."""

    server_id: str
    kid: str


@event("node.key-rotated")
class NodeKeyRotated(Event, frozen=True):
    """A node gives its key `previous`, which signs this, up for the key `kid` (JWK `x`).

    `jws` is the new key's word that it takes over (`succeeding`).
    """

    server_id: str
    kid: str
    x: str
    previous: str
    jws: str


@event("node.retired")
class NodeRetired(Event, frozen=True):
    """Another node tells that this one is gone for good: its journal ends with this line."""

    server_id: str
    last_seq: int
    last_hash: str


@event("node.started")
class NodeStarted(Event, frozen=True):
    """A node went into service."""

    boot_id: str
    hostname: str
    software: str
    epoch: int


@event("node.stopped")
class NodeStopped(Event, frozen=True):
    """A node left service in good order."""

    boot_id: str


@event("lease.taken")
class LeaseTaken(Event, frozen=True):
    """A node took the writer's place; `previous` is the node that had it before."""

    epoch: int
    previous: str | None = None


@event("settings.loaded")
class SettingsLoaded(Event, frozen=True):
    """The configuration a node runs with, without its secrets, and the hash over that."""

    sha256: str
    settings: dict[str, object]


@event("journal.refilled")
class JournalRefilled(Event, frozen=True):
    """An administrator had lines that this node's journal had lost put back from the database."""

    first_seq: int
    last_seq: int
    reason: str


@event("journal.segment-closed")
class JournalSegmentClosed(Event, frozen=True):
    """The last line of a part of this node's journal: what follows stands in another file.

    The file holds `first_seq` to `last_seq`, which is this very line; `last_hash` is the hash of
    the line before it. `reason` is `size`, `age` or `asked`.
    """

    first_seq: int
    last_seq: int
    last_hash: str
    reason: str


@event("clock.set-back")
class ClockSetBack(Event, frozen=True):
    """An administrator accepted that the clock is behind the log's latest time."""

    latest: str
    clock: str


@event("authority.certificate-seen")
class AuthorityCertificateSeen(Event, frozen=True):
    """A certificate of an authority's chain, DER, kept once, so that downloads can be rebuilt."""

    authority: str
    sha256: str
    certificate: bytes


@event("tls.certificate-installed")
class TlsCertificateInstalled(Event, frozen=True):
    """A certificate (DER) of the server itself, for the hosts of a bundle; an authority of ours
    issued it, or the ACME server whose directory is named instead."""

    bundle: str
    authority: str
    hosts: list[str]
    sha256: str
    not_after: str
    certificate: bytes


@event("request.refused")
class RequestRefused(Event, frozen=True):
    """Requests that policy or a limit refused: the first one, or how many more followed it."""

    kind: str
    detail: str
    count: int = 1
    names: list[str] = msgspec.field(default_factory=list)


def doubt(invited: NodeInvited | None, used_by: str, fact: NodeRegistered, at: str) -> str:
    """Return why a registration at this time is not endorsed by its invitation; empty if it is.

    `invited` is what an endorsed node said of the invitation's key, `used_by` the node that has
    used it.
    """
    if fact.invitation is None:
        return "it was not invited"
    if invited is None:
        return f"no endorsed node has made the invitation {fact.invitation.kid}"
    if used_by not in ("", fact.server_id):
        return f"the invitation {invited.kid} was used by node {used_by}"
    if at > invited.expires:
        return f"the invitation {invited.kid} had expired at {invited.expires}"
    try:
        word = joining(fact.installation_id, fact.server_id, fact.kid)
        check(fact.invitation.jws, PublicKey(invited.x), word)
    except (BadSignature, ValueError) as error:
        return f"the invitation {invited.kid} is not of this node and key: {error}"
    return ""

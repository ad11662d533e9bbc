"""Facts about the installation and its nodes."""

import msgspec

from events.registry import Event, event


@event("installation.created")
class InstallationCreated(Event, frozen=True):
    """The first line of a log. The key that signed it is the installation's trust anchor."""

    installation_id: str
    kid: str
    topology: str


@event("node.registered")
class NodeRegistered(Event, frozen=True):
    """A node made itself known: its id, its host, and the public key (JWK `x`) that signs its
    lines."""

    installation_id: str
    server_id: str
    hostname: str
    kid: str
    x: str


@event("node.endorsed")
class NodeEndorsed(Event, frozen=True):
    """An endorsed node vouches for another node's key."""

    server_id: str
    kid: str


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
    issued it."""

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

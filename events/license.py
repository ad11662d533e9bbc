"""Facts about the license: what the vendor granted, what administrators asked for, and what came of
both as time went by.

Times are RFC 3339 in UTC. A number of -1 stands for any number.
"""

from events.registry import Event, event


@event("license.installed")
class LicenseInstalled(Event, frozen=True):
    """A license of the vendor's was taken into use; it replaces the one before.

    `block` is what the vendor signed, to be verified by anybody; the rest is what it says.
    `replaces` is the id of the license before, `source` where this one came from: file, refresh.
    """

    id: str
    key: str
    plan: str
    holder: str
    installation: str
    managed_servers: int
    authorities: int
    databases: tuple[str, ...]
    topologies: tuple[str, ...]
    issued_at: str
    not_before: str
    expires: str
    block: str
    trial: bool = False
    replaces: str = ""
    source: str = "file"


@event("license.revoked")
class LicenseRevoked(Event, frozen=True):
    """The vendor took the license `id` back; `block` is what it signed for that."""

    id: str
    revoked_at: str
    reason: str
    block: str
    source: str = "file"


@event("license.evaluation-begun")
class EvaluationBegun(Event, frozen=True):
    """A node with an AD CS authority was started without a license, for the first time: until then
    it needs none."""

    until: str
    cause: str


@event("license.acknowledged")
class LicenseAcknowledged(Event, frozen=True):
    """An administrator has seen that the configuration goes beyond the license.

    `hash` stands for these `reasons`, and for no others.
    """

    id: str
    hash: str
    reasons: tuple[str, ...]


@event("license.force-grace-granted")
class ForceGraceGranted(Event, frozen=True):
    """An administrator keeps the server going with the license `id`, which has expired. No such
    time goes beyond `cap`."""

    id: str
    until: str
    cap: str


@event("license.state-changed")
class LicenseStateChanged(Event, frozen=True):
    """What follows from all that is another state than before: `cause` says why it was looked
    at."""

    before: str
    after: str
    cause: str
    reasons: tuple[str, ...] = ()


@event("cold-start.initialised")
class ColdStartInitialised(Event, frozen=True):
    """An administrator began without a license, as under a plan; no extension goes beyond
    `cap`."""

    plan: str
    until: str
    cap: str


@event("cold-start.extended")
class ColdStartExtended(Event, frozen=True):
    """An administrator had the cold start last longer."""

    until: str


@event("cold-start.switched")
class ColdStartSwitched(Event, frozen=True):
    """An administrator changed the plan; the time stays."""

    before: str
    plan: str

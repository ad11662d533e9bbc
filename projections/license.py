"""The license as the log tells it: one row.

What follows from it at a moment, for a configuration, is told by `certeasy.decide.license`; here is
only what was granted, and when.
"""

import msgspec
from msgspec.structs import replace

from events.envelope import Envelope
from events.license import (
    ColdStartExtended,
    ColdStartInitialised,
    ColdStartSwitched,
    EvaluationBegun,
    ForceGraceGranted,
    LicenseAcknowledged,
    LicenseInstalled,
    LicenseRevoked,
    LicenseStateChanged,
)
from projections.tables import Column, Contradiction, Rows, Table

NAME = "license"
UNLIMITED = -1


class Limits(msgspec.Struct, frozen=True):
    """What may be used: numbers (UNLIMITED: any), drivers of databases, topologies."""

    managed_servers: int
    authorities: int
    databases: tuple[str, ...]
    topologies: tuple[str, ...]


class Installed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The license in use: what the vendor signed, and what it says."""

    id: str
    key: str
    plan: str
    holder: str
    installation: str
    limits: Limits
    issued_at: str
    not_before: str
    expires: str
    block: str
    at: str
    trial: bool = False
    source: str = "file"
    revoked: str = ""
    reason: str = ""


class ColdStart(msgspec.Struct, frozen=True):
    """A beginning without a license, as under a plan."""

    plan: str
    begun: str
    until: str
    cap: str


class Acknowledged(msgspec.Struct, frozen=True):
    """That an administrator has seen these reasons."""

    id: str
    hash: str
    reasons: tuple[str, ...]
    at: str


class ForceGrace(msgspec.Struct, frozen=True):
    """Time that an administrator took for a license that has expired."""

    id: str
    at: str
    until: str
    cap: str


class License(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of it. `state` is the one that was recorded last, "" before any was."""

    position: int
    name: str = NAME
    installed: Installed | None = None
    evaluation: str = ""
    """Until when no license is needed; "": this has not begun."""
    cold_start: ColdStart | None = None
    acknowledged: Acknowledged | None = None
    force_grace: ForceGrace | None = None
    state: str = ""
    since: str = ""


LICENSE = Table(
    "license",
    License,
    [Column("name", size=16), Column("state", size=32), Column("position", "integer")],
    key=("name",),
)


def installed(fact: LicenseInstalled, line: Envelope, rows: Rows) -> None:
    """Another license; what was said about the one before does not count for it."""
    row = _row(rows, line)
    before = "" if row.installed is None else row.installed.id
    if fact.replaces != before:
        what = f"the license {fact.id} replaces {fact.replaces or 'none'}, not {before or 'none'}"
        raise Contradiction(line.position, what)
    found = Installed(
        id=fact.id,
        key=fact.key,
        plan=fact.plan,
        holder=fact.holder,
        installation=fact.installation,
        limits=Limits(fact.managed_servers, fact.authorities, fact.databases, fact.topologies),
        issued_at=fact.issued_at,
        not_before=fact.not_before,
        expires=fact.expires,
        block=fact.block,
        at=line.at,
        trial=fact.trial,
        source=fact.source,
    )
    rows.put(LICENSE, replace(row, installed=found, acknowledged=None, force_grace=None))


def revoked(fact: LicenseRevoked, line: Envelope, rows: Rows) -> None:
    """Taken back by the vendor."""
    row, license_ = _installed(rows, line, fact.id)
    taken = replace(license_, revoked=fact.revoked_at, reason=fact.reason)
    rows.put(LICENSE, replace(row, installed=taken))


def evaluation_begun(fact: EvaluationBegun, line: Envelope, rows: Rows) -> None:
    """Once, for an installation."""
    row = _row(rows, line)
    if row.evaluation:
        raise Contradiction(line.position, "an evaluation begins a second time")
    rows.put(LICENSE, replace(row, evaluation=fact.until))


def acknowledged(fact: LicenseAcknowledged, line: Envelope, rows: Rows) -> None:
    """Seen by an administrator."""
    row, _ = _installed(rows, line, fact.id)
    seen = Acknowledged(fact.id, fact.hash, fact.reasons, line.at)
    rows.put(LICENSE, replace(row, acknowledged=seen))


def force_grace_granted(fact: ForceGraceGranted, line: Envelope, rows: Rows) -> None:
    """Some days more."""
    row, _ = _installed(rows, line, fact.id)
    granted = ForceGrace(fact.id, line.at, fact.until, fact.cap)
    rows.put(LICENSE, replace(row, force_grace=granted))


def state_changed(fact: LicenseStateChanged, line: Envelope, rows: Rows) -> None:
    """What followed from all that, when it was looked at."""
    row = _row(rows, line)
    if fact.before != row.state:
        what = f"the license's state was {row.state or 'none'}, not {fact.before or 'none'}"
        raise Contradiction(line.position, what)
    rows.put(LICENSE, replace(row, state=fact.after, since=line.at))


def cold_start_initialised(fact: ColdStartInitialised, line: Envelope, rows: Rows) -> None:
    """A beginning without a license."""
    row = _row(rows, line)
    if row.cold_start is not None:
        raise Contradiction(line.position, "a cold start begins a second time")
    begun = ColdStart(fact.plan, line.at, fact.until, fact.cap)
    rows.put(LICENSE, replace(row, cold_start=begun))


def cold_start_extended(fact: ColdStartExtended, line: Envelope, rows: Rows) -> None:
    """Some days more."""
    row, cold = _cold_start(rows, line)
    rows.put(LICENSE, replace(row, cold_start=replace(cold, until=fact.until)))


def cold_start_switched(fact: ColdStartSwitched, line: Envelope, rows: Rows) -> None:
    """As under another plan."""
    row, cold = _cold_start(rows, line)
    rows.put(LICENSE, replace(row, cold_start=replace(cold, plan=fact.plan)))


def _row(rows: Rows, line: Envelope) -> License:
    """Return the row, of this position from here on."""
    row = rows.get(LICENSE, NAME) or License(line.position)
    return replace(row, position=line.position)


def _installed(rows: Rows, line: Envelope, id_: str) -> tuple[License, Installed]:
    row = _row(rows, line)
    if row.installed is None or row.installed.id != id_:
        raise Contradiction(line.position, f"{line.type} for {id_}, which is not the license")
    return row, row.installed


def _cold_start(rows: Rows, line: Envelope) -> tuple[License, ColdStart]:
    row = _row(rows, line)
    if row.cold_start is None:
        raise Contradiction(line.position, f"{line.type} before any was initialised")
    return row, row.cold_start

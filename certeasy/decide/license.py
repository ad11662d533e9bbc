"""What follows from the license, and what may be done about it.

The rules that this file keeps:

(1) A license counts from its first to its last moment, then seven days more: that is its grace.
(2) Who has none may evaluate: for ever with embedded authorities alone, whose certificates nobody
    outside trusts; for thirty days, once, with AD CS. A cold start is for the days in which an
    order for a license is on its way.
(3) What is configured beyond a license degrades it: a start is refused until an administrator
    acknowledges exactly these reasons, and then there are no new servers, only renewals.
(4) A renewal is never refused, in no state, as long as its server has its seat.
(5) Each account that has a certificate, or is about to, has one of the license's seats. A new
    order of one without a seat takes the next, if there is one left: at finalize, under the lock.
(6) A license is followed only by a later one: of two that were issued in the same second, by the
    one with the greater id. So which one counts does not depend on which came first, and one that
    was taken back does not come again.
(7) Time is what the caller says, and callers never say less than the log's latest time: a clock
    that is set back makes nothing last longer.

A license ends with its last moment excluded. Times here are compared as times, never as texts.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import msgspec

from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Problem, Refused
from certeasy.decide.seats import is_renewal
from events.counting import counted
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
from events.registry import Event
from projections.certificates import CERTIFICATES
from projections.license import LICENSE, NAME, UNLIMITED, ColdStart, Installed, License, Limits
from projections.seats import SEATS, Seat

STREAM = "license"

GRACE = timedelta(days=7)
FORCED, FORCED_CAP = timedelta(days=7), timedelta(days=21)
EVALUATION = timedelta(days=30)
COLD, COLD_CAP = timedelta(days=7), timedelta(days=21)

EVALUATING, COLD_START, VALID, IN_GRACE = "evaluation", "cold-start", "valid", "grace"
FORCE_GRACE, ACKNOWLEDGED = "force-grace", "acknowledged"
DEGRADED, EXPIRED, REVOKED, NO_LICENSE = "degraded", "expired", "revoked", "no-license"
SERVING = frozenset({EVALUATING, COLD_START, VALID, IN_GRACE, FORCE_GRACE, ACKNOWLEDGED})
"""A node may be started in these."""
ADMITTING = SERVING - {ACKNOWLEDGED}
"""New servers may come in these."""
STATES = (*sorted(SERVING), DEGRADED, EXPIRED, NO_LICENSE, REVOKED)

_EVERY_DATABASE = ("sqlite", "postgres", "sqlserver")
_EVERY_TOPOLOGY = ("single", "standby", "active-active")
PLANS: Mapping[str, Limits] = MappingProxyType(
    {
        "free": Limits(25, 1, ("sqlite",), ("single",)),
        "starter": Limits(250, 2, ("sqlite",), ("single",)),
        "pro": Limits(UNLIMITED, 3, _EVERY_DATABASE, ("single",)),
        "enterprise": Limits(UNLIMITED, 5, _EVERY_DATABASE, _EVERY_TOPOLOGY),
    }
)
WITHOUT = Limits(UNLIMITED, UNLIMITED, _EVERY_DATABASE, _EVERY_TOPOLOGY)
"""What may be used while evaluating: everything, so that everything can be tried."""


class Unlicensed(Refused):
    """The license does not let an order be taken: unauthorized, 403."""

    def __init__(self, detail: str) -> None:
        super().__init__(Problem.UNAUTHORIZED, detail)


class LicenseRefused(Exception):
    """Something about the license that may not be; one line says why, and what to do."""


class Configured(msgspec.Struct, frozen=True):
    """What of a configuration a license is held against: `authorities` are those of AD CS."""

    database: str
    authorities: int
    topology: str


class Standing(msgspec.Struct, frozen=True):
    """What follows, for a configuration and a moment.

    `until` is when this ends by itself, "" where it does not; `reasons` say why it is degraded, or
    why there is no license; `hash` stands for the reasons.
    """

    state: str
    plan: str = ""
    limits: Limits = WITHOUT
    until: str = ""
    reasons: tuple[str, ...] = ()
    hash: str = ""

    @property
    def serves(self) -> bool:
        """Whether a node may be started."""
        return self.state in SERVING

    @property
    def seats(self) -> int:
        """How many servers there may be; UNLIMITED: any number. Counts while `admits`."""
        return self.limits.managed_servers

    @property
    def admits(self) -> bool:
        """Whether new servers may come, as long as there are seats."""
        return self.state in ADMITTING


# -- what follows ----------------------------------------------------------------------------------


def of(rows: Reader) -> License | None:
    """Return what the log says about the license."""
    return rows.get(LICENSE, NAME)


def standing(
    row: License | None, configured: Configured, now: datetime, *, forged: str = ""
) -> Standing:
    """Return what follows at a moment. `forged` says why the license in the database is none of
    the vendor's for this installation, if so."""
    found = _granted(row, configured, now, forged)
    if configured.authorities or (found.serves and found.state != EVALUATING):
        return found
    return Standing(EVALUATING)


def _granted(row: License | None, configured: Configured, now: datetime, forged: str) -> Standing:
    if row is None:
        return Standing(EVALUATING, until=_text(now + EVALUATION))
    if forged:
        return Standing(NO_LICENSE, reasons=(forged,))
    if row.installed is not None:
        return _licensed(row, row.installed, configured, now)
    if row.cold_start is not None and now < _time(row.cold_start.until):
        plan = row.cold_start.plan
        return _held(
            row, "", configured, Standing(COLD_START, plan, PLANS[plan], row.cold_start.until)
        )
    if row.evaluation and now < _time(row.evaluation):
        return Standing(EVALUATING, until=row.evaluation)
    over = f"the evaluation ended at {row.evaluation}" if row.evaluation else ""
    if row.cold_start is not None:
        over = f"the cold start ended at {row.cold_start.until}"
    return Standing(NO_LICENSE, reasons=(over,) if over else ())


def _licensed(
    row: License, installed: Installed, configured: Configured, now: datetime
) -> Standing:
    """Return what follows from a license of the vendor's."""
    plan, limits, expires = installed.plan, installed.limits, _time(installed.expires)
    if installed.revoked:
        return Standing(REVOKED, plan, limits, reasons=(installed.reason,))
    if now < expires:
        found = Standing(VALID, plan, limits, installed.expires)
    elif now < expires + GRACE:
        found = Standing(IN_GRACE, plan, limits, _text(expires + GRACE))
    elif row.force_grace is not None and now < _time(row.force_grace.until):
        found = Standing(FORCE_GRACE, plan, limits, row.force_grace.until)
    else:
        return Standing(EXPIRED, plan, limits, reasons=(f"it expired at {installed.expires}",))
    return _held(row, installed.id, configured, found)


def _held(row: License, id_: str, configured: Configured, found: Standing) -> Standing:
    """Hold a configuration against what is granted."""
    reasons = beyond(found.limits, configured)
    if not reasons:
        return found
    mark = reasons_hash(id_, found.limits, reasons)
    seen = row.acknowledged is not None and row.acknowledged.hash == mark
    state, until = (ACKNOWLEDGED, found.until) if seen else (DEGRADED, "")
    return Standing(state, found.plan, found.limits, until, reasons, mark)


def beyond(limits: Limits, configured: Configured) -> tuple[str, ...]:
    """Return what is configured beyond these limits, each in one sentence."""
    reasons = []
    if configured.database not in limits.databases:
        allowed = " and ".join(limits.databases) or "none"
        reasons.append(f"the database is {configured.database}, allowed: {allowed}")
    if limits.authorities != UNLIMITED and configured.authorities > limits.authorities:
        has = counted(configured.authorities, "AD CS authority", "AD CS authorities")
        reasons.append(f"{has} configured, allowed: {limits.authorities}")
    if configured.topology not in limits.topologies:
        allowed = " and ".join(limits.topologies) or "none"
        reasons.append(f"the topology is {configured.topology}, allowed: {allowed}")
    return tuple(reasons)


def reasons_hash(id_: str, limits: Limits, reasons: tuple[str, ...]) -> str:
    """Return what stands for reasons under a license: others need another acknowledgement."""
    return hashlib.sha256(msgspec.json.encode((id_, limits, reasons))).hexdigest()


# -- orders ----------------------------------------------------------------------------------------


def check_new(found: Standing) -> None:
    """Return if new servers may come at all; else raises Unlicensed."""
    if not found.admits:
        raise Unlicensed(
            f"{_WHY[found.state]}: certificates are renewed, and none are issued for anything"
            " new. Tell whoever runs this server",
        )


def needs_seat(
    rows: Reader,
    now: datetime,
    found: Standing,
    *,
    account_id: str,
    names: Sequence[str],
    replaces: str,
) -> bool:
    """Return whether an order takes one of the license's seats, which then has to be free.

    A renewal takes none: one for names that the account has a certificate for, or for one in force
    that it `replaces`. So whoever renews has a seat. One that `replaces` a certificate which was
    revoked, or is over, is a renewal, too, in every state; but its seat may be somebody else's by
    now. Raises as `check_new` for anything else, where nothing new may be.
    """
    if found.admits and found.seats == UNLIMITED:
        return False
    if is_renewal(rows, account_id, names, now) or _is_in_force(rows, now, replaces):
        return False
    if not replaces:
        check_new(found)
    return found.seats != UNLIMITED and not is_taken(rows.get(SEATS, account_id), second(now))


def _is_in_force(rows: Reader, now: datetime, certificate_id: str) -> bool:
    certificate = rows.get(CERTIFICATES, certificate_id) if certificate_id else None
    return (
        certificate is not None and not certificate.revoked and certificate.not_after > second(now)
    )


def is_taken(seat: Seat | None, at: str) -> bool:
    """Whether an account is a managed server at a second."""
    return seat is not None and seat.until > at


def second(now: datetime) -> str:
    """Return a moment as certificates write it; what ends with this second has ended."""
    return _text(now)


def check_seat(found: Standing, taken: int) -> None:
    """Return if there is a seat for one server more beside those that are taken; else raises
    Unlicensed."""
    if found.seats != UNLIMITED and taken >= found.seats:
        raise no_seat(found.seats)


def no_seat(seats: int) -> Unlicensed:
    """Return the refusal of a server for which there is no seat left."""
    allows = counted(seats, "managed server")
    return Unlicensed(
        f"This server's license allows {allows} (accounts with a certificate), and all of them are"
        " there: certificates are renewed, and none are issued for another one. Tell whoever runs"
        " this server",
    )


_WHY = {
    ACKNOWLEDGED: "This server is configured beyond its license",
    DEGRADED: "This server is configured beyond its license",
    EXPIRED: "This server's license has expired",
    REVOKED: "This server's license was revoked",
    NO_LICENSE: "This server has no license",
}


# -- what happens by itself ------------------------------------------------------------------------


def begin(rows: Reader, now: datetime, configured: Configured, *, cause: str) -> Decision:
    """Begin the evaluation, where there is nothing else and AD CS is configured; once."""
    if of(rows) is not None or not configured.authorities:
        return Decision()
    return _fact(EvaluationBegun(_text(now + EVALUATION), cause))


def observe(
    rows: Reader, now: datetime, configured: Configured, *, cause: str, forged: str = ""
) -> Decision:
    """Record what follows at this moment, if it is another state than the one recorded last."""
    row = of(rows)
    before = "" if row is None else row.state
    found = standing(row, configured, now, forged=forged)
    if found.state == (before or EVALUATING):
        return Decision()
    return _fact(LicenseStateChanged(before, found.state, cause, found.reasons))


# -- what administrators do ------------------------------------------------------------------------


def install(rows: Reader, now: datetime, fact: LicenseInstalled, *, installation: str) -> Decision:
    """Take a license into use that the vendor signed. `installation` is this one's key."""
    if fact.installation != installation:
        raise LicenseRefused(
            f"the license is for the installation {fact.installation}, this is {installation}: ask"
            " the vendor for one with this installation's key"
        )
    if now >= _time(fact.expires):
        raise LicenseRefused(
            f"the license expired at {fact.expires}, and it is {_text(now)}: ask the vendor for"
            " another"
        )
    if now < _time(fact.not_before):
        raise LicenseRefused(
            f"the license counts from {fact.not_before} on, and it is {_text(now)}: install it then"
        )
    row = of(rows)
    used = None if row is None else row.installed
    if used is None:
        return _fact(fact)
    if used.id == fact.id:
        return Decision()
    if _time(fact.issued_at) < _time(used.issued_at):
        raise LicenseRefused(
            f"the license was issued at {fact.issued_at}, before the one in use"
            f" ({used.issued_at}), which stays"
        )
    if _time(fact.issued_at) == _time(used.issued_at) and fact.id < used.id:
        raise LicenseRefused(
            f"the license was issued in the same second as the one in use ({fact.issued_at}), which"
            f" stays: of two such, the one with the greater id counts ({used.id}, not {fact.id});"
            " for another, ask the vendor for one that is issued now"
        )
    return _fact(msgspec.structs.replace(fact, replaces=used.id))


def revoke(rows: Reader, fact: LicenseRevoked) -> Decision:
    """Record that the vendor took the license back."""
    row = of(rows)
    used = None if row is None else row.installed
    if used is None or used.id != fact.id:
        raise LicenseRefused(f"the license {fact.id}, which was revoked, is not the one in use")
    return Decision() if used.revoked else _fact(fact)


def acknowledge(rows: Reader, now: datetime, configured: Configured, forged: str = "") -> Decision:
    """Record that an administrator has seen why the license is degraded."""
    row = of(rows)
    found = standing(row, configured, now, forged=forged)
    if found.state == ACKNOWLEDGED:
        return Decision()
    if found.state != DEGRADED:
        raise LicenseRefused(
            f"the license is not degraded, it is {found.state}: there is nothing to acknowledge"
        )
    used = None if row is None else row.installed
    if used is None:
        raise LicenseRefused(
            "this is a cold start, which only counts for what fits its plan:"
            " 'certeasy cold-start switch --plan PLAN -f config.yml' chooses another"
        )
    return _fact(LicenseAcknowledged(used.id, found.hash, found.reasons))


def force_grace(rows: Reader, now: datetime, configured: Configured, forged: str = "") -> Decision:
    """Let a license that has expired count for seven days more, as often as there is time left."""
    row = of(rows)
    found = standing(row, configured, now, forged=forged)
    used = None if row is None else row.installed
    if row is None or used is None or found.state not in {EXPIRED, FORCE_GRACE}:
        raise LicenseRefused(
            f"this is for a license that has expired, and whose grace is over; it is {found.state}"
        )
    cap = _time(used.expires) + FORCED_CAP
    if now >= cap:
        raise LicenseRefused(
            f"this could be done until {_text(cap)}, three weeks after the license expired: install"
            " another license ('certeasy license install FILE -f config.yml')"
        )
    until = min(now + FORCED, cap)
    if row.force_grace is not None and until <= _time(row.force_grace.until):
        return Decision()
    return _fact(ForceGraceGranted(used.id, _text(until), _text(cap)))


def cold_start(rows: Reader, now: datetime, configured: Configured, plan: str) -> Decision:
    """Begin without a license, for seven days, as under a plan: once there is no other way to."""
    row = of(rows)
    if row is not None and row.installed is not None:
        raise LicenseRefused(f"there is a license ({row.installed.id}): it counts")
    if row is not None and row.cold_start is not None:
        raise LicenseRefused(
            f"a cold start was begun at {second(_time(row.cold_start.begun))}, and an installation"
            " has one: 'certeasy cold-start extend -f config.yml' makes it last longer"
        )
    found = standing(row, configured, now)
    if found.state == EVALUATING:
        raise LicenseRefused(_needless(row, found, configured))
    _check_fits(configured, plan)
    return _fact(ColdStartInitialised(plan, _text(now + COLD), _text(now + COLD_CAP)))


def _needless(row: License | None, found: Standing, configured: Configured) -> str:
    """Return why nobody wants a cold start during an evaluation: it would take something away."""
    if not configured.authorities:
        return (
            "no authority of the type adcs or adcs-cli is configured here, and no others need a"
            " license: nothing has to be done"
        )
    if row is None:
        return (
            "there was no evaluation yet: the next start begins one, which lasts"
            f" {EVALUATION.days} days and allows everything; nothing has to be done before"
        )
    return (
        f"the evaluation lasts until {found.until}, and allows everything; a cold start would only"
        " take away from that: begin it when the evaluation is over, if there is no license then"
    )


def extend(rows: Reader, now: datetime) -> Decision:
    """Let the cold start last seven days more, up to three weeks from its beginning."""
    cold = _cold(rows)
    cap = _time(cold.cap)
    until = min(max(now, _time(cold.until)) + COLD, cap)
    if now >= cap or until <= _time(cold.until):
        raise LicenseRefused(
            f"it lasts until {cold.until}, and no cold start lasts longer than three weeks: install"
            " a license ('certeasy license install FILE -f config.yml')"
        )
    return _fact(ColdStartExtended(_text(until)))


def switch(rows: Reader, now: datetime, configured: Configured, plan: str) -> Decision:
    """Let the cold start be as under another plan; its end stays."""
    cold = _cold(rows)
    if now >= _time(cold.until):
        raise LicenseRefused(
            f"it ended at {cold.until}: 'certeasy cold-start extend -f config.yml' makes it last"
            " longer"
        )
    if cold.plan == plan:
        raise LicenseRefused(f"it is as under the plan {plan} already")
    _check_fits(configured, plan)
    return _fact(ColdStartSwitched(cold.plan, plan))


def _cold(rows: Reader) -> ColdStart:
    row = of(rows)
    if row is not None and row.installed is not None:
        raise LicenseRefused(f"there is a license ({row.installed.id}): it counts")
    if row is None or row.cold_start is None:
        raise LicenseRefused(
            "there is no cold start: 'certeasy cold-start init --plan PLAN -f config.yml' begins"
            " one"
        )
    return row.cold_start


def _check_fits(configured: Configured, plan: str) -> None:
    reasons = beyond(PLANS[plan], configured)
    if reasons:
        raise LicenseRefused(
            f"the configuration does not fit the plan {plan}: {'; '.join(reasons)}"
        )


def _fact(fact: Event) -> Decision:
    return Decision(((STREAM, fact),))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(at: datetime) -> str:
    """Return a moment to the second, cut off: nothing lasts longer for being written down."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

"""Instructions about the license, and about a beginning without one."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from certeasy.admin.desk import Desk, InstructionRefused
from certeasy.admin.instructions import Instruction
from certeasy.commit import Command
from certeasy.commit.command import Decide
from certeasy.decide import license as deciding
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.license import Configured
from certeasy.licensing import file
from certeasy.licensing.file import WrongLicense
from certeasy.licensing.taking import observing, taking
from certeasy.licensing.terms import Terms
from certeasy.outward import license as vendor
from events.envelope import Actor
from projections.license import ColdStart, ForceGrace

Fitting = Callable[[Reader, datetime, Configured, str], Decision]
"""A decision that the configuration matters for; the text is a plan, or why a license is none."""
SYSTEM = Actor("system", "license")
Plan = Literal["free", "starter", "pro", "enterprise"]


class LicenseSet(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of it: the state, and until when it lasts ("": for good). `anew`: something was
    recorded; `cap` is when nothing can be extended beyond."""

    state: str
    anew: bool
    until: str = ""
    plan: str = ""
    cap: str = ""
    hash: str = ""
    reasons: tuple[str, ...] = ()


class _AboutLicense(Instruction[LicenseSet], frozen=True):
    """Something about the license."""

    result: ClassVar = LicenseSet

    def _take(self, desk: Desk, block: bytes, source: str) -> LicenseSet:
        """Verify what the vendor is said to have signed, and have it recorded."""
        terms = _terms(desk)
        try:
            decide, cause = taking(block, terms, source)
        except WrongLicense as error:
            raise InstructionRefused(f"the license is not taken: {error}") from None
        return self._do(desk, terms, decide, cause)

    def _have(self, desk: Desk, decide: Fitting, cause: str) -> LicenseSet:
        """Have a decision taken about what follows from the license."""
        terms = _terms(desk)
        return self._do(
            desk,
            terms,
            lambda rows, now: decide(rows, now, terms.configured, terms.forged(deciding.of(rows))),
            cause,
        )

    def _do(self, desk: Desk, terms: Terms, decide: Decide, cause: str) -> LicenseSet:
        """Have it recorded, and what follows from it."""
        done = desk.commit(decide) is not None
        observe = observing(terms, cause)
        office = desk.office
        if observe(office.store, office.now()).facts:
            office.committer().submit(Command(observe, SYSTEM))
        return _told(desk, terms, anew=done)


class InstallLicense(_AboutLicense, frozen=True, tag="license-install"):
    """Take a license into use, or record that it was revoked: as the vendor signed it."""

    block: Annotated[str, Meta(max_length=file.LARGEST)]

    def carry_out(self, desk: Desk) -> LicenseSet:
        """Verify it, and record it, unless it is the one in use."""
        return self._take(desk, self.block.encode(), "file")


class RefreshLicense(_AboutLicense, frozen=True, tag="license-refresh"):
    """Ask the vendor for a newer license, and take it into use."""

    def carry_out(self, desk: Desk) -> LicenseSet:
        """Do it, where the configuration says whom to ask."""
        office, terms = desk.office, _terms(desk)
        asked = vendor.question(deciding.of(office.store), terms.installation)
        try:
            block = vendor.ask(office.settings.license, asked)
        except vendor.NotRefreshed as error:
            raise InstructionRefused(str(error)) from None
        return (
            _told(desk, terms, anew=False) if block is None else self._take(desk, block, "refresh")
        )


class AcknowledgeDegraded(_AboutLicense, frozen=True, tag="license-acknowledge-degraded"):
    """Record that an administrator has seen what is configured beyond the license."""

    def carry_out(self, desk: Desk) -> LicenseSet:
        """Do it, for exactly the reasons that there are."""
        return self._have(desk, deciding.acknowledge, "it was acknowledged")


class GrantForceGrace(_AboutLicense, frozen=True, tag="license-force-grace"):
    """Let a license that has expired count for some days more."""

    def carry_out(self, desk: Desk) -> LicenseSet:
        """Do it, up to the cap."""
        return self._have(desk, deciding.force_grace, "force-grace was granted")


class _AsUnderPlan(_AboutLicense, frozen=True):
    """Something about a beginning without a license, as under a plan."""

    plan: Plan

    def _fit(self, desk: Desk, decide: Fitting, cause: str) -> LicenseSet:
        """Have a decision taken that holds the configuration against the plan."""
        terms, plan = _terms(desk), self.plan
        return self._do(
            desk, terms, lambda rows, now: decide(rows, now, terms.configured, plan), cause
        )


class BeginColdStart(_AsUnderPlan, frozen=True, tag="cold-start-init"):
    """Begin without a license, as under a plan."""

    def carry_out(self, desk: Desk) -> LicenseSet:
        """Do it, once."""
        return self._fit(desk, deciding.cold_start, "a cold start was initialised")


class ExtendColdStart(_AboutLicense, frozen=True, tag="cold-start-extend"):
    """Let the cold start last longer."""

    def carry_out(self, desk: Desk) -> LicenseSet:
        """Do it, up to the cap."""
        return self._do(desk, _terms(desk), deciding.extend, "the cold start was extended")


class SwitchColdStart(_AsUnderPlan, frozen=True, tag="cold-start-switch"):
    """Let the cold start be as under another plan."""

    def carry_out(self, desk: Desk) -> LicenseSet:
        """Do it."""
        return self._fit(desk, deciding.switch, "the cold start's plan was changed")


def _terms(desk: Desk) -> Terms:
    office = desk.office
    return Terms(office.settings, office.store.head().installation_id)


def _told(desk: Desk, terms: Terms, *, anew: bool) -> LicenseSet:
    """Return what is so now."""
    office = desk.office
    found = terms.standing(office.store, office.now())
    row = deciding.of(office.store)
    granted: ColdStart | ForceGrace | None = None
    if row is not None:
        granted = row.force_grace if row.installed is not None else row.cold_start
    return LicenseSet(
        state=found.state,
        anew=anew,
        until=found.until,
        plan=found.plan,
        cap="" if granted is None else granted.cap,
        hash=found.hash,
        reasons=found.reasons,
    )

"""Who may order under the license: early, before anything is stored, and bindingly, under the
committer's lock."""

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec.structs import replace

from certeasy.commit import Committer, GuardFailed
from certeasy.decide import license as deciding
from certeasy.decide.decision import Decision, Reader, SeatFree
from certeasy.decide.license import Unlicensed
from certeasy.licensing.terms import Terms


class Seats:
    """The license's seats, as ACME asks for them."""

    def __init__(self, committer: Committer, terms: Callable[[], Terms]) -> None:
        self._committer = committer
        self._terms = terms

    def check(self, account_id: str, names: Sequence[str], *, replaces: str) -> None:
        """Return if an account may order a certificate for these names, as it looks now. Raises
        Unlicensed."""
        rows, now = self._committer, self._committer.now()
        found = self._terms().standing(rows, now)
        if deciding.needs_seat(
            rows, now, found, account_id=account_id, names=names, replaces=replaces
        ):
            deciding.check_seat(found, rows.seats())

    def guarded(
        self,
        decision: Decision,
        rows: Reader,
        now: datetime,
        *,
        account_id: str,
        names: Sequence[str],
        replaces: str,
    ) -> Decision:
        """Return a decision to have a certificate issued with the guard that its seat is free, if
        it needs one. Raises Unlicensed."""
        if not decision.facts:
            return decision
        found = self._terms().standing(rows, now)
        if not deciding.needs_seat(
            rows, now, found, account_id=account_id, names=names, replaces=replaces
        ):
            return decision
        return replace(decision, guards=(*decision.guards, SeatFree(found.seats)))


def refusal(failed: GuardFailed | Unlicensed) -> Unlicensed:
    """Return what a client is told where there was no seat when it mattered. Any other guard that
    failed is raised again."""
    if isinstance(failed, Unlicensed):
        return failed
    if not isinstance(failed.guard, SeatFree):
        raise failed
    return deciding.no_seat(failed.guard.seats)

"""Having certificates revoked at their authority, as a job: also those that nobody got.

To the client a certificate is revoked once the log says so. Its authority is told as often as it
takes: a minute after the first failure, later every few hours, as long as it does not refuse for
good. One that is not in the settings, or switched off (`disable-ca-revocation`), is waited for.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from certeasy.ca import Authority, Revocation, RevocationRefused, Unavailable
from certeasy.clock import Clock
from certeasy.commit import Command, Committer
from certeasy.decide import revocation as deciding
from certeasy.decide import waiting
from certeasy.decide.decision import Decision, Reader
from certeasy.jobs.plain import plain
from certeasy.jobs.workers import TryAgain
from certeasy.log import logger
from events.envelope import Actor
from projections.jobs import Job
from projections.revocations import REVOCATIONS, WAITING
from projections.revocations import Revocation as Row

log = logger("revocation")
SYSTEM = Actor("system", "revocation")
SHORTEST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=4)
NOBODY_TO_ASK = timedelta(hours=1)
AILING = timedelta(minutes=1)


class Revoking:
    """Performs jobs of kind `revoke`. `available` says whether an authority is worth asking."""

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        authorities: Mapping[str, Authority],
        available: Callable[[str], bool],
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._authorities = authorities
        self._available = available

    def perform(self, job: Job, _attempt: int, _fresh: bool) -> None:
        """Tell the authority. Raises TryAgain, and what `Committer.submit` raises."""
        row = self._committer.get(REVOCATIONS, job.order_id, job.id)
        if row is None or row.state != WAITING:
            return
        authority = self._authorities.get(row.authority)
        if authority is None or not authority.revokes:
            what = f"authority {row.authority!r} is not in the settings, or not told of revocations"
            raise TryAgain(what, NOBODY_TO_ASK)
        if not self._available(row.authority):
            raise TryAgain(f"authority {row.authority!r} is not well", AILING)
        self._tell(authority, row)

    def _tell(self, authority: Authority, row: Row) -> None:
        accepted = datetime.fromisoformat(row.accepted)
        try:
            authority.revoke(Revocation(row.certificate, row.serial, row.reason, accepted))
        except Unavailable as error:
            wait = waiting.growing(accepted, self._clock.now(), SHORTEST_WAIT, LONGEST_WAIT)
            what = f"certificate {row.serial} is not revoked at {row.authority}: {error.reason}"
            raise TryAgain(what, max(wait, error.retry_after or wait)) from error
        except RevocationRefused as error:
            log.error(
                "authority %s will not revoke certificate %s (%s of order %s), and is not asked"
                " again: %s; revoke it there by hand",
                *(row.authority, row.serial, row.cause, row.order_id, error.reason),
            )
            reason, code = plain(error.reason), error.code or ""
            self._commit(
                lambda rows: deciding.not_published(rows, row.order_id, row.id, reason, code)
            )
            return
        log.info("authority %s has revoked certificate %s", row.authority, row.serial)
        self._commit(lambda rows: deciding.published(rows, row.order_id, row.id))

    def _commit(self, decide: Callable[[Reader], Decision]) -> None:
        self._committer.submit(Command(lambda rows, _now: decide(rows), SYSTEM))

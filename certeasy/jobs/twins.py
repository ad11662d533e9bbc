"""Looking for the certificates of attempts that were given up, as a job.

It begins when the order has ended: then it is known which of its certificates somebody got. What
else the authority shows is recorded and revoked. Where the authority has the attempt's request
number, it is asked for that one until it says what became of it; else it is asked for a while, as a
slow authority may still be at work, and if it shows nothing, the possible twin stays listed.

A certificate is only revoked if it was made for the key and the names of the order's request, and
is nobody else's: another order of today may use the same key, so nothing is decided while one is
under way.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from certeasy.ca import Authority, Denied, Issued, Pending, Submission, Trace, Unavailable
from certeasy.clock import Clock
from certeasy.commit import Command, Committer
from certeasy.decide import csr, waiting
from certeasy.decide import issuance as deciding
from certeasy.decide.certificates import Mismatch, key_and_serial, names_of
from certeasy.decide.decision import Decision, Reader
from certeasy.jobs.ownership import Ownership
from certeasy.jobs.plain import plain
from certeasy.jobs.workers import TryAgain
from certeasy.log import logger
from events.certificates import CertificateTwinFound
from events.envelope import Actor
from events.orders import IssuanceSearched
from projections.certificates import CERTIFICATES
from projections.jobs import Job
from projections.orders import ORDERS, Order
from projections.suspects import SUSPECTS, Suspect

log = logger("twins")
SYSTEM = Actor("system", "twins")
PATIENCE = timedelta(minutes=10)
"""So long after an attempt was given up its certificate may still be on its way."""
FIRST_WAIT = timedelta(seconds=30)
SAME_KEY_WAIT = timedelta(seconds=5)
SHORTEST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(days=1)


class Twins:
    """Performs jobs of kind `twins`."""

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        server_id: str,
        authorities: Mapping[str, Authority],
        ownership: Ownership,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._server_id = server_id
        self._authorities = authorities
        self._ownership = ownership

    def perform(self, job: Job, _attempt: int, _fresh: bool) -> None:
        """Look once. Raises TryAgain, and what `Committer.submit` raises."""
        suspect = self._committer.get(SUSPECTS, job.id)
        order = self._committer.get(ORDERS, job.order_id)
        if suspect is None or suspect.searched or order is None:
            return
        authority = self._authorities.get(suspect.authority)
        if authority is None:
            raise TryAgain(f"authority {suspect.authority!r} is not in the settings", LONGEST_WAIT)
        submission = Submission(
            order_id=order.id,
            attempt=suspect.attempt,
            csr=suspect.csr,
            names=tuple(identifier.value for identifier in order.identifiers),
            server_id=self._server_id,
        )
        try:
            if suspect.request_id:
                self._ask_for(authority, submission, suspect, order)
            else:
                self._look(authority, submission, suspect, order)
        except Unavailable as error:
            wait = self._wait(suspect, SHORTEST_WAIT)
            raise TryAgain(error.reason, max(wait, error.retry_after or wait)) from error

    def _ask_for(
        self, authority: Authority, submission: Submission, suspect: Suspect, order: Order
    ) -> None:
        """Ask what became of the one request that it was."""
        match authority.poll(submission, suspect.request_id):
            case Pending():
                what = f"request {suspect.request_id} still waits for approval"
                raise TryAgain(what, self._wait(suspect, SHORTEST_WAIT))
            case Denied() as denied:
                self._searched(suspect, denied.reason, settled=True)
            case Issued() as issued if self._twins(authority, suspect, order, (issued,)):
                return
            case Issued():
                what = f"request {suspect.request_id} made a certificate that is no twin of it"
                self._searched(suspect, what, settled=False)

    def _look(
        self, authority: Authority, submission: Submission, suspect: Suspect, order: Order
    ) -> None:
        """Ask what certificates of it there are."""
        certificate = self._committer.get(CERTIFICATES, order.id)
        # Another authority's numbers are its own.
        same = certificate is not None and certificate.authority == suspect.authority
        known = certificate.request_id if certificate is not None and same else ""
        found = authority.twins(submission, Trace(after=suspect.after), known)
        if self._twins(authority, suspect, order, found):
            return
        passed = self._clock.now() - datetime.fromisoformat(suspect.since)
        if passed < PATIENCE:
            raise TryAgain("no twin was found yet", self._wait(suspect, FIRST_WAIT))
        what = "the authority shows no certificate of it, or does not let us look"
        self._searched(suspect, what, settled=False)

    def _twins(
        self, authority: Authority, suspect: Suspect, order: Order, found: Sequence[Issued]
    ) -> bool:
        """Record what is a twin; return whether there is one."""
        key = csr.spki_of(suspect.csr)
        # In this order: whoever waits for none of these now, has his by the time we look.
        if found and (other := self._ownership.awaited_by(key, beside=order.id)) is not None:
            what = f"order {other} waits for a certificate with the same key just now"
            raise TryAgain(what, self._wait(suspect, SAME_KEY_WAIT))
        twins = [
            CertificateTwinFound(
                order_id=order.id,
                authority=suspect.authority,
                attempt=suspect.attempt,
                reason="it was found at the authority",
                certificate=each.certificate,
                serial=serial,
                request_id=each.request_id or "",
                publish=authority.revokes,
            )
            for each in found
            if (serial := self._serial(each.certificate, key, order)) is not None
        ]
        if not twins:
            return False

        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.twin_found(rows, order.id, twins)

        committed = self._committer.submit(Command(decide, SYSTEM))
        for record in committed.records:  # another search may have told the others
            if isinstance(twin := record.event, CertificateTwinFound):
                log.error(
                    "order %s: authority %s issued certificate %s beside the one that was given to"
                    " the client, or though none was; it is given to nobody",
                    *(order.id, twin.authority, twin.serial),
                )
        return bool(committed.records)

    def _serial(self, certificate: bytes, key: bytes, order: Order) -> str | None:
        """Return the serial number of a certificate for this key and the order's names that nobody
        has; else None.

        One for other names was not made of this request: whoever shares the key and the CA with
        the client, through another server, would lose his.
        """
        try:
            theirs, serial = key_and_serial(certificate)
            names = frozenset(names_of(certificate))
        except Mismatch as mismatch:
            log.warning("a certificate that was looked for %s; it is passed over", mismatch)
            return None
        if theirs != key or self._ownership.is_given(certificate):
            return None
        if names != {identifier.value for identifier in order.identifiers}:
            log.warning(
                "order %s: certificate %s has the order's key and other names; it is left alone",
                *(order.id, serial),
            )
            return None
        return serial

    def _searched(self, suspect: Suspect, reason: str, *, settled: bool) -> None:
        fact = IssuanceSearched(suspect.attempt, suspect.authority, settled, plain(reason))

        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.searched(rows, suspect.order_id, fact)

        self._committer.submit(Command(decide, SYSTEM))

    def _wait(self, suspect: Suspect, shortest: timedelta) -> timedelta:
        since = datetime.fromisoformat(suspect.since)
        return waiting.growing(since, self._clock.now(), shortest, LONGEST_WAIT)

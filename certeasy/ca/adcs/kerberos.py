"""An account of the domain that shows tickets.

The ticket that others are got with (the TGT) comes from a `Login`; one for each service is got with
it. Both kinds stay in memory, in the identity they belong to, and a new one is asked for when 80 %
of its life are over. If that fails and the old one is still good, the old one is shown: an hour's
trouble with the domain controllers is no hour without certificates.
"""

import threading
from datetime import datetime, timedelta

from certeasy import log
from certeasy.ca.adcs import tickets
from certeasy.ca.adcs.deadline import Deadline, Late
from certeasy.ca.adcs.identity import Credentials, NotAuthenticated
from certeasy.ca.adcs.kdc import Kdc, KdcRefused
from certeasy.ca.adcs.keys import NAMES, RC4, STRONG
from certeasy.ca.adcs.logins import Login
from certeasy.ca.adcs.refusals import told
from certeasy.ca.adcs.tickets import Garbled, Referred, Ticket
from certeasy.clock import Clock

LOG = log.logger("adcs")

ETYPE_NOSUPP = 14
USELESS_TGT = frozenset({20, 31, 32, 34, 41, 44})
"""What a KDC says of a TGT that it no longer takes: revoked, expired, another key's."""
RENEWAL_RESTS = timedelta(minutes=1)
MARGIN = timedelta(seconds=60)
"""A ticket that is over in less than this is not shown: the request takes its time."""


class KerberosIdentity:
    """One account, its tickets, and nobody else's."""

    def __init__(self, user: str, domain: str, login: Login, kdc: Kdc, clock: Clock) -> None:
        self._user = user
        self._realm = domain.upper()
        self._login = login
        self._kdc = kdc
        self._clock = clock
        self._lock = threading.Lock()
        self._tgt: Ticket | None = None
        self._services: dict[str, Ticket] = {}
        self._not_before: dict[str, datetime] = {}

    @property
    def described(self) -> str:
        """Tell people who."""
        return f"{self._account} by {self._login.described}"

    @property
    def _account(self) -> str:
        """The account, or whoever the ticket belongs to."""
        owner = "/".join(self._tgt.client) if self._tgt else "its owner"
        return f"{self._user or owner}@{self._realm}"

    @property
    def skew(self) -> timedelta | None:
        """How far ahead the domain's clock is of ours, as far as a KDC has told."""
        return self._kdc.skew

    def credentials(self, service: str, host: str, deadline: Deadline) -> Credentials:
        """Return a ticket for the service, kept or new. Raises NotAuthenticated, or Late."""
        name = f"{service}/{host}"
        now = self._clock.now()
        kept = self._services.get(name.lower())
        if kept is None or now >= kept.stale:
            good = kept is not None and now + MARGIN < kept.expires
            # Whoever has a good one does not wait for those that fetch a better one.
            limit = 0.0 if good else deadline.remaining()
            if self._lock.acquire(timeout=limit) if limit else self._lock.acquire(blocking=False):
                try:
                    kept = self._renewed(name, deadline)
                finally:
                    self._lock.release()
            elif not good:
                raise Late("another request still waits for the domain controllers")
        assert kept is not None
        return Credentials(
            "/".join(kept.client), kept.realm, kerberos=True, tgs=kept.for_impacket()
        )

    def forget(self, service: str, host: str) -> None:
        """Ask for a new ticket the next time: the service may have a new key."""
        with self._lock:
            self._services.pop(f"{service}/{host}".lower(), None)

    def _renewed(self, name: str, deadline: Deadline) -> Ticket:
        """Return the kept ticket if somebody renewed it meanwhile, else a new one.

        An old one that is still good is better than none; it is not asked for again at once.
        """
        now = self._clock.now()
        kept = self._services.get(name.lower())
        good = kept is not None and now + MARGIN < kept.expires
        if kept is not None and now < kept.stale:
            return kept
        if kept is not None and good and now < self._not_before.get(name, now):
            return kept
        try:
            fresh = self._fetched(name, now, deadline)
        except (NotAuthenticated, Late) as error:
            if kept is None or not good:
                raise
            LOG.warning("%s: no new ticket for %s yet: %s", self._account, name, error)
            self._not_before[name] = now + RENEWAL_RESTS
            return kept
        self._services[name.lower()] = fresh
        self._not_before.pop(name, None)
        return fresh

    def _fetched(self, name: str, now: datetime, deadline: Deadline) -> Ticket:
        """Return a new ticket for the service, logging in first if need be."""
        account = self._account
        try:
            held = self._tgt
            if held is not None and now < held.stale:
                try:
                    return self._asked(held, name, now, deadline)
                except KdcRefused as error:
                    if error.code not in USELESS_TGT:
                        raise
            self._tgt = self._login.login(self._kdc, now, deadline)
            return self._asked(self._tgt, name, now, deadline)
        except KdcRefused as error:
            raise told(error, account, name) from None
        except Referred as error:
            raise NotAuthenticated(
                "KDC_ERR_WRONG_REALM",
                f"{name} belongs to the realm {error.realm}, not to {self._realm}; referrals to"
                " other realms are not followed",
                f"use an account of {error.realm}, or a CA of {self._realm}",
            ) from None
        except Garbled as error:
            raise NotAuthenticated(
                "",
                f"the domain controller's answer cannot be trusted: {error}",
                "make sure that `domain-controllers` are the domain's own, and that nothing"
                " changes what they send",
                transient=True,
            ) from None

    def _asked(self, tgt: Ticket, name: str, now: datetime, deadline: Deadline) -> Ticket:
        """Return a ticket for the service: AES, or RC4 where the service's account has no more."""
        service = tuple(name.split("/", 1))
        try:
            return self._of_type(tgt, service, STRONG, now, deadline)
        except KdcRefused as error:
            if error.code != ETYPE_NOSUPP:
                raise
        ticket = self._of_type(tgt, service, (RC4,), now, deadline)
        LOG.warning(
            "the account behind %s has no AES key: its ticket is protected by %s, which is weak",
            name,
            NAMES[RC4],
        )
        return ticket

    def _of_type(
        self,
        tgt: Ticket,
        service: tickets.Principal,
        etypes: tuple[int, ...],
        now: datetime,
        deadline: Deadline,
    ) -> Ticket:
        asked = tickets.for_service(tgt, service, etypes, now)
        return tickets.from_service(asked, self._kdc.exchange(asked.message, deadline), tgt, now)

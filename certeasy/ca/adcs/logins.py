"""Where the ticket comes from that others are got with (the TGT): from a KDC, by the account's own
keys, or out of a file that somebody else keeps fresh.

Domains lock accounts after a few wrong attempts, and this server may ask every second; but nobody
protects what a KDC says in refusing, so whoever sits on the line can say it. Therefore:

1. One refusal of a password or key is doubted. It is shown once more, over a new connection, and to
   another controller where there is one, beginning with what its salt is.
2. Two refusals are believed: it is not shown again before the file changes or `REFUSED_RESTS` is
   over. Domains that lock accounts mostly do so after five attempts or more, and begin to count
   anew after 30 minutes without any; so this server alone never gets beyond two.
3. Only what was refused after something was shown counts. A refusal before that costs the account
   nothing.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from impacket.krb5 import asn1
from impacket.krb5.crypto import Key
from msgspec import Struct

from certeasy import log
from certeasy.ca.adcs import tickets
from certeasy.ca.adcs.ccache import read_ccache
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.identity import NotAuthenticated, read_secret
from certeasy.ca.adcs.kdc import Kdc, KdcRefused
from certeasy.ca.adcs.keys import RC4, STRONG, Keys, KeytabKeys, PasswordKeys
from certeasy.ca.adcs.refusals import told
from certeasy.ca.adcs.tickets import Ticket

LOG = log.logger("adcs")

PREAUTH_REQUIRED, PREAUTH_FAILED, ETYPE_NOSUPP = 25, 24, 14
BELIEVED = 2
REFUSED_RESTS = timedelta(minutes=35)


class Login(Protocol):
    """Where a TGT comes from."""

    @property
    def described(self) -> str:
        """Tell people: "keytab /etc/certeasy/svc.keytab"."""
        ...

    def login(self, kdc: Kdc, now: datetime, deadline: Deadline) -> Ticket:
        """Return a fresh TGT. Raises NotAuthenticated, or Late."""
        ...


class _Refused(Struct, frozen=True):
    """Keys that were refused `times` times, by their digest, the last time by the controller `at`.

    They are not shown again before `until`.
    """

    digest: bytes
    times: int
    at: str
    until: datetime
    why: NotAuthenticated


class _ProofRefused(Exception):
    """A KDC, or somebody in its place, refused what was shown to it."""

    def __init__(self, error: KdcRefused) -> None:
        super().__init__(str(error))
        self.error = error


class KeysLogin:
    """Logs in with the account's keys, which are read anew each time."""

    def __init__(
        self, user: str, realm: str, file: Path, what: str, read: Callable[[], Keys]
    ) -> None:
        self._user, self._realm = user, realm
        self._file, self._what = file, what
        self._read = read
        self._refused: _Refused | None = None
        self._strong = False

    @property
    def described(self) -> str:
        """Tell people."""
        return f"{self._what} {self._file}"

    def login(self, kdc: Kdc, now: datetime, deadline: Deadline) -> Ticket:
        """Return a fresh TGT. Raises NotAuthenticated, or Late."""
        keys = self._read()
        digest = hashlib.sha256(read_secret(self._file, self._what)).digest()
        refused = self._refused
        if refused is not None and (refused.digest != digest or self._has_rested(refused, now)):
            refused = self._refused = None
        if refused is not None and refused.times >= BELIEVED:
            raise refused.why
        ticket = self._twice(kdc, keys, digest, now, deadline)
        self._refused = None
        if ticket.session.enctype == RC4 or not _strong(keys):
            LOG.warning(
                "%s@%s has no AES key: RC4 is used, which is weak and on its way out; set a new"
                " password, and msDS-SupportedEncryptionTypes to 24",
                self._user,
                self._realm,
            )
        return ticket

    @staticmethod
    def _has_rested(refused: _Refused, now: datetime) -> bool:
        return refused.times >= BELIEVED and now >= refused.until

    def _twice(
        self, kdc: Kdc, keys: Keys, digest: bytes, now: datetime, deadline: Deadline
    ) -> Ticket:
        """Show the keys, and once more where one refusal is all there is against them."""
        try:
            return self._shown(kdc, keys, digest, now, deadline)
        except _ProofRefused as refusal:
            first = refusal.error
        ticket = self._shown(kdc, keys, digest, now, deadline)
        LOG.warning(
            "%s said that the %s of %s@%s is wrong, which is not so: either it lags behind the"
            " other domain controllers, or somebody on the line to it forges its answers",
            first.at,
            self._what,
            self._user,
            self._realm,
        )
        return ticket

    def _shown(
        self, kdc: Kdc, keys: Keys, digest: bytes, now: datetime, deadline: Deadline
    ) -> Ticket:
        """Return a ticket. Raises _ProofRefused for the first refusal, NotAuthenticated for the
        second, and for everything else that is refused."""
        doubted = "" if self._refused is None else self._refused.at
        try:
            return self._strongest(kdc, keys, doubted, now, deadline)
        except KdcRefused as error:
            raise self._why(error, keys) from None
        except _ProofRefused as refusal:
            why = self._counted(refusal.error, keys, digest, now)
            if why is None:
                raise
            raise why from None

    def _strongest(
        self, kdc: Kdc, keys: Keys, doubted: str, now: datetime, deadline: Deadline
    ) -> Ticket:
        """Return a ticket by AES keys; by RC4 where the account has nothing else."""
        strong = _strong(keys)
        try:
            ticket = self._with(kdc, keys, strong or keys.etypes, doubted, now, deadline)
        except KdcRefused as error:
            # Whoever forges this error would have us use the weaker key: not of an account that
            # was seen to have a stronger one.
            weak = error.code == ETYPE_NOSUPP and strong and RC4 in keys.etypes
            if not weak or self._strong:
                raise
            return self._with(kdc, keys, (RC4,), doubted, now, deadline)
        self._strong = bool(strong)
        return ticket

    def _with(
        self,
        kdc: Kdc,
        keys: Keys,
        etypes: tuple[int, ...],
        doubted: str,
        now: datetime,
        deadline: Deadline,
    ) -> Ticket:
        """Ask without proof, learn salt and type, and ask again with it."""
        client = (self._user,)
        asked = tickets.for_login(client, self._realm, etypes, now)
        try:
            reply = kdc.exchange(asked.message, deadline, doubted)
        except KdcRefused as error:
            if error.code != PREAUTH_REQUIRED:
                raise
            methods = tickets.parse(asn1.METHOD_DATA(), error.data)
            key = self._key(keys, etypes, methods)
            asked = tickets.for_login(client, self._realm, etypes, now, proof=(key, now))
            reply = self._proven(kdc, asked.message, doubted, deadline)
        else:
            # The account is one of those that need not prove anything to be handed a ticket that
            # only they can open.
            key = self._key(keys, etypes, tickets.parse(asn1.AS_REP(), reply)["padata"])
        return tickets.from_login(asked, reply, key, now)

    def _key(self, keys: Keys, etypes: tuple[int, ...], methods: Any) -> Key:
        """Return the best key that the KDC knows of."""
        known = tickets.etypes_told(methods)
        for etype, salt, rounds in known:
            if etype in etypes:
                return keys.key(etype, salt, rounds)
        if not known and etypes == (RC4,):
            return keys.key(RC4, b"", b"")
        raise KdcRefused(ETYPE_NOSUPP)

    @staticmethod
    def _proven(kdc: Kdc, message: bytes, doubted: str, deadline: Deadline) -> bytes:
        try:
            return kdc.exchange(message, deadline, doubted)
        except KdcRefused as error:
            if error.code == PREAUTH_FAILED:
                raise _ProofRefused(error) from None
            raise

    def _why(self, error: KdcRefused, keys: Keys) -> NotAuthenticated:
        return told(error, f"{self._user}@{self._realm}", "", keys=keys.remedy)

    def _counted(
        self, error: KdcRefused, keys: Keys, digest: bytes, now: datetime
    ) -> NotAuthenticated | None:
        """Return what is believed from now on; None: one refusal is not."""
        why, until = self._why(error, keys), now + REFUSED_RESTS
        rests = NotAuthenticated(
            why.code,
            f"{why.cause} (refused twice; so that the account is not locked, not tried again before"
            f" {until:%H:%M} UTC, unless the {self._what} changes)",
            why.remedy,
        )
        times = 1 if self._refused is None else self._refused.times + 1
        self._refused = _Refused(digest, times, error.at, until, rests)
        return rests if times >= BELIEVED else None


def _strong(keys: Keys) -> tuple[int, ...]:
    return tuple(etype for etype in keys.etypes if etype in STRONG)


class CcacheLogin:
    """Takes the TGT out of a file, and has it renewed if it can be and nobody else does."""

    def __init__(self, user: str, realm: str, file: Path) -> None:
        self._user, self._realm, self._file = user, realm, file
        self._renewed: Ticket | None = None

    @property
    def described(self) -> str:
        """Tell people."""
        return f"ccache {self._file}"

    def login(self, kdc: Kdc, now: datetime, deadline: Deadline) -> Ticket:
        """Return the freshest TGT there is. Raises NotAuthenticated, or Late."""
        ticket = self._best(now)
        if now < ticket.stale or ticket.renewable_until is None:
            return ticket
        asked = tickets.for_service(
            ticket, ticket.service, (ticket.session.enctype,), now, renew=True
        )
        try:
            reply = kdc.exchange(asked.message, deadline)
            self._renewed = tickets.from_service(asked, reply, ticket, now)
        except KdcRefused as error:
            LOG.info("the ticket in %s is not renewed: %s", self._file, error)
            return ticket
        return self._renewed

    def _best(self, now: datetime) -> Ticket:
        """Return what lasts longest of what the file has and what was renewed here."""
        renewed = self._renewed
        try:
            ticket = read_ccache(self._file, self._user, self._realm, now)
        except NotAuthenticated:
            if renewed is None or now >= renewed.expires:
                raise
            return renewed
        return ticket if renewed is None or renewed.expires <= ticket.expires else renewed


def by_keytab(user: str, domain: str, file: Path) -> KeysLogin:
    """Return a login by a keytab."""
    realm = domain.upper()
    return KeysLogin(user, realm, file, "keytab", lambda: KeytabKeys(file, user, realm))


def by_password(user: str, domain: str, file: Path) -> KeysLogin:
    """Return a login by the password in a file."""
    return KeysLogin(user, domain.upper(), file, "password-file", lambda: PasswordKeys(file))


def by_ccache(user: str, domain: str, file: Path) -> CcacheLogin:
    """Return a login by a credential cache."""
    return CcacheLogin(user, domain.upper(), file)

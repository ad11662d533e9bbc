"""Where the ticket comes from that others are got with (the TGT): from a KDC, by the account's own
keys, or out of a file that somebody else keeps fresh.

A password or key that the KDC refused is not tried again before it changes or ten minutes have
passed: domains lock accounts after a few attempts, and this server may ask every second.
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
REFUSED_RESTS = timedelta(minutes=10)


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
    """Keys that the KDC refused, by their digest, and until when they are not shown again."""

    digest: bytes
    until: datetime
    why: NotAuthenticated


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
        if refused is not None and refused.digest == digest and now < refused.until:
            raise refused.why
        strong = tuple(etype for etype in keys.etypes if etype in STRONG)
        try:
            ticket = self._with(kdc, keys, strong or keys.etypes, now, deadline)
            self._strong = bool(strong)
        except KdcRefused as error:
            # Whoever forges this error would have us use the weaker key: not of an account that
            # was seen to have a stronger one.
            weak = error.code == ETYPE_NOSUPP and strong and RC4 in keys.etypes
            if not weak or self._strong:
                raise self._why(error, keys, digest, now) from None
            try:
                ticket = self._with(kdc, keys, (RC4,), now, deadline)
            except KdcRefused as again:
                raise self._why(again, keys, digest, now) from None
        self._refused = None
        if not strong or ticket.session.enctype == RC4:
            LOG.warning(
                "%s@%s has no AES key: RC4 is used, which is weak and on its way out; set a new"
                " password, and msDS-SupportedEncryptionTypes to 24",
                self._user,
                self._realm,
            )
        return ticket

    def _with(
        self, kdc: Kdc, keys: Keys, etypes: tuple[int, ...], now: datetime, deadline: Deadline
    ) -> Ticket:
        """Ask without proof, learn salt and type, and ask again with it."""
        client = (self._user,)
        asked = tickets.for_login(client, self._realm, etypes, now)
        try:
            reply = kdc.exchange(asked.message, deadline)
        except KdcRefused as error:
            if error.code != PREAUTH_REQUIRED:
                raise
            methods = tickets.parse(asn1.METHOD_DATA(), error.data)
            key = self._key(keys, etypes, methods)
            asked = tickets.for_login(client, self._realm, etypes, now, proof=(key, now))
            reply = kdc.exchange(asked.message, deadline)
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

    def _why(self, error: KdcRefused, keys: Keys, digest: bytes, now: datetime) -> NotAuthenticated:
        why = told(error, f"{self._user}@{self._realm}", "", keys=keys.remedy)
        if error.code == PREAUTH_FAILED:
            rested = NotAuthenticated(
                why.code, f"{why.cause} (not tried again within ten minutes)", why.remedy
            )
            self._refused = _Refused(digest, now + REFUSED_RESTS, rested)
        return why


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

"""The directory of the domain: what it says of the CA, of a template, and of who we are.

Read-only, and only what any account may read. A domain controller is asked in the first of these
ways that works; why one before it did not is kept, to be told:

1. LDAP over TLS, its certificate verified for the controller's name, the ticket bound to it.
2. LDAP with a ticket, every message sealed.
3. LDAP with NTLM, every message sealed, where the settings say `auth: ntlm`; then it is the only.

There is no way without protection, and none that takes a certificate on trust. Every wait is
bounded by the deadline of the whole. What comes back is bounded, too, and is shown to nobody before
it went through `findings.shown`.
"""

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from certeasy.ca.adcs import descriptors, ldap, sasl, templates
from certeasy.ca.adcs.deadline import Deadline, Late
from certeasy.ca.adcs.errors import NotReached
from certeasy.ca.adcs.findings import shown
from certeasy.ca.adcs.identity import Identity
from certeasy.ca.adcs.ldap import Object, Outcome
from certeasy.ca.adcs.sasl import Layer
from certeasy.ca.adcs.security import Refused, SecurityContext, Tampered
from certeasy.ca.adcs.sockets import close, connected

LDAP, LDAPS = 389, 636
MOST_OBJECTS = 1000
MOST_BYTES = 32 << 20
MOST_STEPS = 8
SERVICES = "CN=Enrollment Services,CN=Public Key Services,CN=Services"
TEMPLATES = "CN=Certificate Templates,CN=Public Key Services,CN=Services"
NT_AUTH = "CN=NTAuthCertificates,CN=Public Key Services,CN=Services"
EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
NEVER = 0x7FFF_FFFF_FFFF_FFFF
DISABLED = 0x2


class NotRead(Exception):
    """The directory could not be asked. `code` is what it said, if it said anything."""

    def __init__(self, cause: str, remedy: str = "", code: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy
        self.code = code


class Root(Struct, frozen=True):
    """What a domain controller says of itself."""

    host: str
    domain: str
    """The distinguished name of its domain."""
    configuration: str
    """That of the forest's configuration, where public key services are."""
    time: datetime | None


class Service(Struct, frozen=True):
    """An enterprise CA, as it is registered: a pKIEnrollmentService."""

    name: str
    host: str
    certificates: tuple[bytes, ...] = ()
    templates: tuple[str, ...] = ()


class Account(Struct, frozen=True):
    """Who we are, with all the groups that count."""

    name: str
    sid: str
    sids: frozenset[str]
    """Its own, its groups', and those that every logon over the network gets."""
    disabled: bool = False
    password_expires: datetime | None = None
    """None: never, or it is not told."""


class Directory(Protocol):
    """A domain's directory, as an account may read it. For one thread."""

    @property
    def how(self) -> str:
        """Tell people who is asked, and how: "dc1.corp.example by LDAP over TLS"."""
        ...

    @property
    def before(self) -> tuple[str, ...]:
        """Which better ways were tried before, and why they did not do."""
        ...

    def services(self) -> tuple[Service, ...]:
        """Return the enterprise CAs of the forest. Raises NotRead, as do all of these."""
        ...

    def template(self, name: str) -> templates.Attributes | None:
        """Return the template with this name (not its display name); None: there is none."""
        ...

    def account(self, user: str) -> Account | None:
        """Return the account with this logon name; None: it is not of this domain."""
        ...

    def trusted_for_logon(self) -> tuple[bytes, ...]:
        """Return the certificates (DER) of the CAs that may issue for logging on: NTAuth."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class Line:
    """A connection to a domain controller, and its layer once there is one."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._layer: Layer | None = None
        self._read = b""
        self._opened = b""
        self._number = 0
        self._bytes = 0

    def seal(self, layer: Layer) -> None:
        """Seal everything from now on."""
        if self._read:
            raise Tampered("the directory sent more than its answer before anything was sealed")
        self._layer = layer

    def next_number(self) -> int:
        """Return the number for the next request."""
        self._number += 1
        return self._number

    def send(self, message: bytes) -> None:
        """Send a message."""
        self._connection.settimeout(self._deadline.remaining())
        self._connection.sendall(message if self._layer is None else self._layer.wrap(message))

    def receive(self) -> bytes:
        """Return the next message. Raises Malformed, Tampered, OSError or Late."""
        if self._layer is None:
            return self._take(ldap.length_of)
        while (length := ldap.length_of(self._opened)) is None or len(self._opened) < length:
            self._opened += self._layer.unwrap(self._take(sasl.length_of)[4:])
        message, self._opened = self._opened[:length], self._opened[length:]
        return message

    def _take(self, measure: "Measure") -> bytes:
        while (length := measure(self._read)) is None or len(self._read) < length:
            self._connection.settimeout(self._deadline.remaining())
            data = self._connection.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the controller closed the connection")
            self._bytes += len(data)
            if self._bytes > MOST_BYTES:
                raise ldap.Malformed(f"the directory sent more than {MOST_BYTES} bytes")
            self._read += data
        taken, self._read = self._read[:length], self._read[length:]
        return taken

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError, Late):
            self.send(ldap.unbind(self.next_number()))
        close(self._connection)


class Measure(Protocol):
    """Tells how long that is which begins like this, once it can be told."""

    def __call__(self, head: bytes, /) -> int | None:
        """Return the length, or None. Raises Malformed or Tampered."""
        ...


class LdapDirectory:
    """A domain controller that was bound to."""

    def __init__(self, line: Line, host: str, way: str, before: Sequence[str]) -> None:
        self._line = line
        self.how = f"{host} by {way}"
        self.before = tuple(before)
        self.root = _root(line, host)

    def services(self) -> tuple[Service, ...]:
        """Return the enterprise CAs of the forest."""
        found = self._search(
            self._below(SERVICES),
            "children",
            ("cn", "dNSHostName", "cACertificate", "certificateTemplates"),
            ("objectClass", "pKIEnrollmentService"),
        )
        return tuple(map(service_of, found))

    def template(self, name: str) -> templates.Attributes | None:
        """Return the template with this name."""
        found = self._search(
            self._below(TEMPLATES), "children", templates.READ, ("cn", name), secured=True
        )
        return found[0].attributes if found else None

    def account(self, user: str) -> Account | None:
        """Return the account with this logon name."""
        found = self._search(
            self.root.domain,
            "below",
            ("objectSid", "userAccountControl", "sAMAccountName"),
            ("sAMAccountName", user),
        )
        if not found:
            return None
        # The groups in groups are computed, and only for the one object that is asked for.
        (computed,) = self._search(
            found[0].dn, "object", ("tokenGroups", "msDS-UserPasswordExpiryTimeComputed")
        ) or (Object("", {}),)
        with _told(self.how):
            return account_of(found[0], computed)

    def trusted_for_logon(self) -> tuple[bytes, ...]:
        """Return the certificates of NTAuth."""
        found = self._search(self._below(NT_AUTH), "object", ("cACertificate",))
        return tuple(value for each in found for value in each.attributes.get("cacertificate", ()))

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def _below(self, name: str) -> str:
        return f"{name},{self.root.configuration}"

    def _search(
        self,
        base: str,
        scope: ldap.Scope,
        attributes: Sequence[str],
        equals: tuple[str, str] | None = None,
        *,
        secured: bool = False,
    ) -> list[Object]:
        with _told(self.how):
            return _search(self._line, base, scope, attributes, equals, secured=secured)


def open_directory(
    host: str,
    identity: Identity,
    auth: Literal["kerberos", "ntlm"],
    deadline: Deadline,
    *,
    address: str = "",
    trusted: Path | None = None,
    ports: tuple[int, int] = (LDAP, LDAPS),
) -> LdapDirectory:
    """Bind to a domain controller, in the first way that works.

    `host` is its name: in tickets, and in its certificate. `address`: connect to this instead.
    `trusted` has the CA certificates (PEM) that controllers' certificates may be of, beside the
    system's. Raises NotRead with what the last way met, NotAuthenticated or Late.
    """
    before: list[str] = []
    if auth == "kerberos":
        try:
            return _over_tls(host, identity, deadline, trusted, ports[1], address)
        except NotRead as error:
            before.append(f"LDAP over TLS: {error.cause}")
    credentials = identity.credentials("ldap", host, deadline)
    way = f"LDAP, sealed by {'Kerberos' if credentials.kerberos else 'NTLM'}"
    with _told(host):
        line = Line(connected(address or host, ports[0], deadline), deadline)
        try:
            security = sasl.context(credentials, host, None)
            _bind(line, security)
            line.seal(Layer(security))
            return LdapDirectory(line, host, way, before)
        except BaseException:
            line.close()
            raise


def _over_tls(
    host: str,
    identity: Identity,
    deadline: Deadline,
    trusted: Path | None,
    port: int,
    address: str = "",
) -> LdapDirectory:
    with _told(host):
        made = connected(address or host, port, deadline)
        try:
            made.settimeout(deadline.remaining())
            context = ssl.create_default_context()
            if trusted is not None:
                context.load_verify_locations(trusted)
            secured = context.wrap_socket(made, server_hostname=host)
        except BaseException:
            close(made)
            raise
        line = Line(secured, deadline)
        try:
            certificate = secured.getpeercert(binary_form=True) or b""
            credentials = identity.credentials("ldap", host, deadline)
            _bind(line, sasl.context(credentials, host, sasl.bindings(certificate)))
            return LdapDirectory(line, host, "LDAP over TLS, by Kerberos", ())
        except BaseException:
            line.close()
            raise


def glance(host: str, deadline: Deadline, port: int = LDAP) -> Root:
    """Return what a controller says of itself to anybody, unprotected: good for its clock only.

    Raises NotRead or Late.
    """
    with _told(host):
        line = Line(connected(host, port, deadline), deadline)
        try:
            return _root(line, host)
        finally:
            line.close()


def _root(line: Line, host: str) -> Root:
    names = ("dnsHostName", "defaultNamingContext", "configurationNamingContext", "currentTime")
    (found,) = _search(line, "", "object", names) or (Object("", {}),)
    return root_of(found, host)


def _bind(line: Line, security: SecurityContext) -> None:
    """Exchange tokens until the controller knows us. Raises NotRead or Tampered."""
    token = security.step(b"")
    for _ in range(MOST_STEPS):
        number = line.next_number()
        line.send(ldap.bind(number, token))
        outcome = _outcome(line, number)
        if outcome.code not in {ldap.SUCCESS, ldap.BIND_IN_PROGRESS}:
            raise _refused(outcome)
        if outcome.token and not security.complete:
            token = security.step(outcome.token)
        if outcome.code == ldap.SUCCESS:
            break
    if not security.complete:
        raise Tampered("the controller gave no proof of who it is")


def _outcome(line: Line, number: int) -> Outcome:
    answered, found = ldap.answer(line.receive())
    if not isinstance(found, Outcome) or answered not in {number, 0}:
        raise ldap.Malformed("the controller answers something that was not asked")
    return found


def _search(
    line: Line,
    base: str,
    scope: ldap.Scope,
    attributes: Sequence[str],
    equals: tuple[str, str] | None = None,
    *,
    secured: bool = False,
) -> list[Object]:
    """Return what is found. Raises NotRead, Malformed, Tampered, OSError or Late."""
    found: list[Object] = []
    number = line.next_number()
    line.send(
        ldap.search(
            number,
            base,
            scope,
            attributes,
            equals=equals,
            limit=MOST_OBJECTS,
            descriptors=secured,
        )
    )
    for _ in range(2 * MOST_OBJECTS):
        answered, said = ldap.answer(line.receive())
        if answered not in {number, 0}:
            raise ldap.Malformed("the controller answers something that was not asked")
        if isinstance(said, Object):
            found.append(said)
        elif isinstance(said, Outcome):
            if said.code in {ldap.SUCCESS, ldap.NO_SUCH_OBJECT}:
                return found
            raise _refused(said)
    raise ldap.Malformed(f"more than {MOST_OBJECTS} objects were found")


REMEDIES = {
    "52e": "the password or key is wrong",
    "525": "there is no such account",
    "530": "the account may not log on at this hour",
    "531": "the account may not log on from this machine",
    "532": "the account's password has expired",
    "533": "the account is disabled",
    "701": "the account has expired",
    "773": "the account's password must be changed",
    "775": "the account is locked",
    "80090346": "the controller wants the channel bound, and something sits in between",
}
"""What the numbers in a controller's refusal mean: Windows puts a code behind `data`."""


def _refused(outcome: Outcome) -> NotRead:
    said = shown(outcome.message)
    meaning = next(
        (text for code, text in REMEDIES.items() if f"data {code}" in outcome.message.lower()), ""
    )
    remedy = {
        ldap.STRONGER_AUTH_REQUIRED: "let the controller take signed and sealed connections",
        ldap.INVALID_CREDENTIALS: meaning or "look at the account, and at the clocks",
    }.get(outcome.code, "")
    return NotRead(f"the controller refuses ({said or 'without a word'})", remedy, outcome.symbol)


@contextlib.contextmanager
def _told(host: str) -> Iterator[None]:
    """Turn what can happen on the way into NotRead; Late and NotAuthenticated pass."""
    try:
        yield
    except NotReached as error:
        raise NotRead(error.cause) from None
    except ssl.SSLCertVerificationError as error:
        raise NotRead(
            f"the certificate of {host} is not trusted: {shown(error.verify_message)}",
            "put the CA certificate of the domain controllers into the system's trust store",
        ) from None
    except Refused as error:
        raise NotRead(error.cause, "", error.symbol) from None
    except (Tampered, ldap.Malformed, ssl.SSLError, OSError) as error:
        raise NotRead(f"{host}: {shown(str(error)) or type(error).__name__}") from None


# -- what objects say --------------------------------------------------------------------------


def root_of(found: Object, host: str) -> Root:
    """Return what a controller says of itself; `host` is the name by which it was called."""
    return Root(
        _text(found.first("dnsHostName")) or host,
        _text(found.first("defaultNamingContext")),
        _text(found.first("configurationNamingContext")),
        _generalized(found.first("currentTime")),
    )


def service_of(found: Object) -> Service:
    """Return the enterprise CA that an object is about."""
    return Service(
        _text(found.first("cn")),
        _text(found.first("dNSHostName")),
        tuple(found.attributes.get("cacertificate", ())),
        tuple(_text(value) for value in found.attributes.get("certificatetemplates", ())),
    )


def account_of(found: Object, computed: Object) -> Account:
    """Return the account that an object is about; `computed` has what is told of one object only.

    Raises Malformed.
    """
    sid = _sid(found.first("objectSid"))
    groups = {_sid(each) for each in computed.attributes.get("tokengroups", ())}
    flags = _number(found.first("userAccountControl"))
    return Account(
        _text(found.first("sAMAccountName")),
        sid,
        frozenset({sid} | groups | descriptors.OF_EVERY_LOGON),
        disabled=bool(flags & DISABLED),
        password_expires=_moment(computed.first("msDS-UserPasswordExpiryTimeComputed")),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")[:1024]


def _number(value: bytes) -> int:
    text = value.decode("ascii", "replace").removeprefix("-")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0  # noqa: PLR2004


def _sid(value: bytes) -> str:
    try:
        return descriptors.sid(value)
    except descriptors.Malformed as error:
        raise ldap.Malformed(str(error)) from None


def _moment(value: bytes) -> datetime | None:
    """Return a time in 100 ns since 1601; None: never."""
    ticks = _number(value)
    if not 0 < ticks < NEVER:
        return None
    with contextlib.suppress(OverflowError):
        return EPOCH + timedelta(microseconds=ticks // 10)
    return None


def _generalized(value: bytes) -> datetime | None:
    """Return a time as the directory writes it: `20261128024425.0Z`."""
    with contextlib.suppress(ValueError):
        digits = value.decode("ascii", "replace").partition(".")[0].removesuffix("Z")
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return None

"""Whether an enterprise CA can be used: one look at everything between here and a certificate.

Read-only: nothing is submitted, nothing is changed, neither here nor there. Each step looks at one
thing and says what it saw in a sentence, with what is to be done if it is wrong. A step that needs
another which failed is skipped, and names it: the first failure is the one to mend.

    identity      who we are, by which means
    ca-dns        the CA's name has an address
    controllers   the domain's controllers are known
    ca-ports      the CA's ports are open from here
    dc-ports      and those of the controllers
    clock         this clock is the domain's
    ticket        the domain vouches for us to the CA (Kerberos)
    directory     a controller lets us read
    account       the account is in order
    ca-object     the CA is registered, under the name and host that were set
    bind          the CA answers us, protected
    ca-name       and knows the name that it was called by
    ca-certificate, ntauth        of the CA itself
    issuers       what certificates are verified under is known
    template, published, subject, eku, key, approval, ra-signatures, private-key, validity,
    enroll-right, others          of each template that the settings name
    request-right, revoke-right, edit-flags, interface-flags    of the CA, where they are readable

How the world is asked is `World`'s; what is made of its answers is decided here.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Literal, Protocol

from cryptography import x509
from msgspec import Struct

from certeasy.ca.adcs import descriptors, reaching, templates
from certeasy.ca.adcs.deadline import Late
from certeasy.ca.adcs.descriptors import CA_ENROLL, CA_OFFICER, Descriptor, Malformed, granted
from certeasy.ca.adcs.directory import Account, Directory, NotRead, Service
from certeasy.ca.adcs.errors import WireError, hexadecimal
from certeasy.ca.adcs.findings import Finding, listed, shown
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.templates import KeyRules, PendingRule, Unreadable, days

KERBEROS, LDAP, LDAPS = 88, 389, 636
REFUSED_SKEW, NOTED_SKEW = timedelta(minutes=5), timedelta(minutes=1)
SOON = timedelta(days=30)
INVALID_ARGUMENT = 0x8007_0057
ENROLL_DENIED = 0x8009_4011
ACCESS_DENIED = 0x8007_0005
SUBJECT_ALT_NAME_2 = 0x0004_0000  # EditFlags
NO_REMOTE_REQUESTS, NO_RPC_REQUESTS, PRIVATE_REQUESTS = 0x2, 0x8, 0x200  # InterfaceFlags
EDIT_FLAGS = ("PolicyModules\\CertificateAuthority_MicrosoftDefault.Policy", "EditFlags")
INTERFACE_FLAGS = ("", "InterfaceFlags")

Known = (NotRead, NotAuthenticated, WireError, Late)
"""What a world raises; anything else is a mistake in this program."""


class Wanted(Struct, frozen=True):
    """A template that the settings name, and what the policies let through to it."""

    template: str
    rules: tuple[KeyRules, ...] = ()
    pending: tuple[PendingRule, ...] = ()
    longest: timedelta | None = None


class Subject(Struct, frozen=True):
    """An authority, as the settings have it."""

    ca_name: str
    """Its common name."""
    host: str
    transport: Literal["auto", "tcp", "np"] = "auto"
    port: int = 0
    mapper_port: int = 135
    smb_port: int = 445
    auth: Literal["kerberos", "ntlm", "sspi"] = "kerberos"
    user: str = ""
    revokes: bool = True
    issuers_in_file: bool = False
    """Whether `ca-certificates` is set; else the CA is asked."""
    wanted: tuple[Wanted, ...] = ()


class Unread(Exception):
    """The CA does not tell this to this account, or this account cannot ask. A sentence."""


class World(Protocol):
    """What is between here and the CA. All raise one of `Known`, unless told otherwise."""

    def identity(self) -> str:
        """Tell people who we are; nobody is asked yet."""
        ...

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return a name's addresses."""
        ...

    def knock(self, host: str, port: int) -> None:
        """Connect, and hang up."""
        ...

    def controllers(self) -> tuple[str, ...]:
        """Return the names of the domain's controllers."""
        ...

    def now(self) -> datetime:
        """Return this machine's time."""
        ...

    def time_of(self, controller: str) -> datetime | None:
        """Return a controller's time; None: it does not tell."""
        ...

    def ticket(self, service: str, host: str) -> None:
        """Have the domain vouch for us to a service."""
        ...

    def directory(self, controller: str) -> Directory:
        """Bind to a controller."""
        ...

    def probe(self) -> int:
        """Ask the CA for a request that cannot exist; return what it said, a code."""
        ...

    def offered(self) -> tuple[str, ...]:
        """Return the names of the templates that the CA itself offers now. Raises Unread."""
        ...

    def issuers(self) -> tuple[bytes, ...]:
        """Return the CA certificates (DER) that certificates are verified under. Raises Unread."""
        ...

    def security(self) -> bytes:
        """Return the CA's own security descriptor. Raises Unread."""
        ...

    def setting(self, node: str, name: str) -> int:
        """Return a number out of the CA's own configuration. Raises Unread."""
        ...


class Preflight:
    """One look at one authority."""

    def __init__(self, subject: Subject, world: World) -> None:
        self._subject = subject
        self._world = world
        self._broken: set[str] = set()
        self._controllers: tuple[str, ...] = ()
        self._directory: Directory | None = None
        self._account: Account | None = None
        self._service: Service | None = None
        self._newest = b""
        self._answer = 0
        self._security: Descriptor | None = None

    def run(self) -> Iterator[Finding]:
        """Yield what is found, step by step, as it is found."""
        try:
            for step, needs, look in self._steps():
                missing = next((each for each in needs if each in self._broken), None)
                if missing is not None:
                    self._broken.add(step)
                    yield Finding(step, "skipped", f"not looked at: {missing} comes first")
                    continue
                finding = self._looked(step, look)
                if finding.status in {"fail", "skipped"}:
                    self._broken.add(step)
                yield finding
            for wanted in self._subject.wanted:
                yield from self._template(wanted)
            yield from self._rights()
        finally:
            if self._directory is not None:
                self._directory.close()

    def _steps(self) -> tuple[tuple[str, tuple[str, ...], Callable[[], Finding]], ...]:
        return (
            ("identity", (), self._identity),
            ("ca-dns", (), self._ca_dns),
            ("controllers", (), self._find_controllers),
            ("ca-ports", ("ca-dns",), self._ca_ports),
            ("dc-ports", ("controllers",), self._dc_ports),
            ("clock", ("dc-ports",), self._clock),
            ("ticket", ("identity", "dc-ports"), self._ticket),
            ("directory", ("identity", "dc-ports"), self._bind_directory),
            ("account", ("directory",), self._look_at_account),
            ("ca-object", ("directory",), self._ca_object),
            ("bind", ("identity", "ca-ports"), self._bind),
            ("ca-name", ("bind",), self._ca_name),
            ("ca-certificate", ("ca-object",), self._ca_certificate),
            ("issuers", (), self._issuers),
            ("ntauth", ("ca-object",), self._nt_auth),
        )

    def _looked(self, step: str, look: Callable[[], Finding]) -> Finding:
        """Return what a step found, or how it failed."""
        try:
            return look()
        except (NotRead, NotAuthenticated) as error:
            return Finding(step, "fail", shown(error.cause, 400), error.remedy, error.code)
        except WireError as error:
            code = "" if error.code is None else hexadecimal(error.code)
            text = f"{error.layer}: {error.cause}"
            return Finding(step, "fail", shown(text, 400), reaching.remedy(error), code)
        except Late as error:
            return Finding(step, "fail", shown(str(error)), "see what swallows packets on the way")

    # -- the way there -------------------------------------------------------------------------

    def _identity(self) -> Finding:
        said = self._world.identity()
        if self._subject.auth != "ntlm":
            return Finding("identity", "ok", said)
        return Finding(
            "identity",
            "warn",
            f"{said}: NTLM is weaker than Kerberos, and switched off in many domains",
            "auth: kerberos, with a keytab",
        )

    def _ca_dns(self) -> Finding:
        host = self._subject.host
        found = self._world.addresses(host)
        return Finding("ca-dns", "ok", f"{host} is {listed(found)}")

    def _find_controllers(self) -> Finding:
        self._controllers = self._world.controllers()
        return Finding("controllers", "ok", listed(self._controllers))

    def _ca_ports(self) -> Finding:
        subject = self._subject
        tcp = self._knocked(subject.host, subject.port or subject.mapper_port)
        pipe = self._knocked(subject.host, subject.smb_port)
        open_ones = [way for way, wrong in (("tcp", tcp), ("np", pipe)) if not wrong]
        said = (
            f"{subject.host}: {_port(subject.port or subject.mapper_port, tcp)},"
            f" {_port(subject.smb_port, pipe)}"
        )
        if subject.transport in open_ones or (subject.transport == "auto" and open_ones):
            return Finding("ca-ports", "ok", said)
        needed = {
            "tcp": f"TCP {subject.mapper_port} and the CA's RPC port (49152-65535, or the one that"
            " was fixed)",
            "np": f"TCP {subject.smb_port}",
        }
        wanted = needed["np" if subject.transport == "np" else "tcp"]
        return Finding(
            "ca-ports", "fail", said, f"let this machine reach {subject.host} at {wanted}"
        )

    def _dc_ports(self) -> Finding:
        """The ports of the first few controllers; those that answer are asked first from now on."""
        needed = (LDAP, LDAPS) if self._subject.auth == "ntlm" else (KERBEROS, LDAP, LDAPS)
        told, good = [], []
        for controller in self._controllers[:4]:
            closed = [port for port in needed if self._knocked(controller, port)]
            told.append(f"{controller}: {_ports(needed, closed)}")
            if needed[0] not in closed and not {LDAP, LDAPS} <= set(closed):
                good.append(controller)
        said = "; ".join(told)
        remedy = f"let this machine reach the domain's controllers at TCP {_numbers(needed)}"
        if not good:
            return Finding("dc-ports", "fail", said, remedy)
        rest = [each for each in self._controllers if each not in good]
        self._controllers = (*good, *rest)
        if len(good) < len(told):
            return Finding("dc-ports", "warn", said, remedy)
        return Finding("dc-ports", "ok", said)

    def _knocked(self, host: str, port: int) -> str:
        """Return why a port is closed; empty: it is open."""
        try:
            self._world.knock(host, port)
        except Known as error:
            told = getattr(error, "cause", "") or str(error)
            return str(told).removeprefix(f"{host} port {port}: ")
        return ""

    def _clock(self) -> Finding:
        controller = self._controllers[0]
        theirs = self._world.time_of(controller)
        if theirs is None:
            return Finding("clock", "skipped", f"{controller} does not tell its time")
        ahead = self._world.now() - theirs
        apart = abs(ahead)
        seconds = int(apart.total_seconds())
        said = f"this clock and that of {controller} are {seconds} s apart"
        if apart >= NOTED_SKEW:
            said = f"this clock is {seconds} s {'ahead of' if ahead == apart else 'behind'} that"
            said += f" of {controller}; Kerberos refuses from 300 s on"
        remedy = "have this machine take its time from the domain's controllers (NTP)"
        if apart >= REFUSED_SKEW and self._subject.auth != "ntlm":
            return Finding("clock", "fail", said, remedy)
        if apart >= NOTED_SKEW:
            return Finding("clock", "warn", said, remedy)
        return Finding("clock", "ok", said)

    def _ticket(self) -> Finding:
        if self._subject.auth != "kerberos":
            return Finding("ticket", "ok", f"auth: {self._subject.auth} needs none from us")
        host = self._subject.host
        services = ["host", "cifs"] if self._subject.transport == "np" else ["host"]
        for service in services:
            self._world.ticket(service, host)
        named = " and ".join(f"{service}/{host}" for service in services)
        return Finding("ticket", "ok", f"the domain vouches for us to {named}")

    # -- the directory -------------------------------------------------------------------------

    def _bind_directory(self) -> Finding:
        """The first controllers, one after the other, as far as there is one that lets us in."""
        errors: list[NotRead] = []
        for controller in self._controllers[:4]:
            try:
                found = self._world.directory(controller)
            except NotRead as error:
                errors.append(error)
                continue
            self._directory = found
            before = "".join(f" (not by {shown(each, 300)})" for each in found.before)
            return Finding("directory", "ok", f"{found.how}{before}")
        raise errors[0]

    def _look_at_account(self) -> Finding:
        assert self._directory is not None
        user = self._subject.user
        if not user:
            return Finding("account", "skipped", "who this server runs as is not looked up")
        found = self._directory.account(user)
        if found is None:
            return Finding(
                "account",
                "skipped",
                f"{user} is not of this domain, so its groups are not known, nor what it may do",
            )
        self._account = found
        said = f"{shown(found.name)} ({found.sid}), with {len(found.sids)} SIDs that count"
        if found.disabled:
            return Finding(
                "account", "fail", f"{said}, is disabled", "enable it in Active Directory"
            )
        if found.password_expires is not None:
            left = found.password_expires - self._world.now()
            said += f"; its password expires in {days(max(left, timedelta()))}"
            if left < SOON:
                return Finding(
                    "account",
                    "warn",
                    said,
                    "set a new one (and a new keytab), or use a gMSA, or `password never expires`",
                )
        return Finding("account", "ok", said)

    def _ca_object(self) -> Finding:
        assert self._directory is not None
        subject = self._subject
        found = self._directory.services()
        same = [each for each in found if each.name.lower() == subject.ca_name.lower()]
        if not same:
            names = listed(f"{each.host}\\{each.name}" for each in found)
            return Finding(
                "ca-object",
                "fail",
                f"no enterprise CA of the forest is called {subject.ca_name}; there is"
                f" {names or 'none'}",
                "correct ca-name: it is the CA's common name, as certutil -CA shows it",
            )
        self._service = next(
            (each for each in same if each.host.lower() == subject.host.lower()), same[0]
        )
        if self._service.host.lower() != subject.host.lower():
            return Finding(
                "ca-object",
                "warn",
                f"{subject.ca_name} is registered at {shown(self._service.host)}, the settings have"
                f" {subject.host}",
                "set the host in ca-name (or host) to that name: tickets are for it",
            )
        return Finding(
            "ca-object", "ok", f"{subject.host}\\{subject.ca_name} is registered in the forest"
        )

    def _ca_certificate(self) -> Finding:
        """The certificate that the CA signs with now: the one that is valid longest."""
        assert self._service is not None
        ends = {
            each: end for each in self._service.certificates if (end := _end_of(each)) is not None
        }
        step = "ca-certificate"
        if not ends:
            return Finding(step, "warn", "the directory has no certificate of the CA")
        newest = self._newest = max(ends, key=lambda each: ends[each])
        left = ends[newest] - self._world.now()
        said = f"the CA's certificate is valid until {ends[newest]:%Y-%m-%d}, {days(abs(left))}"
        if left <= timedelta():
            return Finding(step, "fail", f"{said} ago", "renew the CA's certificate")
        spans = [each.longest for each in self._subject.wanted if each.longest is not None]
        if left < max([SOON, *spans]):
            return Finding(
                step,
                "warn",
                f"{said} from now; no certificate outlives it",
                "renew the CA's certificate",
            )
        return Finding(step, "ok", f"{said} from now")

    def _issuers(self) -> Finding:
        """What the CA returns is verified under these; they are in a file, or the CA is asked."""
        step, in_file = "issuers", self._subject.issuers_in_file
        if not in_file and "bind" in self._broken:
            return Finding(step, "skipped", "not looked at: bind comes first")
        try:
            known = self._world.issuers()
        except (Unread, *Known) as error:
            why = getattr(error, "cause", "") or str(error)
            return Finding(
                step,
                "fail",
                f"which CA certificates to verify under is not known: {shown(why, 300)}",
                "set ca-certificates to a file that has them in PEM; or let this machine reach the"
                " CA's RPC ports (135, 49152-65535)",
            )
        where = "the file ca-certificates has" if in_file else "the CA tells"
        if self._newest and self._newest not in known:
            return Finding(
                step,
                "fail",
                f"{where} {len(known)} certificates, and the CA's newest is not among them: what it"
                " signs would be refused and revoked",
                "add it to the file: certutil -ca.cert FILE on the CA writes it",
            )
        return Finding(step, "ok", f"{where} the CA's certificate, and {len(known)} in all")

    def _nt_auth(self) -> Finding:
        assert self._directory is not None
        assert self._service is not None
        trusted = set(self._directory.trusted_for_logon())
        if trusted.intersection(self._service.certificates):
            text = "certificates of this CA can log people on (NTAuth): mind what a template is for"
        else:
            text = "certificates of this CA log nobody on: it is not among those of NTAuth"
        return Finding("ntauth", "ok", text)

    # -- the CA --------------------------------------------------------------------------------

    def _bind(self) -> Finding:
        self._answer = self._world.probe()
        return Finding("bind", "ok", f"{self._subject.host} answers us, protected")

    def _ca_name(self) -> Finding:
        """An unknown name is an invalid argument; so may be a request that cannot exist."""
        name = self._subject.ca_name
        if self._answer != INVALID_ARGUMENT:
            return Finding("ca-name", "ok", f"it is {name}")
        if "ca-object" not in self._broken:
            return Finding("ca-name", "ok", f"it is {name}, says the directory")
        return Finding(
            "ca-name",
            "warn",
            f"the CA may not know the name {name}",
            "compare ca-name with what certutil -CA shows",
            hexadecimal(INVALID_ARGUMENT),
        )

    def _template(self, wanted: Wanted) -> Iterator[Finding]:
        """Yield what is found of one template."""
        name = wanted.template
        if self._directory is None or self._service is None:
            missing = "directory" if self._directory is None else "ca-object"
            text = f"not looked at: {missing} comes first"
            yield Finding("template", "skipped", text, about=name)
            return
        try:
            attributes = self._directory.template(name)
            template = None if attributes is None else templates.read(attributes)
        except NotRead as error:
            yield Finding("template", "fail", shown(error.cause), error.remedy, about=name)
            return
        except Unreadable as error:
            yield Finding("template", "fail", shown(str(error)), about=name)
            return
        if template is None:
            yield Finding(
                "template",
                "fail",
                f"the forest has no template called {name}",
                "certificate-template is the template's name, not its display name (certtmpl.msc,"
                " tab General)",
                "0x80094800",
                about=name,
            )
            return
        said = f"schema version {template.version}"
        yield Finding("template", "ok", f"{template.name}, {said}", about=name)
        for finding in (
            self._published(name),
            *templates.judge(template, wanted.rules, wanted.pending, wanted.longest),
            self._enroll_right(template),
            templates.others(template),
        ):
            yield _about(finding, name)

    def _published(self, name: str) -> Finding:
        assert self._service is not None
        offered = self._service.templates
        if name.lower() in {each.lower() for each in offered}:
            told = self._offered()
            if told is not None and name.lower() not in told:
                return Finding(
                    "published",
                    "warn",
                    f"{name} is to be offered by {shown(self._service.name)}, which has not read it"
                    " from the directory yet",
                    "wait some minutes, or have it read now: certutil -pulse on the CA",
                    "0x80094800",
                )
            return Finding("published", "ok", f"{shown(self._service.name)} offers {name}")
        return Finding(
            "published",
            "fail",
            f"{shown(self._service.name)} does not offer {name}, but {listed(offered) or 'none'}",
            "certsrv.msc, Certificate Templates, New, Certificate Template to Issue",
            "0x80094800",
        )

    def _offered(self) -> set[str] | None:
        """Return which templates the CA itself says it offers; None: it does not tell."""
        if "bind" in self._broken:
            return None
        try:
            return {name.lower() for name in self._world.offered()}
        except (Unread, *Known):
            return None

    def _enroll_right(self, template: templates.Template) -> Finding:
        if self._account is None:
            return Finding("enroll-right", "skipped", "not looked at: account comes first")
        return templates.enroll_right(template, shown(self._account.name), self._account.sids)

    # -- what only the CA itself knows -----------------------------------------------------------

    def _rights(self) -> Iterator[Finding]:
        if "bind" in self._broken:
            for step in ("request-right", "revoke-right", "edit-flags", "interface-flags"):
                yield Finding(step, "skipped", "not looked at: bind comes first")
            return
        unread = ""
        try:
            self._security = descriptors.parse(self._world.security())
        except (Unread, Malformed) as error:
            unread = str(error)
        except Known as error:
            unread = getattr(error, "cause", "") or str(error)
        yield self._request_right(unread)
        yield self._revoke_right(unread)
        yield self._edit_flags()
        yield self._interface_flags()

    def _request_right(self, unread: str) -> Finding:
        step = "request-right"
        remedy = "certsrv.msc, the CA's properties, tab Security: Request Certificates"
        denied = hexadecimal(ENROLL_DENIED)
        if self._answer == ENROLL_DENIED:
            text = "the CA takes no requests of this account, or none from other machines"
            return Finding(step, "fail", text, remedy, denied)
        verdict = self._granted(CA_ENROLL)
        if verdict is None:
            return Finding(step, "skipped", unread or "not looked at: account comes first", remedy)
        if verdict:
            return Finding(step, "ok", "the account may request certificates")
        return Finding(step, "fail", "the account may not request certificates", remedy, denied)

    def _revoke_right(self, unread: str) -> Finding:
        step = "revoke-right"
        remedy = (
            "certsrv.msc, the CA's properties, tab Security: Issue and Manage Certificates (tab"
            " Certificate Managers narrows it to the template); or disable-ca-revocation: true"
        )
        if not self._subject.revokes:
            return Finding(step, "ok", "not needed: disable-ca-revocation is set")
        verdict = self._granted(CA_OFFICER)
        if verdict is None:
            return Finding(step, "skipped", unread or "not looked at: account comes first", remedy)
        if verdict:
            return Finding(step, "ok", "the account may revoke certificates")
        return Finding(
            step,
            "warn",
            "the account may not revoke certificates: revocations are accepted here, and not passed"
            " on to the CA",
            remedy,
            hexadecimal(ACCESS_DENIED),
        )

    def _granted(self, right: int) -> bool | None:
        """Whether the account has a right on the CA; None: that cannot be told."""
        if self._security is None:
            return None
        if self._account is None:
            known = granted(self._security, descriptors.OF_EVERY_LOGON, right)
            return True if known.granted else None
        return granted(self._security, self._account.sids, right).granted

    def _edit_flags(self) -> Finding:
        step, command = "edit-flags", "certutil -getreg policy\\EditFlags"
        value = self._number(EDIT_FLAGS)
        if isinstance(value, str):
            return Finding(step, "skipped", value, f"on the CA: {command}; see docs/adcs.md, ESC6")
        if value & SUBJECT_ALT_NAME_2:
            return Finding(
                step,
                "warn",
                "EDITF_ATTRIBUTESUBJECTALTNAME2 is set: whoever may enrol with any template gets"
                " any name into his certificate (ESC6)",
                "on the CA: certutil -setreg policy\\EditFlags -EDITF_ATTRIBUTESUBJECTALTNAME2,"
                " then restart CertSvc",
            )
        return Finding(step, "ok", "names come from requests and templates, not from attributes")

    def _interface_flags(self) -> Finding:
        step, command = "interface-flags", "certutil -getreg CA\\InterfaceFlags"
        value = self._number(INTERFACE_FLAGS)
        if isinstance(value, str):
            return Finding(step, "skipped", value, f"on the CA: {command}; see docs/adcs.md, ESC11")
        if value & (NO_REMOTE_REQUESTS | NO_RPC_REQUESTS):
            return Finding(
                step,
                "fail",
                "the CA takes no requests by RPC",
                "on the CA: certutil -setreg CA\\InterfaceFlags -IF_NOREMOTEICERTREQUEST"
                " (or -IF_NORPCICERTREQUEST), then restart CertSvc",
            )
        if not value & PRIVATE_REQUESTS:
            return Finding(
                step,
                "warn",
                "IF_ENFORCEENCRYPTICERTREQUEST is not set: the CA takes requests unprotected, which"
                " can be relayed (ESC11); ours are protected",
                "on the CA: certutil -setreg CA\\InterfaceFlags +IF_ENFORCEENCRYPTICERTREQUEST,"
                " then restart CertSvc",
            )
        return Finding(step, "ok", "the CA takes protected requests only")

    def _number(self, where: tuple[str, str]) -> int | str:
        """Return one of the CA's settings, or why it is not known."""
        try:
            return self._world.setting(*where)
        except Unread as error:
            return str(error)
        except Known as error:
            return getattr(error, "cause", "") or str(error)


def _about(finding: Finding, name: str) -> Finding:
    return Finding(
        finding.step, finding.status, finding.text, finding.remedy, finding.code, about=name
    )


def _end_of(certificate: bytes) -> datetime | None:
    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None


def _port(port: int, wrong: str) -> str:
    return f"{port} is closed ({shown(wrong, 120)})" if wrong else f"{port} is open"


def _ports(ports: tuple[int, ...], closed: list[int]) -> str:
    open_ones = [port for port in ports if port not in closed]
    told = [f"{_numbers(open_ones)} open"] if open_ones else []
    told += [f"{_numbers(closed)} closed"] if closed else []
    return ", ".join(told)


def _numbers(ports: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, ports))

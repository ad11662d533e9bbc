"""A CA: its templates, what it decides about a request, what its officers do, what it remembers.

Decided in this order, as certificate services does (MS-WCCE 3.2.1.4.2.1.4): is it for us, can it
be read, is its template known and offered, may this one enrol, is its key good enough; and then
what the template, or whoever runs the simulator, has it do.
"""

import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from threading import Lock

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from certeasy.clock import Clock
from tools.adcs_sim import hresults, signing
from tools.adcs_sim.behaviour import Behaviour, Wrong
from tools.adcs_sim.connection import Fault, LineCut
from tools.adcs_sim.database import Database, Request, serial_of
from tools.adcs_sim.descriptors import (
    ADMINISTRATE,
    ADMINISTRATORS,
    AUTHENTICATED_USERS,
    ENROLL,
    OFFICER,
    READ,
    security_descriptor,
)

DENIED, ISSUED, UNDER_SUBMISSION, REVOKED = 2, 3, 5, 6
"""Dispositions (MS-WCCE 3.2.1.4.2.1, 3.2.1.4.3.1.2); anything else is an HRESULT."""
_SHOWN = {"denied": DENIED, "revoked": REVOKED}
"""What becomes of a disposition when the request is asked for again."""
_DEFAULT_POLICY = "PolicyModules\\CertificateAuthority_MicrosoftDefault.Policy"


RELEASED = 0xFFFFFFFF
"""As a reason for revocation: it is taken off hold."""
_HOLD = 6
_REASONS = {0, 1, 2, 3, 4, 5, _HOLD, 8, RELEASED}


class Template(Struct, frozen=True, kw_only=True):
    """A certificate template, and what becomes of requests for it.

    `published`: whether this CA offers it. `enrollers`: the accounts that may enrol, lower-case;
    None: everybody. `minimal_key_size` is for RSA keys; `elliptic`: whether others will do.
    """

    name: str
    behaviour: Behaviour = Behaviour()
    published: bool = True
    enrollers: tuple[str, ...] | None = None
    minimal_key_size: int = 2048
    elliptic: bool = True
    days: int = 90
    oid: str = "1.3.6.1.4.1.311.21.8.1.2"


class Reply(Struct, frozen=True, kw_only=True):
    """What CertServerRequest returns. `result` is its HRESULT; 0: the rest counts."""

    request_id: int = 0
    disposition: int = 0
    chain: bytes = b""
    certificate: bytes = b""
    message: str = ""
    result: int = 0
    cut: int | None = None
    reset: bool = False


DEFAULT_TEMPLATES = (Template(name="WebServer"),)


class Ca:
    """One certification authority. All threads may use it at once."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        templates: Iterable[Template] = DEFAULT_TEMPLATES,
        folder: Path | None = None,
        officers: Iterable[str] | None = None,
        key: str = "P-256",
    ) -> None:
        self.name = name
        self.templates = {template.name: template for template in templates}
        self.officers = None if officers is None else {one.lower() for one in officers}
        """Who may revoke, approve and publish: account names; None: everybody."""
        self.published_crls: list[str] = []
        self.config: dict[tuple[str, str], int | str] = {
            ("", "InterfaceFlags"): 0x641,
            (_DEFAULT_POLICY, "EditFlags"): 0x11014E,
        }
        """What officers can read of its registry, by node and entry."""
        self.security = security_descriptor(
            [
                (ADMINISTRATE | OFFICER, ADMINISTRATORS),
                (READ | ENROLL, AUTHENTICATED_USERS),
            ]
        )
        self.database = Database(folder / "requests.jsonl" if folder else None)
        self._clock = clock
        self._folder = folder
        self._key = key
        self._once: deque[Behaviour] = deque()
        self._officers_once: deque[Behaviour] = deque()
        self._once_lock = Lock()
        self._signers = self._load() or []
        if not self._signers:
            self.renew()

    def close(self) -> None:
        """Close its files."""
        self.database.close()

    # ------------------------------------------------------------ certificates

    @property
    def signers(self) -> tuple[signing.Signer, ...]:
        """Its certificates, the newest last: renewals add one."""
        return tuple(self._signers)

    @property
    def roots(self) -> bytes:
        """Its certificates in PEM."""
        return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in self._signers)

    @property
    def sanitized(self) -> str:
        """Its name with what file names cannot hold written as !xxxx: MS-WCCE 3.1.1.4.1.1."""
        return "".join(
            one if one.isascii() and (one.isalnum() or one in " -_") else f"!{ord(one):04x}"
            for one in self.name
        )

    def crl(self, index: int = -1) -> bytes:
        """Return a revocation list of what is revoked now (DER), signed by one of its keys."""
        revoked = [
            (one.certificate, one.revoked_at or self._clock.now())
            for one in self.database.requests()
            if one.state == "revoked"
        ]
        return signing.crl(self._signers[index], revoked, self._clock.now())

    def publish_crl(self, kind: str) -> None:
        """Publish one, "base" or "delta"; it counts in `published_crls`."""
        self.published_crls.append(kind)

    def renew(self) -> signing.Signer:
        """Let it have a new key and certificate; it signs with that from now on."""
        version = len(self._signers)
        signer = signing.new_signer(self.name, self._clock.now(), version, self._key)
        if self._folder:
            file = self._folder / f"ca-{version:03}.pem"
            file.touch(mode=0o600)
            file.write_bytes(signer.pem())
        self._signers = [*self._signers, signer]
        return signer

    def _load(self) -> list[signing.Signer]:
        if self._folder is None:
            return []
        self._folder.mkdir(parents=True, exist_ok=True)
        return [signing.load_signer(file) for file in sorted(self._folder.glob("ca-*.pem"))]

    # ------------------------------------------------------------ what it is told

    def behaves(self, template: str, behaviour: Behaviour) -> None:
        """Tell what becomes of requests for a template from now on; one it lacks is added."""
        known = self.templates.get(template, Template(name=template))
        self.templates[template] = msgspec.structs.replace(known, behaviour=behaviour)

    def once(self, *behaviours: Behaviour) -> None:
        """Tell what becomes of the next requests, one after another, whatever their template."""
        with self._once_lock:
            self._once.extend(behaviours)

    def forget(self) -> None:
        """Forget what was told of the next requests and calls."""
        with self._once_lock:
            self._once.clear()
            self._officers_once.clear()

    def officers_meet(self, *behaviours: Behaviour) -> None:
        """Tell what becomes of the next calls by officers, one after another."""
        with self._once_lock:
            self._officers_once.extend(behaviours)

    def told_officers(self) -> Behaviour:
        """Return what becomes of a call by an officer."""
        with self._once_lock:
            return self._officers_once.popleft() if self._officers_once else Behaviour()

    def configured(self, node: str, entry: str) -> int | str | None:
        """Return a value of its registry; None: there is none. Case does not matter."""
        wanted = (node.lower(), entry.lower())
        for (at, name), value in self.config.items():
            if (at.lower(), name.lower()) == wanted:
                return value
        return None

    def _behaviour(self, template: Template) -> Behaviour:
        with self._once_lock:
            return self._once.popleft() if self._once else template.behaviour

    # ------------------------------------------------------------ requests

    def is_called(self, authority: str | None) -> bool:
        """Whether that is this CA's name; no name at all is everybody's."""
        return (authority or self.name).lower() in {self.name.lower(), self.sanitized.lower()}

    def submit(self, csr: bytes, attributes: dict[str, str], requester: str) -> Reply:
        """Decide about a new request. Raises Fault or LineCut if it was told to."""
        wanted = attributes.get("certificatetemplate", "")
        request = Request(
            id=self.database.new_id(),
            submitted=self._clock.now(),
            requester=requester,
            template=wanted,
            csr=csr,
            attributes=attributes,
            state="failed",
            disposition=0,
        )
        template = self.templates.get(wanted)
        code = self._refusal(request, template)
        if code or template is None:
            return self._answer(self._denied(request, code))
        behaviour = self._behaviour(template)
        time.sleep(behaviour.seconds)
        if behaviour.cut == "before":
            raise LineCut(reset=behaviour.reset)
        reply = self._decide(request, template, behaviour)
        if behaviour.hidden:
            reply = Reply(request_id=reply.request_id, disposition=behaviour.hidden)
        time.sleep(behaviour.late)
        if behaviour.cut == "after":
            return msgspec.structs.replace(reply, cut=behaviour.cut_at, reset=behaviour.reset)
        return reply

    def retrieve(self, number: int) -> Reply:
        """Tell what became of a request: MS-WCCE 3.2.1.4.3.1.2."""
        request = self.database.change(number, self._polled)
        if request is None:
            return Reply(request_id=number, result=hresults.PROPERTY_EMPTY)
        template = self.templates.get(request.template)
        if template is not None and template.behaviour.hidden and request.certificate:
            return Reply(request_id=number, disposition=template.behaviour.hidden)
        reply = self._answer(request)
        code = _SHOWN.get(request.state, reply.disposition)
        return msgspec.structs.replace(reply, disposition=code)

    def retrieve_serial(self, serial: str) -> Reply:
        """Tell about a certificate by its serial number in hex."""
        request = self.database.by_serial(plain(serial))
        return self.retrieve(request.id) if request else Reply(result=hresults.PROPERTY_EMPTY)

    def _refusal(self, request: Request, template: Template | None) -> int:
        """Return why a request is refused before its template has a say; 0: it is not."""
        parsed = signing.parsed(request.csr)
        if parsed is None:
            return hresults.ASN1_BAD_TAG
        if not request.template:
            return hresults.NO_CERT_TYPE
        if template is None or not template.published:
            return hresults.UNSUPPORTED_CERT_TYPE
        if template.enrollers is not None and account(request.requester) not in template.enrollers:
            return hresults.TEMPLATE_DENIED
        return 0 if _good_key(parsed, template) else hresults.KEY_LENGTH

    def _decide(self, request: Request, template: Template, behaviour: Behaviour) -> Reply:
        match behaviour.then:
            case "fault":
                raise Fault(behaviour.code)
            case "deny" if behaviour.result:
                return Reply(result=behaviour.code)
            case "deny":
                return self._answer(self._denied(request, behaviour.code, behaviour.message))
            case "pend":
                pending = msgspec.structs.replace(
                    request,
                    state="pending",
                    disposition=UNDER_SUBMISSION,
                    message="Taken Under Submission",
                )
                return self._answer(self.database.put(pending))
            case "issue":
                days = behaviour.days or template.days
                issued = self.database.put(self._issued(request, behaviour.wrong, days))
                return self._answer(issued, behaviour.chain, behaviour.wrong)

    def _polled(self, request: Request) -> Request | None:
        if request.state != "pending":
            return None
        request = msgspec.structs.replace(request, polls=request.polls + 1)
        behaviour = self.templates[request.template].behaviour
        if behaviour.polls is not None and request.polls >= behaviour.polls:
            return self._issued(request, behaviour.approved_as)
        return request

    def _issued(self, request: Request, wrong: Wrong = "", days: int | None = None) -> Request:
        """Return the request with its certificate; what else was signed is in the database."""
        template = self.templates[request.template]
        lifetime = signing.Lifetime(self._clock.now(), days or template.days)
        csr = x509.load_der_x509_csr(request.csr)
        fault: Wrong = "" if wrong in {"other-order", "garbage"} else wrong
        der = signing.leaf(self._signers[-1], csr, lifetime, fault).public_bytes(Encoding.DER)
        before = self.database.issued() if wrong == "other-order" else []
        if before:
            self.database.signed(der)
            der = before[-1]
        return msgspec.structs.replace(
            request, state="issued", disposition=ISSUED, message="Issued", certificate=der
        )

    def _denied(self, request: Request, code: int, message: str = "") -> Request:
        text = message or hresults.sentence(code)
        denied = msgspec.structs.replace(request, state="denied", disposition=code, message=text)
        return self.database.put(denied)

    def _answer(self, request: Request, more: int = 0, wrong: Wrong = "") -> Reply:
        reply = Reply(
            request_id=request.id, disposition=request.disposition, message=request.message
        )
        if not request.certificate:
            return reply
        chain = self._chain(request.certificate, more)
        shown = b"\x30\x03abc" if wrong == "garbage" else request.certificate
        return msgspec.structs.replace(reply, chain=chain, certificate=shown)

    def _chain(self, der: bytes, more: int) -> bytes:
        """Return the PKCS#7 that goes with a certificate; the root comes first, as it may."""
        certificate = x509.load_der_x509_certificate(der)
        issuers = [one.certificate for one in self._signers if _signed_by(certificate, one)]
        others = [
            signing.new_signer(f"Another CA {number}", self._clock.now()).certificate
            for number in range(more)
        ]
        return signing.chain_of([*issuers, *others, certificate])

    # ------------------------------------------------------------ officers

    def is_officer(self, user: str) -> bool:
        """Whether that account may manage certificates here."""
        return self.officers is None or account(user) in self.officers

    def approve(self, number: int, wrong: Wrong = "") -> int:
        """Issue a pending request. Return its disposition, or an HRESULT."""
        found = self.database.change(
            number, lambda one: self._issued(one, wrong) if one.state == "pending" else None
        )
        if found is None:
            return hresults.PROPERTY_EMPTY
        return ISSUED if found.state == "issued" else hresults.BAD_REQUEST_STATUS

    def deny(self, number: int, code: int = hresults.ADMIN_DENIED, message: str = "") -> int:
        """Refuse a pending request. Return 0 or an HRESULT."""
        text = message or "Denied by an officer"
        found = self.database.change(
            number,
            lambda one: (
                msgspec.structs.replace(one, state="denied", disposition=code, message=text)
                if one.state == "pending"
                else None
            ),
        )
        if found is None:
            return hresults.PROPERTY_EMPTY
        return 0 if found.state == "denied" else hresults.BAD_REQUEST_STATUS

    def revoke(self, serial: str, reason: int, at: datetime | None = None) -> int:
        """Revoke by a serial number in hex. Return 0 or an HRESULT."""
        if reason not in _REASONS:
            return hresults.INVALID_ARGUMENT

        def change(one: Request) -> Request | None:
            if one.state == "revoked" and one.revoked != _HOLD:
                return None  # it stays revoked for the reason that was given first
            if reason == RELEASED:
                return msgspec.structs.replace(one, state="issued", revoked=None, revoked_at=None)
            when = at or self._clock.now()
            return msgspec.structs.replace(one, state="revoked", revoked=reason, revoked_at=when)

        request = self.database.by_serial(plain(serial))
        if request is None:
            return hresults.PROPERTY_EMPTY
        self.database.change(request.id, change)
        return 0

    # ------------------------------------------------------------ what a test looks at

    @property
    def requests(self) -> list[Request]:
        """Every request, oldest first."""
        return self.database.requests()

    @property
    def issued(self) -> list[bytes]:
        """Every certificate (DER) that it ever signed, the wrong ones included."""
        return self.database.issued()

    @property
    def revoked(self) -> dict[str, int]:
        """Reasons by serial number: lower-case hex without leading zeros."""
        return {
            serial_of(one.certificate): one.revoked
            for one in self.database.requests()
            if one.revoked is not None
        }


def account(user: str) -> str:
    """Return an account's name alone, of DOMAIN\\user or user@REALM: lower-case."""
    return user.rpartition("\\")[2].partition("@")[0].lower()


def plain(serial: str) -> str:
    """Return a serial number in lower-case hex without leading zeros."""
    return serial.lower().lstrip("0")


def _good_key(request: x509.CertificateSigningRequest, template: Template) -> bool:
    key = request.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= template.minimal_key_size
    return isinstance(key, ec.EllipticCurvePublicKey) and template.elliptic


def _signed_by(certificate: x509.Certificate, signer: signing.Signer) -> bool:
    try:
        certificate.verify_directly_issued_by(signer.certificate)
    except Exception:  # noqa: BLE001 - whatever is wrong, it is not this one's
        return False
    return True

"""Another ACME server, as its client sees it. RFC 8555, and RFC 9773 for when to renew.

What is kept here:

1. Only https, wherever the server's own links lead; each connection by the rules of
   `certeasy.outward`, by which no link but to the directory's host is the operator's own word.
2. A request is signed with the account's key (ES256), with a nonce of the server's, for its URL.
   One that was refused for its nonce alone is signed and sent again, a few times.
3. Of an answer only so much is read, and what it says is decoded into the types below.
4. What the server says when it refuses is told to the operator, on one line, cut short. Never a key
   or a signature.
"""

import base64
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from certeasy.outward import Outward, Reply, Unreached, shown
from certeasy.outward.secret_files import NoSecret, first_line
from certeasy.settings import AcmeSettings

MOST = 256 * 1024
"""Bytes of an answer: a chain of certificates is the largest."""
MOST_NONCES = 10
TRIES = 8
"""Times that a request is signed, as long as only its nonce is refused."""
OK, NOT_OK = 200, 300
VISIBLE = re.compile(r"https://[!-~]+")
LONGEST_DETAIL = 300
LONGEST_REST = timedelta(days=1)
COORDINATE = 32
NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What is raised for an answer that is none of what it should be."""
T = TypeVar("T")


class AcmeFault(Exception):
    """The server refused, or did not answer as it should: one line for an operator.

    `kind` is the last part of the problem's type, empty where there is none; `rest` how long the
    server wants to be left alone.
    """

    def __init__(self, reason: str, kind: str = "", rest: timedelta | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.rest = rest


class _Meta(msgspec.Struct, rename="camel"):
    terms_of_service: str = ""
    external_account_required: bool = False


class Directory(msgspec.Struct, rename="camel"):
    """Where the server does what. RFC 8555 section 7.1.1."""

    new_nonce: str
    new_account: str
    new_order: str
    renewal_info: str = ""
    meta: _Meta = msgspec.field(default_factory=_Meta)


class Identifier(msgspec.Struct):
    """A name or an address."""

    type: str
    value: str


class _Problem(msgspec.Struct):
    type: str = ""
    detail: str = ""
    subproblems: list["_Problem"] = []


class Order(msgspec.Struct, rename="camel"):
    """An order. RFC 8555 section 7.1.3."""

    status: str
    authorizations: list[str] = []
    finalize: str = ""
    certificate: str = ""
    error: _Problem | None = None


class Challenge(msgspec.Struct):
    """One way to prove a name. RFC 8555 section 7.1.5."""

    type: str
    url: str = ""
    token: str = ""
    status: str = ""
    error: _Problem | None = None


class Authorization(msgspec.Struct):
    """A name that is to be proven. RFC 8555 section 7.1.4."""

    status: str
    identifier: Identifier
    challenges: list[Challenge] = []


class _Window(msgspec.Struct):
    start: datetime
    end: datetime


class RenewalInfo(msgspec.Struct, rename="camel"):
    """When a certificate is to be renewed. RFC 9773 section 4.2."""

    suggested_window: _Window


class Got(msgspec.Struct):
    """An answer: what it says, where it was put, and how long the server wants to be left alone."""

    body: bytes
    location: str = ""
    rest: timedelta | None = None


class AcmeServer:
    """One server, and our account there. One thread at a time uses it."""

    def __init__(
        self, directory: str, settings: AcmeSettings, way: Outward, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self._url = directory
        self._settings = settings
        self._way = way
        self._key = key
        self._jwk = _jwk(key)
        self._nonces: list[str] = []
        self._directory: Directory | None = None
        self._account = ""

    @property
    def thumbprint(self) -> str:
        """What names the account's key in proofs. RFC 7638."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(msgspec.json.encode(self._jwk, order="sorted"))
        return b64(digest.finalize())

    def directory(self) -> Directory:
        """Return the server's directory, asked for once."""
        if self._directory is None:
            self._directory = self._read(self._get(self._url), Directory)
        return self._directory

    def forget(self) -> None:
        """Ask for directory and account anew the next time: they may have changed."""
        self._directory, self._account, self._nonces = None, "", []

    def enter(self) -> None:
        """Be somebody there: find our account by its key, or make it. RFC 8555 section 7.3."""
        if self._account:
            return
        try:
            got = self._as_new({"onlyReturnExisting": True})
        except AcmeFault as fault:
            if fault.kind != "accountDoesNotExist":
                raise
            got = self._as_new(self._application())
        if not got.location:
            raise AcmeFault(f"{shown(self._url)} does not say where our account is")
        self._account = got.location

    def post(self, url: str, payload: Mapping[str, Any] | None = None) -> Got:
        """Send a request of our account; without a payload it only reads. Raises AcmeFault."""
        return self._signed(url, payload, {"kid": self._account})

    def order(self, url: str, payload: Mapping[str, Any] | None = None) -> tuple[Order, Got]:
        """Return the order that is at a URL, or that comes of a request to it."""
        got = self.post(url, payload)
        return self._read(got, Order), got

    def authorization(self, url: str) -> tuple[Authorization, Got]:
        """Return the authorization that is at a URL."""
        got = self.post(url)
        return self._read(got, Authorization), got

    def renewal_info(self, certificate_id: str) -> tuple[RenewalInfo, Got] | None:
        """Return when a certificate is to be renewed; None: the server does not tell."""
        url = self.directory().renewal_info
        if not url:
            return None
        got = self._get(f"{url.rstrip('/')}/{certificate_id}")
        return self._read(got, RenewalInfo), got

    # -- requests ------------------------------------------------------------------------------

    def _application(self) -> dict[str, Any]:
        """Return what is said for an account to be made."""
        meta, settings = self.directory().meta, self._settings
        if meta.terms_of_service and not settings.terms_of_service_agreed:
            raise AcmeFault(
                f"{shown(self._url)} wants its terms of service to be agreed to"
                f" ({_line(meta.terms_of_service)}): read them, then set"
                " tls-certificate-manager.acme.terms-of-service-agreed: true"
            )
        if meta.external_account_required and settings.eab is None:
            raise AcmeFault(
                f"{shown(self._url)} wants a key of its own for new accounts:"
                " set tls-certificate-manager.acme.eab"
            )
        wishes: dict[str, Any] = {"termsOfServiceAgreed": settings.terms_of_service_agreed}
        if settings.contact:
            wishes["contact"] = [f"mailto:{each}" for each in settings.contact]
        if settings.eab is not None:
            wishes["externalAccountBinding"] = self._binding(
                settings.eab.key_id, _mac_key(settings)
            )
        return wishes

    def _as_new(self, payload: Mapping[str, Any]) -> Got:
        return self._signed(self.directory().new_account, payload, {"jwk": self._jwk})

    def _signed(self, url: str, payload: Mapping[str, Any] | None, who: Mapping[str, Any]) -> Got:
        """Sign and send: rule 2."""
        fault: AcmeFault | None = None
        for _ in range(TRIES):
            protected = {"alg": "ES256", "nonce": self._nonce(), "url": url, **who}
            body = b"" if payload is None else msgspec.json.encode(payload)
            try:
                return self._exchange("POST", url, _flattened(protected, body, self._sign))
            except AcmeFault as refused:
                if refused.kind != "badNonce":
                    raise
                fault = refused
        assert fault is not None
        raise fault

    def _nonce(self) -> str:
        if not self._nonces:
            self._get(self.directory().new_nonce)
        if not self._nonces:
            raise AcmeFault(f"{shown(self._url)} gives no nonces")
        return self._nonces.pop()

    def _get(self, url: str) -> Got:
        return self._exchange("GET", url, b"")

    def _exchange(self, method: str, url: str, body: bytes) -> Got:
        """Send a request and return what came of it, if it is what was asked for."""
        if not VISIBLE.fullmatch(url):  # rule 1
            raise AcmeFault(f"{shown(self._url)} leads to something that is no https URL")
        headers = {"Content-Type": "application/jose+json"} if body else {}
        try:
            is_own_word = urlsplit(url).hostname == urlsplit(self._url).hostname
            reply = self._way.exchange(method, url, headers, body, MOST, is_own_word=is_own_word)
        except (Unreached, ValueError) as error:
            raise AcmeFault(str(error)) from None
        nonce = reply.headers.get("replay-nonce", "")
        if nonce and len(self._nonces) < MOST_NONCES:
            self._nonces.append(nonce)
        if not OK <= reply.status < NOT_OK:
            raise _refusal(url, reply)
        return Got(reply.body, reply.headers.get("location", ""), _rest(reply))

    def _read(self, got: Got, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(got.body, type=kind)
        except NO_JSON as error:
            what = f"{shown(self._url)} answered no {kind.__name__}: {_line(str(error))}"
            raise AcmeFault(what) from None

    # -- signatures ----------------------------------------------------------------------------

    def _sign(self, text: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(COORDINATE, "big") + s.to_bytes(COORDINATE, "big")

    def _binding(self, key_id: str, mac_key: bytes) -> Any:
        """Return what binds the account's key to one that the server gave. Section 7.3.4."""
        protected = {"alg": "HS256", "kid": key_id, "url": self.directory().new_account}

        def sign(text: bytes) -> bytes:
            return hmac.digest(mac_key, text, "sha256")

        return msgspec.Raw(_flattened(protected, msgspec.json.encode(self._jwk), sign))


def b64(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def told(problem: _Problem | None) -> str:
    """Return what a problem says, on one line."""
    if problem is None:
        return "it does not say why"
    each = [problem, *problem.subproblems[:3]]
    return _line("; ".join(one.detail or one.type for one in each if one.detail or one.type))


def _flattened(protected: Mapping[str, Any], payload: bytes, sign: Any) -> bytes:
    """Return a JWS in the flattened form."""
    head, body = b64(msgspec.json.encode(protected)), b64(payload)
    signature = b64(sign(f"{head}.{body}".encode("ascii")))
    return msgspec.json.encode({"protected": head, "payload": body, "signature": signature})


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    point = key.public_key().public_numbers()
    x, y = (b64(number.to_bytes(COORDINATE, "big")) for number in (point.x, point.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _mac_key(settings: AcmeSettings) -> bytes:
    """Return the key of the binding. Raises AcmeFault, without a word of it."""
    assert settings.eab is not None
    file = settings.eab.hmac_file
    try:
        text = first_line(file, "hmac-file").rstrip(b"=")
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except NoSecret as error:
        raise AcmeFault(str(error)) from None
    except ValueError:
        raise AcmeFault(f"hmac-file {file} has no key in base64url in its first line") from None


def _refusal(url: str, reply: Reply) -> AcmeFault:
    try:
        problem = msgspec.json.decode(reply.body, type=_Problem)
    except NO_JSON:
        problem = _Problem()
    kind = problem.type.rpartition(":")[2]
    said = f": {told(problem)}" if problem.detail else ""
    return AcmeFault(f"{shown(url)} answered {reply.status}{said}", kind, _rest(reply))


def _rest(reply: Reply) -> timedelta | None:
    """Return what Retry-After says, a day at most. RFC 9110 section 10.2.3."""
    text = reply.headers.get("retry-after", "")
    if text.isascii() and text.isdecimal() and len(text) < len("1000000000"):
        return min(timedelta(seconds=int(text)), LONGEST_REST)
    try:
        at, sent = (parsedate_to_datetime(each) for each in (text, reply.headers.get("date", "")))
        rest = at.astimezone(UTC) - sent.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(timedelta(), min(rest, LONGEST_REST))


def _line(text: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= LONGEST_DETAIL else plain[:LONGEST_DETAIL] + "..."

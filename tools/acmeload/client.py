"""One ACME client under load: an account, a connection, one order after the other. RFC 8555.

The flow is lego's. Polling begins soon and backs off, because quick answers are what is measured;
once they are not quick, Retry-After is kept to. A request that fails for a passing reason (bad
nonce, a broken connection, 429, 503) is signed anew and sent again, and counted.
"""

import base64
import hashlib
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tools.acmeload.https import Connection, Reply
from tools.acmeload.report import Tally

ATTEMPTS = 6
QUICK_POLLS = 6
SLOW_POLL = 0.5
FIRST_RETRY = 0.1
MAX_WAIT = 5.0
GIVE_UP_AFTER = 60.0
COORDINATE = 32
BUSY = (429, 503)
PENDING = ("pending", "processing", "ready")
SHA256 = ec.ECDSA(hashes.SHA256())


class OrderFailed(Exception):
    """An order led to no certificate; `str()` is the kind of failure, short and countable."""


class Directory(msgspec.Struct, rename="camel"):
    """RFC 8555 section 7.1.1."""

    new_nonce: str
    new_account: str
    new_order: str


class Challenge(msgspec.Struct):
    """RFC 8555 section 8."""

    type: str
    url: str


class Trouble(msgspec.Struct):
    """A problem document, as far as it is counted. RFC 8555 section 6.7."""

    type: str = "unknown"
    detail: str = ""

    @property
    def kind(self) -> str:
        """The last part of the type: "badNonce"."""
        return self.type.rpartition(":")[2]


class State(msgspec.Struct):
    """An order or an authorization, whichever was asked for. RFC 8555 section 7.1."""

    status: str
    authorizations: list[str] = []
    finalize: str = ""
    certificate: str = ""
    challenges: list[Challenge] = []


DIRECTORY = msgspec.json.Decoder(Directory)
STATE = msgspec.json.Decoder(State)
TROUBLE = msgspec.json.Decoder(Trouble)


class Client:
    """Gets certificates. Not shared between threads."""

    def __init__(
        self,
        connection: Connection,
        keys: tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePrivateKey],
        first_poll: float,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        self.tally = Tally()
        self._connection = connection
        self._key, self._certificate_key = keys
        self._first_poll = first_poll
        self._give_up_after = give_up_after
        self._nonce: str | None = None
        self._directory = Directory("", "", "")
        self._identity: dict[str, object] = {"jwk": jwk(self._key)}

    def register(self, directory: str) -> None:
        """Read the directory and make an account. Raises OrderFailed, OSError."""
        reply = self._connection.ask("GET", _target(directory))
        self._directory = DIRECTORY.decode(reply.body)
        reply = self._post(
            "newAccount", self._directory.new_account, {"termsOfServiceAgreed": True}
        )
        self._identity = {"kid": reply.headers["location"]}

    def certificate(self, names: Sequence[str]) -> bytes:
        """Order, prove, finalize, download; return the chain (PEM). Raises OrderFailed, OSError."""
        identifiers = [{"type": "dns", "value": name} for name in names]
        reply = self._post("newOrder", self._directory.new_order, {"identifiers": identifiers})
        url, order = reply.headers["location"], STATE.decode(reply.body)
        for authorization in order.authorizations:
            self._prove(authorization)
        csr = _base64url(self._csr(names))
        reply = self._post("finalize", order.finalize, {"csr": csr})
        done = self._wait("order", url, reply)
        chain = self._post("certificate", done.certificate, None).body
        _check(chain, names, self._certificate_key)
        return chain

    def _prove(self, authorization: str) -> None:
        state = STATE.decode(self._post("authorization", authorization, None).body)
        if state.status == "valid":
            return
        challenge = next((one for one in state.challenges if one.type == "http-01"), None)
        if challenge is None:
            raise OrderFailed("authorization: no http-01 offered")
        self._post("challenge", challenge.url, {})
        self._wait("authorization", authorization, None)

    def _wait(self, kind: str, url: str, reply: Reply | None) -> State:
        """Poll until the object is valid, and return it; `reply` is what was said of it last."""
        ends = time.monotonic() + self._give_up_after
        pause = self._first_poll
        polls = 0
        while True:
            if reply is not None:
                state = STATE.decode(reply.body)
                if state.status == "valid":
                    return state
                if state.status not in PENDING or time.monotonic() > ends:
                    raise OrderFailed(f"{kind}: {state.status}{_why(reply.body)}")
            if polls >= QUICK_POLLS:
                pause = _retry_after(reply, SLOW_POLL)
            time.sleep(pause)
            pause, polls = pause * 2, polls + 1
            reply = self._post(f"poll {kind}", url, None)

    def _post(self, kind: str, url: str, payload: object | None) -> Reply:
        """Send a signed request until it is answered for good; None as payload is POST-as-GET."""
        trouble, pause = "no attempt", FIRST_RETRY
        for _ in range(ATTEMPTS):
            try:
                reply = self._signed(kind, url, payload)
            except OSError as error:
                # The nonce may have been used up: the answer is what got lost.
                self._nonce, trouble = None, type(error).__name__
                if isinstance(error, TimeoutError):
                    break
                self.tally.retries += 1
                time.sleep(pause)
                pause *= 2
                continue
            if reply.status < 300:  # noqa: PLR2004 - every 2xx is good
                return reply
            trouble = f"{reply.status} {_trouble(reply.body).kind}"
            if trouble.endswith(" badNonce"):
                self.tally.bad_nonces += 1
            elif reply.status in BUSY:
                self.tally.retries += 1
                time.sleep(_retry_after(reply, SLOW_POLL))
            else:
                break
        raise OrderFailed(f"{kind}: {trouble}")

    def _signed(self, kind: str, url: str, payload: object | None) -> Reply:
        if self._nonce is None:
            self.tally.asked("newNonce")
            fresh = self._connection.ask("HEAD", _target(self._directory.new_nonce))
            self._nonce = fresh.headers["replay-nonce"]
        nonce, self._nonce = self._nonce, None
        self.tally.asked(kind)
        reply = self._connection.ask("POST", _target(url), self._jws(url, nonce, payload))
        self._nonce = reply.headers.get("replay-nonce")
        return reply

    def _jws(self, url: str, nonce: str, payload: object | None) -> bytes:
        header = {"alg": "ES256", "nonce": nonce, "url": url} | self._identity
        protected = _base64url(msgspec.json.encode(header))
        body = "" if payload is None else _base64url(msgspec.json.encode(payload))
        r, s = decode_dss_signature(self._key.sign(f"{protected}.{body}".encode("ascii"), SHA256))
        signature = r.to_bytes(COORDINATE, "big") + s.to_bytes(COORDINATE, "big")
        return msgspec.json.encode(
            {"protected": protected, "payload": body, "signature": _base64url(signature)}
        )

    def _csr(self, names: Sequence[str]) -> bytes:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
        request = builder.add_extension(alternatives, critical=False)
        signed = request.sign(self._certificate_key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """Return the public key as a JWK (RFC 7517), members in the order of RFC 7638."""
    numbers = key.public_key().public_numbers()
    x, y = (_base64url(number.to_bytes(COORDINATE, "big")) for number in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def thumbprint(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the key's thumbprint, base64url. RFC 7638."""
    return _base64url(hashlib.sha256(msgspec.json.encode(jwk(key))).digest())


def _check(chain: bytes, names: Sequence[str], key: ec.EllipticCurvePrivateKey) -> None:
    """Hold a certificate against what was ordered. Raises OrderFailed."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if sorted(found.get_values_for_type(x509.DNSName)) != sorted(names):
        raise OrderFailed("certificate: other names than ordered")
    if leaf.public_key() != key.public_key():
        raise OrderFailed("certificate: another key than in the CSR")


def _why(body: bytes) -> str:
    """Return the kind of the first error inside an order or authorization: " (connection)"."""
    _, found, rest = body.decode("utf-8", "replace").partition("urn:ietf:params:acme:error:")
    return f" ({rest.partition(chr(34))[0]})" if found else ""


def _trouble(body: bytes) -> Trouble:
    try:
        return TROUBLE.decode(body)
    except msgspec.DecodeError:
        return Trouble("no problem document")


def _retry_after(reply: Reply | None, otherwise: float) -> float:
    said = reply.headers.get("retry-after", "") if reply is not None else ""
    return min(float(said), MAX_WAIT) if said.isdigit() else otherwise


def _target(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

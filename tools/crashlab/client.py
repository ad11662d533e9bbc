"""An ACME client as good ones are: it does not give up because a server is away for a while.

It is the load generator's, with more patience: what gets no answer, or a 503, is signed anew and
sent again until it is answered; a badNonce is forgiven once per request, as certbot does. An order
is asked for as long as it may take when the server is killed every few seconds and the CA is left
alone for a while after every cut. Whatever it is told goes into the ledger.
"""

import base64
import hashlib
import ssl
import threading
import time
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tools.acmeload.client import TROUBLE, Client, OrderFailed, Trouble
from tools.acmeload.https import Connection, CutOff, Reply
from tools.crashlab.ledger import REVOKED, Ledger, Request, change_of, state_of

PATIENCE = 120.0
ORDER_PATIENCE = 420.0
"""Longer than an authority is ever left alone."""
TIMEOUT = 25.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
MAX_RETRY_AFTER = 10.0
FIRST_POLL = 0.02
FORGIVEN_NONCES = 1
BUSY = (429, 503)
GOOD = range(200, 300)


class RevocationUrl(msgspec.Struct, rename="camel"):
    """The member of the directory that the load generator does not need. RFC 8555 section 7.1.1."""

    revoke_cert: str


REVOCATION_URL = msgspec.json.Decoder(RevocationUrl)


class PatientClient(Client):
    """One account. Not shared between threads."""

    def __init__(
        self,
        ledger: Ledger,
        directory: str,
        context: ssl.SSLContext,
        keys: tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePrivateKey],
        over: threading.Event,
    ) -> None:
        """`over` ends all patience."""
        where = urlsplit(directory)
        connection = Connection(where.hostname or "", where.port or 443, context, TIMEOUT)
        super().__init__(connection, keys, FIRST_POLL, ORDER_PATIENCE)
        self._ledger = ledger
        self._over = over
        self._url = directory
        self._revoke_url = ""
        self._last: Request | None = None
        self._at_once = True

    def join(self) -> None:
        """Make an account, or find that there is one. Raises OrderFailed."""
        ends = time.monotonic() + PATIENCE
        while not self._revoke_url:
            try:
                reply = self._connection.ask("GET", urlsplit(self._url).path)
                self._revoke_url = REVOCATION_URL.decode(reply.body).revoke_cert
                self.register(self._url)
            except (OSError, msgspec.DecodeError) as error:
                self._revoke_url = ""
                if time.monotonic() > ends or self._over.wait(LONGEST_PAUSE):
                    raise OrderFailed(f"directory: no answer: {error}") from error

    def revoke(self, chain: bytes) -> None:
        """Revoke a certificate by its account. Raises OrderFailed."""
        der = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)
        encoded = base64.urlsafe_b64encode(der).rstrip(b"=").decode("ascii")
        self._post("revoke", self._revoke_url, {"certificate": encoded})
        self._ledger.note((REVOKED, hashlib.sha256(der).hexdigest()), promised=self._at_once)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, kind: str, url: str, payload: object | None) -> Reply:
        """Send a signed request until it is answered for good. Raises OrderFailed."""
        ends, pause, bad_nonces = time.monotonic() + PATIENCE, FIRST_PAUSE, 0
        self._at_once = True
        while True:
            reply = self._attempt(kind, url, payload)
            if isinstance(reply, Reply) and reply.status in GOOD:
                self._told(kind, url, reply)
                return reply
            self._at_once = False
            trouble = _trouble(reply)
            if time.monotonic() > ends or self._over.is_set():
                raise OrderFailed(f"{kind}: in the end still {trouble}")
            if trouble == "400 alreadyRevoked":
                return _said_before(reply)
            if trouble == "400 badNonce":
                self._ledger.count("bad-nonces")
                bad_nonces += 1
                if bad_nonces > FORGIVEN_NONCES:
                    raise OrderFailed(f"{kind}: {trouble} twice in a row")
                continue
            if isinstance(reply, Reply) and reply.status not in BUSY:
                raise OrderFailed(f"{kind}: {trouble}: {_detail(reply)}")
            self._ledger.count("retries")
            self._over.wait(_wait(reply, pause))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _attempt(self, kind: str, url: str, payload: object | None) -> Reply | Exception:
        """Send it once; return what came back, be it a broken connection."""
        try:
            return self._signed(kind, url, payload)
        except (OSError, KeyError) as error:  # KeyError: newNonce was answered with a 503
            # The nonce may have been used up: the answer is what got lost.
            self._nonce = None
            if isinstance(error, CutOff):
                self._ledger.count("cut")
            return error

    def _jws(self, url: str, nonce: str, payload: object | None) -> bytes:
        body = super()._jws(url, nonce, payload)
        self._last = Request(url, body)
        return body

    def _told(self, kind: str, url: str, reply: Reply) -> None:
        """Write down what an answer tells.

        What did not succeed `at once` may have been done by the attempt that got no answer; then
        this is the answer to a request that found it done.
        """
        if kind == "newOrder":
            self._ledger.replayable = self._last
        change = change_of(kind, url, reply.headers.get("location", ""), reply.status)
        if change is not None:
            self._ledger.note(change, promised=self._at_once or kind == "newOrder")
        state = state_of(kind, url, reply.body)
        if state is not None:
            self._ledger.note(state)


def _trouble(reply: Reply | Exception) -> str:
    if isinstance(reply, Exception):
        return f"no answer ({type(reply).__name__})"
    return f"{reply.status} {_document(reply).kind}"


def _detail(reply: Reply) -> str:
    return _document(reply).detail


def _document(reply: Reply) -> Trouble:
    try:
        return TROUBLE.decode(reply.body)
    except msgspec.DecodeError:
        return Trouble("no problem document")


def _said_before(reply: Reply | Exception) -> Reply:
    assert isinstance(reply, Reply)
    return reply


def _wait(reply: Reply | Exception, otherwise: float) -> float:
    said = reply.headers.get("retry-after", "") if isinstance(reply, Reply) else ""
    return min(float(said), MAX_RETRY_AFTER) if said.isdigit() else otherwise

"""Having another ACME server issue a certificate for the server itself. RFC 8555 section 7.

All of it is done in a thread of its own, one thing at a time: whoever looks after the bundles asks
now and then what came of it, and waits for nothing. A certificate that was issued and could not be
recorded yet is not asked for again.

Names are proven by http-01 alone: the handshake's other way, tls-alpn-01, would have our listener
show a proof to clients of that moment.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec import Struct

from certeasy.clock import Clock
from certeasy.decide import renewal
from certeasy.decide.addresses import address
from certeasy.decide.unreadable import UNREADABLE
from certeasy.log import logger
from certeasy.outward import Deadline, Outward
from certeasy.settings import AcmeSettings, KeySettings, TlsBundle
from certeasy.tls.acme_server import AcmeFault, AcmeServer, Authorization, Got, Order, b64, told
from certeasy.tls.material import (
    Key,
    NoCertificate,
    NotUsable,
    OwnCertificate,
    issued,
    request_for,
)
from certeasy.tls.showing import Showing

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
BY_ACME = frozenset({"acme", "letsencrypt"})
"""The modes whose certificates come from another ACME server."""
EXCHANGE = timedelta(seconds=20)
"""For one request."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Seconds between two looks at what the server is at."""
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
SEVERAL = timedelta(hours=6)
"""When it is asked again when to renew, where the server does not say. RFC 9773 section 4.3.3."""
OFTEN, SELDOM = timedelta(minutes=1), timedelta(days=1)
LAST_PART = 10
"""With a tenth of its life left a certificate is renewed, whatever the server advises."""
OVER = ("invalid", "malformed", "unauthorized", "orderNotReady", "badCSR", "badPublicKey")
"""After these there is nothing to follow any more."""

log = logger("tls")
T = TypeVar("T")
Obtained = tuple[OwnCertificate, bytes]


class _Advice(Struct, frozen=True):
    """When a certificate is to be renewed as the server sees it, if it tells; and when it is asked
    again."""

    of: bytes
    moment: datetime | None
    again: datetime


class ByAcme:
    """What is asked for one bundle, of one ACME server."""

    def __init__(
        self,
        bundle: TlsBundle,
        settings: AcmeSettings,
        account_key: bytes,
        clock: Clock,
        showing: Showing,
    ) -> None:
        """`account_key` is the key (PEM) of our account there; `showing` shows proofs."""
        self.issuer = directory_of(bundle, settings)
        self._bundle = bundle
        self._settings = settings
        self._clock = clock
        self._showing = showing
        way = Outward(settings.resolved_ip_policy, EXCHANGE, settings.ca_file)
        key = load_pem_private_key(account_key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._server = AcmeServer(self.issuer, settings, way, key)
        self._stopping = threading.Event()
        self._aside: Future[Obtained] | None = None
        self._asked_when: Future[_Advice] | None = None
        self._obtained: Obtained | None = None
        self._finalized: tuple[str, Key] | None = None
        self._advice: _Advice | None = None

    def certificate(self, before: OwnCertificate | None) -> Obtained | None:
        """Return a new certificate, and its leaf in DER; the same until it is `recorded`. None: it
        is being asked for. `before` is the one that it takes the place of.

        Raises NoCertificate.
        """
        if self._obtained is not None:
            return self._obtained
        if self._aside is None:
            if not _is_busy(self._asked_when):
                self._aside = self._begin(lambda: self._order(before))
            return None
        if not self._aside.done():
            return None
        outcome, self._aside = self._aside, None
        self._obtained = outcome.result()
        return self._obtained

    def recorded(self) -> None:
        """Take notice that the log has the certificate: the next one is another."""
        self._obtained = None

    def is_due(self, own: OwnCertificate, renew_before: timedelta) -> bool:
        """Whether a certificate is to be renewed: as the server advises, if it does; else
        `renew_before` its end, never in the first half of its life."""
        now = self._clock.now()
        advice = self._advised(own, now)
        left = own.not_after - now
        part = own.lifetime / LAST_PART
        if advice is not None:
            # A server that always says "now" gets one request a day, not one a second.
            young = now - own.not_before < min(part, SELDOM)
            return (now >= advice and not young) or left <= part
        return left < min(renew_before, own.lifetime / 2)

    def stop(self) -> None:
        """Give up what is under way."""
        self._stopping.set()

    # -- when ----------------------------------------------------------------------------------

    def _advised(self, own: OwnCertificate, now: datetime) -> datetime | None:
        """Return when the server would have a certificate renewed, as far as it is known; ask it
        again where that is old."""
        if self._asked_when is not None and self._asked_when.done():
            asked, self._asked_when = self._asked_when, None
            self._advice = asked.result()
        known = self._advice if self._advice and self._advice.of == own.chain_pem else None
        if (known is None or now >= known.again) and not (self._aside or self._asked_when):
            self._asked_when = self._begin(lambda: self._ask_when(own))
        return None if known is None else known.moment

    def _ask_when(self, own: OwnCertificate) -> _Advice:
        """Ask the server when to renew. RFC 9773. What cannot be had is no advice."""
        now = self._clock.now()
        try:
            known = self._server.renewal_info(certificate_id(own))
            if known is None:
                return _Advice(own.chain_pem, None, now + SELDOM)
            info, got = known
            start = info.suggested_window.start.astimezone(UTC)
            width = info.suggested_window.end.astimezone(UTC) - start
            # Each certificate has its own moment in the window, after every restart the same.
            digest = hashlib.sha256(own.chain_pem).digest()
            part = int.from_bytes(digest[:4], "big") / (1 << 32)
            moment = start + max(width, timedelta()) * part
        except (AcmeFault, OSError, ValueError, OverflowError) as error:
            log.info("bundle %s: when to renew is not known: %s", self._bundle.name, error)
            return _Advice(own.chain_pem, None, now + SEVERAL)
        again = min(max(got.rest or SEVERAL, OFTEN), SELDOM)
        return _Advice(own.chain_pem, moment, now + again)

    # -- how -----------------------------------------------------------------------------------

    def _begin(self, work: Callable[[], T]) -> Future[T]:
        """Do something in a thread of its own, which no end of the process waits for."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except NoCertificate as error:
                future.set_exception(error)
            except Exception as error:
                # Of whatever kind: who waits for the future would never hear of it.
                log.exception("bundle %s", self._bundle.name)
                future.set_exception(self._nothing(f"of a kind that nobody thought of: {error}"))

        threading.Thread(target=run, name=f"tls-{self._bundle.name}", daemon=True).start()
        return future

    def _order(self, before: OwnCertificate | None) -> Obtained:
        """Go all the way: account, order, proofs, certificate. Raises NoCertificate."""
        deadline = Deadline(self._settings.timeout.total_seconds())
        server = self._server
        try:
            server.forget()
            server.enter()
            url, key = self._finalized or self._finalize(before, deadline)
            order = self._until(url, {"valid"}, deadline)
            chain = server.post(order.certificate).body
            obtained = self._checked(chain, key)
        except AcmeFault as fault:
            if fault.kind in OVER:
                self._finalized = None
            raise self._nothing(str(fault), fault.rest) from None
        except NotUsable as error:
            self._finalized = None
            raise self._nothing(str(error)) from None
        except TimeoutError:
            what = "it did not come to an end within tls-certificate-manager.acme.timeout"
            more = "; the order is looked at again" if self._finalized else ""
            raise self._nothing(f"{self.issuer}: {what}{more}") from None
        except OSError as error:
            raise self._nothing(str(error)) from None
        self._finalized = None
        return obtained

    def _finalize(self, before: OwnCertificate | None, deadline: Deadline) -> tuple[str, Key]:
        """Place an order, prove its names, and send a request for it; return the order's URL, and
        the key that the certificate is for. From then on the order is followed to its end."""
        order, url = self._place(before)
        with self._proven(order, deadline):
            order = self._until(url, {"ready"}, deadline)
        key = _made(self._settings.key)
        csr = b64(request_for(self._bundle.hosts, key))
        self._server.post(order.finalize, {"csr": csr})
        self._finalized = url, key
        return url, key

    def _place(self, before: OwnCertificate | None) -> tuple[Order, str]:
        """Place an order that says what it replaces, where the server wants to know: section 5 of
        RFC 9773."""
        server = self._server
        wanted = {"identifiers": [_identifier(host) for host in self._bundle.hosts]}
        directory = server.directory()
        replaced = {}
        if directory.renewal_info and before is not None and before.authority == self.issuer:
            with suppress(ValueError):
                replaced = {"replaces": certificate_id(before)}
        try:
            order, got = server.order(directory.new_order, wanted | replaced)
        except AcmeFault as fault:
            if not replaced or fault.kind not in {"alreadyReplaced", "malformed"}:
                raise
            order, got = server.order(directory.new_order, wanted)
        return order, got.location

    @contextmanager
    def _proven(self, order: Order, deadline: Deadline) -> Iterator[None]:
        """Prove each name that is not proven yet; what is shown is shown until the block ends."""
        server = self._server
        if len(order.authorizations) > len(self._bundle.hosts):
            raise AcmeFault("the order has more authorizations than names")
        open_ones = [
            (url, found)
            for url in order.authorizations
            for found in (server.authorization(url)[0],)
            if found.status != "valid"
        ]
        proofs = {url: _http_01(found) for url, found in open_ones}
        shown = {token: f"{token}.{server.thumbprint}" for token, _ in proofs.values()}
        with self._showing.shown(shown):
            for _, challenge in proofs.values():
                server.post(challenge, {})
            for url, found in open_ones:
                self._until_proven(url, found, deadline)
            yield

    def _until_proven(self, url: str, found: Authorization, deadline: Deadline) -> None:
        pause = FIRST_PAUSE
        got = Got(b"")
        while found.status == "pending":
            pause = self._pause(pause, got, deadline)
            found, got = self._server.authorization(url)
        if found.status != "valid":
            why = next((each.error for each in found.challenges if each.error), None)
            raise AcmeFault(f"{found.identifier.value} was not proven: {told(why)}")

    def _until(self, url: str, wanted: set[str], deadline: Deadline) -> Order:
        """Return the order once it has come so far."""
        pause = FIRST_PAUSE
        while True:
            order, got = self._server.order(url)
            if order.status in wanted:
                return order
            if order.status == "invalid":
                raise AcmeFault(f"the order has failed: {told(order.error)}", "invalid")
            pause = self._pause(pause, got, deadline)

    def _pause(self, pause: float, got: Got, deadline: Deadline) -> float:
        """Wait as long as the server says, or a little longer each time; return that. Raises
        TimeoutError where no time is left, or the node is stopping."""
        wanted = got.rest.total_seconds() if got.rest is not None else pause
        if self._stopping.wait(deadline.left(max(wanted, FIRST_PAUSE))):
            raise TimeoutError
        return min(pause * 2, LONGEST_PAUSE)

    def _checked(self, chain: bytes, key: Key) -> Obtained:
        """Return what was issued, once it is known to be what was asked for."""
        try:
            found = x509.load_pem_x509_certificates(chain)
            ders = [each.public_bytes(Encoding.DER) for each in found]
        except UNREADABLE as error:
            raise AcmeFault("the certificate issued cannot be read") from error
        pem = b"".join(each.public_bytes(Encoding.PEM) for each in found)
        now = self._clock.now()
        return issued(pem, ders[0], key, self._bundle.hosts, self.issuer, now), ders[0]

    def _nothing(self, why: str, rest: timedelta | None = None) -> NoCertificate:
        return NoCertificate(f"bundle {self._bundle.name}: {why}", rest)


def directory_of(bundle: TlsBundle, settings: AcmeSettings) -> str:
    """Return the URL of the ACME server that is asked for a bundle's certificate."""
    known = LETS_ENCRYPT if bundle.mode == "letsencrypt" else ""
    return settings.directory or known


def account_secret(directory: str) -> str:
    """Return the name under which the database's secrets have our account's key at a server."""
    return f"tls-acme/{hashlib.sha256(directory.encode()).hexdigest()[:32]}"


def account_key() -> bytes:
    """Return a new key for an account, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_id(own: OwnCertificate) -> str:
    """Return what a certificate is called where its renewal is spoken of. RFC 9773 section 4.1.

    Raises ValueError if it has no such name.
    """
    leaf = x509.load_pem_x509_certificate(own.chain_pem)
    issuer = renewal.key_id(leaf.public_bytes(Encoding.DER))
    if issuer is None:
        raise ValueError("the certificate does not name its issuer's key")
    number = leaf.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return f"{b64(issuer)}.{b64(serial)}"


def _is_busy(future: Future[_Advice] | None) -> bool:
    return future is not None and not future.done()


def _identifier(host: str) -> dict[str, str]:
    return {"type": "dns" if address(host) is None else "ip", "value": host}


def _http_01(found: Authorization) -> tuple[str, str]:
    """Return token and URL of the challenge by which a name is proven."""
    name = found.identifier.value
    if found.status != "pending":
        why = next((each.error for each in found.challenges if each.error), None)
        raise AcmeFault(f"{name} cannot be proven any more, it is {found.status}: {told(why)}")
    for each in found.challenges:
        if each.type == "http-01" and TOKEN.fullmatch(each.token):
            return each.token, each.url
    raise AcmeFault(f"{name} cannot be proven by http-01: the server does not offer it")


def _made(settings: KeySettings) -> Key:
    if settings.type == "rsa":
        return rsa.generate_private_key(65537, settings.size)
    return ec.generate_private_key(CURVES[settings.curve])

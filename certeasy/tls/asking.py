"""Having an authority issue a certificate for the server itself.

A request is followed to its end before there is another one: what waits for somebody's approval, or
was answered without the certificate, is asked for by its number the next time; what was issued and
could not be recorded yet is not asked for again. Only a request whose answer was lost without a
number is given up, and said so: nobody has that certificate.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certeasy.ca import (
    Authority,
    Denied,
    InDoubt,
    Issued,
    Outcome,
    Pending,
    Submission,
    Unavailable,
)
from certeasy.decide.chains import chain_pem
from certeasy.settings import TlsBundle
from certeasy.tls.material import (
    Key,
    NoCertificate,
    NotUsable,
    OwnCertificate,
    issued,
    request_for,
)

KEYS: tuple[Callable[[], Key], ...] = (
    lambda: ec.generate_private_key(ec.SECP256R1()),
    lambda: rsa.generate_private_key(65537, 3072),
    lambda: rsa.generate_private_key(65537, 4096),
)
"""Kinds of keys in the order in which they are tried: an authority may refuse some of them."""


class _Asked(msgspec.Struct, frozen=True):
    """A request that is under way."""

    submission: Submission
    key: Key
    request_id: str = ""
    issued: Issued | None = None


class Asking:
    """What is asked for one bundle, of one authority."""

    def __init__(self, bundle: TlsBundle, authority: Authority, server_id: str) -> None:
        self._bundle = bundle
        self._authority = authority
        self._server_id = server_id
        self._asked: _Asked | None = None

    def certificate(self, now: datetime) -> tuple[OwnCertificate, bytes]:
        """Return a new certificate, and its leaf in DER; the same until it is `recorded`.

        Raises NoCertificate.
        """
        asked = self._asked
        if asked is None:
            asked = self._submitted()
        elif asked.issued is None:
            asked = self._followed(asked)
        self._asked = asked
        assert asked.issued is not None
        try:
            return self._own(asked.key, asked.issued, now), asked.issued.certificate
        except NoCertificate:
            self._asked = None
            raise

    def recorded(self) -> None:
        """Take notice that the log has the certificate: the next one is another."""
        self._asked = None

    def _submitted(self) -> _Asked:
        """Submit a request, with the first kind of key that the authority takes."""
        *others, last = KEYS
        for make in others:
            asked = self._request(make())
            outcome = self._submit(asked)
            if not isinstance(outcome, Denied) or outcome.problem != "badPublicKey":
                return self._told(asked, outcome)
        asked = self._request(last())
        return self._told(asked, self._submit(asked))

    def _submit(self, asked: _Asked) -> Outcome:
        try:
            return self._authority.submit(asked.submission)
        except Unavailable as error:
            raise self._nothing(error.reason) from error
        except InDoubt as error:
            if error.request_id:
                self._asked = msgspec.structs.replace(asked, request_id=error.request_id)
                raise self._nothing(error.reason) from error
            what = (
                f"authority {self._authority.name} gave no answer, and may have issued a"
                f" certificate that nobody has: {error.reason}"
            )
            raise self._nothing(what) from error

    def _followed(self, asked: _Asked) -> _Asked:
        """Ask what became of the request that is under way."""
        try:
            outcome = self._authority.poll(asked.submission, asked.request_id)
        except Unavailable as error:
            raise self._nothing(error.reason) from error
        return self._told(asked, outcome)

    def _told(self, asked: _Asked, outcome: Outcome) -> _Asked:
        """Return the request with its certificate. Raises NoCertificate if there is none."""
        name = self._authority.name
        match outcome:
            case Issued():
                return msgspec.structs.replace(asked, issued=outcome)
            case Pending():
                self._asked = msgspec.structs.replace(asked, request_id=outcome.request_id)
                raise self._nothing(
                    f"request {outcome.request_id} waits at authority {name} for somebody's"
                    " approval; it is asked for again"
                )
            case Denied():
                self._asked = None
                raise self._nothing(f"authority {name} has denied it: {outcome.reason}")

    def _request(self, key: Key) -> _Asked:
        hosts = self._bundle.hosts
        csr = request_for(hosts, key)
        return _Asked(Submission(f"tls-{self._bundle.name}", 1, csr, hosts, self._server_id), key)

    def _own(self, key: Key, found: Issued, now: datetime) -> OwnCertificate:
        """Return what can be shown to clients. Raises NoCertificate if it cannot be."""
        chain, name = chain_pem(found.certificate, found.issuers), self._authority.name
        try:
            return issued(chain, found.certificate, key, self._bundle.hosts, name, now)
        except NotUsable as error:
            raise self._nothing(str(error)) from None

    def _nothing(self, why: str) -> NoCertificate:
        return NoCertificate(f"bundle {self._bundle.name}: {why}")

"""Certificates: to be fetched with their chain, and to be revoked. RFC 8555 sections 7.4.2, 7.6."""

import hashlib
from datetime import datetime
from functools import lru_cache

import falcon
from cryptography import x509

from certeasy.acme import messages, responses
from certeasy.acme.directory import check_empty
from certeasy.acme.jws import AccountKey
from certeasy.acme.messages import read
from certeasy.acme.orders import account_of
from certeasy.acme.requests import Signed
from certeasy.acme.site import Desk
from certeasy.decide import orders, public_keys, revocation
from certeasy.decide.chains import alternates, chain_pem
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Problem, Refused
from events.envelope import Actor
from projections.certificates import CERTIFICATES, ISSUERS, Certificate

PEM_CHAIN = "application/pem-certificate-chain"
ISSUERS_KEPT = 256
LOOKED_AT = 10
"""So many of an account's latest orders are looked at for an authorization of a name."""


class CertificateResource:
    """A certificate and its chain, for the account that ordered it, as long as there is a log."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._issuer = lru_cache(maxsize=ISSUERS_KEPT)(self._read_issuer)

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, order_id: str, chain: int = 0
    ) -> None:
        """Show it: the leaf first, each issuer after it, the root left out.

        Where the authority's certificates make several chains, as after a cross-signature, a Link
        tells of each other one, and `chain` asks for it.
        """
        desk = self._desk
        signed = desk.door.admit(req)
        check_empty(signed)
        orders.of_account(desk.committer, order_id, account_of(signed))
        certificate = desk.committer.get(CERTIFICATES, order_id)
        if certificate is None:
            raise Refused(Problem.MALFORMED, "This order has no certificate", status=404)
        chains = self._chains(certificate)
        if chain >= len(chains):
            raise Refused(Problem.MALFORMED, "This certificate has no such chain", status=404)
        resp.content_type = PEM_CHAIN
        resp.data = chain_pem(certificate.certificate, chains[chain])
        for other in range(len(chains)):
            if other != chain:
                url = desk.urls.certificate(order_id, other)
                responses.add_link(resp, "alternate", url)

    def _chains(self, certificate: Certificate) -> list[tuple[bytes, ...]]:
        """Return the issuers of every chain, those of the default one first."""
        chosen = tuple(map(self._issuer, certificate.chain))
        known = self._desk.committer.issuers_of(certificate.authority)
        if len(known) <= len(chosen):
            return [chosen]
        leaf = x509.load_der_x509_certificate(certificate.certificate)
        issuers = [issuer.certificate for issuer in known]
        return [chosen, *alternates(leaf, chosen, issuers, self._desk.clock.now())]

    def _read_issuer(self, sha256: str) -> bytes:
        issuer = self._desk.committer.get(ISSUERS, sha256)
        if issuer is None:
            raise LookupError(f"the log names an issuer {sha256} that it does not have")
        return issuer.certificate


class RevokeResource:
    """Revokes a certificate on the word of its account, or of whoever holds its key."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Revoke: 200, and no body."""
        desk = self._desk
        signed = desk.door.admit(req, "either")
        wish = read(messages.REVOCATION, signed.payload)
        sha256 = hashlib.sha256(messages.der(wish.certificate, "The certificate")).hexdigest()
        certificate = self._certificate(sha256)
        reason = wish.reason or 0
        proven = self._proven(signed, certificate)
        publish = desk.site.told(certificate.authority)

        def decide(rows: Reader, now: datetime) -> Decision:
            if signed.account_id is None:
                return revocation.by_certificate_key(
                    rows,
                    certificate_id=certificate.id,
                    sha256=sha256,
                    spki_sha256=_spki_sha256(signed.key),
                    reason=reason,
                    publish=publish,
                )
            return revocation.by_account(
                rows,
                now,
                certificate_id=certificate.id,
                sha256=sha256,
                account_id=signed.account_id,
                thumbprint=signed.key.thumbprint,
                reason=reason,
                proven=proven,
                publish=publish,
            )

        desk.commit(signed, self._actor(req, signed, certificate), decide)
        resp.data = b""

    def _proven(self, signed: Signed, certificate: Certificate) -> tuple[str, ...]:
        """Return in which orders another account than the certificate's may have proven its
        names."""
        account_id = signed.account_id
        if account_id is None or account_id == certificate.account_id:
            return ()
        now = messages.moment(self._desk.clock.now())
        found = self._desk.committer.orders_of_name
        names = certificate.names
        return tuple(id_ for name in names for id_ in found(account_id, name, now, LOOKED_AT))

    def _certificate(self, sha256: str) -> Certificate:
        found = self._desk.committer.certificate_with_sha256(sha256)
        if found is None:
            detail = "This certificate was not issued here"
            raise Refused(Problem.MALFORMED, detail, status=404)
        return found

    def _actor(self, req: falcon.Request, signed: Signed, certificate: Certificate) -> Actor:
        """Return who acts: an account, or the holder of the key, who is known by it alone."""
        if signed.account_id is not None:
            return self._desk.actor(req, signed.account_id)
        sealed = self._desk.actor(req, certificate.account_id).sealed
        return Actor("certificate-key", signed.key.thumbprint, sealed)


def _spki_sha256(key: AccountKey) -> str:
    return hashlib.sha256(public_keys.spki(key.public_key)).hexdigest()

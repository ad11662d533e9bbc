"""Renewal information: when a certificate should be renewed. RFC 9773.

Whoever asks is told, unsigned and without a nonce: a certificate is no secret, and clients ask
before they have anything else to say. They name it by its issuer's key identifier and its serial
number.
"""

import falcon
from msgspec import Struct

from certeasy.acme import base64url, messages, responses
from certeasy.acme.messages import moment
from certeasy.acme.site import Desk
from certeasy.commit import Committer
from certeasy.decide import renewal
from certeasy.decide.problems import Problem, Refused
from projections.certificates import CERTIFICATES, Certificate
from projections.orders import Order
from projections.renewals import RENEWALS

LONGEST = 200
"""Characters of a certID: several times what the longest key identifier and serial take."""
NOT_FOUND = 404


class CertId(Struct, frozen=True):
    """What a certificate is called: RFC 9773 section 4.1.

    The serial is a number, because clients disagree about the zero octet that DER puts in front.
    """

    key_id: bytes
    serial: int


def cert_id(text: str) -> CertId:
    """Return what a certID names. Refused (malformed): it is none."""
    key_id, dot, serial = text.partition(".")
    if len(text) > LONGEST or not dot or "." in serial or not key_id or not serial:
        raise Refused(
            Problem.MALFORMED,
            "a certID is base64url(key identifier of the issuer), a dot, base64url(serial number)",
        )
    number = base64url.decode(serial, "the certID's serial number")
    return CertId(
        base64url.decode(key_id, "the certID's key identifier"), int.from_bytes(number, "big")
    )


def cert_id_text(certificate: Certificate) -> str:
    """Return a certificate's certID; empty if it does not name its issuer's key."""
    key_id = renewal.key_id(certificate.certificate)
    if key_id is None:
        return ""
    serial = int(certificate.serial, 16)
    der = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{base64url.encode(key_id)}.{base64url.encode(der)}"


def predecessor(committer: Committer, text: str) -> Certificate:
    """Return the certificate that a new order replaces. RFC 9773 section 5.

    Refused (malformed, 400), naming `replaces`: acme.sh orders again without it then.
    """
    try:
        return present(committer, cert_id(text))
    except Refused as refused:
        if refused.status == NOT_FOUND:
            raise renewal.unknown() from None
        raise Refused(refused.problem, f"'replaces': {refused.detail}") from None


def replaced_by(committer: Committer, order: Order) -> str:
    """Return what an order shows as `replaces`, the certID of its predecessor; empty: nothing."""
    if not order.replaces:
        return ""
    certificate = committer.get(CERTIFICATES, order.replaces)
    return "" if certificate is None else cert_id_text(certificate)


def present(committer: Committer, wanted: CertId) -> Certificate:
    """Return the certificate with this name; two issuers may use one serial number.

    Refused (malformed, 404): there is none.
    """
    size = (wanted.serial.bit_length() + 7) // 8
    for one in committer.certificates_with_serial(wanted.serial.to_bytes(size, "big").hex()):
        if renewal.key_id(one.certificate) == wanted.key_id:
            return one
    raise Refused(
        Problem.MALFORMED, "This server issued no certificate of this name", status=NOT_FOUND
    )


class RenewalInfoResource:
    """When to renew a certificate of ours."""

    def __init__(self, desk: Desk) -> None:
        self._committer = desk.committer
        self._settings = desk.site.settings.renewal_info

    def on_get(self, _req: falcon.Request, resp: falcon.Response, place: str) -> None:
        """Show it; unsigned. Only the last part of the path counts."""
        named = place.rstrip("/").rpartition("/")[2]
        try:
            certificate = present(self._committer, cert_id(named))
        except Refused as refused:  # this answer, too, says when to come back
            refused.retry_after = renewal.spread(named, self._settings.retry_after)
            raise
        asked = self._committer.get(RENEWALS, certificate.id)
        window = renewal.window(certificate, asked, self._settings)
        page = self._settings.explanation_url if window.moved else None
        info = messages.RenewalInfo(
            messages.SuggestedWindow(moment(window.start), moment(window.end)), page or ""
        )
        wait = renewal.retry_after(certificate, self._settings)
        responses.answer(resp, info, retry_after=wait)

    on_head = on_get

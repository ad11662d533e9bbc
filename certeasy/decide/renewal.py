"""When a certificate should be renewed (RFC 9773), and what an order for its successor must be.

The law of the window: it lies inside the certificate's lifetime, and ends after it begins; that of
a later certificate of the same lifetime is later. Only what happened moves it, and only ahead:
after a revocation it lies in the past, so that clients renew at once.

Everything follows from the certificate, the settings and what was recorded. Two clients that ask,
and two nodes that answer, agree.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from functools import lru_cache

from cryptography import x509
from msgspec import Struct

from certeasy.decide import chains
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Problem, Refused
from certeasy.decide.unreadable import UNREADABLE
from certeasy.settings import RenewalInfoSettings
from events.certificates import RenewalRequested
from projections.certificates import CERTIFICATES, Certificate
from projections.orders import INVALID, ORDERS, Order
from projections.renewals import RENEWALS, Renewal

AT_ONCE = timedelta(hours=1)
"""So wide is the window, all of it in the past, of what is to be renewed at once."""
SPREAD = Fraction(1, 5)
"""By as much, to both sides, differ the waits of two certificates, so that no fleet asks in
step."""
ASKED_IN_A_LIFE = 12
"""So often, at least, is asked for a certificate while it is valid."""

RENEWED, REVOKED, EXPIRED, LEFT = OUTCOMES = ("renewed", "revoked", "expired", "left")
"""What becomes of what a campaign has asked for; `left` is what is still in force."""

_SECOND = timedelta(seconds=1)
_KEPT = 1024


class Window(Struct, frozen=True):
    """When to renew, in whole seconds; `moved` ahead of the certificate's own time."""

    start: datetime
    end: datetime
    moved: bool = False


def window(
    certificate: Certificate, renewal: Renewal | None, settings: RenewalInfoSettings
) -> Window:
    """Return when a certificate should be renewed; `renewal` is what was said about that.

    What was asked for never puts a renewal off.
    """
    if certificate.revoked:
        at = _whole(certificate.revoked)
        return Window(at - AT_ONCE, at, moved=True)
    usual = usual_window(
        _whole(certificate.not_before),
        _whole(certificate.not_after),
        settings.lifetime_fraction,
        settings.window_width,
    )
    if renewal is None or not renewal.campaign:
        return usual
    start, end = _whole(renewal.start), _whole(renewal.end)
    return Window(min(usual.start, start), min(usual.end, end), moved=True)


def is_due(rows: Reader, now: datetime, certificate_id: str, settings: RenewalInfoSettings) -> bool:
    """Whether the time has come to renew a certificate: its window has begun. "": there is none."""
    certificate = rows.get(CERTIFICATES, certificate_id) if certificate_id else None
    return (
        certificate is not None
        and window(certificate, rows.get(RENEWALS, certificate_id), settings).start <= now
    )


def usual_window(
    not_before: datetime, not_after: datetime, fraction: Fraction, width: timedelta
) -> Window:
    """Return the window around a part of the lifetime: so wide, but not wider than what leaves half
    of either side free."""
    life = max(1, (not_after - not_before) // _SECOND)
    middle = int(life * fraction)
    half = min(width // _SECOND, middle, life - middle) // 2
    end = middle + (half or 1)  # RFC 9773 section 4.2: after the start
    return Window(not_before + (middle - half) * _SECOND, not_before + end * _SECOND)


def retry_after(certificate: Certificate, settings: RenewalInfoSettings) -> int:
    """Return after how many seconds to ask again for a certificate: the same for one, others for
    others, and often enough for one that is short-lived."""
    life = _whole(certificate.not_after) - _whole(certificate.not_before)
    return spread(certificate.id, min(settings.retry_after, life / ASKED_IN_A_LIFE))


def spread(name: str, wait: timedelta) -> int:
    """Return a wait in seconds, a little shorter or longer by what is asked for."""
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    share = 1 - SPREAD + 2 * SPREAD * Fraction(drawn, 1 << 32)
    return max(1, round(wait // _SECOND * share))


@lru_cache(maxsize=_KEPT)
def key_id(certificate: bytes) -> bytes | None:
    """Return the key identifier of the issuer that a certificate (DER) names; None: it names none,
    and RFC 9773 has no name for it."""
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        identifier = chains.value(leaf.extensions, x509.AuthorityKeyIdentifier)
    except UNREADABLE:
        return None
    return identifier.key_identifier if identifier else None


def asked_window(now: datetime, width: timedelta | None) -> Window:
    """Return the window of a campaign that begins now: so wide, or all of it past."""
    at = now.replace(microsecond=0)
    return Window(at - AT_ONCE, at) if width is None else Window(at, at + max(width, _SECOND))


def is_covered(certificate: Certificate, now: datetime, authority: str, before: str) -> bool:
    """Whether a campaign is about a certificate: one in force, without a successor, from that
    authority, valid since before that time (RFC 3339); empty texts mean any."""
    if certificate.revoked or certificate.replaced_by or _whole(certificate.not_after) <= now:
        return False
    if authority and certificate.authority != authority:
        return False
    return not before or _whole(certificate.not_before) < datetime.fromisoformat(before)


def outcome(certificate: Certificate, others: Iterable[Certificate], now: datetime) -> str:
    """Return what became of a certificate that was asked to be renewed; `others` are for one of its
    names. Clients that do not say what they replace have renewed it all the same."""
    if certificate.replaced_by or any(_renews(one, certificate) for one in others):
        return RENEWED
    if certificate.revoked:
        return REVOKED
    return EXPIRED if _whole(certificate.not_after) <= now else LEFT


def _renews(later: Certificate, earlier: Certificate) -> bool:
    """Whether an account has a later certificate for the very same names."""
    return (
        later.position > earlier.position
        and later.account_id == earlier.account_id
        and set(later.names) == set(earlier.names)
    )


def request(facts: Iterable[RenewalRequested]) -> Decision:
    """Ask for certificates to be renewed."""
    return Decision(tuple((f"renewal/{fact.campaign}", fact) for fact in facts))


def _whole(at: str) -> datetime:
    """Return a time of the log, RFC 3339, without its fraction."""
    return datetime.fromisoformat(at).replace(microsecond=0)


def check_predecessor(
    rows: Reader, certificate_id: str, *, account_id: str, names: Iterable[str]
) -> None:
    """Return if an order of the account for these names may replace the certificate. RFC 9773
    section 5.

    Refused: malformed, naming `replaces`, if it is another account's or for none of the names;
    alreadyReplaced (409) if another order does so.
    """
    certificate = rows.get(CERTIFICATES, certificate_id)
    if certificate is None:
        raise unknown()
    if certificate.account_id != account_id:
        raise Refused(
            Problem.MALFORMED, "'replaces' names a certificate that belongs to another account"
        )
    if set(certificate.names).isdisjoint(names):
        raise Refused(
            Problem.MALFORMED, "'replaces' names a certificate for none of this order's names"
        )
    _check_not_replaced(rows, certificate_id, by="")


def check_named(rows: Reader, found: Certificate) -> None:
    """Return if the certificate that 'replaces' names is the one that was found.

    It was found in a table, which is only shown, and the log counts. Raises Refused
    (serverInternal).
    """
    true = rows.get(CERTIFICATES, found.id)
    if true is None or true.certificate != found.certificate:
        detail = "Another certificate was found than the one that 'replaces' names"
        raise Refused(Problem.SERVER_INTERNAL, detail)


def check_still_first(rows: Reader, order: Order) -> None:
    """Return if an order that is to be finalized still takes the place that it was placed for.

    Of several orders for one successor the first that is finalized has it; alreadyReplaced (409)
    for the others.
    """
    if order.replaces:
        _check_not_replaced(rows, order.replaces, by=order.id)


def unknown() -> Refused:
    """Return the refusal of a predecessor that is not of this server."""
    return Refused(Problem.MALFORMED, "'replaces' names a certificate that was not issued here")


def _check_not_replaced(rows: Reader, certificate_id: str, *, by: str) -> None:
    order = _successor(rows, certificate_id)
    successor = order.id if order is not None else _gone_successor(rows, certificate_id)
    if successor and successor != by:
        raise Refused(
            Problem.ALREADY_REPLACED,
            f"The certificate that 'replaces' names has its successor already: order {successor}",
        )


def _gone_successor(rows: Reader, certificate_id: str) -> str:
    """Return the order that has replaced a certificate that outlives it: retention took it away."""
    certificate = rows.get(CERTIFICATES, certificate_id)
    if certificate is None or rows.get(ORDERS, certificate.replaced_by) is not None:
        return ""
    return certificate.replaced_by


def _successor(rows: Reader, certificate_id: str) -> Order | None:
    """Return the order that takes a certificate's place: one that was finalized and did not fail.

    An order that was placed and never finalized keeps nobody waiting: its client may have lost it.
    """
    certificate = rows.get(CERTIFICATES, certificate_id)
    renewal = rows.get(RENEWALS, certificate_id)
    # What the certificate itself says is held against signed lines, so it comes first.
    order_id = (certificate and certificate.replaced_by) or (renewal and renewal.successor)
    order = rows.get(ORDERS, order_id) if order_id else None
    if order is None or order.status == INVALID or order.replaces != certificate_id:
        return None
    return order

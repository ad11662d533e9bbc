"""What is told to a CA with a request, and what its answer means for the order."""

from collections.abc import Mapping
from datetime import timedelta

from certeasy.ca.adcs import codes
from certeasy.ca.adcs.chain import issuers_of
from certeasy.ca.adcs.errors import hexadecimal
from certeasy.ca.adcs.findings import shown
from certeasy.ca.adcs.ndr import Reply
from certeasy.ca.authority import Denied, InDoubt, Issued, Outcome, Pending, Submission, Unavailable

POLL = timedelta(seconds=10)
LONGEST = 500
_FAILURE = 0x8000_0000
_REST = timedelta(seconds=30)
_OVER = {1: "the CA failed to process it", 6: "its certificate has been revoked"}
_UNCERTAIN = {
    0: "the CA has not completed it",
    3: "the CA says that it has issued a certificate, and shows none",
    4: "the CA says that it has issued a certificate out of band, and shows none",
    5: "the CA says that it waits for approval, and under no number",
}


def attributes(template: str, submission: Submission, *, telling: bool) -> Mapping[str, str]:
    """Return a request's attributes. `telling`: they name the order and the node."""
    named = {"CertificateTemplate": template}
    if telling:
        named |= {"CerteasyOrder": submission.order_id, "CerteasyNode": submission.server_id}
    return named


def outcome(reply: Reply) -> Outcome:
    """Return what a reply means. Raises Unavailable for what is not the request's fault, and
    InDoubt where a certificate may exist that is not in it.

    Dispositions ([MS-WCCE] section 3.2.1.4.2.1.4): 0 incomplete, 1 failed, 2 denied, 3 issued, 4
    issued out of band, 5 under submission, 6 revoked; anything with the highest bit is an HRESULT.
    A CA's own words go into the record, never to the client: they name machines and accounts.
    """
    number = str(reply.request_id) if reply.request_id else None
    match reply.disposition:
        case 3 | 4 if reply.certificate:
            issuers = issuers_of(reply.certificate, reply.chain)
            return Issued(reply.certificate, issuers, number)
        case 5 if number is not None:
            return Pending(number, POLL)
        case 2:
            return _denied(reply, "an officer or the CA's policy has denied it")
        case code if code & _FAILURE:
            return refused(code, reply)
        case 1 | 6 as over:
            return _denied(reply, _OVER[over])
        case other:
            # Nothing that follows from it is certain: somebody may have a certificate of it, or
            # may get one.
            what = _UNCERTAIN.get(other, f"the CA returned the disposition {other}")
            raise InDoubt(what + _words(reply), number)


def outcome_by_now(reply: Reply) -> Outcome:
    """Return what a reply means to whoever asked for what became of a request. Raises Unavailable,
    also where the reply leaves it open: it is asked again."""
    try:
        return outcome(reply)
    except InDoubt as doubt:
        raise Unavailable(doubt.reason, sick=False) from doubt


def refused(code: int, reply: Reply | None = None) -> Denied:
    """Return the denial that a code means. Raises Unavailable where another CA, another time or an
    administrator helps."""
    means = codes.meaning(code)
    said = codes.told(code) + ("" if reply is None else _words(reply))
    written = hexadecimal(code)
    if means.kind == "csr":
        number = str(reply.request_id) if reply is not None and reply.request_id else None
        told = f"the authority refuses the request: {means.symbol}"
        if number is not None:
            told += f", its request {number}"
        return Denied(told, said, written, number, means.problem)
    # A sick CA rests by itself; else each try is a denied request in its database.
    wait = None if means.kind == "service" else _REST
    raise Unavailable(said, wait, sick=means.kind == "service", code=written)


def no_such(submission: Submission, request_id: str, reason: str, code: str | None) -> Denied:
    """Return the denial of a request that the CA does not have (any more)."""
    told = f"the authority has no such request (any more): {request_id}"
    reason = f"request {request_id} of order {submission.order_id}: {reason}"
    return Denied(told, reason, code, request_id, "serverInternal")


def _denied(reply: Reply, what: str) -> Denied:
    number = str(reply.request_id) if reply.request_id else None
    told = "the authority has denied the request"
    if number is not None:
        told += f", its request {number}"
    return Denied(told, what + _words(reply), None, number, "unauthorized")


def _words(reply: Reply) -> str:
    """Return the CA's own words and its number, for the record."""
    number = f"; its request {reply.request_id}" if reply.request_id else ""
    message = shown(" ".join(reply.message.split()), LONGEST)
    return number + (f"; the CA says: {message}" if message else "")

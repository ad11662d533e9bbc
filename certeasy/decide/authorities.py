"""What is recorded of an authority's health: changes, once each, whichever node notices first."""

from certeasy.decide.decision import Decision, Reader
from events.authorities import AuthorityFailed, AuthorityRecovered
from projections.authorities import TROUBLES

_LONGEST = 1000


def failed(rows: Reader, authority: str, reason: str, code: str = "") -> Decision:
    """Record that an authority cannot be used any more, unless that is known."""
    if rows.get(TROUBLES, authority) is not None:
        return Decision()
    fact = AuthorityFailed(authority, reason[:_LONGEST], code)
    return Decision(((f"authority/{authority}", fact),))


def recovered(rows: Reader, authority: str) -> Decision:
    """Record that an authority answers again, if it had failed."""
    trouble = rows.get(TROUBLES, authority)
    if trouble is None:
        return Decision()
    return Decision(((f"authority/{authority}", AuthorityRecovered(authority, trouble.failed)),))

"""Certificates that their clients should have renewed, as a trouble to tell of."""

from collections.abc import Iterator, Sequence

from certeasy.notices.notice import Trouble
from projections.certificates import Certificate

NAMED = 20
"""So many are named."""


def overdue(certificates: Sequence[Certificate]) -> Iterator[Trouble]:
    """Yield one trouble for all of them, or none; each new one among them is news."""
    if not certificates:
        return
    named = "; ".join(
        f"{each.names[0]}, ends {each.not_after[:10]}" for each in certificates[:NAMED]
    )
    more = f"; and {len(certificates) - NAMED} more" if len(certificates) > NAMED else ""
    facts = frozenset(each.id for each in certificates)
    yield Trouble("certificate-overdue", "", f"{named}{more}", facts)

"""Which kinds of challenge prove what.

A wildcard speaks for names that nobody has named yet: no host that answers at one of them proves
it, only the DNS of its zone does. RFC 8555 section 7.1.4, and the pages of each challenge.
"""

from collections.abc import Iterable

DNS_CHALLENGES = frozenset({"dns-01", "dns-account-01", "dns-persist-01"})
"""They look into the DNS, and nowhere else."""


def proving(challenges: Iterable[str], *, wildcard: bool) -> tuple[str, ...]:
    """Return those of the challenge types that can prove a name, in their order."""
    return tuple(kind for kind in challenges if not wildcard or kind in DNS_CHALLENGES)

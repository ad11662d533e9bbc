"""Which kinds of challenge prove what.

A wildcard speaks for names that nobody has named yet: no host that answers at one of them proves
it, only the DNS of its zone does (RFC 8555 section 7.1.4). An address is proven by the host that
answers there, never in the DNS, where its zone is somebody else's (RFC 8738 section 7).
"""

from collections.abc import Iterable

from certeasy.decide.addresses import IP, kind
from certeasy.settings.challenges import DNS_CHALLENGES, HOST_CHALLENGES

WILDCARD = "*."


def proving(challenges: Iterable[str], name: str) -> tuple[str, ...]:
    """Return those of the challenge types that can prove a canonical name, in their order."""
    if name.startswith(WILDCARD):
        return tuple(each for each in challenges if each in DNS_CHALLENGES)
    if kind(name) == IP:
        return tuple(each for each in challenges if each in HOST_CHALLENGES)
    return tuple(challenges)

"""IP addresses as identifiers (RFC 8738): how one is written, and which ones a policy covers.

An address is written in one way only: IPv4 as four decimal numbers, IPv6 as RFC 5952 section 4 has
it. No DNS name has that form (none ends in a number or has a colon), so everywhere behind the edge
a name is a text, and what kind of name it is can be told from it: `kind`.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

from certeasy.settings import Network

Address = IPv4Address | IPv6Address

DNS: Literal["dns"] = "dns"
IP: Literal["ip"] = "ip"


def address(name: str) -> Address | None:
    """Return the address that a name is; None: it is a DNS name."""
    if name[-1:].isdigit() or ":" in name:
        try:
            return ip_address(name)
        except ValueError:
            return None
    return None


def kind(name: str) -> Literal["dns", "ip"]:
    """Return the type of the identifier that a canonical name is."""
    return DNS if address(name) is None else IP


def fault(text: str) -> str | None:
    """Return what is wrong with an address in lower case, as the rest of a sentence; None:
    nothing."""
    found = address(text)
    if found is None:
        return "is no IP address, such as 192.0.2.1 or 2001:db8::1"
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return "has a zone, which means nothing elsewhere"
        if found.ipv4_mapped is not None:
            return f'is an IPv4 address inside an IPv6 address; send "{found.ipv4_mapped}"'
    if str(found) != text:
        return f'is written in another way than RFC 5952 has it; send "{found}"'
    return None


def objection(allow: Iterable[Network], deny: Iterable[Network], found: Address) -> str | None:
    """Return what networks have against an address, as the rest of a sentence: deny wins."""
    for network in deny:
        if found in network:
            return f"is denied by the deny-cidr {network}"
    if any(found in network for network in allow):
        return None
    return "is in none of the ip allow-cidrs"

"""Which addresses a validation may connect to.

Whoever may order a certificate chooses a name, and the name chooses an address: without a rule the
server would knock at any door of the inner network, its own included. The rules, in this order:

1. An address is judged by where a packet to it ends: an IPv4-mapped one as IPv4; by rules 2 and 3
   also as the IPv4 address that it carries inside (NAT64, 6to4, Teredo, ...), if that is where some
   gateway would send it. One with a zone id is refused, it means nothing elsewhere.
2. What a deny-cidr contains is refused.
3. Special ranges (loopback, link-local with the clouds' metadata services, ...) are refused unless
   an allow-cidr lies within that range: 0.0.0.0/0 does not open 127.0.0.1, 127.0.0.0/8 does.
4. If there are allow-cidrs, one of them must contain the address that is connected to. What it
   carries inside opens nothing: anybody can write 10.0.0.1 into an address that leads to himself.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("127.0.0.0/8", "loopback"),
        ("0.0.0.0/8", "unspecified"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::1/128", "loopback"),
        ("::/128", "unspecified"),
        ("::/96", "IPv4-compatible"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
LOW_32_BITS = (1 << 32) - 1
TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::ffff:0:0:0/96"))
"""NAT64 (RFC 6052) and SIIT (RFC 7915): the IPv4 address is in the last four bytes."""
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
"""RFC 8215: which part of it a network uses, and so where the IPv4 address is, is its own."""
PLACES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""Which bytes it is in below a prefix of 48, 56, 64 or 96 bits. RFC 6052 section 2.2."""
NOWHERE = (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4"))
ISATAP = (0x5EFE, 0x0200_5EFE)
"""What stands before the IPv4 address in the lower half of an address. RFC 5214 section 6.1."""


class AddressPolicy:
    """The rules above with one profile's lists. Immutable, safe to share."""

    def __init__(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        self._allow = tuple(_plain(network) for network in allow)
        self._deny = tuple(_plain(network) for network in deny)

    def refusal(self, text: str) -> str | None:
        """Return why the address `text` must not be connected to, or None if it may.

        The reason is the end of a sentence that begins with the address. What is no address at all
        is refused as well.
        """
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return "is not an IP address"
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return "has a zone id"
        reached = tuple(_reached(address))
        return self._denied(reached) or self._special(reached) or self._not_allowed(reached)

    def _denied(self, reached: tuple[Address, ...]) -> str | None:
        for network in self._deny:
            if any(address in network for address in reached):
                return f"is in the deny-cidr {network}"
        return None

    def _special(self, reached: tuple[Address, ...]) -> str | None:
        for address in reached:
            found = next(((net, what) for net, what in SPECIAL if address in net), None)
            if found is not None and not self._opened(address, found[0]):
                return (
                    f"is {found[1]} ({found[0]}), which only an allow-cidr within that range opens"
                )
        return None

    def _opened(self, address: Address, special: Network) -> bool:
        return any(address in network and _within(network, special) for network in self._allow)

    def _not_allowed(self, reached: tuple[Address, ...]) -> str | None:
        if not self._allow:
            return None
        if any(reached[0] in network for network in self._allow):
            return None
        return "is in none of the allow-cidrs"


def connectable(text: str) -> str:
    """Return the address as it is connected to: an IPv4-mapped one in its IPv4 form.

    Raises ValueError if it is no address.
    """
    return str(next(_reached(ipaddress.ip_address(text))))


def _reached(address: Address) -> Iterator[Address]:
    """Yield where a packet to `address` may end; the first is the one that is connected to."""
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    yield from _inside(address)


def _inside(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that a gateway may take out of an IPv6 address."""
    number = int(address)
    if any(address in network for network in TRANSLATED) or number >> 32 & LOW_32_BITS in ISATAP:
        yield IPv4Address(number & LOW_32_BITS)
    if address in LOCAL_NAT64:
        # Read at the wrong place, most are of a kind that no packet is ever sent to.
        read = (IPv4Address(bytes(address.packed[at] for at in places)) for places in PLACES)
        yield from (four for four in read if not any(four in network for network in NOWHERE))
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def _plain(network: Network) -> Network:
    """Return an IPv4-mapped network in its IPv4 form, any other as it is."""
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        low = int(network.network_address) & LOW_32_BITS
        return IPv4Network((low, network.prefixlen - MAPPED.prefixlen))
    return network


def _within(inner: Network, outer: Network) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )

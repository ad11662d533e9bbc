"""Whose request is it, when proxies of ours stand in between?

A proxy appends the address it was called from to a header (`X-Forwarded-For` or the like), so the
list grows to the right, and everything left of the last entry that our own proxies vouch for was
written by a stranger. Hence the rule: read from the right, pass over our own proxies, and the first
other address is the client. What stands further left is never looked at, so nobody can choose the
address that limits and the log will see.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Without a zone ("%eth0"): it means nothing on another host, and could be any text of a stranger's.
ENTRY = re.compile(
    r"\[(?P<bracketed>[0-9a-fA-F]*:[0-9a-fA-F:.]+)\](:[0-9]+)?"
    r"|(?P<dotted>[0-9.]+)(:[0-9]+)?"
    r"|(?P<plain>[0-9a-fA-F:.]+)"
)


def client_address(peer: str, header_value: str | None, trusted: Sequence[Network]) -> str:
    """Return the address of the client: canonical text, IPv4 in IPv6 as plain IPv4.

    `peer` is the other end of the connection, `header_value` the proxies' list, separated by
    commas (None if there was no such header), `trusted` the networks of our own proxies. The
    header counts only if the peer is one of them; at the first entry that is no address, the peer
    is the answer. If the list holds nothing but proxies, it is the leftmost.
    """
    caller = _address(peer.partition("%")[0])
    if caller is None:
        return peer
    if header_value is None or not _within(caller, trusted):
        return str(caller)
    client = caller
    for entry in reversed(header_value.split(",")):
        hop = _entry(entry.strip())
        if hop is None:
            return str(caller)
        client = hop
        if not _within(hop, trusted):
            break
    return str(client)


def _entry(text: str) -> Address | None:
    """Read an address, with a port or without; an IPv6 address with a port is in brackets."""
    read = ENTRY.fullmatch(text)
    return read and _address(read["bracketed"] or read["dotted"] or read["plain"])


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)

"""What the DNS says of a name, asked in the way its DNS profile says.

A company's names live in many places, so a profile has zones: the zone with the longest suffix of a
name says who is asked (the machine's own DNS servers, or listed ones) and may know some names
itself (`hosts`). An alias into another zone is asked for there. Nothing is cached: a validation
wants today's answer. The hosts file of the machine is not looked at, because what only this machine
believes proves nothing.

Every look-up ends: after twice the profile's timeout in all, and after `MAX_ALIASES` aliases.
"""

import ipaddress
import re
import time
from collections.abc import Mapping
from typing import cast

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import msgspec

from certeasy.settings import DnsProfile, DnsZone
from certeasy.validate.ask import PATIENCE, Seen, Server, Unresolved, ask, shown
from certeasy.validate.wire import Deadline

MAX_ALIASES = 16
"""CNAMEs and DNAMEs that are followed, in one answer or from zone to zone."""
MAX_ADDRESSES = 16
"""Addresses of each family that are looked at, and kept as evidence."""
REREAD_AFTER = 60.0
"""Seconds after which the machine's own resolver configuration is read again."""
DNS_PORT = 53
SERVER = re.compile(r"([0-9.]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
NXDOMAIN = "does not exist in the DNS (NXDOMAIN)"
FAMILIES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}


class Found(msgspec.Struct, frozen=True):
    """What is at a name, or at the end of its aliases: records of one kind, perhaps none.

    `exists`: the DNS has the name, if with other records.
    """

    name: str
    records: tuple[dns.rdata.Rdata, ...]
    exists: bool = True


class Resolver:
    """Look names up as one DNS profile says. One instance serves all threads."""

    def __init__(self, profile: DnsProfile, *, patience: float = PATIENCE) -> None:
        self._profile = profile.name
        self._timeout = timeout = profile.timeout.total_seconds()
        patience = min(patience, timeout / 2)
        by_suffix: dict[str, _Zone] = {}
        for zone in profile.zones or (DnsZone(system=True),):
            by_suffix |= dict.fromkeys(_suffixes(zone), _Zone(zone, patience))
        self._zones = sorted(by_suffix.items(), key=lambda pair: len(pair[0]), reverse=True)

    def addresses(self, name: str, seen: Seen | None = None) -> tuple[str, ...]:
        """Return the addresses of `name`, at least one, IPv6 first, as the DNS ordered them.

        Raises Unresolved.
        """
        deadline = Deadline(2 * self._timeout)
        four = self._look_up(name, dns.rdatatype.A, deadline, seen or Seen())
        if not four.exists:
            raise Unresolved(f"{_via(name, four.name)} {NXDOMAIN}; asked for A")
        try:
            six = self._look_up(name, dns.rdatatype.AAAA, deadline, Seen()).records
        except Unresolved:
            # Plenty of DNS servers in companies know nothing of AAAA; what A said still holds.
            if not four.records:
                raise
            six = ()
        found = (*six[:MAX_ADDRESSES], *four.records[:MAX_ADDRESSES])
        if not found:
            raise Unresolved(f"{_via(name, four.name)} has no A or AAAA record")
        return tuple(record.to_text() for record in found)

    def look_up(self, name: str, kind: str, seen: Seen) -> Found:
        """Return what is at `name`, aliases followed; `seen` is kept up to date on the way.

        Raises Unresolved where that cannot be said: nobody answers, an alias leads in a circle.
        """
        return self._look_up(name, dns.rdatatype.from_text(kind), Deadline(2 * self._timeout), seen)

    def _look_up(
        self, name: str, kind: dns.rdatatype.RdataType, deadline: Deadline, seen: Seen
    ) -> Found:
        met = [_parsed(name)]
        while True:
            asked = met[-1]
            seen.names[:] = map(shown, met)
            zone = self._zone(asked)
            static = zone.static(asked, kind)
            if static is not None:
                return Found(_text(asked), static)
            reply = zone.ask(asked, kind, deadline, seen)
            # An alias that stays in its zone may be answered for at once; one that leads out of
            # it is another's to answer.
            while self._zone(met[-1]) is zone and (alias := _alias(reply, met[-1])) is not None:
                if alias in met or len(met) > MAX_ALIASES:
                    raise Unresolved(f"{shown(name)} is an alias of an alias without end")
                met.append(alias)
            end = met[-1]
            seen.names[:] = map(shown, met)
            records = _records(reply, end, kind) if self._zone(end) is zone else ()
            if records or end == asked:
                return Found(_text(end), records, bool(records) or _exists(reply))

    def _zone(self, name: dns.name.Name) -> "_Zone":
        text = _text(name)
        for suffix, zone in self._zones:
            if _covers(suffix, text):
                return zone
        raise Unresolved(f"no zone of the DNS profile {self._profile!r} covers {shown(name)}")


class _Zone:
    """What one zone knows itself, and who is asked for the rest."""

    def __init__(self, settings: DnsZone, patience: float) -> None:
        self._hosts = {name.lower().rstrip("."): str(at) for name, at in settings.hosts.items()}
        self._tcp = settings.protocol == "tcp"
        self._patience = patience
        self._system = settings.system or not (settings.dns_server or settings.hosts)
        self._listed = tuple(Server(*host_and_port(server)) for server in settings.dns_server)
        self._read: tuple[float, tuple[Server, ...]] | None = None

    def static(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[dns.rdata.Rdata, ...] | None:
        """Return what the zone's `hosts` say of a name; None: it is not among them."""
        address = _static(self._hosts, _text(name)) if kind in FAMILIES else None
        if address is None:
            return None
        if ipaddress.ip_address(address).version != FAMILIES[kind]:
            return ()
        return (dns.rdata.from_text(dns.rdataclass.IN, kind, address),)

    def ask(
        self,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
        deadline: Deadline,
        seen: Seen,
    ) -> dns.message.Message:
        """Ask the zone's servers. Raises Unresolved."""
        servers = self._servers()
        if not servers and kind in FAMILIES:
            raise Unresolved(f"{shown(name)} is not among the hosts of its zone")
        if not servers:
            raise Unresolved(f"the zone of {shown(name)} has no DNS server that could be asked")
        return ask(name, kind, servers, deadline, seen, tcp=self._tcp, patience=self._patience)

    def _servers(self) -> tuple[Server, ...]:
        """Return the zone's servers; those of the machine, no older than a minute.

        Two threads may both read the machine's configuration: either result is right, so there is
        no lock.
        """
        if not self._system:
            return self._listed
        now, read = time.monotonic(), self._read
        if read is None or now - read[0] > REREAD_AFTER:
            read = self._read = (now, _of_the_machine())
        return read[1]


def _of_the_machine() -> tuple[Server, ...]:
    """Return the DNS servers this machine is set up with. Raises Unresolved."""
    try:
        configured = dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError) as error:
        what = "could not be looked up: this server has no DNS servers configured"
        raise Unresolved(f"the name {what}", transient=True) from error
    return tuple(Server(str(each), configured.port) for each in configured.nameservers)


def _alias(reply: dns.message.Message, name: dns.name.Name) -> dns.name.Name | None:
    """Return what a name is an alias of in an answer, by CNAME, or by DNAME of a name above it.

    RFC 1034 section 3.6.2, RFC 6672 section 2.2.
    """
    for rrset in reply.answer:
        if rrset.name == name and rrset.rdtype == dns.rdatatype.CNAME:
            return cast("dns.name.Name", rrset[0].target)
    for rrset in reply.answer:
        if (
            rrset.rdtype == dns.rdatatype.DNAME
            and name.is_subdomain(rrset.name)
            and (name != rrset.name)
        ):
            front = name.relativize(rrset.name)
            try:
                return front.concatenate(cast("dns.name.Name", rrset[0].target))
            except dns.name.NameTooLong:
                raise Unresolved(f"{shown(name)} is an alias of a name that is too long") from None
    return None


def _records(
    reply: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> tuple[dns.rdata.Rdata, ...]:
    return tuple(
        record
        for rrset in reply.answer
        if rrset.name == name and rrset.rdtype == kind
        for record in rrset
    )


def _exists(reply: dns.message.Message) -> bool:
    return bool(reply.rcode() != dns.rcode.NXDOMAIN)


def _parsed(name: str) -> dns.name.Name:
    try:
        return dns.name.from_text(f"{name}.")
    except (dns.exception.DNSException, UnicodeError):
        raise Unresolved(f"{shown(name)} is no DNS name") from None


def _text(name: dns.name.Name) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()


def _suffixes(zone: DnsZone) -> tuple[str, ...]:
    """Return the suffixes of a zone without dots at the ends; "" stands for every name."""
    return tuple(suffix.lower().strip(".") for suffix in zone.suffixes) or ("",)


def _covers(suffix: str, name: str) -> bool:
    return not suffix or name == suffix or name.endswith("." + suffix)


def _static(hosts: Mapping[str, str], name: str) -> str | None:
    """Return the address of `name` in a `hosts` map: its own, else that of the nearest `*.ZONE`."""
    if name in hosts:
        return hosts[name]
    rest = name
    while "." in rest:
        rest = rest.partition(".")[2]
        if "*." + rest in hosts:
            return hosts["*." + rest]
    return None


def host_and_port(server: str) -> tuple[str, int]:
    """Split `192.0.2.1:5353`, `192.0.2.1`, `[2001:db8::1]:53` or `2001:db8::1`; the port may lack.

    Raises ValueError if it is none of these.
    """
    split = SERVER.fullmatch(server)
    if split is None:
        return str(ipaddress.ip_address(server.strip("[]"))), DNS_PORT
    return str(ipaddress.ip_address(split[1].strip("[]"))), int(split[2])


def _via(name: str, asked: str) -> str:
    return name if name == asked else f"{shown(asked)}, which {name} is an alias of,"

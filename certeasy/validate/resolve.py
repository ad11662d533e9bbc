"""What the DNS says of a name, asked in the way its DNS profile says.

A company's names live in many places, so a profile has zones: the zone with the longest suffix of a
name says who is asked (the machine's own DNS servers, or listed ones) and may know some names
itself (`hosts`). An alias into another zone is asked for there. A zone's own servers may be asked
in place of those (`authoritative`), and signatures asked for (`dnssec`). Nothing is cached: a
validation wants today's answer. The hosts file of the machine is not looked at, because what only
this machine believes proves nothing.

Every look-up ends: after twice the profile's timeout in all, and after `MAX_ALIASES` aliases.
"""

import ipaddress
import re
import time
from collections.abc import Callable, Mapping
from typing import cast

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import msgspec

from certeasy.settings import DnsProfile, DnsZone
from certeasy.validate.addresses import AddressPolicy
from certeasy.validate.ask import (
    PATIENCE,
    Kind,
    Question,
    Seen,
    Server,
    Unresolved,
    ask,
    shown,
)
from certeasy.validate.authoritative import Authoritative
from certeasy.validate.dnssec import DS, Bogus, Chain, anchors
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

    `exists`: the DNS has the name, if with other records. `proven`: where signatures are asked for,
    that there are none is signed as well.
    """

    name: str
    records: tuple[dns.rdata.Rdata, ...]
    exists: bool = True
    proven: bool = True


class Resolver:
    """Look names up as one DNS profile says. One instance serves all threads."""

    def __init__(
        self, profile: DnsProfile, *, patience: float = PATIENCE, port: int = DNS_PORT
    ) -> None:
        """Take how long one server is waited for, and the port of servers that are found."""
        self._profile = profile.name
        self._timeout = timeout = profile.timeout.total_seconds()
        patience = min(patience, timeout / 2)
        rules = profile.resolved_ip_policy
        policy = AddressPolicy(rules.allow_cidrs, rules.deny_cidrs)
        trusted = anchors(profile.trust_anchors)
        by_suffix: dict[str, _Zone] = {}
        for zone in profile.zones or (DnsZone(system=True),):
            authoritative = Authoritative(policy, patience, port) if zone.authoritative else None
            made = _Zone(zone, patience, authoritative, trusted if zone.dnssec else None)
            by_suffix |= dict.fromkeys(_suffixes(zone), made)
        self._zones = sorted(by_suffix.items(), key=lambda pair: len(pair[0]), reverse=True)

    def addresses(self, name: str, seen: Seen | None = None) -> tuple[str, ...]:
        """Return the addresses of `name`, at least one, IPv6 first, as the DNS ordered them.

        Raises Unresolved.
        """
        seen, deadline = seen or Seen(), self.deadline()
        four = self._look_up(name, dns.rdatatype.A, deadline, seen)
        if not four.exists:
            raise Unresolved(f"{_via(name, four.name)} {NXDOMAIN}; asked for A")
        try:
            six = self._look_up(name, dns.rdatatype.AAAA, deadline, seen).records
        except Unresolved:
            # Plenty of DNS servers in companies know nothing of AAAA; what A said still holds.
            if not four.records:
                raise
            six = ()
        found = (*six[:MAX_ADDRESSES], *four.records[:MAX_ADDRESSES])
        if not found:
            raise Unresolved(f"{_via(name, four.name)} has no A or AAAA record")
        return tuple(record.to_text() for record in found)

    def look_up(self, name: str, kind: str, seen: Seen, deadline: Deadline | None = None) -> Found:
        """Return what is at `name`, aliases followed; `seen` is kept up to date on the way.

        Raises Unresolved where that cannot be said: nobody answers, an alias leads in a circle, a
        signature is not good.
        """
        asked = dns.rdatatype.from_text(kind)
        return self._look_up(name, asked, deadline or self.deadline(), seen)

    def deadline(self) -> Deadline:
        """Return the end of a look-up that begins now; several may share it."""
        return Deadline(2 * self._timeout)

    def how(self, name: str) -> str:
        """Return in words how a name is looked up. Raises Unresolved."""
        return self._zone(_parsed(name)).how

    def _look_up(self, name: str, kind: Kind, deadline: Deadline, seen: Seen) -> Found:
        met = [_parsed(name)]
        while True:
            asked = met[-1]
            seen.names[:] = map(shown, met)
            zone = self._zone(asked)
            static = zone.static(asked, kind)
            if static is not None:
                seen.step(f"{dns.rdatatype.to_text(kind)} {shown(asked)}: among the zone's hosts")
                return Found(_text(asked), static)
            answer = zone.ask(asked, kind, deadline, seen)
            # An alias that stays in its zone may be answered for at once; one that leads out of
            # it is another's to answer.
            while self._zone(met[-1]) is zone and (alias := answer.alias(met[-1])) is not None:
                if alias in met or len(met) > MAX_ALIASES:
                    raise Unresolved(f"{shown(name)} is an alias of an alias without end")
                seen.step(f"{shown(met[-1])} is an alias of {shown(alias)}")
                met.append(alias)
                if zone.only_its_own:
                    break
            end = met[-1]
            seen.names[:] = map(shown, met)
            if end == asked or (self._zone(end) is zone and not zone.only_its_own):
                records = answer.records(end, kind)
                if records:
                    return Found(_text(end), records)
            if end == asked:
                return Found(_text(end), (), answer.exists, answer.denies(end, kind))

    def _zone(self, name: dns.name.Name) -> "_Zone":
        text = _text(name)
        for suffix, zone in self._zones:
            if _covers(suffix, text):
                return zone
        raise Unresolved(f"no zone of the DNS profile {self._profile!r} covers {shown(name)}")


class _Zone:
    """What one zone knows itself, and who is asked for the rest.

    `only_its_own`: an answer is believed of the name that was asked for, not of what it is an alias
    of.
    """

    def __init__(
        self,
        settings: DnsZone,
        patience: float,
        authoritative: Authoritative | None,
        trusted: Mapping[dns.name.Name, tuple[DS, ...]] | None,
    ) -> None:
        self._hosts = {name.lower().rstrip("."): str(at) for name, at in settings.hosts.items()}
        self._tcp = settings.protocol == "tcp"
        self._patience = patience
        self._authoritative = authoritative
        self._trusted = trusted
        self._system = settings.system or not (settings.dns_server or settings.hosts)
        self._listed = tuple(Server(*host_and_port(server)) for server in settings.dns_server)
        self._read: tuple[float, tuple[Server, ...]] | None = None
        self.only_its_own = authoritative is not None
        self.how = _how(settings, self._listed, system=self._system)

    def static(self, name: dns.name.Name, kind: Kind) -> tuple[dns.rdata.Rdata, ...] | None:
        """Return what the zone's `hosts` say of a name; None: it is not among them."""
        address = _static(self._hosts, _text(name)) if kind in FAMILIES else None
        if address is None:
            return None
        if ipaddress.ip_address(address).version != FAMILIES[kind]:
            return ()
        return (dns.rdata.from_text(dns.rdataclass.IN, kind, address),)

    def ask(self, name: dns.name.Name, kind: Kind, deadline: Deadline, seen: Seen) -> "_Answer":
        """Ask as the zone's settings say. Raises Unresolved."""
        servers = self._servers()
        if not servers and kind in FAMILIES:
            raise Unresolved(f"{shown(name)} is not among the hosts of its zone")
        if not servers:
            raise Unresolved(f"the zone of {shown(name)} has no DNS server that could be asked")
        signed = self._trusted is not None

        def ordinary(name: dns.name.Name, kind: Kind) -> dns.message.Message:
            question = Question(name, kind, signed=signed, tcp=self._tcp)
            return ask(question, servers, deadline, seen, self._patience)

        chain = None if self._trusted is None else Chain(self._trusted, ordinary, seen)
        if self._authoritative is None:
            return _Answer((ordinary(name, kind),), chain)
        question = Question(name, kind, recurse=False, signed=signed, tcp=self._tcp)
        replies = self._authoritative.ask(question, ordinary, deadline, seen)
        return _Answer(replies, chain)

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


class _Answer:
    """What was answered to one question, by one server or by several; signatures are checked where
    there is a chain to follow."""

    def __init__(self, replies: tuple[dns.message.Message, ...], chain: Chain | None) -> None:
        self._replies = replies
        self._chain = chain
        self.exists = any(reply.rcode() != dns.rcode.NXDOMAIN for reply in replies)

    def alias(self, name: dns.name.Name) -> dns.name.Name | None:
        """Return what a name is an alias of, by DNAME of a name above it, or by CNAME.

        The DNAME goes first: it is signed, and the CNAME that is made of it is not. RFC 1034
        section 3.6.2, RFC 6672 section 2.2.
        """
        above = self._sound(
            lambda each: (
                each.rdtype == dns.rdatatype.DNAME
                and name != each.name
                and name.is_subdomain(each.name)
            )
        )
        for rrset in above:
            try:
                return name.relativize(rrset.name).concatenate(_target(rrset))
            except dns.name.NameTooLong:
                raise Unresolved(f"{shown(name)} is an alias of a name that is too long") from None
        own = self._sound(lambda each: (each.name, each.rdtype) == (name, dns.rdatatype.CNAME))
        return _target(own[0]) if own else None

    def records(self, name: dns.name.Name, kind: Kind) -> tuple[dns.rdata.Rdata, ...]:
        """Return the records of a name, those of all answers, each once."""
        sound = self._sound(lambda each: (each.name, each.rdtype) == (name, kind))
        return tuple(dict.fromkeys(record for rrset in sound for record in rrset))

    def denies(self, name: dns.name.Name, kind: Kind) -> bool:
        """Tell whether it is certain that there are none, where certainty was asked for."""
        chain = self._chain
        return chain is None or all(chain.denies(reply, name, kind) for reply in self._replies)

    def _sound(self, wanted: Callable[[dns.rrset.RRset], bool]) -> list[dns.rrset.RRset]:
        """Return the RRsets that are wanted and count; one server's forgery spoils no other's
        answer.

        Raises Bogus if there are some, and none counts.
        """
        sound: list[dns.rrset.RRset] = []
        wrong: Bogus | None = None
        for reply in self._replies:
            for rrset in filter(wanted, reply.answer):
                try:
                    if self._chain is not None:
                        self._chain.check(reply, rrset)
                except Bogus as error:
                    wrong = error
                else:
                    sound.append(rrset)
        if wrong is not None and not sound:
            raise wrong
        return sound


def _how(settings: DnsZone, listed: tuple[Server, ...], *, system: bool) -> str:
    """Return in words who is asked."""
    servers = "this machine's DNS servers" if system else ", ".join(map(str, listed))
    if settings.authoritative:
        servers = f"the zone's own servers, found by way of {servers or 'nobody'}"
    signed = "; every answer has to be signed" if settings.dnssec else ""
    tcp = " by TCP" if settings.protocol == "tcp" else ""
    hosts = f"{len(settings.hosts)} hosts of its own" if settings.hosts else ""
    return "; then ".join(filter(None, (hosts, servers and f"{servers}{tcp}"))) + signed


def _of_the_machine() -> tuple[Server, ...]:
    """Return the DNS servers this machine is set up with. Raises Unresolved."""
    try:
        configured = dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError) as error:
        what = "could not be looked up: this server has no DNS servers configured"
        raise Unresolved(f"the name {what}", transient=True) from error
    return tuple(Server(str(each), configured.port) for each in configured.nameservers)


def _target(rrset: dns.rrset.RRset) -> dns.name.Name:
    return cast("dns.name.Name", rrset[0].target)


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

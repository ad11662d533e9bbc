"""Where a name leads, asked in the way its DNS profile says.

A company's names live in many places, so a profile has zones: the zone with the longest suffix of a
name says who is asked (the machine's own DNS servers, or listed ones) and may know some names
itself (`hosts`). An alias into another zone is asked for there. Nothing is cached: a validation
wants today's answer. The hosts file of the machine is not looked at, because what only this machine
believes proves nothing.

Every look-up ends: after the profile's timeout for each question, after twice that in all, and
after `MAX_ALIASES` aliases.
"""

import functools
import ipaddress
import re
import time
from collections.abc import Mapping

import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.resolver

from certeasy.settings import DnsProfile, DnsZone

MAX_ALIASES = 8
"""CNAMEs that are followed from zone to zone; dnspython bounds those inside one answer."""
MAX_ADDRESSES = 16
"""Addresses of each family that are looked at, and kept as evidence."""
REREAD_AFTER = 60.0
"""Seconds after which the machine's own resolver configuration is read again."""
DNS_PORT = 53
SERVER = re.compile(r"([0-9.]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


class Unresolved(Exception):
    """A name leads nowhere. `str()` says why in one line; `transient`: asking again may help."""

    def __init__(self, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.transient = transient


class Resolver:
    """Ask for addresses as one DNS profile says. One instance serves all threads."""

    def __init__(self, profile: DnsProfile) -> None:
        self._profile = profile.name
        self._timeout = timeout = profile.timeout.total_seconds()
        zones = profile.zones or (DnsZone(system=True),)
        by_suffix = {suffix: _Zone(zone, timeout) for zone in zones for suffix in _suffixes(zone)}
        self._zones = sorted(by_suffix.items(), key=lambda pair: len(pair[0]), reverse=True)

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addresses of `name`, at least one, IPv6 first, as the DNS ordered them.

        Raises Unresolved.
        """
        asked = name
        ends = time.monotonic() + 2 * self._timeout
        for _ in range(MAX_ALIASES):
            found, alias = self._zone(asked).addresses(asked, ends)
            if found:
                return found
            if alias == asked:
                raise Unresolved(f"{_via(name, asked)} has no A or AAAA record")
            asked = alias
        raise Unresolved(f"{name} is an alias of an alias without end; followed {MAX_ALIASES}")

    def _zone(self, name: str) -> "_Zone":
        for suffix, zone in self._zones:
            if _covers(suffix, name):
                return zone
        raise Unresolved(f"no zone of the DNS profile {self._profile!r} covers {name}")


class _Zone:
    """What one zone knows itself, and who is asked for the rest."""

    def __init__(self, settings: DnsZone, timeout: float) -> None:
        self._hosts = {name.lower().rstrip("."): str(at) for name, at in settings.hosts.items()}
        self._tcp = settings.protocol == "tcp"
        self._timeout = timeout
        self._upstream: _Listed | _System | None = None
        if settings.dns_server:
            self._upstream = _Listed(settings.dns_server, timeout)
        elif settings.system or not settings.hosts:
            self._upstream = _System(timeout)

    def addresses(self, name: str, ends: float) -> tuple[tuple[str, ...], str]:
        """Return the addresses of `name`, or none and the alias it stands for (itself, if none).

        `ends` is the monotonic time by which it must be known. Raises Unresolved.
        """
        static = _static(self._hosts, name)
        if static is not None:
            return (static,), name
        if self._upstream is None:
            raise Unresolved(f"{name} is not among the hosts of its zone")
        four, alias = self._ask(name, "A", ends)
        try:
            six, _ = self._ask(name, "AAAA", ends)
        except Unresolved:
            # Plenty of DNS servers in companies know nothing of AAAA; what A said still holds.
            if not four:
                raise
            six = ()
        return six + four, alias

    def _ask(self, name: str, kind: str, ends: float) -> tuple[tuple[str, ...], str]:
        assert self._upstream is not None
        lifetime = min(self._timeout, ends - time.monotonic())
        try:
            answer = self._upstream.current().resolve(
                f"{name}.",
                kind,
                tcp=self._tcp,
                raise_on_no_answer=False,
                lifetime=lifetime,
                search=False,
            )
        except (dns.exception.DNSException, OSError) as error:
            raise _unresolved(name, kind, error) from error
        found = tuple(record.to_text() for record in answer.rrset or ())[:MAX_ADDRESSES]
        return found, answer.canonical_name.to_text(omit_final_dot=True).lower()


class _Listed:
    """The DNS servers of a zone's `dns-server`, each as ADDRESS or ADDRESS:PORT."""

    def __init__(self, servers: tuple[str, ...], timeout: float) -> None:
        self._resolver = _bounded(dns.resolver.Resolver(configure=False), timeout)
        self._resolver.nameservers = [
            dns.nameserver.Do53Nameserver(*host_and_port(server)) for server in servers
        ]

    def current(self) -> dns.resolver.Resolver:
        """Return the one resolver there is."""
        return self._resolver


class _System:
    """The DNS servers this machine is set up with, which may change while the server runs."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._read: tuple[float, dns.resolver.Resolver] | None = None

    def current(self) -> dns.resolver.Resolver:
        """Return a resolver configured no longer than a minute ago.

        Two threads may both read the configuration: either result is right, so there is no lock.
        """
        now, read = time.monotonic(), self._read
        if read is None or now - read[0] > REREAD_AFTER:
            read = self._read = (now, _bounded(dns.resolver.Resolver(), self._timeout))
        return read[1]


def _bounded(resolver: dns.resolver.Resolver, timeout: float) -> dns.resolver.Resolver:
    """Let every question end after `timeout` seconds, with room to ask twice."""
    resolver.lifetime = timeout
    resolver.timeout = min(2.0, timeout / 2)
    return resolver


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
    return name if name == asked else f"{asked}, which {name} is an alias of,"


@functools.singledispatch
def _reason(error: Exception) -> tuple[str, bool]:
    """Return what a failed question means, as the end of a sentence, and whether it may pass."""
    return f"could not be looked up ({type(error).__name__})", True


@_reason.register
def _(_error: dns.resolver.NXDOMAIN) -> tuple[str, bool]:
    return "does not exist in the DNS (NXDOMAIN)", False


@_reason.register
def _(_error: dns.resolver.LifetimeTimeout) -> tuple[str, bool]:
    return "could not be looked up: no DNS server answered in time", True


@_reason.register
def _(_error: dns.resolver.NoResolverConfiguration) -> tuple[str, bool]:
    return "could not be looked up: this server has no DNS servers configured", True


@_reason.register
def _(error: dns.resolver.NoNameservers) -> tuple[str, bool]:
    said = [what for _, _, _, what, _ in error.kwargs.get("errors", ())]
    if any(isinstance(what, dns.message.ChainTooLong) for what in said):
        return "is an alias of an alias without end", False
    words = {what if isinstance(what, str) else type(what).__name__ for what in said}
    return f"could not be looked up: DNS answered {', '.join(sorted(words)) or 'nothing'}", True


@_reason.register(dns.name.LabelTooLong)
@_reason.register(dns.name.NameTooLong)
@_reason.register(dns.name.EmptyLabel)
def _(_error: Exception) -> tuple[str, bool]:
    return "is no DNS name", False


def _unresolved(name: str, kind: str, error: Exception) -> Unresolved:
    words, transient = _reason(error)
    return Unresolved(f"{name} {words}; asked for {kind}", transient=transient)

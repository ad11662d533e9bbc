"""From a name to a connection: what every challenge that connects somewhere keeps to.

1. The name is resolved once; its addresses are held against the address policy; the connection goes
   to an address that passed, never to the name (a second look-up could answer otherwise: DNS
   rebinding). An address that stands in the place of a name is held against the policy as well.
2. IPv6 is tried first, then IPv4; only a connection that fails leads to the next address.
3. A look-up and a connection each end after the profile's timeout (a look-up after twice that),
   the whole after three times that.
"""

import socket
from typing import Protocol

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile
from certeasy.validate import Evidence, wire
from certeasy.validate.addresses import AddressPolicy, connectable
from certeasy.validate.ask import Seen, Unresolved

MAX_TRIED = 2
"""Addresses of each family that are tried."""
BUDGET = 3
"""The whole validation may take this many times the profile's timeout."""


class Resolves(Protocol):
    """Whoever can say where a name leads."""

    def addresses(self, name: str, seen: Seen) -> tuple[str, ...]:
        """Return at least one address, IPv6 first; `seen` is kept up to date on the way. Raises
        Unresolved."""
        ...


class Stop(Exception):
    """The validation has failed, for this reason."""

    def __init__(self, problem: Problem, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.problem = problem
        self.transient = transient


class Trail:
    """What one validation has seen so far of the network; becomes its evidence."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self.address = ""
        self.port = 0
        self.looked_up = Seen()

    def evidence(self) -> Evidence:
        """Return what was seen so far."""
        return Evidence(
            addresses=self.addresses,
            address=self.address,
            port=self.port,
            names=tuple(self.looked_up.names),
            zones=tuple(self.looked_up.zones),
            servers=tuple(self.looked_up.servers),
            rcode=self.looked_up.rcode,
            signed_by=tuple(self.looked_up.signed_by),
        )


class Reach:
    """Connects as one DNS profile allows. One instance serves all threads."""

    def __init__(self, profile: DnsProfile, resolver: Resolves) -> None:
        rules = profile.resolved_ip_policy
        self._policy = AddressPolicy(rules.allow_cidrs, rules.deny_cidrs)
        self._resolver = resolver
        self._timeout = profile.timeout.total_seconds()

    def deadline(self) -> wire.Deadline:
        """Return the end of a validation that begins now."""
        return wire.Deadline(self._timeout * BUDGET)

    def step(self, deadline: wire.Deadline) -> float:
        """Return the seconds that one step may take. Raises TimeoutError if none are left."""
        return deadline.left(self._timeout)

    def connect(self, host: str, port: int, trail: Trail, deadline: wire.Deadline) -> socket.socket:
        """Resolve, check, connect: the rules above. Raises Stop."""
        trail.addresses, trail.address, trail.port = (), "", port
        trail.looked_up = Seen()
        trail.addresses = self._resolve(host, trail.looked_up, deadline)
        return self._connect(host, self._allowed(host, trail.addresses), trail, deadline)

    def _resolve(self, host: str, seen: Seen, deadline: wire.Deadline) -> tuple[str, ...]:
        if is_literal(host):
            return (host,)
        try:
            deadline.left()
            return self._resolver.addresses(host, seen)
        except Unresolved as reason:
            raise Stop(Problem.DNS, str(reason), transient=reason.transient) from reason
        except TimeoutError:
            raise late(host) from None

    def _allowed(self, host: str, addresses: tuple[str, ...]) -> list[str]:
        """Return the addresses to try, in order. Raises Stop if the policy refuses them all."""
        refusals = {address: self._policy.refusal(address) for address in addresses}
        passed = [connectable(address) for address, refusal in refusals.items() if refusal is None]
        if not passed:
            address, refusal = next(iter(refusals.items()))
            raise Stop(Problem.CONNECTION, f"{host} leads to {address}, which {refusal}")
        six = [address for address in passed if ":" in address]
        four = [address for address in passed if ":" not in address]
        return six[:MAX_TRIED] + four[:MAX_TRIED]

    def _connect(
        self, host: str, addresses: list[str], trail: Trail, deadline: wire.Deadline
    ) -> socket.socket:
        """Return a connection to the first address that takes one: rule 2. Raises Stop."""
        failures = []
        for address in addresses:
            trail.address = address
            try:
                return _dial(address, trail.port, self.step(deadline))
            except TimeoutError:
                failures.append(f"{address} did not answer in time")
            except OSError as error:
                failures.append(f"{address}: {wire.words(error)}")
        detail = f"{host} port {trail.port}: {'; '.join(failures)}"
        raise Stop(Problem.CONNECTION, detail, transient=True)


def is_literal(host: str) -> bool:
    """Tell whether a host is an address, or is written as only addresses are."""
    return ":" in host or host.replace(".", "").isdigit()


def late(host: str) -> Stop:
    """Return the failure of a validation that ran out of time before `host` was asked."""
    return Stop(Problem.CONNECTION, f"no time was left to ask {host}", transient=True)


def _dial(address: str, port: int, seconds: float) -> socket.socket:
    """Return a TCP connection to a numeric address. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect((address, port))
    except BaseException:  # of whatever kind: nobody else could close it
        connection.close()
        raise
    return connection

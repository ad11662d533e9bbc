"""Asking those who serve a zone, in the place of somebody who remembers what they said.

1. The zone of a name is the nearest name at or above it that has NS records; these, and the
   addresses of the name servers, are asked for in the ordinary way.
2. An address that was found in this way is held against the address policy, like every other one
   that a stranger can choose. Port 53 is asked.
3. Every server is asked, at most `MAX_SERVERS`, without recursion; an answer that is not
   authoritative is none.
4. What any of them says, holds: the answers are put together. A new record is on some servers
   earlier than on others, and anybody who looks it up is answered by one of them, whichever; to ask
   that all agree would make one sleeping secondary an outage, and gain no safety: who can write to
   one of a zone's servers can prove the zone his to everybody else as well.
"""

from collections.abc import Callable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from certeasy.validate.addresses import AddressPolicy, connectable
from certeasy.validate.ask import Question, Seen, Server, Unresolved, ask_each, shown
from certeasy.validate.wire import Deadline

MAX_SERVERS = 8
MAX_NAMES = 8
"""Name servers whose addresses are looked for."""
ROUNDS = 2
"""So often they are asked if nobody answers."""

Ask = Callable[[dns.name.Name, dns.rdatatype.RdataType], dns.message.Message]
"""Asks in the ordinary way. Raises Unresolved."""


class Authoritative:
    """Finds and asks a zone's own servers. One instance serves all threads."""

    def __init__(self, policy: AddressPolicy, patience: float, port: int) -> None:
        self._policy = policy
        self._patience = patience
        self._port = port

    def ask(
        self, question: Question, ordinary: Ask, deadline: Deadline, seen: Seen
    ) -> tuple[dns.message.Message, ...]:
        """Return what the servers of the name's zone say, at least one answer.

        Raises Unresolved.
        """
        zone, names = _zone_of(question.name, ordinary)
        if shown(zone) not in seen.zones:
            seen.zones.append(shown(zone))
        servers = self._servers(zone, names, ordinary, seen)
        for _ in range(ROUNDS):
            replies = []
            for server, reply in ask_each(question, servers, deadline, seen, self._patience):
                if reply.flags & dns.flags.AA:
                    seen.believed(server)
                    replies.append(reply)
            if replies:
                return tuple(replies)
        many = f"none of the {len(servers)} servers" if len(servers) > 1 else "no server"
        detail = f"{question} could not be looked up: {many} of the zone {shown(zone)} answered"
        raise Unresolved(detail, transient=True)

    def _servers(
        self, zone: dns.name.Name, names: list[dns.name.Name], ordinary: Ask, seen: Seen
    ) -> list[Server]:
        """Return where the zone's name servers may be asked: rule 2."""
        servers: dict[Server, None] = {}
        refused = ""
        for address in _addresses(names, ordinary):
            refusal = self._policy.refusal(address)
            if refusal is None:
                servers[Server(connectable(address), self._port)] = None
            else:
                refused = f"{address}, which {refusal}"
                seen.step(f"a name server of {shown(zone)} is at {refused}")
        if not servers and refused:
            raise Unresolved(f"the name servers of {shown(zone)} lead to {refused}")
        if not servers:
            detail = f"the name servers of {shown(zone)} have no address"
            raise Unresolved(detail, transient=True)
        return list(servers)[:MAX_SERVERS]


def _zone_of(name: dns.name.Name, ordinary: Ask) -> tuple[dns.name.Name, list[dns.name.Name]]:
    """Return the zone of a name and the names of its servers: rule 1. Raises Unresolved."""
    zone = name
    while True:
        reply = ordinary(zone, dns.rdatatype.NS)
        found = [
            record.target
            for rrset in reply.answer
            if rrset.name == zone and rrset.rdtype == dns.rdatatype.NS
            for record in rrset
        ]
        if found:
            return zone, sorted(found)[:MAX_NAMES]
        if zone == dns.name.root:
            raise Unresolved(
                f"no zone of {shown(name)} can be found: no name above it has NS records"
            )
        zone = zone.parent()


def _addresses(names: list[dns.name.Name], ordinary: Ask) -> list[str]:
    """Return the addresses of name servers: the IPv4 ones first, which every machine can reach."""
    found: list[str] = []
    for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
        for name in names:
            try:
                reply = ordinary(name, kind)
            except Unresolved as error:
                if error.transient:
                    continue
                raise
            found.extend(
                record.to_text()
                for rrset in reply.answer
                if rrset.rdtype == kind
                for record in rrset
            )
    return found

"""A small real DNS server on loopback, UDP and TCP on one port, which answers from a dict.

    with DnsServer({"web.lab.test": ["A 127.0.0.1"], "*.lab.test": ["TXT hello"]}) as dns:
        ...  # dns.endpoint is "127.0.0.1:40123"

A record is its type and its text; `TXT one` is one string, `TXT "one" "two"` is a value of two. A
name may also map to a callable that returns its records anew for every question, or to one word: an
error code such as "SERVFAIL", or "SILENCE" (no answer at all). Below a `DNAME` every name is an
alias; `NO-CNAME` beside it leaves out the CNAME that says so. Forgeries are sent ahead of the
answer, or alone with "SILENCE":

    WRONG-ID, OTHER-SOURCE, OTHER-QUESTION    an answer with the record TXT forged
    RUBBISH                                   bytes that are no message

By TCP a server may also be "CUT" (it hangs up in the middle of its answer), "DRIP" (it sends a byte
every now and then, until the client has gone) or "NOISE" (what it sends is no message).

`records` may be changed while the server runs. What does not fit into a datagram is answered
truncated.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

from tests.fakes.signed_zone import answer_signed

Records = Sequence[str] | Callable[[], Sequence[str]]

LOOPBACK = "127.0.0.1"
DATAGRAM = 512
TTL = 60
MAX_ALIASES = 32
FORGERIES = ("WRONG-ID", "OTHER-SOURCE", "OTHER-QUESTION", "RUBBISH")
BY_TCP = ("CUT", "DRIP", "NOISE")
MARKS = (*FORGERIES, *BY_TCP, "SILENCE", "NO-CNAME")
DRIP_SECONDS = 0.05


class DnsServer:
    """Serves from a thread of its own between `with` and its end."""

    def __init__(
        self,
        records: Mapping[str, Records],
        *,
        at: str = LOOPBACK,
        port: int = 0,
        authoritative: bool = False,
        signed: Sequence[dns.zone.Zone] = (),
    ) -> None:
        self.records = dict(records)
        self.authoritative = authoritative
        """Whether answers say that they are; it does not ask others either way."""
        self.signed = list(signed)
        """Zones that are answered from before anything else, with signatures and proofs."""
        self.asked: list[tuple[str, str, str]] = []
        """Every question so far: name, type, "udp" or "tcp"."""
        self._at = at
        self._udp, self._tcp = _both_on_one_port(at, port)
        self._wake, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="dns-server", daemon=True)

    @property
    def port(self) -> int:
        """The port, the same for UDP and TCP."""
        port: int = self._udp.getsockname()[1]
        return port

    @property
    def endpoint(self) -> str:
        """Where it listens, as ADDRESS:PORT."""
        return f"{self._at}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop.send(b"x")
        self._thread.join()
        for endpoint in (self._udp, self._tcp, self._wake, self._stop):
            endpoint.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for endpoint in (self._udp, self._tcp, self._wake):
                selector.register(endpoint, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._wake in ready:
                    return
                # What comes off the wire may be anything; a client that goes away is no event.
                with contextlib.suppress(OSError, dns.exception.DNSException):
                    if self._udp in ready:
                        self._by_udp()
                    if self._tcp in ready:
                        self._by_tcp()

    def _by_udp(self) -> None:
        wire, client = self._udp.recvfrom(4096)
        query = dns.message.from_wire(wire)
        records = self.records.get(_text(query.question[0].name), ())
        for mark in () if callable(records) else records:
            if mark in FORGERIES:
                self._forge(mark, query, client)
        reply = self._reply(query, "udp")
        if reply is None:
            return
        try:
            answer = reply.to_wire(max_size=max(DATAGRAM, query.payload))
        except dns.exception.TooBig:
            reply.answer.clear()
            reply.authority.clear()
            reply.flags |= dns.flags.TC
            answer = reply.to_wire()
        self._udp.sendto(answer, client)

    def _forge(self, how: str, query: dns.message.Message, client: tuple[str, int]) -> None:
        """Send what nobody may believe."""
        question = query.question[0]
        forged = dns.message.make_response(query)
        forged.answer.append(dns.rrset.from_text(question.name, TTL, "IN", "TXT", "forged"))
        if how == "WRONG-ID":
            forged.id ^= 1
        if how == "OTHER-QUESTION":
            other = dns.name.from_text("other.lab.test.")
            forged.question[0] = dns.rrset.RRset(other, question.rdclass, question.rdtype)
        wire = b"rubbish" if how == "RUBBISH" else forged.to_wire()
        if how != "OTHER-SOURCE":
            self._udp.sendto(wire, client)
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((LOOPBACK, 0))
            stranger.sendto(wire, client)

    def _by_tcp(self) -> None:
        connection, _ = self._tcp.accept()
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(1)
            length = int.from_bytes(stream.read(2), "big")
            reply = self._reply(dns.message.from_wire(stream.read(length)), "tcp")
            if reply is not None:
                wire = reply.to_wire(max_size=65535)
                records = self.records.get(_text(reply.question[0].name), ())
                marks = set() if callable(records) else set(records)
                _send(connection, len(wire).to_bytes(2, "big") + wire, marks)

    def _reply(self, query: dns.message.Message, transport: str) -> dns.message.Message | None:
        (question,) = query.question
        name = _text(question.name)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, transport))
        reply = dns.message.make_response(query, recursion_available=True)
        if self.authoritative:
            reply.flags |= dns.flags.AA
        zones = [zone for zone in self.signed if question.name.is_subdomain(zone.origin)]
        if question.rdtype == dns.rdatatype.DS:
            zones = [zone for zone in zones if zone.origin != question.name]
        if zones:
            zone = max(zones, key=lambda each: len(each.origin))
            answer_signed(reply, zone, question.name, question.rdtype)
            return reply
        for owner, records in self._chain(name, kind):
            if "SILENCE" in records:
                return None
            found = [record for record in records if record not in MARKS]
            if len(found) == 1 and " " not in found[0]:
                reply.set_rcode(dns.rcode.from_text(found[0]))
            else:
                _add(reply, owner, found, kind)
        return reply

    def _chain(self, name: str, kind: str) -> Iterator[tuple[str, list[str]]]:
        """Yield the name's records, then those of each alias that this server knows."""
        for step in range(MAX_ALIASES):
            records = self._find(name)
            above = self._dname_above(name) if records is None else None
            if above is not None:
                owner, target, synthesized = above
                yield owner, [f"DNAME {target}"]
                alias = name.removesuffix(owner) + target
                if synthesized:
                    yield name, [f"CNAME {alias}"]
            elif records is None:
                if step == 0:
                    yield name, ["NXDOMAIN"]
                return
            else:
                yield name, records
                alias = _target("CNAME", records)
                if alias is None or kind == "CNAME":
                    return
            name = alias.rstrip(".").lower()

    def _dname_above(self, name: str) -> tuple[str, str, bool] | None:
        """Return the name above that has a DNAME, its target, and whether a CNAME is made of it."""
        while "." in name:
            name = name.partition(".")[2]
            records = self._find(name) or []
            if (target := _target("DNAME", records)) is not None:
                return name, target, "NO-CNAME" not in records
        return None

    def _find(self, name: str) -> list[str] | None:
        candidates = [name]
        while "." in name:
            name = name.partition(".")[2]
            candidates.append("*." + name)
        for candidate in candidates:
            if candidate in self.records:
                records = self.records[candidate]
                return list(records() if callable(records) else records)
        return None


def _send(connection: socket.socket, wire: bytes, marks: set[str]) -> None:
    """Send an answer by TCP, well or ill."""
    if "CUT" in marks:
        wire = wire[: len(wire) // 2]
    if "NOISE" in marks:
        wire = (40).to_bytes(2, "big") + b"\xff" * 40
    pieces = [wire[n : n + 1] for n in range(len(wire))] if "DRIP" in marks else [wire]
    for piece in pieces:
        connection.sendall(piece)
        if "DRIP" in marks:
            time.sleep(DRIP_SECONDS)


def _text(name: dns.name.Name) -> str:
    text: str = name.to_text(omit_final_dot=True).lower()
    return text


def _target(kind: str, records: list[str]) -> str | None:
    return next((r.partition(" ")[2] for r in records if r.startswith(kind + " ")), None)


def _add(reply: dns.message.Message, owner: str, records: list[str], kind: str) -> None:
    """Put those of `records` that answer a question for `kind` into the reply."""
    fitting: dict[str, list[str]] = {}
    for record in records:
        its_kind, _, text = record.partition(" ")
        if its_kind in (kind, "CNAME", "DNAME"):
            value = f'"{text}"' if its_kind == "TXT" and '"' not in text else text
            fitting.setdefault(its_kind, []).append(value)
    for its_kind, values in fitting.items():
        reply.answer.append(
            dns.rrset.from_text_list(
                owner + ".", TTL, "IN", its_kind, values, origin=dns.name.root, relativize=False
            )
        )


def _both_on_one_port(at: str, port: int) -> tuple[socket.socket, socket.socket]:
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            udp.bind((at, port))
            tcp.bind(udp.getsockname())
            tcp.listen()
        except OSError:
            udp.close()
            tcp.close()
            if port:
                raise
        else:
            return udp, tcp

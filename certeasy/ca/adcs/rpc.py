"""DCE/RPC with one rule: at packet privacy, nothing is believed but what was protected.

`Channel` is impacket's DCERPC_v5 with everything that goes over the wire done anew, so that whoever
is handed one by impacket itself (its DCOM) is under the same rule. In this order:

1. There are two levels: none, which is for the endpoint mapper, and packet privacy. Whoever asks
   for anything between gets packet privacy.
2. A binding is taken as the server's as far as it goes: it is not protected, and nothing of it is
   used but the token for the security context and a size within bounds.
3. Every fragment of a reply has the call's own number, context and security context, stands where
   it should, is within what we said we take, and is unsealed by the security context, which knows
   whether it is the next one. All of them together have a bound.
4. A fault is no verdict, however it comes: see `errors`.
5. After anything that is not a whole, protected reply the channel is dead, and so is every other
   one on the same line. A late answer finds nobody.

A method's own code is none of the channel's business: it stands in a reply that was protected.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import impacket.ntlm
from impacket.dcerpc.v5 import rpcrt

from certeasy.ca.adcs import pdu
from certeasy.ca.adcs.crossing import Crossing
from certeasy.ca.adcs.errors import Fault
from certeasy.ca.adcs.ntlm import NtlmContext
from certeasy.ca.adcs.pdu import Packet
from certeasy.ca.adcs.security import SecurityContext, Tampered

NONE, PRIVACY = rpcrt.RPC_C_AUTHN_LEVEL_NONE, rpcrt.RPC_C_AUTHN_LEVEL_PKT_PRIVACY
NTLM = rpcrt.RPC_C_AUTHN_WINNT
LARGEST_REPLY = 4 << 20
"""A long chain takes some 20 KiB; what a CA tells of itself, less than 1 MiB."""
MOST_LEGS = 8
"""How many tokens a security context may want before it is complete."""
BLOCK = 16
SECURITY_CONTEXT = 79231
"""The number of the first security context of a line: any, as long as it is the same."""


class Dead(Exception):
    """This connection has failed before, and is not used again."""


class Wire(Protocol):
    """What carries the bytes: impacket's transports are such, and so are those of `transport`."""

    def send(self, data: bytes, forceWriteAndx: int = 0, forceRecv: int = 0) -> None:  # noqa: N803
        """Send them all. Raises CutShort if surely not all of them have left."""
        ...

    def recv(self, forceRecv: int = 0, count: int = 0) -> bytes:  # noqa: N803 - impacket's names
        """Return `count` bytes, or what comes at once."""
        ...


class CutShort(OSError):
    """Less than all of a packet was handed to the network: nobody has the whole of it."""


class _Line:
    """One connection, which several channels may share, one after the other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._read = b""
        self.dead = False
        self.call_id = 0

    def send(self, data: bytes, *, more: bool = False) -> None:
        self._wire.send(data, forceWriteAndx=1, forceRecv=0 if more else 1)

    def receive(self) -> Packet:
        """Return the next packet. Raises what the wire raises, or Tampered."""
        length = pdu.length_of(self._take(pdu.COMMON.size, keep=True))
        return pdu.read(self._take(length))

    def _take(self, count: int, *, keep: bool = False) -> bytes:
        while len(self._read) < count:
            data = self._wire.recv(1, count=count - len(self._read))
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._read += data
        taken = self._read[:count]
        if not keep:
            self._read = self._read[count:]
        return taken


class Channel(rpcrt.DCERPC_v5):  # type: ignore[misc] # impacket has no types
    """One interface on one line. Without a security context, impacket's settings make one."""

    def __init__(self, wire: Any, security: SecurityContext | None = None) -> None:
        super().__init__(wire)
        self._line = _Line(wire)
        self._given = security
        self._security = security
        self._level = NONE if security is None else PRIVACY
        self._room = 0

    @property
    def dead(self) -> bool:
        """Whether it has failed."""
        return self._line.dead

    def set_auth_level(self, auth_level: int) -> None:
        """Take none as none, and everything else as packet privacy."""
        self._level = NONE if auth_level == NONE else PRIVACY
        super().set_auth_level(self._level)

    # ------------------------------------------------------------------ binding

    def bind(
        self,
        iface_uuid: bytes,
        alter: int = 0,
        bogus_binds: int = 0,
        transfer_syntax: object = None,
    ) -> None:
        """Bind an interface (UUID and version, 20 bytes), and agree on keys.

        Raises Fault or Tampered, or whatever the wire raises. The last two parameters are
        impacket's, and mean nothing here.
        """
        del bogus_binds, transfer_syntax
        with self._or_dead():
            self._line.call_id += 1
            body = pdu.binding(iface_uuid, self._ctx)
            kind = pdu.ALTER_CONTEXT if alter else pdu.BIND
            if self._level == NONE:
                self._room = self._handshake(kind, body, b"").largest_request
                return
            self._security = self._given or self._impackets()  # each binding has its own keys
            self._agree(kind, body, self._security)

    def _impackets(self) -> SecurityContext:
        """Return the context that impacket's settings, of us or of the transport, ask for."""
        given = self.get_credentials()
        if given[0] is None or given[1] is None:
            given = self._transport.get_credentials()
            self.set_credentials(*given)  # impacket asks for them, for the next connection
        user, password, domain, _, nt_hash, _, _, tgs = given
        host = f"host/{self._transport.getRemoteName()}"
        if self.get_auth_type() == NTLM:
            text = nt_hash.hex() if isinstance(nt_hash, bytes) else nt_hash or ""
            return NtlmContext(user, domain, password, text, host)
        from certeasy.ca.adcs.gss import KerberosContext  # noqa: PLC0415 - 0.1 s of ASN.1

        return KerberosContext(user, domain, tgs)

    def _agree(self, kind: int, body: bytes, security: SecurityContext) -> None:
        """Exchange tokens until both sides have keys. MS-RPCE section 3.3.1.5.2."""
        accepted = self._handshake(kind, body, security.step(b""))
        self._room = accepted.largest_request
        for _ in range(MOST_LEGS):
            token = security.step(accepted.token) if accepted.token else b""
            if not token:
                break
            if security.kind == NTLM:
                self._line.send(self._handshake_packet(pdu.AUTH3, bytes(4), token), more=True)
                break
            self._line.call_id += 1
            accepted = self._handshake(pdu.ALTER_CONTEXT, body, token)
        if not security.complete:
            raise Tampered("the server gave no proof of who it is")

    def _handshake_packet(self, kind: int, body: bytes, token: bytes) -> bytes:
        if not token:
            return pdu.write(kind, self._line.call_id, body)
        return pdu.write(kind, self._line.call_id, body, self._trailer(0), token)

    def _handshake(self, kind: int, body: bytes, token: bytes) -> pdu.Accepted:
        self._line.send(self._handshake_packet(kind, body, token))
        packet = self._line.receive()
        if packet.call_id != self._line.call_id:
            raise Tampered("the server answers a binding that was not asked for")
        if packet.kind == pdu.FAULT:
            raise Fault(pdu.read_fault(packet), "the server refused the binding")
        if packet.kind == pdu.BIND_NAK:
            reason = pdu.read_nak(packet)
            why = pdu.NAK_REASONS.get(reason, "no reason that we know")
            raise Fault(reason, f"the server refused the binding: {why}")
        if packet.kind != (pdu.BIND_ACK if kind == pdu.BIND else pdu.ALTER_CONTEXT_RESPONSE):
            raise Tampered(f"the server answers a binding with a packet of kind {packet.kind}")
        if packet.trailer and packet.trailer[:2] != self._trailer(0)[:2]:
            raise Tampered("the server answers with another security provider or level")
        try:
            return pdu.read_accepted(packet)
        except pdu.ContextRejected as rejected:
            raise Fault(pdu.UNKNOWN_INTERFACE if rejected.unknown else 0, str(rejected)) from None

    def alter_ctx(self, newUID: bytes, bogus_binds: int = 0) -> "Channel":  # noqa: N803
        """Return a channel for another interface, on the same line."""
        del bogus_binds
        other = Channel(self._transport)
        other.set_credentials(*self.get_credentials())
        other.set_auth_type(self.get_auth_type())
        other.set_auth_level(self._level)
        other.set_ctx_id(self._ctx + 1)
        other._line = self._line
        other.bind(newUID, alter=1)
        return other

    # ------------------------------------------------------------------ calls

    def exchange(
        self,
        method: int,
        stub: bytes,
        crossing: Crossing | None = None,
        uuid: bytes | None = None,
    ) -> bytes:
        """Call a method, of an object if there is a `uuid`, and return what it returned.

        `crossing` is asked before anything is sent that the server could execute. Raises Fault,
        Tampered, or whatever the wire raises; the channel is dead then.
        """
        self._send(method, stub, uuid, crossing or Crossing())
        return self.recv()

    def call(self, function: int, body: Any, uuid: bytes | None = None) -> None:
        """Send a request, of an object if there is a `uuid`. The answer is for `recv`."""
        stub = body.getData() if hasattr(body, "getData") else body
        self._send(function, stub, uuid, Crossing())

    def _send(self, method: int, stub: bytes, uuid: bytes | None, crossing: Crossing) -> None:
        with self._or_dead():
            self._line.call_id += 1
            packets = self._requests(method, stub, uuid or b"")
            packet = next(packets)
            for following in packets:
                self._line.send(packet, more=True)
                packet = following
            # Only the last one completes the request: until it has gone, nothing is executed.
            crossing.cross()
            try:
                self._line.send(packet)
            except CutShort:
                crossing.go_back()
                raise

    def _requests(self, method: int, stub: bytes, uuid: bytes) -> Iterator[bytes]:
        """Yield the fragments of a request, sealed as they are taken."""
        room = self._room - pdu.HEADER_SIZE - len(uuid)
        if self._security is not None:
            room -= pdu.TRAILER.size + self._security.overhead(room)
        parts = pdu.fragments(stub, room - room % BLOCK)
        left = len(stub)
        for number, part in enumerate(parts):
            flags = pdu.FIRST * (number == 0) | pdu.LAST * (number == len(parts) - 1)
            flags |= pdu.WITH_OBJECT * bool(uuid)
            yield self._sealed(flags, method, part, uuid, left)
            left -= len(part)

    def _sealed(self, flags: int, method: int, part: bytes, uuid: bytes, left: int) -> bytes:
        def head(rest: int, verifier: int) -> bytes:
            start = pdu.request_head(
                flags, self._line.call_id, self._ctx, method, left, len(uuid) + rest, verifier
            )
            return start + uuid

        if self._security is None:
            return head(len(part), 0) + part
        padding = -len(part) % BLOCK
        body = part + bytes(padding)
        size = self._security.overhead(len(body))
        start = head(len(body) + pdu.TRAILER.size + size, size)
        trailer = self._trailer(padding)
        sealed, verifier = self._security.seal(start, body, trailer)
        if len(sealed) != len(body) or len(verifier) != size:
            raise Tampered("the security context seals to another length than it said")
        return start + sealed + trailer + verifier

    def _trailer(self, padding: int) -> bytes:
        kind = 0 if self._security is None else self._security.kind
        return pdu.TRAILER.pack(kind, PRIVACY, padding, 0, SECURITY_CONTEXT + self._ctx)

    # ------------------------------------------------------------------ replies

    def recv(self) -> bytes:
        """Return a whole reply that was protected. Raises Fault, Tampered, or the wire's."""
        with self._or_dead():
            reply = bytearray()
            while True:
                packet = self._line.receive()
                part = self._opened(packet, first=not reply)
                last = bool(packet.flags & pdu.LAST)
                if not part and not last:
                    raise Tampered("a fragment of the reply is empty")
                reply += part
                if len(reply) > LARGEST_REPLY:
                    raise Tampered(f"the reply is larger than {LARGEST_REPLY} bytes")
                if last:
                    return bytes(reply)

    def _opened(self, packet: Packet, *, first: bool) -> bytes:
        """Return what is in one fragment of the reply that we wait for."""
        # (1) It is of our call: a late answer to another is nobody's.
        if packet.call_id != self._line.call_id:
            raise Tampered("the server answers another call")
        # (2) A fault: no verdict.
        if packet.kind == pdu.FAULT:
            raise Fault(pdu.read_fault(packet))
        if packet.kind != pdu.RESPONSE:
            raise Tampered(f"the server answers with a packet of kind {packet.kind}")
        # (3) It stands where it should.
        if bool(packet.flags & pdu.FIRST) != first:
            raise Tampered("the fragments of the reply are not in order")
        if pdu.CALL.unpack(packet.head[pdu.COMMON.size :])[1] != self._ctx:
            raise Tampered("the server answers for another interface")
        # (4) It is protected.
        if self._security is None:
            return packet.body
        if not packet.verifier:
            raise Tampered("the reply is not protected")
        padding = packet.trailer[2]
        if packet.trailer != self._trailer(padding):
            raise Tampered("the reply is protected in another way than was agreed")
        plain = self._security.unseal(packet.head, packet.body, packet.trailer, packet.verifier)
        if padding > len(plain):
            raise Tampered("there is more padding in the reply than there is reply")
        return plain[: len(plain) - padding]

    @contextmanager
    def _or_dead(self) -> Iterator[None]:
        """Whatever goes wrong inside is the end of the line."""
        if self._line.dead:
            raise Dead("this connection has failed before")
        self._line.dead = True
        yield
        self._line.dead = False


class _OperatingSystem:
    """Stands where impacket draws NTLM's keys and challenges from Python's `random`."""

    @staticmethod
    def choice(_letters: str) -> str:
        """Return any byte, as the letter that impacket makes that byte of."""
        return os.urandom(1).decode("latin-1")


# impacket signs and encrypts SMB with keys of its own making. MS-NLMP wants them random.
impacket.ntlm.random = _OperatingSystem

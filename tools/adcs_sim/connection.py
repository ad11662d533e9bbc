"""One RPC connection, as the server sees it: messages in, messages out, no socket in sight.

The rules that this file keeps:

1. Every security context that a connection carries has its own state (MS-RPCE 3.3.1.5.4): a
   message names the one that protects it.
2. What is not verified is not executed: after a failed authentication, or a message that does not
   verify, every call of this connection ends in a fault.
3. A call begins with its first fragment and is executed once, with its last.
4. Whatever a client sends, only its own connection ends: BadStub hangs up, limits hold.
"""

from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from tools.adcs_sim import pdu
from tools.adcs_sim.ndr import BadStub, Reader
from tools.adcs_sim.security import INTEGRITY, PRIVACY, Acceptor, NotAuthenticated

MOST_SENT = 5840
"""Fragments are no longer than this, as Windows has it over TCP."""
LEAST_FRAGMENT = 1432
"""Every client takes fragments of this length (C706 12.6.3.1)."""
MOST_STUB = 4 * 1024 * 1024
MOST_SECURITY_CONTEXTS = 8

ACCESS_DENIED = 0x00000005
SECURITY_PACKAGE_FAILED = 0x00000721
BAD_STUB_DATA = 0x000006F7
UNKNOWN_INTERFACE = 0x1C010003
NO_SUCH_METHOD = 0x1C010002

NOT_RECOGNIZED = 8
"""Of a BIND_NAK: this kind of authentication is not spoken here (MS-RPCE 2.2.2.9)."""


class Fault(Exception):
    """The call was not executed, or not to its end: `status` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"fault 0x{status:08x}")
        self.status = status


class LineCut(Exception):
    """The connection ends here; of the answer, the first `sent` bytes still go out.

    `reset`: it ends with a reset, not in good order.
    """

    def __init__(self, answer: bytes = b"", sent: int = 0, *, reset: bool = False) -> None:
        super().__init__("the line was cut")
        self.rest = answer[:sent]
        self.reset = reset


class Answer(Struct, frozen=True):
    """A method's result as a stub; `cut`: only that many bytes of its messages reach the client."""

    stub: bytes
    cut: int | None = None
    reset: bool = False


class Caller(Struct, frozen=True):
    """Who calls, how well it is protected, and which object is meant."""

    user: str
    level: int
    transport: str
    target: UUID | None = None

    @property
    def private(self) -> bool:
        """Whether the call came verified and sealed."""
        return bool(self.user) and self.level == PRIVACY


class Interface(Protocol):
    """What a presentation context can be bound to."""

    def call(self, caller: Caller, opnum: int, stub: bytes) -> bytes | Answer:
        """Execute a method. Raises Fault, LineCut, BadStub."""
        ...


class Endpoint(Struct, frozen=True):
    """What is offered where a connection arrived.

    `acceptor` returns a new security context of a kind, or None if that kind is not spoken.
    `address` is what a BIND_ACK names: the port, or the pipe. `refusal` is the status of calls by
    whom was not authenticated.
    """

    interfaces: Mapping[UUID, Interface]
    acceptor: Callable[[int], Acceptor | None]
    address: str
    transport: str = "tcp"
    refusal: int = ACCESS_DENIED


class _Context:
    """A security context of this connection, and how its messages are protected."""

    def __init__(self, acceptor: Acceptor, trailer: pdu.Trailer) -> None:
        self.acceptor = acceptor
        self.kind, self.level, self.number = trailer.kind, trailer.level, trailer.context

    def trailer(self, padding: int) -> pdu.Trailer:
        return pdu.Trailer(self.kind, self.level, padding, self.number)

    @property
    def protects(self) -> bool:
        return self.level >= INTEGRITY

    @property
    def seals(self) -> bool:
        return self.level == PRIVACY


class Connection:
    """Takes a message at a time and returns the messages that answer it."""

    def __init__(self, endpoint: Endpoint, group: int) -> None:
        self._endpoint = endpoint
        self._group = group
        self._most = LEAST_FRAGMENT
        self._interfaces: dict[int, Interface] = {}
        self._contexts: dict[int, _Context] = {}
        self._refused = 0
        self._call: tuple[int, int] | None = None
        self._stub = bytearray()

    def receive(self, raw: bytes) -> list[bytes]:
        """Return the answers to a message. Raises BadStub or LineCut: then hang up."""
        message = pdu.parse(raw)
        match message.kind:
            case pdu.BIND | pdu.ALTER_CONTEXT:
                return [self._bind(message)]
            case pdu.AUTH3:
                self._authenticate(message)
            case pdu.REQUEST:
                return self._request(message)
            case pdu.CO_CANCEL | pdu.ORPHANED:
                pass  # a call that runs is not stopped, as a CA does not
            case _:
                raise BadStub(f"a message of type {message.kind} is out of turn")
        return []

    # ------------------------------------------------------------ binding

    def _bind(self, message: pdu.Pdu) -> bytes:
        asked = pdu.parse_bind(message.body)
        first = message.kind == pdu.BIND
        if first:
            self._most = max(LEAST_FRAGMENT, min(asked.most_received, MOST_SENT))
            self._contexts.clear()
            self._refused = 0
        token, trailer = b"", None
        if message.trailer:
            try:
                token = self._step(message.trailer, message.token)
            except NotAuthenticated:
                self._refused = self._endpoint.refusal
                if first:
                    nak = pdu.nak_body(NOT_RECOGNIZED)
                    return pdu.message(pdu.BIND_NAK, message.call_id, nak)
                return self._fault(message.call_id, 0, self._refused)
            trailer = message.trailer if token else None
        results = [self._accept(offered) for offered in asked.contexts]
        address = self._endpoint.address if first else ""
        body = pdu.ack_body(self._most, asked.group or self._group, address, results)
        if trailer:
            padding = -len(body) % 4
            body += bytes(padding)
            trailer = pdu.Trailer(trailer.kind, trailer.level, padding, trailer.context)
        kind = pdu.BIND_ACK if first else pdu.ALTER_CONTEXT_RESP
        return pdu.message(kind, message.call_id, body, trailer=trailer, token=token)

    def _accept(self, offered: pdu.Offered) -> tuple[int, int]:
        """Return (result, reason) of a presentation context: C706 12.6.3.1, p_cont_def_result_t."""
        if offered.features:
            return 3, 0  # negotiate_ack: none of the features that were offered
        interface = self._endpoint.interfaces.get(offered.interface)
        if interface is None:
            return 2, 1  # provider_rejection: abstract_syntax_not_supported
        if pdu.NDR not in offered.syntaxes:
            return 2, 2  # proposed_transfer_syntaxes_not_supported
        self._interfaces[offered.number] = interface
        return 0, 0

    def _step(self, trailer: pdu.Trailer, token: bytes) -> bytes:
        context = self._contexts.get(trailer.context)
        if context is None:
            acceptor = self._endpoint.acceptor(trailer.kind)
            if acceptor is None or len(self._contexts) == MOST_SECURITY_CONTEXTS:
                raise NotAuthenticated(f"authentication of type {trailer.kind} is not spoken")
            context = self._contexts[trailer.context] = _Context(acceptor, trailer)
        return context.acceptor.step(token)

    def _authenticate(self, message: pdu.Pdu) -> None:
        """There is no answer to AUTH3: who failed learns it with his first call."""
        if message.trailer is None or message.trailer.context not in self._contexts:
            raise BadStub("AUTH3 without a context")
        try:
            self._step(message.trailer, message.token)
        except NotAuthenticated:
            self._refused = self._endpoint.refusal

    # ------------------------------------------------------------ calls

    def _request(self, message: pdu.Pdu) -> list[bytes]:
        reader = Reader(message.body)
        reader.u32()
        number, opnum = reader.u16(), reader.u16()
        if self._refused:
            return [self._fault(message.call_id, number, self._refused)]
        try:
            context, stub = self._verified(message)
        except NotAuthenticated:
            self._refused = SECURITY_PACKAGE_FAILED
            return [self._fault(message.call_id, number, self._refused)]
        self._collect(message, number, stub)
        if not message.flags & pdu.LAST:
            return []
        try:
            answer = self._execute(message, number, opnum, context)
        except Fault as fault:
            return [self._fault(message.call_id, number, fault.status)]
        answers = list(self._responses(message.call_id, number, answer.stub, context))
        if answer.cut is not None:
            raise LineCut(b"".join(answers), answer.cut, reset=answer.reset)
        return answers

    def _verified(self, message: pdu.Pdu) -> tuple[_Context | None, bytes]:
        """Return who protected a request, and its stub without padding."""
        if message.trailer is None:
            if any(one.protects for one in self._contexts.values()):
                raise NotAuthenticated("a bare message where protection was agreed")
            return None, message.raw[len(message.head) :]
        context = self._contexts.get(message.trailer.context)
        if context is None:
            raise NotAuthenticated(f"there is no security context {message.trailer.context}")
        head, trailer = message.head, message.trailer.encode()
        stub = message.raw[len(head) : -len(message.token) - len(trailer)]
        if context.protects:
            stub = context.acceptor.unwrap(head, stub, trailer, message.token, seal=context.seals)
        return context, stub[: len(stub) - message.trailer.padding]

    def _collect(self, message: pdu.Pdu, number: int, stub: bytes) -> None:
        if message.flags & pdu.FIRST:
            self._call = (message.call_id, number)
            self._stub.clear()
        if self._call != (message.call_id, number):
            raise BadStub("a fragment of a call that did not begin")
        self._stub += stub
        if len(self._stub) > MOST_STUB:
            raise BadStub("a call is too long")

    def _execute(
        self, message: pdu.Pdu, number: int, opnum: int, context: _Context | None
    ) -> Answer:
        self._call = None
        interface = self._interfaces.get(number)
        if interface is None:
            raise Fault(UNKNOWN_INTERFACE)
        user = context.acceptor.user if context else ""
        level = context.level if context else 1
        caller = Caller(user, level, self._endpoint.transport, message.target)
        try:
            answer = interface.call(caller, opnum, bytes(self._stub))
        except BadStub:
            raise Fault(BAD_STUB_DATA) from None
        return answer if isinstance(answer, Answer) else Answer(answer)

    def _responses(
        self, call_id: int, number: int, stub: bytes, context: _Context | None
    ) -> "list[bytes]":
        """Return an answer in as many fragments as it takes."""
        token = context.acceptor.token_length if context and context.protects else 0
        extra = token + pdu.TRAILER_LENGTH + 16 if token else 0
        room = (self._most - pdu.CALL_LENGTH - extra) // 16 * 16
        pieces = [stub[at : at + room] for at in range(0, len(stub), room)] or [b""]
        fragments, left = [], len(stub)
        for index, piece in enumerate(pieces):
            flags = pdu.FIRST if index == 0 else 0
            flags |= pdu.LAST if index == len(pieces) - 1 else 0
            about = Reply(call_id, number, left, flags)
            if context and context.protects:
                fragments.append(_protected(about, piece, context))
            else:
                fragments.append(about.head(len(piece), 0) + piece)
            left -= len(piece)
        return fragments

    def _fault(self, call_id: int, number: int, status: int) -> bytes:
        flags = pdu.WHOLE | pdu.DID_NOT_EXECUTE
        return pdu.message(pdu.FAULT, call_id, pdu.fault_body(number, status), flags=flags)


class Reply(Struct, frozen=True):
    """What the header of a RESPONSE says."""

    call_id: int
    number: int
    left: int
    flags: int

    def head(self, following: int, token: int) -> bytes:
        """Return its 24 bytes, before that many others."""
        rest = self.left.to_bytes(4, "little") + self.number.to_bytes(2, "little") + bytes(2)
        common = pdu.header(pdu.RESPONSE, self.call_id, following + 8, token, self.flags)
        return common + rest


def _protected(about: Reply, stub: bytes, context: _Context) -> bytes:
    padding = -len(stub) % 16
    padded = stub + bytes(padding)
    trailer = context.trailer(padding).encode()
    length = context.acceptor.token_length
    head = about.head(len(padded) + len(trailer) + length, length)
    sent, token = context.acceptor.wrap(head, padded, trailer, seal=context.seals)
    return head + sent + trailer + token

"""Objects on a CA's machine: made, called, and left, each time anew.

impacket has a runtime for this. It keeps what it knows in dictionaries of the whole process, by the
names of hosts and of threads, waits 300 seconds for a connection, and may start timers; so none of
it is used. What is needed here is little: an object is made at the machine's port 135
(`activation`), and called at the port that is told there, on a second connection of its own, over
`rpc`'s channel with all its rules. Nothing is kept: no object, no connection, no state, so that any
number of identities and hosts go side by side.

Where the server says its objects are, only the port counts: the machine is the one in the settings,
which proves itself again on that port. An object that nobody holds is cleared away by its server;
it is not told that we go.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from certeasy.ca.adcs import activation
from certeasy.ca.adcs.crossing import Crossing
from certeasy.ca.adcs.deadline import Deadline, Late
from certeasy.ca.adcs.dialing import security
from certeasy.ca.adcs.errors import AnswerLost, Fault, HResult, NotReached
from certeasy.ca.adcs.identity import Identity, NotAuthenticated
from certeasy.ca.adcs.ndr import Reader, Writer
from certeasy.ca.adcs.rpc import Channel, CutShort, Dead
from certeasy.ca.adcs.security import Refused, Tampered
from certeasy.ca.adcs.transport import Target, TcpWire

VERSION = bytes(4)
"""Of every interface: 0.0. MS-WCCE section 2.1."""
EXPECTED = (Fault, Tampered, Dead, OSError, Late)


class Remote:
    """One interface of one object. Not for two threads at once."""

    def __init__(self, host: str, channel: Channel, wire: TcpWire, ipid: bytes) -> None:
        self._host = host
        self._channel = channel
        self._wire = wire
        self._ipid = ipid

    def ask(self, method: int, parameters: Writer, deadline: Deadline) -> Reader:
        """Call a method that changes nothing; return what reads its results.

        Raises NotReached or Late.
        """
        return self._call(method, parameters, deadline, changes=False)

    def change(self, method: int, parameters: Writer, deadline: Deadline) -> Reader:
        """Call a method that changes something; return what reads its results.

        Raises NotReached, Late before anything was sent, or AnswerLost.
        """
        return self._call(method, parameters, deadline, changes=True)

    def _call(
        self, method: int, parameters: Writer, deadline: Deadline, *, changes: bool
    ) -> Reader:
        crossing = Crossing()
        self._wire.deadline = deadline
        stub = parameters.done()
        try:
            return activation.orpc_that(
                self._channel.exchange(method, stub, crossing, uuid=self._ipid)
            )
        except EXPECTED as error:
            happened = AnswerLost if changes and crossing.crossed else NotReached
            raise happened("dcom", *_told(self._host, error)) from error


def call() -> Writer:
    """Begin the parameters of a call."""
    return activation.orpc_this(os.urandom(16))


def done(reader: Reader) -> None:
    """Read the method's own code, which stands at the end. Raises HResult, or NotReached."""
    try:
        code = reader.number()
        reader.end()
    except Tampered as error:
        raise NotReached("dcom", str(error)) from error
    if code:
        raise HResult(code)


class Objects:
    """Makes objects on one machine, as one identity. Good for any number of threads."""

    def __init__(self, target: Target, identity: Identity) -> None:
        self._target = target
        self._identity = identity

    @contextmanager
    def made(self, clsid: bytes, interface: bytes, deadline: Deadline) -> Iterator[Remote]:
        """Have an object of a class for a while, by one of its interfaces.

        Raises NotReached, NotAuthenticated, or HResult if the machine makes none.
        """
        limit = deadline.within(self._target.connect_timeout)
        exported = self._activated(clsid, interface, limit)
        host = self._target.host
        wire = self._wire(exported.port, limit)
        with closing(wire):
            channel = self._bound(wire, interface, limit)
            yield Remote(host, channel, wire, exported.ipid)

    def _activated(self, clsid: bytes, interface: bytes, limit: Deadline) -> activation.Exported:
        question = activation.question(clsid, interface, os.urandom(16))
        with closing(self._wire(self._target.mapper_port, limit)) as wire:
            channel = self._bound(wire, activation.ACTIVATOR[:16], limit)
            try:
                reply = channel.exchange(activation.CREATE_INSTANCE, question)
                return activation.answer(reply)
            except EXPECTED as error:
                raise self._unreached(error) from error

    def _wire(self, port: int, limit: Deadline) -> TcpWire:
        try:
            return TcpWire(self._target.host, self._target.address, port, limit)
        except Late as late:
            raise NotReached("connect", f"{self._target.host}: {late}") from None

    def _bound(self, wire: TcpWire, interface: bytes, limit: Deadline) -> Channel:
        wire.deadline = limit
        try:
            channel = Channel(wire, security(self._identity, self._target.host, limit))
            channel.bind(interface + VERSION)
        except Refused as refused:
            raise NotReached("login", str(refused)) from None
        except EXPECTED as error:
            raise self._unreached(error) from error
        return channel

    def _unreached(self, error: Exception) -> Exception:
        if isinstance(error, NotReached | NotAuthenticated):
            return error
        if isinstance(error, Fault):
            # The ticket may be what it does not like.
            self._identity.forget("host", self._target.host)
        return NotReached("dcom", *_told(self._target.host, error))


def _told(host: str, error: Exception) -> tuple[str, int | None]:
    """Return what happened, for people, and its code."""
    if isinstance(error, Fault):
        return f"{host}: {error.cause}", error.code
    if isinstance(error, CutShort) and isinstance(error.__cause__, Late):
        return f"{host}: {error.__cause__}", None
    return f"{host}: {error}", None

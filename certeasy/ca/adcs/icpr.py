"""Enrolment by MS-ICPR: ask for a certificate, ask what became of a request, see whether it works.

What may follow from an error is said by its type, and exactly:

1. A submission travels on nothing but a connection that has just proven itself: within the last few
   seconds a protected reply has come through it. A new one is asked, before, for a request that
   cannot exist. So a wrong password, a clock that is off, a service that stopped, or a firewall
   that forgot an idle connection are met while there is nothing in doubt.
2. Up to the last packet of the submission nothing can be executed (`crossing`): `NotReached`.
3. From then on, whatever is not a whole, protected, readable reply is `AnswerLost`: a fault, a cut
   line, silence, a changed byte. What a fault says is told to people.
4. `HResult` is the method's own answer: it was executed, and said no.

Asking what became of a request changes nothing, so it is never in doubt, and asked twice if a kept
connection fails.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from impacket.smbconnection import SessionError

from certeasy.ca.adcs import ndr
from certeasy.ca.adcs.connections import Connections
from certeasy.ca.adcs.crossing import Crossing
from certeasy.ca.adcs.deadline import Bounded, Deadline, Late
from certeasy.ca.adcs.dialing import Connection, Dialer
from certeasy.ca.adcs.errors import AnswerLost, Fault, HResult, NotReached
from certeasy.ca.adcs.identity import Identity
from certeasy.ca.adcs.ndr import Reply, read_reply, write_request
from certeasy.ca.adcs.rpc import Dead
from certeasy.ca.adcs.security import Tampered
from certeasy.ca.adcs.transport import Target
from certeasy.clock import Clock, SystemClock

IMPOSSIBLE = 0xFFFF_FFFF
"""A request number that no CA ever gets to."""
STAYS_PROVEN = 5
"""For how many seconds a connection is trusted with a submission after a reply came through it."""


class Enrolment:
    """One CA host as one identity. Good for any number of threads.

    `connections` is how many calls there may be at once.
    """

    def __init__(
        self,
        target: Target,
        identity: Identity,
        *,
        connections: int = 16,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._target = target
        self._identity = identity
        self._bounded = Bounded()
        dialer = Dialer(target, identity, self._clock)
        self._connections = Connections(dialer.open, connections, self._clock)

    def request(
        self, ca_name: str, csr: bytes, attributes: Mapping[str, str], deadline: Deadline
    ) -> Reply:
        """Submit a PKCS#10. Raises NotReached, NotAuthenticated, AnswerLost, or HResult."""
        stub = write_request(ca_name, attributes=attributes, csr=csr)
        call = _Call(deadline)
        return self._within(call, lambda: self._submit(call, ca_name, stub))

    def retrieve(self, ca_name: str, request_id: int, deadline: Deadline) -> Reply:
        """Ask what became of a request. Raises NotReached, NotAuthenticated, or HResult."""
        stub = write_request(ca_name, request_id=request_id)
        call = _Call(deadline)
        return self._within(call, lambda: self._ask(call, stub))

    def probe(self, ca_name: str, deadline: Deadline) -> int:
        """Ask for a request that cannot exist; return what the CA has to say, a code.

        Any is a sign of life: of the network, of our identity, and of the service. Raises
        NotReached or NotAuthenticated.
        """
        try:
            return self.retrieve(ca_name, IMPOSSIBLE, deadline).disposition
        except HResult as answer:
            return answer.code

    def close(self) -> None:
        """Give back connections. It is not used afterwards."""
        self._connections.close()

    # ------------------------------------------------------------------ in the caller's thread

    def _within(self, call: "_Call", work: Callable[[], Reply]) -> Reply:
        try:
            return self._bounded.run(call.deadline, work)
        except Late as late:
            crossed = call.crossing.close()
            call.interrupt()
            if crossed:
                raise AnswerLost("rpc", f"{self._target.host}: {late}") from None
            raise NotReached("rpc", f"{self._target.host}: {late}") from None

    # ------------------------------------------------------------------ in the call's own

    def _submit(self, call: "_Call", ca_name: str, stub: bytes) -> Reply:
        try:
            return self._once(call, ca_name, stub, fresh=False)
        except _KeptOneFailed:
            return self._once(call, ca_name, stub, fresh=True)

    def _once(self, call: "_Call", ca_name: str, stub: bytes, *, fresh: bool) -> Reply:
        with (
            self._connections.borrowed(call.deadline, fresh=fresh) as connection,
            call.holding(connection),
        ):
            self._prove(call, connection, ca_name)
            connection.wire.deadline = call.deadline
            try:
                return self._exchange(connection, stub, call.crossing)
            except HResult:
                raise
            except Exception as error:
                happened = AnswerLost if call.crossing.crossed else NotReached
                raise happened("rpc", *_told(error)) from error

    def _prove(self, call: "_Call", connection: Connection, ca_name: str) -> None:
        """See whether answers come through. Raises NotReached, or _KeptOneFailed."""
        proven = connection.proven
        if proven is not None and self._clock.monotonic() - proven < STAYS_PROVEN:
            return
        connection.wire.deadline = call.deadline.within(self._target.connect_timeout)
        try:
            self._exchange(connection, write_request(ca_name, request_id=IMPOSSIBLE), Crossing())
        except HResult:
            pass
        except Exception as error:
            raise self._unproven(error, kept=proven is not None) from error

    def _ask(self, call: "_Call", stub: bytes) -> Reply:
        try:
            return self._asked(call, stub, fresh=False)
        except _KeptOneFailed:
            return self._asked(call, stub, fresh=True)

    def _asked(self, call: "_Call", stub: bytes, *, fresh: bool) -> Reply:
        with (
            self._connections.borrowed(call.deadline, fresh=fresh) as connection,
            call.holding(connection),
        ):
            kept = connection.proven is not None
            connection.wire.deadline = call.deadline
            try:
                return self._exchange(connection, stub, Crossing())
            except HResult:
                raise
            except Exception as error:
                raise self._unproven(error, kept=kept) from error

    def _unproven(self, error: Exception, *, kept: bool) -> Exception:
        if kept:
            return _KeptOneFailed()
        # The ticket may be what it does not like.
        self._identity.forget("host", self._target.host)
        return NotReached("rpc", *_told(error))

    def _exchange(self, connection: Connection, stub: bytes, crossing: Crossing) -> Reply:
        reply = connection.channel.exchange(ndr.METHOD, stub, crossing)
        try:
            read = read_reply(reply)
        except Tampered:
            connection.close()
            raise
        finally:
            connection.proven = self._clock.monotonic()
        return read


class _KeptOneFailed(Exception):
    """A connection that was kept is no good any more. Another is opened; nothing was executed."""


class _Call:
    """One call, between the thread that makes it and the one that waits for it."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.crossing = Crossing()
        self._lock = threading.Lock()
        self._held: Connection | None = None

    @contextmanager
    def holding(self, connection: Connection) -> Iterator[None]:
        """Say which connection would have to be cut for the call to end."""
        with self._lock:
            self._held = connection
        try:
            yield
        finally:
            with self._lock:
                self._held = None

    def interrupt(self) -> None:
        """Have it end: nobody waits for it any more."""
        with self._lock:
            if self._held is not None:
                self._held.close()


def _told(error: Exception) -> tuple[str, int | None]:
    """Return what happened, for people, and its code."""
    if isinstance(error, Fault):
        return error.cause, error.code
    if isinstance(error, SessionError):
        return f"the server says {error.getErrorString()[0]}", error.getErrorCode()
    if isinstance(error, Tampered | Late | OSError | Dead):
        return str(error), None
    return f"{type(error).__name__}: {error}", None

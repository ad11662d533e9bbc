"""Opening a connection to a CA: the way, the identity, the binding.

Whatever fails on the way, nothing was executed: `NotReached`, or `NotAuthenticated`.

`auto` takes TCP, and the pipe only where TCP surely leads nowhere: no such name, nobody listens, no
such interface. Who was refused by TCP would be refused again, and his account locked sooner. The
pipe, once it has worked where TCP did not, is tried first for a while, so that a firewall that
swallows packets costs its time once in ten minutes.
"""

import threading
from collections.abc import Callable

from impacket.smbconnection import SessionError

from certeasy.ca.adcs import ndr
from certeasy.ca.adcs.deadline import Deadline, Late
from certeasy.ca.adcs.errors import Fault, NotReached
from certeasy.ca.adcs.identity import Identity
from certeasy.ca.adcs.mapper import mapped
from certeasy.ca.adcs.ntlm import NtlmContext
from certeasy.ca.adcs.rpc import Channel, CutShort
from certeasy.ca.adcs.security import Refused, SecurityContext, Tampered
from certeasy.ca.adcs.sockets import described
from certeasy.ca.adcs.transport import PipeWire, Target, TcpWire, Way
from certeasy.clock import Clock

REMEMBERED = 600
"""For how many seconds the pipe is tried first, once only it has worked."""
ANOTHER_WAY_MAY_HELP = ("dns", "connect", "mapper")


class Connection:
    """One bound channel, which does one call at a time.

    `proven` is when (monotonic) a protected reply last came through it; None: never.
    """

    def __init__(self, wire: TcpWire | PipeWire, channel: Channel, opened: float) -> None:
        self.wire = wire
        self.channel = channel
        self.opened = opened
        self.used = opened
        self.proven: float | None = None

    @property
    def usable(self) -> bool:
        """Whether it has neither failed nor ended."""
        return not self.channel.dead and self.wire.quiet()

    def close(self) -> None:
        """End it."""
        self.wire.close()


class Dialer:
    """Opens connections to one CA as one identity."""

    def __init__(self, target: Target, identity: Identity, clock: Clock) -> None:
        self._target = target
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._pipe_until = 0.0

    def open(self, deadline: Deadline) -> Connection:
        """Return a new connection. Raises NotReached, NotAuthenticated, or Late."""
        target = self._target
        if target.transport != "auto":
            return self._open(target.transport, deadline)
        with self._lock:
            first: Way = "np" if self._clock.monotonic() < self._pipe_until else "tcp"
        try:
            return self._open(first, deadline)
        except NotReached as error:
            if error.layer not in ANOTHER_WAY_MAY_HELP:
                raise
            return self._the_other_way("tcp" if first == "np" else "np", deadline, error)

    def _the_other_way(self, way: Way, deadline: Deadline, first: NotReached) -> Connection:
        try:
            connection = self._open(way, deadline)
        except NotReached as second:
            both = f"{first.cause}; by the other way: {second}"
            raise NotReached(first.layer, both, first.code) from None
        with self._lock:
            self._pipe_until = self._clock.monotonic() + REMEMBERED if way == "np" else 0.0
        return connection

    def _open(self, way: Way, deadline: Deadline) -> Connection:
        limit = deadline.within(self._target.connect_timeout)
        try:
            return self._tcp(limit) if way == "tcp" else self._np(limit)
        except Late as late:
            raise NotReached("connect", f"{self._target.host}: {late}") from None

    def _tcp(self, deadline: Deadline) -> Connection:
        target = self._target
        port = target.port or mapped(target, deadline)
        wire = TcpWire(target.host, target.address, port, deadline)
        return self._bound(wire, deadline)

    def _np(self, deadline: Deadline) -> Connection:
        credentials = self._identity.credentials("cifs", self._target.host, deadline)
        try:
            wire = PipeWire(self._target, credentials, deadline)
        except NotReached as error:
            if error.layer == "smb":
                self._identity.forget("cifs", self._target.host)
            raise
        except Late:
            raise
        except OSError as error:
            raise NotReached("connect", described(self._target.host, error)) from None
        except Exception as error:  # noqa: BLE001 - impacket raises whatever it stumbles on
            raise NotReached("smb", f"{type(error).__name__}: {error}") from None
        return self._bound(wire, deadline)

    def _bound(self, wire: TcpWire | PipeWire, deadline: Deadline) -> Connection:
        try:
            channel = Channel(wire, self._security(deadline))
            channel.bind(ndr.INTERFACE)
        except Exception as error:
            wire.close()
            if isinstance(error, Refused):
                raise self._not_taken(error) from None
            told = _of_the_binding(error)
            if told is None:
                raise
            raise told from None
        return Connection(wire, channel, self._clock.monotonic())

    def _not_taken(self, refused: Refused) -> Exception:
        self._identity.forget("host", self._target.host)
        if refused.number is None:
            return NotReached("login", str(refused))
        from certeasy.ca.adcs.refusals import of_a_ticket  # noqa: PLC0415 - Kerberos and all of DNS

        return of_a_ticket(refused, self._identity.described, f"host/{self._target.host}")

    def _security(self, deadline: Deadline) -> SecurityContext:
        return security(self._identity, self._target.host, deadline)


def security(identity: Identity, host: str, deadline: Deadline) -> SecurityContext:
    """Return a new security context of an identity, for the services of a host."""
    own: Callable[[str, str, Deadline], SecurityContext] | None = getattr(
        identity, "security_context", None
    )
    if own is not None:
        return own("host", host, deadline)
    given = identity.credentials("host", host, deadline)
    if not given.kerberos:
        return NtlmContext(
            given.user, given.domain, given.password, given.nt_hash, target=f"host/{host}"
        )
    from certeasy.ca.adcs.gss import KerberosContext  # noqa: PLC0415 - 0.1 s of ASN.1

    return KerberosContext(given.user, given.domain, given.tgs)


def _of_the_binding(error: Exception) -> Exception | None:
    """Return how a binding that failed is told; None: as it is."""
    if isinstance(error, Fault):
        return NotReached("bind", error.cause, error.code)
    if isinstance(error, CutShort) and isinstance(error.__cause__, Late):
        return error.__cause__
    if isinstance(error, Tampered | OSError):
        return NotReached("bind", str(error))
    if isinstance(error, SessionError):
        cause = f"the server says {error.getErrorString()[0]}"
        return NotReached("smb", cause, error.getErrorCode())
    return None

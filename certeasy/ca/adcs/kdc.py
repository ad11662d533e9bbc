"""Messages to a KDC and back: several domain controllers in turn, and never without a deadline.

By TCP alone: every domain controller answers it (RFC 4120 section 7.2.2), what it sends is bounded,
and nobody can forge a datagram into it. Whoever does not answer, or answers rubbish, or says that
he cannot at the moment, leaves the word to the next; what a controller refuses is refused here, and
is not tried at another: with a wrong password that would lock the account. `logins` may doubt it.

The errors of a KDC are not protected by anything. They decide what is told to an administrator and
whether we go on, and nothing else.
"""

import socket
import threading
from datetime import datetime, timedelta
from struct import Struct as Packed
from typing import Any

from impacket.krb5 import asn1
from impacket.krb5.constants import ErrorCodes

from certeasy.ca.adcs.controllers import Controller, Controllers
from certeasy.ca.adcs.deadline import Bounded, Deadline, Late
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.tickets import Garbled, parse, read
from certeasy.clock import Clock

PATIENCE = 5.0
MOST_OF_A_REPLY = 1 << 19
AS_REQ, KRB_ERROR = b"\x6a", b"\x7e"
"""The first bytes of messages: application tags 10 and 30, constructed."""
NOT_AT_THE_MOMENT = frozenset({29, 60})  # KDC_ERR_SVC_UNAVAILABLE, KRB_ERR_GENERIC

_LENGTH = Packed(">I")
_SYMBOLS = {code.value: code.name for code in ErrorCodes}


class KdcRefused(Exception):
    """A KDC said no. Anybody could have said it in its place.

    `data` is for those errors that bring something along (RFC 4120 section 5.9.1); `skew` is how
    far ahead its clock is.
    """

    def __init__(
        self,
        code: int,
        data: bytes = b"",
        *,
        at: str = "the domain controller",
        skew: timedelta | None = None,
    ) -> None:
        self.symbol = _SYMBOLS.get(code, f"KRB error {code}")
        super().__init__(f"{at} says {self.symbol}")
        self.code = code
        self.data = data
        self.at = at
        self.skew = skew


class Kdc:
    """The KDCs of a domain, for any thread. `patience`: seconds that one of them has at most."""

    def __init__(
        self,
        controllers: Controllers,
        clock: Clock,
        bounded: Bounded,
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._controllers = controllers
        self._clock = clock
        self._bounded = bounded
        self._patience = patience
        self._lock = threading.Lock()
        self._skew: timedelta | None = None

    @property
    def skew(self) -> timedelta | None:
        """How far ahead the domain's clock is of ours, as far as a KDC has told (unprotected)."""
        with self._lock:
            return self._skew

    def exchange(self, message: bytes, deadline: Deadline, doubted: str = "") -> bytes:
        """Return the reply to a request. `doubted`: the controller that is asked after all others.

        Raises KdcRefused where a controller refuses, NotAuthenticated where none answers.
        """
        expected = asn1.AS_REP() if message[:1] == AS_REQ else asn1.TGS_REP()
        said: list[str] = []
        in_turn = self._controllers.in_turn(deadline)
        for controller in sorted(in_turn, key=lambda one: str(one) == doubted):
            try:
                reply = self._ask(controller, message, deadline.within(self._patience))
                if reply[:1] == KRB_ERROR:
                    self._refused(reply, controller)
                parse(expected, reply)
            except (OSError, Late, Garbled) as error:
                self._controllers.failed(controller)
                said.append(f"{controller}: {_told(error)}")
            else:
                self._controllers.answered(controller)
                return reply
        raise NotAuthenticated(
            "",
            f"no domain controller answers Kerberos ({'; '.join(said)})",
            "open TCP 88 from here to the domain controllers, or list others in"
            " `domain-controllers`",
            transient=True,
        )

    def _ask(self, controller: Controller, message: bytes, deadline: Deadline) -> bytes:
        """Return one controller's reply. Raises OSError, Late, or Garbled."""
        host, port = controller.host, controller.port
        addresses = self._bounded.run(
            deadline, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        with _connected(addresses, deadline) as line:
            line.settimeout(deadline.remaining())
            line.sendall(_LENGTH.pack(len(message)) + message)
            length = _LENGTH.unpack(_received(line, _LENGTH.size, deadline))[0]
            if length > MOST_OF_A_REPLY:
                raise Garbled(f"a reply of {length} bytes")
            return _received(line, length, deadline)

    def _refused(self, reply: bytes, controller: Controller) -> None:
        """Raise what an error says. Raises Garbled where another controller may say otherwise."""
        error: Any = parse(asn1.KRB_ERROR(), reply)
        code = int(error["error-code"])
        skew = _skew(read(error["stime"]), self._clock.now())
        with self._lock:
            self._skew = skew
        if code in NOT_AT_THE_MOMENT:
            raise Garbled(_SYMBOLS[code])
        self._controllers.answered(controller)
        data = error["e-data"].asOctets() if error["e-data"].hasValue() else b""
        raise KdcRefused(code, data, at=str(controller), skew=skew)


def _connected(addresses: list[Any], deadline: Deadline) -> socket.socket:
    """Return a connection to the first of the addresses that takes one."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        line = socket.socket(family, kind, protocol)
        try:
            line.settimeout(deadline.remaining())
            line.connect(address)
        except (OSError, Late) as error:
            line.close()
            if isinstance(error, Late):
                raise
            failure = error
        else:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return line
    raise failure or OSError("it has no address")


def _received(line: socket.socket, length: int, deadline: Deadline) -> bytes:
    """Return exactly so many bytes."""
    parts, missing = [], length
    while missing:
        line.settimeout(deadline.remaining())
        part = line.recv(missing)
        if not part:
            raise Garbled("it hung up in the middle of its reply")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _skew(theirs: datetime, ours: datetime) -> timedelta:
    """Return how far they are ahead: whole seconds, which is all that a KDC tells."""
    return timedelta(seconds=round((theirs - ours).total_seconds()))


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError | Late):
        return "no answer in time"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)

"""The domain controllers, and which of them to ask first.

The settings list them, or DNS does: `_kerberos._tcp.dc._msdcs.<domain>` names every domain
controller (MS-ADTS section 6.3.2.3; RFC 2782). Who answered last is asked first; who did not answer
is asked last for a while, so that a dead one costs its timeout once and not every time.
"""

import random
import threading
from collections.abc import Iterable

import dns.exception
import dns.resolver
from msgspec import Struct

from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.clock import Clock

KERBEROS = 88
ASK_AGAIN = 600.0
"""How long what DNS said is good; a record's own time to live may shorten it."""
RESTS = 300.0
LOOK_UP = 5.0
MOST = 64

OPEN_SRV = "_kerberos._tcp.dc._msdcs.{}"


class Controller(Struct, frozen=True):
    """A domain controller. `port` is where it answers Kerberos."""

    host: str
    port: int = KERBEROS

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == KERBEROS else f"{host}:{self.port}"


def listed(text: str) -> Controller:
    """Return the controller that a setting names: HOST, HOST:PORT, an IPv6 address in brackets."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        host, port = text, ""
    return Controller(host, int(port) if port else KERBEROS)


class Controllers:
    """The controllers of one domain, for any thread.

    `resolver` asks DNS; left out, as the system is told to.
    """

    def __init__(
        self,
        domain: str,
        named: Iterable[str] = (),
        *,
        clock: Clock,
        resolver: dns.resolver.Resolver | None = None,
    ) -> None:
        self.domain = domain
        self._named = tuple(listed(text) for text in named)
        self._clock = clock
        self._resolver = resolver
        self._lock = threading.Lock()
        self._found: tuple[Controller, ...] = ()
        self._good_until = float("-inf")
        self._failed: dict[Controller, float] = {}
        self._last: Controller | None = None

    def in_turn(self, deadline: Deadline) -> tuple[Controller, ...]:
        """Return whom to ask, one after another. Raises NotAuthenticated if nobody is known."""
        known = self._named or self._looked_up(deadline)
        now = self._clock.monotonic()
        with self._lock:
            failed = {one: at for one, at in self._failed.items() if at + RESTS > now}
            self._failed = failed
            first = self._last
        # Who failed longest ago comes first of those who did; nobody else's place changes.
        return tuple(sorted(known, key=lambda one: (failed.get(one, float("-inf")), one != first)))

    def answered(self, controller: Controller) -> None:
        """Ask this one first from now on."""
        with self._lock:
            self._last = controller
            self._failed.pop(controller, None)

    def failed(self, controller: Controller) -> None:
        """Ask this one last for a while."""
        with self._lock:
            self._failed[controller] = self._clock.monotonic()

    def _looked_up(self, deadline: Deadline) -> tuple[Controller, ...]:
        now = self._clock.monotonic()
        with self._lock:
            if now < self._good_until:
                return self._found
        found, good_for = self._ask(deadline)
        with self._lock:
            self._found = found
            self._good_until = now + good_for
        return found

    def _ask(self, deadline: Deadline) -> tuple[tuple[Controller, ...], float]:
        """Return what DNS says now and for how long; what it said before, where it says nothing."""
        name = OPEN_SRV.format(self.domain)
        try:
            resolver = self._resolver or dns.resolver.Resolver()
            limit = min(LOOK_UP, deadline.remaining())
            answer = resolver.resolve(f"{name}.", "SRV", lifetime=limit, search=False)
        except (dns.exception.DNSException, OSError) as error:
            if self._found:
                return self._found, RESTS
            why = " ".join(str(error).split()) or type(error).__name__
            raise NotAuthenticated(
                "",
                f"DNS names no domain controller of {self.domain} ({name}: {why})",
                "have this machine ask the domain's DNS servers, or list `domain-controllers`",
                transient=not isinstance(error, dns.resolver.NXDOMAIN),
            ) from None
        records = sorted(
            list(answer)[:MOST],
            # Heavier ones tend to come earlier among equals; a weight of 0 comes last.
            key=lambda record: (record.priority, -(random.random() * record.weight)),  # noqa: S311
        )
        found = tuple(
            Controller(record.target.to_text(omit_final_dot=True), record.port)
            for record in records
        )
        return found, min(ASK_AGAIN, float(answer.rrset.ttl) if answer.rrset else ASK_AGAIN)

"""The world as it is, for `certeasy adcs check`: the network, the domain, the CA.

Every question has `connect-timeout` to be answered in, a CA's answer `default-timeout` but no more
than half a minute: who stands before a terminal does not wait for longer. Nothing is kept but the
tickets.
"""

import contextlib
import ipaddress
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.ca.adcs import codes, directory, parties
from certeasy.ca.adcs.controllers import Controllers
from certeasy.ca.adcs.deadline import Bounded, Deadline
from certeasy.ca.adcs.directory import Directory
from certeasy.ca.adcs.errors import HResult
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.identities import identity_of
from certeasy.ca.adcs.identity import Identity
from certeasy.ca.adcs.officers import Officers
from certeasy.ca.adcs.sockets import addresses, close, connected
from certeasy.ca.adcs.world import Unread
from certeasy.clock import Clock
from certeasy.settings.adcs import AdcsSettings

T = TypeVar("T")

LONGEST = 30.0
LARGEST_FILE = 1 << 20


class Surroundings:
    """What is between here and one CA, as its settings have it. For one thread."""

    def __init__(self, settings: AdcsSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._target = parties.target(settings)
        self._bounded = Bounded()
        self._known: Controllers = parties.controllers(settings, clock)
        self._identity: Identity | None = None
        self._enrolment: Enrolment | None = None
        self._officers: Officers | None = None
        self._patience = settings.connect_timeout.total_seconds()

    def identity(self) -> str:
        """Tell people who we are."""
        return self._we.described

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return a name's addresses; those that the settings give in its place."""
        if self._settings.address and host == self._target.host:
            return (self._settings.address,)
        return self._soon(lambda _: tuple(addresses(host, 0)))

    def knock(self, host: str, port: int) -> None:
        """Connect, and hang up."""
        place = self._settings.address if host == self._target.host else None
        self._soon(lambda deadline: close(connected(place or host, port, deadline)))

    def controllers(self) -> tuple[str, ...]:
        """Return the names of the domain's controllers."""
        return self._soon(
            lambda deadline: tuple(each.host for each in self._known.in_turn(deadline))
        )

    def now(self) -> datetime:
        """Return this machine's time."""
        return self._clock.now()

    def time_of(self, controller: str) -> datetime | None:
        """Return a controller's time."""
        return self._soon(lambda deadline: directory.glance(controller, deadline).time)

    def ticket(self, service: str, host: str) -> None:
        """Have the domain vouch for us to a service."""
        self._soon(lambda deadline: self._we.credentials(service, host, deadline))

    def directory(self, controller: str) -> Directory:
        """Bind to a controller."""
        if self._settings.auth == "sspi":
            raise directory.NotRead(
                "with auth: sspi the directory is not read yet",
                "look at the template with certtmpl.msc; docs/adcs.md says what at",
            )
        auth, trusted = self._settings.auth, self._settings.ca_certificates
        return self._soon(
            lambda deadline: directory.open_directory(
                self._name(controller, deadline),
                self._we,
                auth,
                deadline,
                address=controller,
                trusted=trusted,
            )
        )

    def _name(self, controller: str, deadline: Deadline) -> str:
        """Return the name that tickets for a controller are for.

        Where the settings have its address alone, it is asked for its name. Nobody vouches for
        that answer: it is taken where it is a name of the domain, and then has to be proven.
        """
        if self._settings.auth == "ntlm" or not _is_address(controller):
            return controller
        told = directory.glance(controller, deadline).host.lower()
        ours = parties.domain(self._settings).lower()
        return told if told.endswith(f".{ours}") else controller

    def probe(self) -> int:
        """Ask the CA for a request that cannot exist."""
        if self._enrolment is None:
            self._enrolment = Enrolment(self._target, self._we, connections=1, clock=self._clock)
        return self._enrolment.probe(self._settings.common_name, self._limit)

    def offered(self) -> tuple[str, ...]:
        """Return the names of the templates that the CA itself offers now."""
        with _told("which templates the CA offers"):
            return tuple(each.name for each in self._asked.templates(self._limit))

    def issuers(self) -> tuple[bytes, ...]:
        """Return the certificates of `ca-certificates`, or what the CA tells."""
        file = self._settings.ca_certificates
        if file is None:
            with _told("the CA's certificates"):
                return self._asked.ca_certificates(self._limit)
        try:
            with file.open("rb") as opened:
                found = x509.load_pem_x509_certificates(opened.read(LARGEST_FILE))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it has no certificates in PEM"
            raise Unread(f"ca-certificates {file} cannot be read: {why}") from None
        return tuple(each.public_bytes(Encoding.DER) for each in found)

    def security(self) -> bytes:
        """Return the CA's own security descriptor."""
        with _told("who may do what at the CA"):
            return self._asked.security(self._limit)

    def setting(self, node: str, name: str) -> int:
        """Return a number out of the CA's own configuration."""
        with _told(f"the CA's {name}"):
            found = self._asked.config_entry(node, name, self._limit)
        if not isinstance(found, int):
            raise Unread(f"the CA has no {name}, or not as a number")
        return found

    def close(self) -> None:
        """Hang up."""
        if self._enrolment is not None:
            self._enrolment.close()
        if self._officers is not None:
            self._officers.close()

    @property
    def _limit(self) -> Deadline:
        return Deadline(min(LONGEST, self._settings.default_timeout.total_seconds()))

    @property
    def _asked(self) -> Officers:
        if self._officers is None:
            name = self._settings.common_name
            self._officers = Officers(self._target, self._we, name)
        return self._officers

    @property
    def _we(self) -> Identity:
        if self._identity is None:
            self._identity = identity_of(self._settings, self._clock)
        return self._identity

    def _soon(self, ask: Callable[[Deadline], T]) -> T:
        """Return what is answered in time. Raises Late, also of what knows no time."""
        deadline = Deadline(self._patience)
        return self._bounded.run(deadline, lambda: ask(deadline))


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what a CA answers in the place of what was asked for into Unread."""
    try:
        yield
    except HResult as answer:
        if answer.code == codes.E_ACCESSDENIED:
            raise Unread(f"{what} may not be read by this account") from None
        raise Unread(f"{what} cannot be read: {codes.meaning(answer.code).cause}") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

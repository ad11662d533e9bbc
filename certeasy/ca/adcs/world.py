"""What a look at an authority is about, whom it asks, and what it has seen so far."""

from datetime import datetime, timedelta
from typing import Literal, Protocol

from msgspec import Struct

from certeasy.ca.adcs.deadline import Late
from certeasy.ca.adcs.descriptors import Descriptor
from certeasy.ca.adcs.directory import Account, Directory, NotRead, Service
from certeasy.ca.adcs.errors import WireError
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.templates import KeyRules, PendingRule

SOON = timedelta(days=30)

Known = (NotRead, NotAuthenticated, WireError, Late)
"""What a world raises; anything else is a mistake in this program."""


class Wanted(Struct, frozen=True):
    """A template that the settings name, and what the policies let through to it."""

    template: str
    rules: tuple[KeyRules, ...] = ()
    pending: tuple[PendingRule, ...] = ()
    longest: timedelta | None = None


class Subject(Struct, frozen=True):
    """An authority, as the settings have it."""

    ca_name: str
    """Its common name."""
    host: str
    transport: Literal["auto", "tcp", "np"] = "auto"
    port: int = 0
    mapper_port: int = 135
    smb_port: int = 445
    auth: Literal["kerberos", "ntlm", "sspi"] = "kerberos"
    user: str = ""
    revokes: bool = True
    issuers_in_file: bool = False
    """Whether `ca-certificates` is set; else the CA is asked."""
    wanted: tuple[Wanted, ...] = ()


class Unread(Exception):
    """The CA does not tell this to this account, or this account cannot ask. A sentence."""


class World(Protocol):
    """What is between here and the CA. All raise one of `Known`, unless told otherwise."""

    def identity(self) -> str:
        """Tell people who we are; nobody is asked yet."""
        ...

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return a name's addresses."""
        ...

    def knock(self, host: str, port: int) -> None:
        """Connect, and hang up."""
        ...

    def controllers(self) -> tuple[str, ...]:
        """Return the names of the domain's controllers."""
        ...

    def now(self) -> datetime:
        """Return this machine's time."""
        ...

    def time_of(self, controller: str) -> datetime | None:
        """Return a controller's time; None: it does not tell."""
        ...

    def ticket(self, service: str, host: str) -> None:
        """Have the domain vouch for us to a service."""
        ...

    def directory(self, controller: str) -> Directory:
        """Bind to a controller."""
        ...

    def probe(self) -> int:
        """Ask the CA for a request that cannot exist; return what it said, a code."""
        ...

    def offered(self) -> tuple[str, ...]:
        """Return the names of the templates that the CA itself offers now. Raises Unread."""
        ...

    def issuers(self) -> tuple[bytes, ...]:
        """Return the CA certificates (DER) that certificates are verified under. Raises Unread."""
        ...

    def security(self) -> bytes:
        """Return the CA's own security descriptor. Raises Unread."""
        ...

    def setting(self, node: str, name: str) -> int:
        """Return a number out of the CA's own configuration. Raises Unread."""
        ...


class Seen:
    """What the steps have found, each for those after it."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        """Steps that failed, or were skipped."""
        self.controllers: tuple[str, ...] = ()
        self.directory: Directory | None = None
        self.account: Account | None = None
        self.service: Service | None = None
        self.newest = b""
        """The certificate that the CA signs with now."""
        self.answer = 0
        """What the CA said when it was asked for a request that cannot exist."""
        self.security: Descriptor | None = None


def cause(error: Exception) -> str:
    """Return why something is not known, in a sentence."""
    return str(getattr(error, "cause", "") or error)

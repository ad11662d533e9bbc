"""What clients were told: every answer with a 2xx tells facts that must be kept for ever.

A fact is a kind and the names of what it is about: `("order.valid", <order id>)`. `evidence` reads
facts of the same form from journal and database. Some are *promised*: they answer the request that
made the change, and no such answer may leave before the change is in both. The others were *seen*
by asking; that may happen as soon as the database has them.
"""

import hashlib
import threading
from collections import Counter

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

Fact = tuple[str, ...]
CREATED = 201

ACCOUNT = "account.created"
ORDER = "order.created"
ACCEPTED = "challenge.accepted"
PROVEN = "challenge.validated"
READY = "order.ready"
FINALIZED = "order.finalized"
VALID = "order.valid"
INVALID = "order.invalid"
ISSUED = "certificate.issued"
REVOKED = "certificate.revoked"


class Told(msgspec.Struct):
    """The member that orders, authorizations and challenges have in common."""

    status: str = ""


class Request(msgspec.Struct, frozen=True):
    """A signed request as it was sent: whoever gets hold of it may send it again."""

    url: str
    body: bytes


TOLD = msgspec.json.Decoder(Told)


class Known(msgspec.Struct, frozen=True):
    """Facts at one moment; those that were promised are among all."""

    promised: frozenset[Fact]
    all: frozenset[Fact]


class Ledger:
    """Facts that clients know, from all their threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._promised: set[Fact] = set()
        self._all: set[Fact] = set()
        self.lost: list[str] = []
        """Orders that led to no certificate although the client tried again, and why."""
        self.counts: Counter[str] = Counter()
        """bad-nonces, retries, cut (answers that broke off), orders, certificates."""
        self.replayable: Request | None = None
        """The last newOrder that was answered with 201."""

    def note(self, fact: Fact, *, promised: bool = False) -> None:
        """Write a fact down."""
        with self._lock:
            if promised:
                self._promised.add(fact)
            if fact not in self._all:
                self._all.add(fact)
                self.counts[fact[0]] += 1

    def count(self, what: str) -> None:
        """Count one more of something."""
        with self._lock:
            self.counts[what] += 1

    def lose(self, what: str) -> None:
        """Write down what never came to a good end."""
        with self._lock:
            self.lost.append(what)

    def known(self) -> Known:
        """Return what is known by now."""
        with self._lock:
            return Known(frozenset(self._promised), frozenset(self._all))


class Tally(msgspec.Struct):
    """What the clients of a run came to, whatever was done to their server meanwhile.

    `seconds` is how long the run took; `broken` is empty if everything held.
    """

    seed: str
    clients: int
    rounds: int = 0
    accounts: int = 0
    orders: int = 0
    finalized: int = 0
    certificates: int = 0
    revoked: int = 0
    events: int = 0
    lost: int = 0
    bad_nonces: int = 0
    retries: int = 0
    seconds: float = 0.0
    broken: str = ""

    def add_up(self, ledger: Ledger) -> None:
        """Take over what clients know at the end."""
        counts = ledger.counts
        self.accounts, self.orders = counts[ACCOUNT], counts[ORDER]
        self.finalized, self.certificates = counts[FINALIZED], counts[ISSUED]
        self.revoked, self.lost = counts[REVOKED], len(ledger.lost)
        self.bad_nonces, self.retries = counts["bad-nonces"], counts["retries"]

    def said(self) -> str:
        """Return it as a part of a line."""
        return (
            f"{self.accounts} accounts, {self.orders} orders, {self.certificates} certificates,"
            f" {self.revoked} revoked, {self.lost} lost; {self.bad_nonces} badNonce,"
            f" {self.retries} retries"
        )


def change_of(kind: str, url: str, location: str, status: int) -> Fact | None:
    """Return the change that a 2xx acknowledges; `kind` is the client's word for the request."""
    name = url.rpartition("/")[2]
    match kind:
        case "newAccount" if status == CREATED:
            return (ACCOUNT, location.rpartition("/")[2])
        case "newOrder":
            return (ORDER, location.rpartition("/")[2])
        case "challenge":
            return (ACCEPTED, name)
        case "finalize":
            return (FINALIZED, name)
        case _:
            return None


def state_of(kind: str, url: str, body: bytes) -> Fact | None:
    """Return the state that a 2xx shows, if it is one that lasts."""
    name = url.rpartition("/")[2]
    if kind == "certificate":
        return (ISSUED, name, leaf_sha256(body))
    if kind in {"newAccount", "newOrder", "challenge", "revoke"}:
        return None
    status = TOLD.decode(body).status
    if "authorization" in kind:
        return (PROVEN, f"{name}-0") if status == "valid" else None
    return {
        "ready": (READY, name),
        "valid": (VALID, name),
        "invalid": (INVALID, name),
    }.get(status)


def leaf_sha256(chain_pem: bytes) -> str:
    """Return the SHA-256 (hex) of the first certificate's DER."""
    leaf = x509.load_pem_x509_certificates(chain_pem)[0]
    return hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()

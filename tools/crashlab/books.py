"""What the log of a server says of its CA's certificates, and why orders came to none."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec

from events.certificates import CertificateMismatched
from events.envelope import parse
from events.orders import IssuanceAbandoned
from tools.crashlab.server import Server

MOST_LOST = 5
"""So many answers to an order may be lost; then it ends (docs/operations.md)."""


class Books(msgspec.Struct):
    """What the tables say: certificates by order, what is to be revoked at the CA by its
    order and the beginning of its SHA-256, and how many possible twins an order has."""

    given: dict[str, str]
    held: set[str]
    """Serial numbers of certificates that somebody has and that nobody revoked."""
    revoked: dict[str, str]
    suspects: Counter[str]
    events: Counter[str]

    def in_state(self, state: str) -> list[str]:
        """Return what is to be revoked, and is so far."""
        return [one for one, its in self.revoked.items() if its == state]


def books_of(server: Server) -> Books:
    """Read what the tables say."""
    with _opened(server) as connection:
        given = dict(connection.execute("SELECT id, sha256 FROM certificates"))
        held = connection.execute("SELECT serial FROM certificates WHERE revoked = ''")
        serials = {str(serial).lstrip("0") for (serial,) in held}
        states = dict(connection.execute("SELECT id, state FROM revocations"))
        ids = [str(row[0]) for row in connection.execute("SELECT id FROM suspects")]
        types = connection.execute("SELECT type, count(*) FROM events GROUP BY type")
        events = Counter({str(kind): int(count) for kind, count in types})
    suspects = Counter(one.rpartition("-")[0] for one in ids)
    return Books(given, serials, states, suspects, events)


class Ends(msgspec.Struct):
    """Why orders came to no certificate, as the log has it."""

    invalid: set[str] = set()
    mismatched: set[str] = set()
    abandoned: dict[str, set[int]] = {}
    """Attempts by order of which nobody knows what became."""

    @property
    def given_up(self) -> set[str]:
        """Orders that ended because too many answers were lost."""
        return {
            order_id
            for order_id in self.invalid - self.mismatched
            if len(self.abandoned.get(order_id, ())) >= MOST_LOST
        }

    def unexplained(self, lost: list[str], wrong: int) -> list[str]:
        """Return in words what had to be otherwise: `lost` is what clients complain of, an order
        each, and the CA was told `wrong` times to issue something wrong."""
        found = [
            f"order {order_id} has failed, and was sent nothing wrong"
            for order_id in sorted(self.invalid - self.mismatched - self.given_up)
        ]
        if len(lost) != len(self.invalid):
            said = "; ".join(lost)
            found.append(f"clients lost {len(lost)} orders, {len(self.invalid)} failed: {said}")
        if len(self.mismatched) > wrong:
            found.append(f"{len(self.mismatched)} certificates were wrong, and {wrong} had to be")
        return found


def ends_of(server: Server) -> Ends:
    """Read why orders have failed."""
    ends = Ends()
    with _opened(server) as connection:
        rows = connection.execute("SELECT id FROM orders WHERE status = 'invalid'")
        ends.invalid = {str(order_id) for (order_id,) in rows}
        kinds = "'certificate.mismatched', 'issuance.abandoned'"
        for (line,) in connection.execute(f"SELECT line FROM events WHERE type IN ({kinds})"):  # noqa: S608 - constants
            record = parse(bytes(line))
            match record.event:
                case CertificateMismatched() as fact:
                    ends.mismatched.add(fact.order_id)
                case IssuanceAbandoned() as fact:
                    order_id = record.envelope.stream.rpartition("/")[2]
                    ends.abandoned.setdefault(order_id, set()).add(fact.attempt)
                case _:
                    pass
    return ends


def _opened(server: Server) -> closing[sqlite3.Connection]:
    assert isinstance(server.database, Path)
    where = f"{server.database.absolute().as_uri()}?mode=ro"
    return closing(sqlite3.connect(where, uri=True, timeout=10))

"""Facts about what was done to the log itself, after a database was lost."""

from events.registry import Event, event, upcaster
from events.sealing import Sealed


@event("log.restored")
class LogRestored(Event, frozen=True):
    """An administrator had lines that the database had lost put back from journals, byte for byte.

    Positions `first_position` to `last_position` were put back, of which the last line has
    `last_hash`. `nodes` are those (server ids) whose journals were read.
    """

    first_position: int
    last_position: int
    last_hash: str
    nodes: tuple[str, ...]


@event("log.forked")
class LogForked(Event, frozen=True):
    """Lines of this node are in its journal, but not in the log: others have their positions.

    The database lost them, and another node went on before this one was back. They are the lines
    `first_seq` to `last_seq`, the last one with `last_hash`, right before this one.
    """

    server_id: str
    first_seq: int
    last_seq: int
    last_hash: str


@event("account.recovered", schema=2)
class AccountRecovered(Event, frozen=True):
    """An account that was created in a lost line (`position` there); recorded anew.

    `eab` is the key of the external account binding that it was created with.
    """

    position: int
    account_id: str
    thumbprint: str
    jwk: dict[str, str]
    terms_agreed: bool = False
    contact: Sealed | None = None
    eab: str = ""


@upcaster("account.recovered", 1)
def _without_bindings(data: dict[str, object]) -> dict[str, object]:
    """Schema 1 had no external account bindings."""
    return data


@event("certificate.recovered")
class CertificateRecovered(Event, frozen=True):
    """A certificate that was issued in a lost line (`position` there); recorded anew.

    The log need not know its order or account any more. `id` is what it is known by instead; the
    other members are those of `certificate.issued`.
    """

    position: int
    id: str
    order_id: str
    account_id: str
    authority: str
    certificate: bytes
    chain: tuple[str, ...]
    serial: str
    sha256: str
    spki_sha256: str
    names: tuple[str, ...]
    not_before: str
    not_after: str

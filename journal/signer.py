"""A node as a reader of the log comes to know it."""

from events.envelope import JWS_MEMBER, Record
from events.signing import SIGNATURE_LENGTH, PublicKey
from journal.breaks import Line

_SIGNATURE_AT = -(SIGNATURE_LENGTH + 2)  # from the line's end: the signature, a quote, a brace


class Signer:
    """A node as its lines show it: its keys, the present one last; where it signed first."""

    def __init__(self, server_id: str, kid: str, first: tuple[Line, Record]) -> None:
        self.server_id = server_id
        self.kids = [kid]
        self.first = first
        self.last = first[1]
        self.key: PublicKey | None = None
        self.hostname = ""
        self.trusted = False
        self.doubt = ""  # why its invitation does not count
        self._end = b""  # what precedes the signature in each of its lines

    @property
    def kid(self) -> str:
        """The id of the key that its next line must be signed with."""
        return self.kids[-1]

    def use(self, key: PublicKey) -> None:
        """Know the present key's bytes from now on."""
        self.key = key
        self._end = JWS_MEMBER + key.header + b".."

    def is_by(self, line: bytes) -> bool:
        """Tell whether a line says that it is signed with the present key."""
        return line[_SIGNATURE_AT - len(self._end) : _SIGNATURE_AT] == self._end

    def refusal(self, kid: str) -> str:
        """Return why a line must not be signed with another key than the present one."""
        reason = f"signed with key {kid}, but node {self.server_id} has key {self.kid}"
        return f"{reason}, for which it gave that up" if kid in self.kids else reason

"""Whose signature counts: from the key that began the log, or keys given, to each node's key.

1. The anchor is the key that signed `installation.created`, the line at position 1. Where keys are
   given,
   it must be one of them; where the anchor's id is given, it must be that.
2. A key is known by its thumbprint, so the `x` that `node.registered` tells proves itself. The
   first
   line of a journal registers its node; that of the first node begins the log, and its second
   registers it.
3. A node's key is trusted if it is the anchor, was given by hand, or was endorsed by an event that
   a node
   already trusted at that place has signed. A key that signed anything and is not trusted at the
   end breaks the log.
4. A node has one key: every line of its journal is signed with it.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress

from events.envelope import JWS_MEMBER, Record
from events.nodes import InstallationCreated, NodeEndorsed, NodeRegistered
from events.registry import NewerSchema, UndecodableEvent
from events.signing import SIGNATURE_LENGTH, PublicKey
from journal.breaks import JournalBroken, Line, broken_at
from journal.signatures import Check

CREATED = "installation.created"
REGISTERED = "node.registered"
ENDORSED = "node.endorsed"
TRUST_TYPES = frozenset([CREATED, REGISTERED, ENDORSED])
_SIGNATURE_AT = -(SIGNATURE_LENGTH + 2)  # from the line's end: the signature, a quote, a brace


class Signer:
    """A node as its lines show it; `first` is where it signed first."""

    def __init__(self, server_id: str, kid: str, first: tuple[Line, Record]) -> None:
        self.server_id = server_id
        self.kid = kid
        self.first = first
        self.key: PublicKey | None = None
        self.hostname = ""
        self.trusted = False
        self.end = b""  # what precedes the signature in each of its lines

    def use(self, key: PublicKey) -> None:
        """Know the key's bytes from now on."""
        self.key = key
        self.end = JWS_MEMBER + key.header + b".."


class Trust:
    """Which keys may sign, as far as the log has been read."""

    def __init__(
        self,
        keys: Mapping[str, PublicKey] | None = None,
        trusted: Collection[str] = (),
        anchor: str = "",
    ) -> None:
        """Trust these keys and these key ids; `anchor` is the id that must have begun the log."""
        self._known = dict(keys or {})
        self._allowed = frozenset([anchor]) if anchor else frozenset(self._known)
        self._trusted = frozenset([*self._known, *trusted])
        self._endorsed: set[tuple[str, str]] = set()
        self._waiting: tuple[Line, Record] | None = None
        self.signers: dict[str, Signer] = {}
        self.anchor = ""
        self.installation_id = ""

    def checks(self, line: Line, record: Record) -> list[Check]:
        """Take the next line of the log, and return the signatures that can be checked now.

        Raises JournalBroken where nobody who may has signed it.
        """
        envelope = record.envelope
        signer = self.signers.get(envelope.server_id)
        if signer is None:
            signer = self._admit(line, record)
        if envelope.type in TRUST_TYPES:
            self._learn(signer, line, record)
        if signer.key is None:
            return self._wait(line, record)
        if record.line[_SIGNATURE_AT - len(signer.end) : _SIGNATURE_AT] != signer.end:
            raise broken_at(
                line,
                record,
                f"signed with key {record.kid}, but node {signer.server_id} has key {signer.kid}",
            )
        checks = [(signer.key, line, record)]
        if self._waiting is not None:
            checks.insert(0, (signer.key, *self._waiting))
            self._waiting = None
        return checks

    def check_end(self) -> None:
        """Raise JournalBroken where a key has signed that nobody trusted vouches for, or the log
        that a given key must have begun is not there."""
        if self._allowed and not self.signers:
            raise JournalBroken(
                "the log is empty, but a key was given that must have begun it", file="-"
            )
        if self._waiting is not None:
            line, record = self._waiting
            raise broken_at(
                line,
                record,
                f"signed with key {record.kid}, which was not given, and no line tells",
            )
        for signer in self.signers.values():
            if not signer.trusted:
                raise broken_at(
                    *signer.first,
                    f"node {signer.server_id} signs with key {signer.kid}, which no trusted node"
                    " has endorsed",
                )

    def find_key(self, record: Record) -> PublicKey | None:
        """Return the key a line names, if it is known or the line itself tells it."""
        if record.envelope.type == REGISTERED:
            with suppress(ValueError, NewerSchema, UndecodableEvent):
                self._keep(_decode_registered(record))
        return self._known.get(record.kid)

    def waiting(self) -> tuple[Line, Record] | None:
        """Return the log's first line while the key it was signed with is not known."""
        return self._waiting

    def _admit(self, line: Line, record: Record) -> Signer:
        """Take the first line of a journal: it begins the log, or registers its node."""
        envelope = record.envelope
        if envelope.type != (CREATED if envelope.position == 1 else REGISTERED):
            wanted = f"the log with {CREATED}" if envelope.position == 1 else f"with {REGISTERED}"
            raise broken_at(line, record, f"a journal begins {wanted}, not with {envelope.type}")
        signer = Signer(envelope.server_id, record.kid, (line, record))
        vouched = (signer.server_id, signer.kid) in self._endorsed
        signer.trusted = vouched or signer.kid in self._trusted
        key = self._known.get(signer.kid)
        if key is not None:
            signer.use(key)
        self.signers[signer.server_id] = signer
        return signer

    def _learn(self, signer: Signer, line: Line, record: Record) -> None:
        try:
            fact = record.event
        except (NewerSchema, UndecodableEvent) as error:
            raise broken_at(line, record, str(error)) from None
        if isinstance(fact, InstallationCreated):
            self._created(fact, signer, line, record)
        elif isinstance(fact, NodeRegistered):
            self._registered(fact, signer, line, record)
        elif isinstance(fact, NodeEndorsed) and signer.trusted:
            self._endorse(fact)

    def _created(
        self, fact: InstallationCreated, signer: Signer, line: Line, record: Record
    ) -> None:
        if record.envelope.position != 1:
            raise broken_at(line, record, f"{CREATED} can only be at position 1")
        if fact.kid != signer.kid:
            raise broken_at(
                line, record, f"the anchor is to be key {fact.kid}, but key {signer.kid} signed"
            )
        if self._allowed and fact.kid not in self._allowed:
            raise broken_at(
                line,
                record,
                f"the log was begun by key {fact.kid}, which is not one that was given",
            )
        self.anchor, self.installation_id = fact.kid, fact.installation_id
        signer.trusted = True

    def _registered(self, fact: NodeRegistered, signer: Signer, line: Line, record: Record) -> None:
        if (fact.server_id, fact.kid) != (signer.server_id, signer.kid):
            raise broken_at(
                line,
                record,
                f"node {signer.server_id} with key {signer.kid} registers"
                f" node {fact.server_id} with key {fact.kid}",
            )
        self.installation_id = self.installation_id or fact.installation_id
        if fact.installation_id != self.installation_id:
            raise broken_at(
                line,
                record,
                f"the node is of installation {fact.installation_id}, the log of"
                f" {self.installation_id}",
            )
        try:
            signer.use(self._keep(fact))
        except ValueError as error:
            raise broken_at(line, record, str(error)) from None
        signer.hostname = fact.hostname

    def _keep(self, fact: NodeRegistered) -> PublicKey:
        key = PublicKey(fact.x)
        if key.kid != fact.kid:
            raise ValueError(f"the registered key has id {key.kid}, not {fact.kid}")
        self._known[key.kid] = key
        return key

    def _endorse(self, fact: NodeEndorsed) -> None:
        self._endorsed.add((fact.server_id, fact.kid))
        signer = self.signers.get(fact.server_id)
        if signer is not None and signer.kid == fact.kid:
            signer.trusted = True

    def _wait(self, line: Line, record: Record) -> list[Check]:
        """Hold the log's first line back until the next one tells the key."""
        if self._waiting is not None:
            raise broken_at(
                line,
                record,
                f"the log's second line must be {REGISTERED}, to tell key {record.kid}, which was"
                " not given",
            )
        self._waiting = (line, record)
        return []


def _decode_registered(record: Record) -> NodeRegistered:
    fact = record.event
    assert isinstance(fact, NodeRegistered)
    return fact

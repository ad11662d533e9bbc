"""Whose signature counts: from the key that began the log, or keys given, to each node's key.

1. The anchor is the key that signed `installation.created`, the line at position 1. Where keys are
   given, it must be one of them, or its node must have gone on to one of them (4); where the
   anchor's id is given, it must be that.
2. A key is known by its thumbprint, so the `x` that a line tells proves itself. The first line of a
   journal registers its node; that of the first node begins the log, and its second registers it.
3. A node is trusted if it began the log; if one of its keys was given by hand; if a node already
   trusted at that place has endorsed one of the keys that it has, or the key that it registers
   with; or if it registers by the invitation of such a node (`events.nodes.doubt`). A node that
   has written anything and is not trusted at the end breaks the log.
4. A node has one key at a time, and no other node ever has it. `node.key-rotated` is signed with
   the key that it gives up, and carries the new one's statement; each line behind it is signed with
   the new one.
5. `node.retired`, by another node that is trusted there, names the last line of a node: it has
   none behind it.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress

from events.envelope import Record
from events.nodes import (
    InstallationCreated,
    NodeEndorsed,
    NodeInvited,
    NodeKeyRotated,
    NodeRegistered,
    NodeRetired,
    doubt,
)
from events.registry import Event, NewerSchema, UndecodableEvent
from events.signing import BadSignature, PublicKey
from events.statements import check, succeeding
from journal.breaks import JournalBroken, Line, broken_at
from journal.signatures import Check
from journal.signer import Signer

CREATED = "installation.created"
REGISTERED = "node.registered"
TRUST_TYPES = frozenset(
    [
        CREATED,
        REGISTERED,
        "node.invited",
        "node.endorsed",
        "node.key-rotated",
        "node.retired",
    ]
)


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
        self._begun_by = anchor
        self._given = frozenset(self._known)
        self._trusted = frozenset([*self._known, *trusted])
        self._endorsed: set[tuple[str, str]] = set()
        self._invited: dict[str, NodeInvited] = {}
        self._joined: dict[str, str] = {}  # the node that has used an invitation
        self._retired: dict[str, str] = {}  # why a node has no further line
        self._waiting: tuple[Line, Record] | None = None
        self.signers: dict[str, Signer] = {}
        self.anchor = ""
        self.installation_id = ""

    def checks(self, line: Line, record: Record) -> list[Check]:
        """Take the next line of the log, and return the signatures that can be checked now.

        Raises JournalBroken where nobody who may has signed it.
        """
        envelope = record.envelope
        if envelope.server_id in self._retired:
            raise broken_at(line, record, self._retired[envelope.server_id])
        signer = self.signers.get(envelope.server_id)
        if signer is None:
            signer = self._admit(line, record)
        telling = envelope.type in TRUST_TYPES and not line.orphaned
        fact = _fact(line, record) if telling else None
        if fact is not None:
            self._learn(fact, signer, line, record)
        if signer.key is None:
            return self._wait(line, record)
        if not signer.is_by(record.line):
            raise broken_at(line, record, signer.refusal(record.kid))
        checks = [(signer.key, line, record)]
        if self._waiting is not None:
            checks.insert(0, (signer.key, *self._waiting))
            self._waiting = None
        if isinstance(fact, NodeKeyRotated):  # behind the line, which the old key has signed
            self._rotate(fact, signer, line, record)
        signer.last = record
        return checks

    def check_end(self) -> None:
        """Raise JournalBroken where a key has signed that nobody trusted vouches for, or the log
        that a given key must have begun is not there."""
        if (self._given or self._begun_by) and not self.signers:
            raise JournalBroken(
                "is empty, but a key was given that must have begun it", file="the log"
            )
        if self._waiting is not None:
            line, record = self._waiting
            raise broken_at(
                line,
                record,
                f"signed with key {record.kid}, which was not given, and no line tells",
            )
        for signer in self.signers.values():
            if signer.kids[0] == self.anchor and not self._is_anchor_given(signer):
                raise broken_at(*signer.first, _not_given(self.anchor))
            if not signer.trusted:
                doubt_ = f" ({signer.doubt})" if signer.doubt else ""
                raise broken_at(
                    *signer.first,
                    f"node {signer.server_id} signs with key {signer.kid}, which no trusted node"
                    f" has endorsed{doubt_}",
                )

    def find_key(self, record: Record) -> PublicKey | None:
        """Return the key a line names, if it is known or the line itself tells it."""
        if record.envelope.type == REGISTERED:
            with suppress(ValueError, NewerSchema, UndecodableEvent):
                self._keep(_decode_registered(record))
        return self._known.get(record.kid)

    def key(self, kid: str) -> PublicKey | None:
        """Return a key by its id, if it was given or a line has told it."""
        return self._known.get(kid)

    def waiting(self) -> tuple[Line, Record] | None:
        """Return the log's first line while the key it was signed with is not known."""
        return self._waiting

    def _is_anchor_given(self, signer: Signer) -> bool:
        return not self._given or not self._given.isdisjoint(signer.kids)

    def _admit(self, line: Line, record: Record) -> Signer:
        """Take the first line of a journal: it begins the log, or registers its node."""
        envelope = record.envelope
        if envelope.type != (CREATED if envelope.position == 1 else REGISTERED):
            wanted = f"the log with {CREATED}" if envelope.position == 1 else f"with {REGISTERED}"
            raise broken_at(line, record, f"a journal begins {wanted}, not with {envelope.type}")
        self._check_unused(record.kid, line, record)
        signer = Signer(envelope.server_id, record.kid, (line, record))
        vouched = (signer.server_id, signer.kid) in self._endorsed
        signer.trusted = vouched or signer.kid in self._trusted
        key = self._known.get(signer.kid)
        if key is not None:
            signer.use(key)
        self.signers[signer.server_id] = signer
        return signer

    def _check_unused(self, kid: str, line: Line, record: Record) -> None:
        """Raise JournalBroken where another node has, or had, this key.

        A key given by hand is trusted wherever it stands. Who stole one that was given up, or that
        of a node which is gone, could begin another node with it.
        """
        for other in self.signers.values():
            if kid in other.kids:
                raise broken_at(
                    line, record, f"key {kid} is or was the key of node {other.server_id}"
                )

    def _learn(self, fact: Event, signer: Signer, line: Line, record: Record) -> None:
        match fact:
            case InstallationCreated():
                self._created(fact, signer, line, record)
            case NodeRegistered():
                self._registered(fact, signer, line, record)
            case NodeInvited() if signer.trusted:
                self._invited.setdefault(fact.kid, fact)
            case NodeEndorsed() if signer.trusted:
                self._endorse(fact)
            case NodeRetired():
                self._retire(fact, signer, line, record)
            case _:  # what a node says that is not trusted here counts for nothing
                pass

    def _created(
        self, fact: InstallationCreated, signer: Signer, line: Line, record: Record
    ) -> None:
        if record.envelope.position != 1:
            raise broken_at(line, record, f"{CREATED} can only be at position 1")
        if fact.kid != signer.kid:
            raise broken_at(
                line, record, f"the anchor is to be key {fact.kid}, but key {signer.kid} signed"
            )
        if self._begun_by not in ("", fact.kid):
            raise broken_at(line, record, _not_given(fact.kid))
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
        if fact.invitation is not None:
            self._join(fact, fact.invitation.kid, signer, record)

    def _join(self, fact: NodeRegistered, kid: str, signer: Signer, record: Record) -> None:
        """Use an invitation, if it is good: its node is trusted from here on."""
        invited, used_by = self._invited.get(kid), self._joined.get(kid, "")
        signer.doubt = doubt(invited, used_by, fact, record.envelope.at)
        if not signer.doubt:
            self._joined[kid] = signer.server_id
            signer.trusted = True

    def _keep(self, fact: NodeRegistered | NodeKeyRotated) -> PublicKey:
        key = PublicKey(fact.x)
        if key.kid != fact.kid:
            raise ValueError(f"the registered key has id {key.kid}, not {fact.kid}")
        self._known[key.kid] = key
        return key

    def _endorse(self, fact: NodeEndorsed) -> None:
        self._endorsed.add((fact.server_id, fact.kid))
        signer = self.signers.get(fact.server_id)
        if signer is not None and fact.kid in signer.kids:
            signer.trusted = True

    def _rotate(self, fact: NodeKeyRotated, signer: Signer, line: Line, record: Record) -> None:
        if (fact.server_id, fact.previous) != (signer.server_id, signer.kid):
            raise broken_at(
                line,
                record,
                f"node {signer.server_id} with key {signer.kid} gives up key {fact.previous} of"
                f" node {fact.server_id}",
            )
        if fact.kid in signer.kids:
            raise broken_at(line, record, f"key {fact.kid} is or was this node's key already")
        self._check_unused(fact.kid, line, record)
        try:
            key = self._keep(fact)
            check(fact.jws, key, succeeding(fact.server_id, fact.kid, fact.previous))
        except (ValueError, BadSignature) as error:
            reason = f"key {fact.kid} has not stated that it takes over: {error}"
            raise broken_at(line, record, reason) from None
        signer.kids.append(key.kid)
        signer.use(key)
        signer.trusted = signer.trusted or key.kid in self._trusted

    def _retire(self, fact: NodeRetired, signer: Signer, line: Line, record: Record) -> None:
        if fact.server_id == signer.server_id:
            raise broken_at(line, record, "a node cannot retire itself")
        if not signer.trusted:
            raise broken_at(
                line,
                record,
                f"node {signer.server_id} retires node {fact.server_id}, but no trusted node has"
                f" endorsed its key {signer.kid}",
            )
        gone = self.signers.get(fact.server_id)
        if gone and (gone.last.envelope.seq, gone.last.hash) != (fact.last_seq, fact.last_hash):
            raise broken_at(
                line,
                record,
                f"node {fact.server_id} is retired at seq {fact.last_seq}, hash {fact.last_hash},"
                f" but its last line is seq {gone.last.envelope.seq}, hash {gone.last.hash}",
            )
        self._retired[fact.server_id] = (
            f"node {fact.server_id} was retired at position {record.envelope.position} by node"
            f" {signer.server_id}, with seq {fact.last_seq} as its last line"
        )

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


def _not_given(kid: str) -> str:
    return f"the log was begun by key {kid}, which is not one that was given"


def _fact(line: Line, record: Record) -> Event:
    try:
        return record.event
    except (NewerSchema, UndecodableEvent) as error:
        raise broken_at(line, record, str(error)) from None


def _decode_registered(record: Record) -> NodeRegistered:
    fact = record.event
    assert isinstance(fact, NodeRegistered)
    return fact

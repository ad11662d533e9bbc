"""The proof: journals of one or more nodes are what these nodes signed, and all of it.

(1) to (3) each journal is a chain of its own (`journal.merge`);
(4) to (6) merged by position, they are one log without a gap (`journal.log`);
(7) each line is signed with the key of its node, and that key is trusted (`journal.trust`);
(8) what heads pinned elsewhere say is so (`journal.log`).
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from events.envelope import Record
from events.signing import PublicKey
from journal.breaks import JournalBroken, Line
from journal.heads import Head, head_of
from journal.log import Log, MemoryVersions, Versions, Witness
from journal.merge import Chain, Merge
from journal.signatures import Signatures, check
from journal.trust import Trust

PROGRESS_LINES = 1024


class Node(msgspec.Struct, frozen=True):
    """What a journal turned out to be; `kid` is the node's last key, `earlier` those before it."""

    server_id: str
    hostname: str
    kid: str
    lines: int
    trusted: bool
    earlier: tuple[str, ...] = ()


class Summary(msgspec.Struct, frozen=True):
    """What was proven, with the times of the first and the last line; an empty log has no head."""

    lines: int
    nodes: tuple[Node, ...]
    installation_id: str
    anchor: str
    first_position: int
    first_at: str
    last_at: str
    head: Head | None
    pinned: int
    complete: bool


def verify(
    journals: Sequence[Iterable[Line]],
    keys: Mapping[str, PublicKey] | None = None,
    *,
    trusted: Collection[str] = (),
    anchor: str = "",
    pinned: Sequence[Head] = (),
    partial: bool = False,
    versions: Versions | None = None,
    witness: Witness | None = None,
    progress: Callable[[Line, int], None] | None = None,
    threads: int | None = None,
) -> Summary:
    """Return what was proven of these journals; raises JournalBroken at the first break.

    `keys` are trusted by hand, and so are the key ids in `trusted`; without `keys` and `anchor` the
    log's own first key is taken as the anchor, and told in the summary. `pinned` heads come in
    order of position. `progress` is called now and then with the line and how many there were.
    """
    trust = Trust(keys, trusted, anchor)
    log = Log(pinned, partial, versions or MemoryVersions(), witness)
    merged = Merge(journals)
    with Signatures(threads or os.cpu_count() or 1) as signatures:
        try:
            for line, record in merged:
                if not line.orphaned:
                    log.take(line, record)
                for known in trust.checks(line, record):
                    signatures.add(*known)
                if witness is not None:
                    (witness.orphaned if line.orphaned else witness.see)(line, record)
                if progress is not None and log.lines % PROGRESS_LINES == 0:
                    progress(line, log.lines)
            log.check_end()
            trust.check_end()
        except JournalBroken:
            # What was found may only follow from a line before it, or itself, having been changed.
            if not signatures.failed:
                signatures.settle()
                _blame(merged.next_lines(), trust)
            raise
        signatures.settle()
    return _summary(log, trust, merged.chains)


def _blame(lines: Sequence[tuple[Line, Record]], trust: Trust) -> None:
    """Raise JournalBroken for the first of these lines that its own signature disowns."""
    for _line, record in lines:
        trust.find_key(record)  # which may be what the log's first line waits for
    waiting = trust.waiting()
    for line, record in [waiting, *lines] if waiting else lines:
        key = trust.find_key(record)
        if key is not None:
            check([(key, line, record)])


def _summary(log: Log, trust: Trust, chains: Iterable[Chain]) -> Summary:
    nodes = [
        Node(
            signer.server_id,
            signer.hostname,
            signer.kid,
            chain.seq,
            signer.trusted,
            tuple(signer.kids[:-1]),
        )
        for chain in chains
        if (signer := trust.signers.get(chain.server_id))
    ]
    first = log.first.envelope if log.first else None
    last = log.last[1] if log.last else None
    return Summary(
        lines=log.lines,
        nodes=tuple(nodes),
        installation_id=trust.installation_id,
        anchor=trust.anchor,
        first_position=first.position if first else 0,
        first_at=first.at if first else "",
        last_at=last.envelope.at if last else "",
        head=head_of(last) if last else None,
        pinned=log.pins_seen,
        complete=log.lines == (last.envelope.position if last else 0),
    )

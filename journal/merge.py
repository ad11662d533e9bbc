"""Journals as one log: each a chain of its own, merged by position, one line of each in memory.

For each journal, line by line:
 (1) it is a line, in the one spelling that an event has;
 (2) it is by the journal's node, and `seq` counts 1, 2, 3 without a gap;
 (3) `prev` is the hash of the journal's line before; `position` grows.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace

from events.envelope import ZERO_HASH, BrokenLine, Record, parse
from journal.breaks import JournalBroken, Line, broken_at


class Chain:
    """One journal: rules (1) to (3)."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.server_id = ""
        self.seq = 0
        self._hash = ZERO_HASH
        self._position = 0
        self._number = 0
        self.current: tuple[Line, Record] | None = None

    def next(self) -> tuple[int, Line, Record] | None:
        """Return the journal's next line with its position, None behind the last one."""
        self.current = None
        line = next(self._lines, None)
        if line is None:
            return None
        try:
            record = parse(line.data)
        except BrokenLine as error:
            raise JournalBroken(str(error), file=line.file, line=line.number) from None
        self.current = line, record
        self._check(line, record)
        envelope = record.envelope
        self.seq, self._position, self._hash = envelope.seq, envelope.position, record.hash
        self._number = line.number
        return envelope.position, line, record

    def _check(self, line: Line, record: Record) -> None:
        envelope = record.envelope
        if not self.seq:
            self.server_id = envelope.server_id
        if envelope.server_id != self.server_id:
            raise broken_at(
                line, record, f"by node {envelope.server_id}, but this is node {self.server_id}'s"
            )
        if envelope.seq != self.seq + 1:
            raise broken_at(line, record, _seq_reason(envelope.seq, self.seq))
        if envelope.prev != self._hash:
            raise broken_at(line, record, self._prev_reason())
        if envelope.position <= self._position:
            raise broken_at(
                line, record, f"position {envelope.position} after position {self._position}"
            )

    def _prev_reason(self) -> str:
        if not self.seq:
            return "prev of the first line is not 64 zeros"
        before = f"line {self._number}" if self._number else f"seq {self.seq}"
        return (
            f"prev does not match the hash of {before}: a line was changed, removed or inserted"
            " before this one"
        )


def _seq_reason(seq: int, before: int) -> str:
    if not before:
        return f"the journal begins with seq {seq}, not 1: its beginning was cut off"
    if seq <= before:
        return f"seq {seq} after seq {before}: a line was repeated, inserted or moved"
    return f"seq {before + 1} is missing: a line was removed or moved"


class Merge:
    """Journals as one log: lines by position, one line of each journal in memory."""

    def __init__(self, journals: Sequence[Iterable[Line]]) -> None:
        self.chains = [Chain(lines) for lines in journals]

    def __iter__(self) -> Iterator[tuple[Line, Record]]:
        if len(self.chains) == 1:
            yield from self._single(self.chains[0])
            return
        heap = [
            (found[0], index, found[1], found[2])
            for index, chain in enumerate(self.chains)
            if (found := chain.next())
        ]
        self._check_nodes()
        heapify(heap)
        while heap:
            _position, index, line, record = heap[0]
            yield line, record
            found = self.chains[index].next()
            if found:
                heapreplace(heap, (found[0], index, found[1], found[2]))
            else:
                heappop(heap)

    def _single(self, chain: Chain) -> Iterator[tuple[Line, Record]]:
        while found := chain.next():
            yield found[1], found[2]

    def _check_nodes(self) -> None:
        seen: dict[str, Line] = {}
        for chain in self.chains:
            if chain.current is None:
                continue
            line, record = chain.current
            if chain.server_id in seen:
                raise broken_at(
                    line,
                    record,
                    f"node {chain.server_id} has another journal, {seen[chain.server_id].file}",
                )
            seen[chain.server_id] = line

    def next_lines(self) -> list[tuple[Line, Record]]:
        """Return the line that each journal stands at."""
        return [chain.current for chain in self.chains if chain.current]

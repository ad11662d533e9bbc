"""Journals as one log: each a chain of its own, merged by position, one line of each in memory.

For each journal, line by line:
 (1) it is a line, in the one spelling that an event has;
 (2) it is by the journal's node, and `seq` counts 1, 2, 3 without a gap;
 (3) `prev` is the hash of the journal's line before; `position` grows.
Lines that a `log.forked` behind them disowns are held to (1) and (2) and to `prev`, and are no part
of the log: they come with `orphaned` set, and the `log.forked` must tell of exactly these.
A closed segment holds the lines that its name says, and ends with the line that closed it.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace

from events.envelope import ZERO_HASH, BrokenLine, Record, parse
from journal.breaks import JournalBroken, Line, broken_at
from journal.lines import fork_in
from journal.segments import CLOSING, bounds_of

FORKED = "log.forked"


class Chain:
    """One journal: rules (1) to (3), and what closed segments must be."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.server_id = ""
        self.seq = 0
        self._hash = ZERO_HASH
        self._position = 0
        self._disowned_from = 0  # the first seq of orphaned lines, until their `log.forked` comes
        self._last: tuple[Line, Record] | None = None
        self.current: tuple[Line, Record] | None = None

    def next(self) -> tuple[int, Line, Record] | None:
        """Return the journal's next line with its position, None behind the last one.

        An orphaned line comes at the position of the line before: the log goes on behind it.
        """
        self.current = None
        line = next(self._lines, None)
        if line is None:
            self._check_closed()
            self._check_owned_up()
            return None
        try:
            record = parse(line.data)
        except BrokenLine as error:
            raise JournalBroken(str(error), file=line.file, line=line.number) from None
        self.current = line, record
        self._check(line, record)
        self.seq, self._hash = record.envelope.seq, record.hash
        if not line.orphaned:
            self._position = record.envelope.position
        self._last = self.current
        return self._position, line, record

    def _check(self, line: Line, record: Record) -> None:
        envelope = record.envelope
        if not self.seq:
            self.server_id = envelope.server_id
        if envelope.server_id != self.server_id:
            raise broken_at(line, record, self._node_reason(line, envelope.server_id))
        if line.number == 1:
            self._check_closed()
            _check_first(line, record)
        if envelope.seq != self.seq + 1:
            raise broken_at(line, record, self._seq_reason(line, envelope.seq))
        if envelope.prev != self._hash:
            raise broken_at(line, record, self._prev_reason())
        if line.orphaned:
            self._disowned_from = self._disowned_from or envelope.seq
            return
        if envelope.position <= self._position:
            raise broken_at(
                line, record, f"position {envelope.position} after position {self._position}"
            )
        if envelope.type == FORKED:
            self._check_fork(line, record)
        self._check_owned_up()

    def _check_fork(self, line: Line, record: Record) -> None:
        """Raise JournalBroken unless a `log.forked` tells of the orphaned lines before it."""
        fork = fork_in(line.data)
        told = (fork.server_id, fork.first_seq, fork.last_seq, fork.last_hash) if fork else ()
        if told != (self.server_id, self._disowned_from, self.seq, self._hash):
            raise broken_at(
                line, record, f"{FORKED} does not tell of the lines before it, as it must"
            )
        self._disowned_from = 0

    def _check_owned_up(self) -> None:
        """Raise JournalBroken where orphaned lines are not followed by their `log.forked`."""
        if self._disowned_from and self._last:
            raise broken_at(
                *self._last,
                f"lines from seq {self._disowned_from} on are orphaned, but no {FORKED} of this"
                " node follows them",
            )

    def _check_closed(self) -> None:
        """Raise JournalBroken unless the file that was read, if it is closed, ends as it must."""
        bounds = bounds_of(self._last[0].file) if self._last else None
        if self._last is None or bounds is None:
            return
        line, record = self._last
        if record.envelope.seq != bounds.last:
            raise broken_at(
                line,
                record,
                f"the file ends with this line, its name says seq {bounds.last}: its end was cut"
                " off, or it was renamed",
            )
        if record.envelope.type != CLOSING:
            raise broken_at(
                line,
                record,
                f"a closed segment ends with {CLOSING}, not with {record.envelope.type}: its end"
                " was cut off, and it was renamed",
            )

    def _node_reason(self, line: Line, server_id: str) -> str:
        reason = f"by node {server_id}, but this is node {self.server_id}'s"
        if self._last is None or self._last[0].file == line.file:
            return reason
        return (
            f"by node {server_id}, but {self._last[0].file} is node {self.server_id}'s: a segment"
            " of another node, or of another installation"
        )

    def _prev_reason(self) -> str:
        if self._last is None:
            return "prev of the first line is not 64 zeros"
        number = self._last[0].number
        before = f"line {number}" if number else f"seq {self.seq}"
        return (
            f"prev does not match the hash of {before}: a line was changed, removed or inserted"
            " before this one"
        )

    def _seq_reason(self, line: Line, seq: int) -> str:
        if self._last is None:
            return (
                f"the journal begins with seq {seq}, not 1: its beginning was cut off, or its first"
                " segments are missing"
            )
        before = self._last[0]
        if seq <= self.seq:
            return f"seq {seq} after seq {self.seq}: a line was repeated, inserted or moved"
        if line.file != before.file:
            return (
                f"{before.file} ends with seq {self.seq}, seq {self.seq + 1} is missing: a segment,"
                " or the beginning of this file"
            )
        return f"seq {self.seq + 1} is missing: a line was removed or moved"


def _check_first(line: Line, record: Record) -> None:
    """Raise JournalBroken unless a closed segment begins with the line that its name says."""
    bounds = bounds_of(line.file)
    if bounds is not None and record.envelope.seq != bounds.first:
        raise broken_at(
            line,
            record,
            f"the file begins with seq {record.envelope.seq}, its name says {bounds.first}: it was"
            " renamed, is a copy, or its beginning was cut off",
        )


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

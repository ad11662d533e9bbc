"""Packing evidence: nodes' lines, byte for byte, up to a position of the log.

Lines are copied as they are found, also those that verification will refuse: evidence of a broken
log is evidence. Only whole lines are, and none behind the position, so that a server may go on
writing meanwhile.
"""

import errno
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import IO, BinaryIO, NamedTuple, Protocol
from zipfile import ZIP_DEFLATED, ZipFile

import msgspec

from certeasy.audit.evidence import FORMAT, HEAD, KEYS, MANIFEST, Manifest, PackedFile, Source
from certeasy.audit.listing import keys_of, tells_of_nodes
from certeasy.audit.state import check_new, new_file
from events.envelope import MAX_LINE, BrokenLine, parse
from events.nodes import InstallationCreated
from events.registry import NewerSchema, UndecodableEvent
from events.signing import PublicKey
from journal.breaks import JournalBroken, Line
from journal.heads import Head, encode_head
from journal.lines import segments
from journal.segments import ACTIVE, bounds_of, closed_path

FULL = (errno.ENOSPC, errno.EDQUOT)
PARTIAL = ".partial"
PRIVATE_FOLDER = 0o700  # whose installation it is, knows whom to give it to
UNKNOWN = "0" * 8 + "-0000-0000-0000-" + "0" * 12  # whose lines cannot be read
_PLACE = re.compile(
    rb'\{"v":\d+,"position":(\d{1,19}),"server_id":"([0-9a-f-]{36})","seq":(\d{1,19}),'
)
_PIECE = MAX_LINE + 2

Progress = Callable[[int], None]


class Part(NamedTuple):
    """A file to be packed: whose lines it has, each with its newline, and where they are from."""

    server_id: str
    name: str
    source: Source
    lines: Iterable[bytes]


class Packed(NamedTuple):
    """What was packed, and the SHA-256 of the manifest that says so."""

    manifest: Manifest
    sha256: str


def from_journal(path: Path, held: ExitStack) -> list[Part]:
    """Return the parts that a node's journal is packed in: its files, one by one.

    The active file is opened at once, and `held`: closed and renamed by a running server, it is
    still what it was. Raises NoJournal where there is none.
    """
    files, last = _opened(path)
    held.enter_context(last)
    first = _place(last.readline(_PIECE) if len(files) == 1 else next(_raw(files[0]), b""))
    last.seek(0)
    server_id = first[2].decode() if first else UNKNOWN
    closed = [Part(server_id, _name(file), "journal", _raw(file)) for file in files[:-1]]
    return [*closed, Part(server_id, _name(files[-1]), "journal", _lines(last))]


def _opened(path: Path) -> tuple[list[Path], BinaryIO]:
    """Return a journal's files, and the last of them opened, as they were at one moment."""
    while True:
        files = segments(path)
        try:
            last = files[-1].open("rb")
        except FileNotFoundError:
            continue  # it was renamed just now
        if segments(path) == files:
            return files, last
        last.close()


def from_database(server_id: str, lines: Iterable[bytes]) -> Part:
    """Return the part that a node's rows are packed in, if its journal is not at hand."""
    return Part(server_id, ACTIVE, "database", (line + b"\n" for line in lines))


def pack(
    out: Path,
    parts: Iterable[Part],
    head: Head | None,
    *,
    software: str,
    made_at: str,
    progress: Progress = lambda _done: None,
) -> Packed:
    """Pack evidence into a new folder, or a new zip file if its name ends so; return what it is.

    Lines up to and with the head's position are taken. `progress` hears of the bytes that are done.
    Raises FileExistsError, with the name, rather than to write over something.
    """
    with _new(out) as target:
        packing = _Packing(target, head, progress)
        for part in parts:
            packing.add(part)
        return packing.finish(software, made_at)


class _Target(Protocol):
    def write(self, name: str, pieces: Iterable[bytes]) -> None: ...


class _Packing:
    """Evidence at work: the files so far, and the lines that tell whose keys these are."""

    def __init__(self, target: _Target, head: Head | None, progress: Progress) -> None:
        self._target = target
        self._head = head
        self._progress = progress
        self._done = 0
        self._files: list[PackedFile] = []
        self._telling: list[Line] = []

    def add(self, part: Part) -> None:
        """Pack one part; a file of which no line is taken is left out."""
        name = f"{part.server_id}/{part.name}"
        taken = _Taken(part.lines, self._head.position if self._head else 0)
        first = next(iter(taken), None)
        if first is None:
            return
        self._write(
            name, self._seen(first, taken), server_id=part.server_id, source=part.source, of=taken
        )

    def _seen(self, first: bytes, taken: "_Taken") -> Iterator[bytes]:
        yield from self._noted(first)
        for line in taken:
            yield from self._noted(line)

    def _noted(self, line: bytes) -> Iterator[bytes]:
        if tells_of_nodes(line):
            self._telling.append(Line("-", 0, 0, line.rstrip(b"\n")))
        yield line

    def _write(
        self,
        name: str,
        pieces: Iterable[bytes],
        *,
        server_id: str = "",
        source: Source | None = None,
        of: "_Taken | None" = None,
    ) -> str:
        """Write a file, and note what the manifest says of it; return its SHA-256."""
        digest, size = hashlib.sha256(), 0

        def watched() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                yield piece

        self._target.write(name, watched())
        self._done += size
        self._progress(self._done)
        sha256 = digest.hexdigest()
        self._files.append(
            PackedFile(
                name,
                size,
                sha256,
                server_id=server_id,
                first_seq=of.first_seq if of else 0,
                last_seq=of.last_seq if of else 0,
                source=source or "",
            )
        )
        return sha256

    def finish(self, software: str, made_at: str) -> Packed:
        """Write keys, head and, last of all, the manifest."""
        anchor, installation_id, keys = self._keys()
        self._write(KEYS, [msgspec.json.format(msgspec.json.encode({"keys": keys}))])
        self._write(HEAD, [encode_head(self._head) + b"\n"] if self._head else [])
        manifest = Manifest(
            format=FORMAT,
            made_at=made_at,
            software=software,
            installation_id=installation_id,
            anchor=anchor,
            position=self._head.position if self._head else 0,
            files=tuple(self._files),
        )
        text = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
        return Packed(manifest, self._write(MANIFEST, [text]))

    def _keys(self) -> tuple[str, str, list[dict[str, str]]]:
        """Return the anchor, the installation's id and the endorsed keys, as the lines tell."""
        telling, anchor, installation_id = [], "", ""
        for line in self._telling:
            with suppress(BrokenLine, NewerSchema, UndecodableEvent):
                fact = parse(line.data).event
                telling.append(line)
                if isinstance(fact, InstallationCreated):
                    anchor, installation_id = fact.kid, fact.installation_id
        keys = []
        for node in keys_of(telling):
            with suppress(ValueError, JournalBroken):
                keys += [PublicKey(node.x).jwk()] if node.endorsed else []
        return anchor, installation_id, keys


class _Taken:
    """The lines of a part up to a position, and the seq of the first and the last of them."""

    def __init__(self, lines: Iterable[bytes], until: int) -> None:
        self._lines = iter(lines)
        self._until = until
        self.first_seq = self.last_seq = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            place = _place(line)
            if place is not None:
                if int(place[1]) > self._until:
                    return
                self.last_seq = int(place[3])
                self.first_seq = self.first_seq or self.last_seq
            yield line


def _place(line: bytes) -> re.Match[bytes] | None:
    return _PLACE.match(line)


def _raw(file: Path) -> Iterator[bytes]:
    """Yield a file's lines as they are, with their newlines; the end of one that is torn is not."""
    with file.open("rb") as opened:
        yield from _lines(opened)


def _lines(opened: BinaryIO) -> Iterator[bytes]:
    while piece := opened.readline(_PIECE):
        if piece.endswith(b"\n") or len(piece) == _PIECE:
            yield piece


def _name(file: Path) -> str:
    bounds = bounds_of(file.name)
    return ACTIVE if bounds is None else closed_path(Path(ACTIVE), *bounds).name


# -- where to ------------------------------------------------------------------------------------


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        path = self._path / name
        path.parent.mkdir(PRIVATE_FOLDER, exist_ok=True)
        with new_file(path) as file:
            _write_all(file, pieces)


class _Zip:
    def __init__(self, packed: ZipFile) -> None:
        self._packed = packed

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        with self._packed.open(name, "w", force_zip64=True) as file:
            _write_all(file, pieces)


def _write_all(file: IO[bytes], pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        file.write(piece)


@contextmanager
def _new(out: Path) -> Iterator[_Target]:
    """Open what is packed into; it has its name once the block has ended well, else it is gone."""
    partial = out.with_name(out.name + PARTIAL)
    for path in (out, partial):
        check_new(path)
    zipped = out.suffix == ".zip"
    if zipped:
        new_file(partial).close()
    else:
        partial.mkdir(PRIVATE_FOLDER)
    try:
        if zipped:
            with ZipFile(partial, "w", ZIP_DEFLATED) as packed:
                yield _Zip(packed)
        else:
            yield _Folder(partial)
        partial.rename(out)
    except BaseException as error:  # also Ctrl-C: half a package must not lie there
        if zipped:
            partial.unlink(missing_ok=True)
        else:
            rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in FULL:
            raise OSError(error.errno, f"cannot be written: {error.strerror}", str(out)) from None
        raise

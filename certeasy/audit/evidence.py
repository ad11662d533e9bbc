"""What an auditor is given: the journals of all nodes in one folder or zip file, with a manifest.

    manifest.json            what there is: names, sizes, SHA-256, seq ranges, where lines are from
    keys.json                the nodes' public keys, a JWK set
    head.json                the log's last line, as a head
    <server_id>/audit.log    a node's journal, with its closed segments beside it

The manifest is not signed: the lines are. It shows that nothing was lost on the way, and its own
SHA-256, told in a few words, that it is the one that was packed. Nothing in here is secret.
"""

import errno
import hashlib
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import msgspec

from events.signing import read_key_set
from journal.breaks import JournalBroken
from journal.heads import Head, read_heads
from journal.lines import segments
from journal.verify import Summary

FORMAT = 1
MANIFEST, KEYS, HEAD = "manifest.json", "keys.json", "head.json"
MAX_SMALL = 16 * 1024 * 1024  # bytes of a manifest, a key set or a head
MAX_FILES = 100_000
MAX_RATIO = 100  # bytes unpacked for each packed; hashes and signatures do not get smaller
CHUNK = 1024 * 1024
Source = Literal["journal", "database"]
_NAME = re.compile(r"(?:[0-9a-f-]{36}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


# What a damaged zip file makes zipfile raise, each seen; lengths and dates in it are not looked at.
_DAMAGED = (
    BadZipFile,
    EOFError,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


class PackedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the evidence: its name, size in bytes and SHA-256 (hex).

    For a node's lines also whose they are, their first and last `seq`, and where they were taken
    from: its journal, or the rows of the database where that was not at hand.
    """

    name: str
    size: int
    sha256: str
    server_id: str = ""
    first_seq: int = 0
    last_seq: int = 0
    source: Source | Literal[""] = ""


class Manifest(msgspec.Struct, frozen=True):
    """What was packed, when (RFC 3339, UTC) and by which version, as of a position of a log."""

    format: int
    made_at: str
    software: str
    installation_id: str
    anchor: str
    position: int
    files: tuple[PackedFile, ...]


class NoEvidence(Exception):
    """A path is not evidence that was packed by `audit export`."""


class Evidence:
    """Unpacked evidence, whose files are those of its manifest; `name` is what was given."""

    def __init__(self, folder: Path, name: str) -> None:
        """Read the manifest, and hold every file against it; raises JournalBroken, NoEvidence."""
        self.folder = folder
        self.name = name
        self.manifest = _read_manifest(folder / MANIFEST, name)
        for file in self.manifest.files:
            self._check(file)
        self._check_nothing_else()

    @property
    def journals(self) -> list[list[Path]]:
        """Return each node's files, as `verify` is given them."""
        nodes = sorted({file.server_id for file in self.manifest.files if file.server_id})
        return [segments(self.folder / server_id) for server_id in nodes]

    @property
    def heads(self) -> list[Head]:
        """Return the head that was packed, if the log had one; raises JournalBroken."""
        try:
            return read_heads(self._small(HEAD))
        except ValueError as error:
            raise self._broken(HEAD, str(error)) from None

    def check_proof(self, proof: Summary) -> None:
        """Raise JournalBroken where the manifest says otherwise than the journals have proven."""
        said = self.manifest
        told = (said.installation_id, said.anchor, said.position)
        found = (proof.installation_id, proof.anchor, proof.head.position if proof.head else 0)
        for what, mine, theirs in zip(
            ("installation", "anchor", "position"), told, found, strict=True
        ):
            if mine != theirs:
                raise self._broken(MANIFEST, f"{what} {mine}, but the journals have {theirs}")
        for node in proof.nodes:
            ends = [file.last_seq for file in said.files if file.server_id == node.server_id]
            if max(ends, default=0) != node.lines:
                raise self._broken(
                    MANIFEST,
                    f"node {node.server_id} up to seq {max(ends, default=0)}, but its journal ends"
                    f" at seq {node.lines}",
                )
        self._check_keys(proof)

    def _check_keys(self, proof: Summary) -> None:
        try:
            keys = read_key_set(self._small(KEYS))
        except (ValueError, RecursionError) as error:
            raise self._broken(KEYS, str(error)) from None
        for node in proof.nodes:
            lacking = [kid for kid in (*node.earlier, node.kid) if kid not in keys]
            if node.trusted and lacking:
                raise self._broken(
                    KEYS, f"it lacks key {lacking[0]}, with which node {node.server_id} signs"
                )

    def _small(self, name: str) -> bytes:
        path = self.folder / name
        if path.stat().st_size > MAX_SMALL:
            raise self._broken(name, f"it has more than {MAX_SMALL} bytes")
        return path.read_bytes()

    def _check(self, file: PackedFile) -> None:
        path = self.folder / file.name
        if not path.is_file():
            raise self._broken(file.name, "the manifest has it, but it is not there")
        size = path.stat().st_size
        if size != file.size:
            raise self._broken(file.name, f"it has {size} bytes, the manifest says {file.size}")
        found = sha256_of(path)
        if found != file.sha256:
            raise self._broken(
                file.name, f"it has the SHA-256 {found}, the manifest says {file.sha256}"
            )

    def _check_nothing_else(self) -> None:
        known = {MANIFEST, *(file.name for file in self.manifest.files)}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and name not in known:
                raise self._broken(name, "it is not in the manifest")

    def _broken(self, name: str, reason: str) -> JournalBroken:
        return JournalBroken(reason, file=f"{self.name}/{name}")


@contextmanager
def opened(path: Path) -> Iterator[Evidence]:
    """Open a folder, or a zip file, which is unpacked to a temporary place meanwhile.

    A JournalBroken from inside the block names the files as they are in the zip file. Raises
    NoEvidence where the path is neither, JournalBroken where the manifest does not fit.
    """
    if path.is_dir():
        yield Evidence(path, str(path))
        return
    if not path.is_file() or not is_zipfile(path):
        what = "is neither a folder nor a zip file" if path.exists() else "does not exist"
        raise NoEvidence(f"{path} {what}")
    with TemporaryDirectory(prefix="certeasy-evidence-") as folder:
        _unpack(path, Path(folder))
        try:
            yield Evidence(Path(folder), str(path))
        except JournalBroken as broken:
            raise _renamed(broken, folder, str(path)) from None


def _renamed(broken: JournalBroken, folder: str, name: str) -> JournalBroken:
    return JournalBroken(
        broken.reason.replace(folder, name),
        file=broken.file.replace(folder, name),
        line=broken.line,
        seq=broken.seq,
        position=broken.position,
    )


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(path: Path, name: str) -> Manifest:
    if not path.is_file() or path.stat().st_size > MAX_SMALL:
        raise NoEvidence(f"{name} has no {MANIFEST}: it was not packed by `audit export`")
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise JournalBroken(f"it is no manifest: {error}", file=f"{name}/{MANIFEST}") from None
    if manifest.format != FORMAT:
        raise NoEvidence(
            f"{name} is of format {manifest.format}; this version reads format {FORMAT}"
        )
    if wrong := _wrong_names(manifest):
        raise JournalBroken(wrong, file=f"{name}/{MANIFEST}")
    return manifest


def _wrong_names(manifest: Manifest) -> str:
    """Return what cannot be among the names; nothing if all can."""
    names = set[str]()
    for file in manifest.files:
        if not _NAME.fullmatch(file.name) or file.name in names:
            return f"it names {file.name} twice, or this is no file of evidence"
        if file.server_id != file.name.rpartition("/")[0]:
            return f"it says that {file.name} is of node {file.server_id}"
        names.add(file.name)
    missing = sorted({KEYS, HEAD} - names)
    return f"it does not name {missing[0]}" if missing else ""


def _check_room(packed: ZipFile, path: Path, folder: Path) -> None:
    """Refuse a zip file made to fill the disk: no entry unpacks to more than it says it has."""
    entries = packed.infolist()
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES or size > max(MAX_SMALL, MAX_RATIO * path.stat().st_size):
        raise JournalBroken(
            f"{len(entries)} files of {size} bytes together: no evidence packs so much into so"
            " little",
            file=str(path),
        )
    free = _free(folder)
    if size > free:
        raise OSError(errno.ENOSPC, f"needs {size} bytes to be unpacked, {free} are free", folder)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _unpack(path: Path, folder: Path) -> None:
    """Unpack what can be evidence; a name that would leave the folder, or comes twice, is none."""
    try:
        with ZipFile(path) as packed:
            _check_room(packed, path, folder)
            seen = set[str]()
            for entry in packed.infolist():
                if entry.is_dir():
                    continue
                if not _NAME.fullmatch(entry.filename) or entry.filename in seen:
                    raise JournalBroken(
                        "the zip file has it twice, or its name is none of evidence",
                        file=f"{path}/{entry.filename}",
                    )
                seen.add(entry.filename)
                target = folder / entry.filename
                target.parent.mkdir(exist_ok=True)
                if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                    raise JournalBroken(
                        "it is packed in a way that `audit export` never does",
                        file=f"{path}/{entry.filename}",
                    )
                with packed.open(entry) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
    except _DAMAGED as error:
        raise JournalBroken(f"the zip file is damaged: {error}", file=str(path)) from None

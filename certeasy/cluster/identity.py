"""The node's identity, kept in its workdir: `server_id`, the signing key, the starts it has made.

An id is never minted over a journal, and a journal never continued with another key: a workdir that
lacks one of them lost it, and only its owner can say where it is.
"""

import hashlib
import platform
import socket
import uuid
from pathlib import Path

from certeasy.cluster.files import append_line, private_folder, refuse_link, write_once
from certeasy.cluster.refusal import BootRefused
from certeasy.ids import Ids
from events.signing import SigningKey
from journal.disk import sync_folder
from journal.segments import closed_segments

KEY_FILE = Path("keys") / "signing.pem"
NEXT_KEY_FILE = Path("keys") / "signing.next.pem"  # only while a rotation is under way
BOOTS_FILE = "boot_ids"
SEED_LENGTH = 32


class Identity:
    """Who this node is. `boots` are the ids of all the starts that this workdir has made.

    `next_key` is there while a rotation is under way (`certeasy.cluster.next_key`).
    """

    def __init__(
        self,
        workdir: Path,
        server_id: str,
        key: SigningKey,
        boots: list[str],
        next_key: SigningKey | None = None,
    ) -> None:
        self.workdir = workdir
        self.server_id = server_id
        self.key = key
        self.next_key = next_key
        self.boots = boots
        self.hostname = socket.gethostname()
        self.fingerprint = host_fingerprint(workdir)

    def record_start(self, boot_id: str) -> None:
        """Write down a start, durably, before anybody else hears of it."""
        append_line(self.workdir / BOOTS_FILE, boot_id)
        self.boots.append(boot_id)

    def make_next_key(self, ids: Ids) -> SigningKey:
        """Return the key that is to follow, durably in its file beside the present one's."""
        if self.next_key is None:
            key = SigningKey.from_seed(ids.random(SEED_LENGTH))
            write_once(self.workdir / NEXT_KEY_FILE, key.to_pem())
            self.next_key = key
        return self.next_key

    def follow(self) -> None:
        """Sign with the next key from now on: the log has it as the node's."""
        self.key = self.next_key or self.key

    def settle(self) -> bool:
        """Bring the files where `follow` went; return whether the next key is in place now.

        The key that is not the node's (any more, or because its rotation was never recorded) is
        gone for good afterwards.
        """
        if self.next_key is None:
            return False
        turned, file = self.key is self.next_key, self.workdir / NEXT_KEY_FILE
        if turned:
            file.replace(self.workdir / KEY_FILE)
        else:
            file.unlink()
        sync_folder(file.parent)
        self.next_key = None
        return turned


def find(workdir: Path, audit_log: Path, ids: Ids) -> Identity:
    """Return the identity that the workdir holds, or a new one in a workdir that never had any.

    Raises BootRefused where parts are missing, and OSError where the workdir cannot be read or
    written.
    """
    id_file, key_file, boots = workdir / "server_id", workdir / KEY_FILE, workdir / BOOTS_FILE
    next_file = workdir / NEXT_KEY_FILE
    for path in (audit_log, id_file, key_file, next_file, boots):
        refuse_link(path)
    journalled = bool(closed_segments(audit_log)) or (
        audit_log.exists() and audit_log.stat().st_size > 0
    )
    if not id_file.exists():
        if journalled:
            raise BootRefused(
                f"{id_file} is missing beside the journal {audit_log}: a node's id is never made"
                " anew over a journal; put the file back from where it went, or use a workdir of"
                " its own for a new node"
            )
        return _new(workdir, ids)
    server_id = _read_id(id_file)
    if not key_file.exists():
        raise BootRefused(
            f"the signing key {key_file} of node {server_id} is missing; put it back, or start a"
            " new node in a workdir of its own (a lost key means a new identity)"
        )
    known = boots.read_text("ascii", "replace").split() if boots.exists() else []
    next_key = _read_key(next_file) if next_file.exists() else None
    return Identity(workdir, server_id, _read_key(key_file), known, next_key)


def known_id(workdir: Path) -> str:
    """Return the id of the node that the workdir holds, to be shown; empty: none that is known."""
    try:
        return _read_id(workdir / "server_id")
    except (OSError, BootRefused):
        return ""


def _new(workdir: Path, ids: Ids) -> Identity:
    """Make a new identity: the key first, so that an id never stands without its key."""
    key_file = workdir / KEY_FILE
    private_folder(key_file.parent)
    if key_file.exists():  # a crash between the two files
        key = _read_key(key_file)
    else:
        key = SigningKey.from_seed(ids.random(SEED_LENGTH))
        write_once(key_file, key.to_pem())
    server_id = ids.uuid()
    write_once(workdir / "server_id", server_id.encode() + b"\n")
    return Identity(workdir, server_id, key, [])


def _read_id(path: Path) -> str:
    text = path.read_bytes().decode("ascii", "replace").strip()
    try:
        if str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4:  # noqa: PLR2004
            return text
    except ValueError:
        pass
    raise BootRefused(
        f"{path} holds {text[:40]!r}, which is no UUID v4; put the node's own id back"
    )


def _read_key(path: Path) -> SigningKey:
    try:
        return SigningKey.from_pem(path.read_bytes())
    except (ValueError, TypeError) as error:
        raise BootRefused(
            f"{path} is not a signing key ({error}); put the node's own key back"
        ) from None


def host_fingerprint(workdir: Path) -> str:
    """Return what changes when a workdir is copied elsewhere: host and place (SHA-256, hex)."""
    parts = (socket.gethostname(), platform.node(), str(workdir.resolve()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

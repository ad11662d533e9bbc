"""A dead node's journal, written from the database for those who have to believe it.

Its own disk may be gone, or behind the database by a batch. The lines are the bytes that it signed,
and each is looked at on the way.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from certeasy.commit.chain import BrokenChain, after
from certeasy.commit.keys import read_keys
from certeasy.store import Store
from events.envelope import ZERO_HASH
from events.signing import PublicKey
from journal.disk import OsDisk
from journal.file import Journal
from journal.segments import ACTIVE

PAGE = 1000
Progress = Callable[[int], None]


def write_journal(
    store: Store, server_id: str, to: Path, progress: Progress = lambda _done: None
) -> Path:
    """Write a node's journal into a new file of mode 0600, whole or not at all; return where.

    `to` is the file, or a folder that gets `audit.log`. Raises FileExistsError rather than to write
    over anything, BrokenChain where the database does not have what the node has signed, OSError
    where it cannot be written.
    """
    path = to / ACTIVE if to.is_dir() else to
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} is there already: nothing is ever written over")
    disk = OsDisk()
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    writing = Journal(draft, disk=disk)
    try:
        writing.open()
        _copy(store, server_id, writing, progress)
    except BaseException:
        writing.close()
        draft.unlink(missing_ok=True)
        raise
    writing.close()
    disk.rename(draft, path)
    disk.sync_folder(path.parent)
    return path


def _copy(store: Store, server_id: str, to: Journal, progress: Progress) -> None:
    server = store.server(server_id)
    if server is None:
        raise BrokenChain(f"the database has no node {server_id}")
    keys = read_keys(store.stream(f"node/{server_id}"), server_id, PublicKey(server.x))
    end = (0, ZERO_HASH)
    for page in _pages(store.lines_of(server_id, 0)):
        end = after(end, page, server_id, keys)
        to.append(page)
        progress(end[0])
    if end != (server.seq, server.hash):
        raise BrokenChain(
            f"the database's lines of node {server_id} end at seq {end[0]} with hash {end[1]}, its"
            f" row says {server.seq} and {server.hash}"
        )


def _pages(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    page: list[bytes] = []
    for line in lines:
        page.append(line)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page

"""`certeasy audit export`: what an auditor is given, packed."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certeasy import __version__
from certeasy.audit import evidence
from certeasy.audit import verifying as proving
from certeasy.audit.packing import UNKNOWN, Packed, Part, from_database, from_journal, pack
from certeasy.audit.verifying import CATCH_UP, Given
from certeasy.cli.auditing import (
    BROKEN,
    USAGE,
    bar,
    fail,
    file_path,
    settings_of,
    told,
    verifying,
    with_journal,
)
from events.envelope import BrokenLine, parse
from journal.breaks import printable
from journal.file import last_line
from journal.heads import Head, head_of
from journal.lines import segments

if TYPE_CHECKING:
    from certeasy.settings import Settings
    from certeasy.store import Store

_LOOK = 0.05  # seconds


@click.command(
    short_help="Pack what an auditor gets.",
    epilog="Example: certeasy audit export -f config.yml --journal /mnt/node2 --out evidence.zip",
)
@click.option(
    "-f",
    "--config",
    "config_file",
    required=True,
    metavar="FILE",
    type=file_path,
    help="The configuration, config.yml.",
)
@with_journal
@click.option(
    "--out", required=True, metavar="DIR|ZIP", type=file_path, help="A new folder or zip file."
)
def export(*, config_file: Path, journals: tuple[Path, ...], out: Path) -> None:
    """Pack what an auditor gets: all journals, public keys, the head, a manifest; no secrets.

    The lines of nodes whose journals are not given are taken from the database. What was packed is
    verified then. May be run beside the server.

    Exit codes: 0 packed and verified, 1 packed but broken (reason on stderr), or not readable,
    2 the command line is wrong.
    """
    settings = settings_of(config_file)
    with told():
        packed = _packed(settings, [settings.audit.path, *journals], out)
        for file in packed.manifest.files:
            if file.source == "database":
                click.echo(f"node {file.server_id}: from the database, its journal was not given")
        click.echo(
            f"{out}: {len(packed.manifest.files)} files, up to position {packed.manifest.position}"
        )
        click.echo(f"manifest: SHA-256 {packed.sha256}")
        _verify(out)
    click.echo("verified")


def _packed(settings: "Settings", journals: list[Path], out: Path) -> Packed:
    """Pack the log as it stands now, this node's journal first."""
    from certeasy.cli.options import no_database  # noqa: PLC0415 - all below is the server's
    from certeasy.clock import SystemClock  # noqa: PLC0415
    from certeasy.cluster import room  # noqa: PLC0415
    from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store  # noqa: PLC0415
    from events.envelope import timestamp  # noqa: PLC0415

    database = settings.database
    if database.driver == "sqlite" and not database.path.exists():
        no_database(database.path, BROKEN if journals[0].exists() else USAGE)
    try:
        with closing(Store.open(database)) as store, ExitStack() as held:
            head = _head(store)
            if head is None:
                fail("there is nothing to pack: the log is empty")
            _wait(segments(journals[0]), store)
            given = _parts(journals, held)
            parts = [*given, *_from_rows(store, {part.server_id for part in given})]
            with bar("packing", sum(_size(path) for path in journals)) as shown:
                return pack(
                    out,
                    parts,
                    head,
                    software=f"certeasy {__version__}",
                    made_at=timestamp(SystemClock().now()),
                    progress=shown or (lambda _done: None),
                )
    except FileExistsError as error:
        fail(printable(str(error)), USAGE)
    except (DatabaseUnavailable, DatabaseUnfit, BrokenLine) as error:
        reason = room.explained(str(error), settings)
        fail(printable(f"the database cannot be packed from: {reason}"))


def _parts(journals: list[Path], held: ExitStack) -> list[Part]:
    """Return the parts of all journals, each journal once; end the command where a node has two."""
    by_place = {tuple(file.resolve() for file in segments(path)): path for path in journals[::-1]}
    known: dict[str, Path] = {}
    parts: list[Part] = []
    for path in [each for each in journals if each in by_place.values()]:
        found = from_journal(path, held)
        whose = found[0].server_id
        if whose in known:
            what = "cannot be read either" if whose == UNKNOWN else f"is of node {whose}, too"
            fail(f"{path} {what}, as {known[whose]}: give one of them; nothing was packed", USAGE)
        known[whose] = path
        parts += found
    return parts


def _size(journal: Path) -> int:
    return sum(file.stat().st_size for file in segments(journal))


def _head(store: "Store") -> Head | None:
    """Return the log's head, up to which everything is packed."""
    line = store.last_line()
    return None if line is None else head_of(parse(line))


def _wait(own: list[Path], store: "Store") -> None:
    """Give a running server the moment between its commit and its journal's sync."""
    seqs = {server.server_id: server.seq for server in store.servers()}
    deadline = time.monotonic() + CATCH_UP
    while time.monotonic() < deadline:
        line = last_line(own)
        if line is None:
            return
        try:
            at = parse(line.data).envelope
        except BrokenLine:
            return
        if at.seq >= seqs.get(at.server_id, 0):
            return
        time.sleep(_LOOK)


def _from_rows(store: "Store", known: set[str]) -> Iterator[Part]:
    """Yield the rows of each node whose journal is not at hand."""
    for server in store.servers():
        if server.server_id not in known and server.seq:
            yield from_database(server.server_id, store.lines_of(server.server_id, 0))


def _verify(out: Path) -> None:
    """Prove what was packed, from the packed files alone."""
    with evidence.opened(out) as packed:
        given = Given(packed.journals)
        given.pinned = packed.heads
        with verifying(given) as progress:
            packed.check_proof(proving.verify(given, progress=progress))

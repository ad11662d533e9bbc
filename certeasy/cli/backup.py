"""`certeasy backup`: a copy of a SQLite database that a server can go on from.

The backup is the database, with the secrets and the keys of people that are in it: what no journal
has. It never holds a node's `server_id` or signing key, which belong to one work directory, nor
journals, which are evidence and are archived by copying. Other databases have tools of their own.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from certeasy.audit.altered import altered
from certeasy.audit.database import Database
from certeasy.cli.at_rest import refuse_root
from certeasy.cli.options import fail, read, told, with_config
from certeasy.cli.printing import as_typed
from certeasy.cli.progress import progress_bar
from certeasy.cluster import recovery, room
from certeasy.cluster.boot import BootRefused
from certeasy.cluster.files import naming, write_once
from certeasy.commit import proof
from certeasy.commit.probe import installation_of
from certeasy.settings import Settings
from certeasy.store import DatabaseUnavailable
from certeasy.store import backup as copies
from certeasy.store.backup import BackupRefused, Contents
from events.counting import counted
from events.envelope import BrokenLine, parse
from journal.breaks import JournalBroken, Line
from journal.file import last_line
from journal.lines import NoJournal, segments

FAILED, SUSPECT = 1, 2
NOTHING, QUICK, FULL = "none", "quick", "full"
REFUSED = (BackupRefused, BootRefused, DatabaseUnavailable, JournalBroken)
_file = click.Path(path_type=Path, dir_okay=False)


class NothingMade(click.UsageError):
    """A wrong command line, where exit code 2 says something else."""

    exit_code = FAILED


class Making(click.Command):
    """A command whose wrong command line exits 1: nothing was made."""

    def make_context(self, *args: object, **kwargs: object) -> click.Context:
        """Read the command line; a wrong one exits 1."""
        try:
            return super().make_context(*args, **kwargs)  # type: ignore[arg-type]
        except click.UsageError as error:
            raise NothingMade(error.format_message(), error.ctx) from None


@click.group()
def backup() -> None:
    """Copy a SQLite database in use, look at a copy, put one back."""


@backup.command(
    cls=Making,
    short_help="Copy the database, beside the running server.",
    epilog="Example: certeasy backup create -f config.yml --output monday.backup",
)
@with_config
@click.option("--output", required=True, metavar="FILE", type=_file, help="A new file.")
@click.option(
    "--check",
    type=click.Choice((NOTHING, QUICK, FULL)),
    default=QUICK,
    show_default=True,
    help="How closely the copy is looked at.",
)
@click.option("--allow-incomplete", is_flag=True, help="Keep a copy that the check finds suspect.")
@click.option(
    "--with-secret-key", is_flag=True, help="Copy secrets.key-file to FILE.secret.key as well."
)
@told(*REFUSED)
def create(
    *, config_file: Path, output: Path, check: str, allow_incomplete: bool, with_secret_key: bool
) -> None:
    """Write a copy of the database into one new file, beside the running server.

    It holds secrets (wrapped by secrets.key-file) and the keys of personal data, and is made
    readable by its owner only. It never holds a node's server_id, signing key or journal, and never
    overwrites a file.

    Exit codes: 0 made, and the check found nothing; 1 none made; 2 made with --allow-incomplete,
    but suspect.
    """
    settings = read(config_file)
    if output.exists() or output.is_symlink():
        fail(f"{output} is there already; a backup never overwrites: give another name")
    if not output.parent.is_dir():
        fail(f"{output.parent} is no folder: make it first, or give --output another one")
    _check_driver(settings)
    begun = time.perf_counter()
    draft = output.with_name(f".{output.name}.new")
    with _roomless(settings, output, settings.database.path, "no backup was made"):
        copies.copy(settings.database.path, draft)
    try:
        doubts = _doubts(draft, check)
        for doubt in doubts:
            click.echo(doubt.replace(str(draft), str(output)), err=True)
        if doubts and not allow_incomplete:
            fail(
                f"no backup was made: the copy of {settings.database.path} is suspect;"
                " --allow-incomplete keeps it all the same"
            )
        found = None if doubts else copies.contents(draft)
        copies.place(draft, output)
    finally:
        draft.unlink(missing_ok=True)
    if with_secret_key:
        meaning = f"; {output} itself is made: copy {settings.secrets.key_file} another way"
        with room.explaining(settings, meaning):
            _copy_key(settings, output)
    if found is None:
        fail(f"{output}: made, but suspect", SUSPECT)
    click.echo(f"{output}: {_told(found)}; made in {time.perf_counter() - begun:.1f} s")


@backup.command(
    short_help="Look whether a backup is whole.",
    epilog="Example: certeasy backup verify --input monday.backup --schema",
)
@click.option("--input", "source", required=True, metavar="FILE", type=_file, help="A backup.")
@click.option(
    "--check",
    type=click.Choice((QUICK, FULL)),
    default=FULL,
    show_default=True,
    help="quick: pages and the log's end. full: also every signature and table.",
)
@click.option("--schema", is_flag=True, help="Compare the tables with those this version makes.")
@told(*REFUSED)
def verify(source: Path, check: str, *, schema: bool) -> None:
    """Look whether a backup is whole, without a configuration. Nothing is changed.

    Exit codes: 0 whole, 1 suspect, or no backup, 2 the command line is wrong.
    """
    found = _contents(source)
    doubts = _doubts(source, check)
    if schema:
        doubts += [f"{source}: {each}" for each in copies.foreign_schema(source)]
    for doubt in doubts:
        click.echo(doubt, err=True)
    if doubts:
        fail(f"{source} is suspect: keep it, and rely on another one")
    click.echo(f"{source}: {_told(found)}; verified ({check})")


@backup.command(
    short_help="Put a backup in the database's place.",
    epilog="Example: certeasy backup restore --input monday.backup -f config.yml",
)
@with_config
@click.option("--input", "source", required=True, metavar="FILE", type=_file, help="A backup.")
@click.option("--replace", is_flag=True, help="Put the database that is there aside, and keep it.")
@told(*REFUSED)
def restore(config_file: Path, source: Path, *, replace: bool) -> None:
    """Put a backup where the configured database belongs. Stop the server first.

    It is looked at first (as by `backup verify --check quick`). Afterwards `certeasy journal
    restore -f config.yml` appends what was committed since the backup was made.

    Exit codes: 0 done, 1 refused or failed, 2 the command line is wrong.
    """
    settings = read(config_file)
    _check_driver(settings)
    refuse_root(settings)
    found = _contents(source)
    for doubt in (doubts := _doubts(source, QUICK)):
        click.echo(doubt, err=True)
    if doubts:
        fail(f"{source} is suspect, and was not put in place")
    database = settings.database.path.resolve()
    with recovery.in_hand(settings) as shared:
        _check_journal(settings, found)
        there = database.exists() and database.stat().st_size > 0
        if there and not replace:
            fail(
                f"there is a database at {database}; --replace puts it aside (it is kept), and the"
                " backup in its place"
            )
        shared.store.close()
        draft = database.with_name(f".{database.name}.new")
        with _roomless(settings, database, source, "nothing was changed"), naming(database):
            copies.write_copy(source, draft)
        aside = _put_aside(database) if there else None
        database.unlink(missing_ok=True)  # an empty one
        copies.place(draft, database)
    if aside is not None:
        click.echo(f"{aside}: the database that was there")
    click.echo(f"{database}: {_told(found)}")
    _tell_next(settings, database)


def _contents(source: Path) -> Contents:
    """Return what a backup holds; end the command where the file is none."""
    try:
        return copies.contents(source)
    except (BackupRefused, DatabaseUnavailable) as error:
        meaning = altered(source) if source.is_file() else ""
        if "no such table" in str(error):
            meaning = "it is no backup: give a file that `backup create` wrote"
        fail(f"{error}; {meaning}" if meaning else str(error))


@contextmanager
def _roomless(settings: Settings, target: Path, source: Path, meaning: str) -> Iterator[None]:
    """Where there is no room for a copy, tell it of its own disk, not of what is copied."""
    try:
        yield
    except (DatabaseUnavailable, OSError) as error:
        log = source.with_name(f"{source.name}-wal")
        free = shutil.disk_usage(target.parent).free
        size = source.stat().st_size + (log.stat().st_size if log.exists() else 0)
        if free < size:
            fail(
                f"{target} cannot be written: {room.amount(free)} free in {target.parent}, a copy"
                f" of {source} takes up to {room.amount(size)}; {meaning}. Make room there, or"
                " choose another disk"
            )
        if isinstance(error, OSError) and not room.is_full(error):
            raise
        fail(f"{room.explained(str(error), settings)}; {meaning}")


def _check_driver(settings: Settings) -> None:
    if settings.database.driver != "sqlite":
        fail(
            f"database.driver is {settings.database.driver}: back it up with the database's own"
            " tools (docs, recovery: pg_dump and point-in-time recovery; BACKUP DATABASE)"
        )


def _doubts(path: Path, check: str) -> list[str]:
    """Return what a check finds wrong with a copy: one line each."""
    if check == NOTHING:
        return []
    doubts = proof.of_file(path, thorough=check == FULL)
    if doubts or check == QUICK:
        return doubts
    with _progress(copies.contents(path).position) as progress:
        return proof.of_log(path, progress)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Line, int], None] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    with progress_bar("verifying", total) as shown:
        yield lambda _line, done: shown(done)


def _copy_key(settings: Settings, output: Path) -> None:
    key_file = settings.secrets.key_file
    copy = output.with_name(f"{output.name}.secret.key")
    write_once(copy, key_file.read_bytes())
    click.echo(
        f"certeasy: {copy} unwraps every secret in {output.name}: whoever has both has the keys of"
        " the CA and of the server. Keep it elsewhere than the backups",
        err=True,
    )


def _told(found: Contents) -> str:
    return (
        f"installation {found.installation_id} up to position {found.position} ({found.at or '-'}),"
        f" {counted(found.secrets, 'secret')}, {counted(found.subject_keys, 'subject key')}"
    )


def _check_journal(settings: Settings, found: Contents) -> None:
    """Refuse a backup of another installation than the journal in this workdir is of."""
    files = _journal(settings)
    own = installation_of(files[0]) if files else None
    if own not in (None, found.installation_id):
        fail(
            f"the backup is of installation {found.installation_id}, the journal {files[0]} of"
            f" {own}: choose the right backup, or the right configuration"
        )


def _journal(settings: Settings) -> list[Path]:
    try:
        return segments(settings.audit.path)
    except NoJournal:
        return []


def _put_aside(database: Path) -> Path:
    """Rename a database, with what SQLite keeps beside it, so that it stays one."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = database.with_name(f"{database.name}.replaced-{stamp}")
    if aside.exists():
        raise BackupRefused(f"{aside} is there already; try again in a second")
    for suffix in ("-wal", "-shm", ""):  # the file itself last: it is what makes a database
        part = database.with_name(database.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _tell_next(settings: Settings, database: Path) -> None:
    """Tell what else a start needs: the key of the secrets, and what was committed since."""
    if not settings.secrets.key_file.exists():
        click.echo(f"put {settings.secrets.key_file} back too: it unwraps the secrets")
    line = last_line(_journal(settings))
    if line is None:
        return
    try:
        last = parse(line.data).envelope
    except BrokenLine:
        return
    with_lines = Database(database)
    try:
        seq = with_lines.standing().ends.get(last.server_id, 0)
    finally:
        with_lines.close()
    if last.seq > seq:
        missing = (
            f"{line.file} ends at seq {last.seq}, the backup has this node's lines up to seq {seq}:"
            " run 'certeasy journal restore -f config.yml' now, which appends what is missing"
        )
        click.echo(as_typed(missing))

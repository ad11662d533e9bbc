"""What the audit commands share: what they are given, and how they tell what they found.

Nothing of the server is imported before it is needed, so that all of this works in the kit, where
there is no server, and click is the only library for the command line.
"""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from certeasy.audit import evidence
from certeasy.audit.altered import altered
from certeasy.audit.diff import NoState
from certeasy.audit.evidence import Evidence, NoEvidence
from certeasy.audit.packing import FULL
from certeasy.audit.sources import NoDatabase, Source
from certeasy.audit.verifying import Given, Progress
from certeasy.cli.printing import as_typed
from events.signing import PublicKey, read_key_set
from journal.breaks import JournalBroken, Line, printable
from journal.heads import Head, read_heads
from journal.lines import NoJournal, segments
from journal.verify import Summary

if TYPE_CHECKING:
    from certeasy.settings import Settings

BROKEN, USAGE, NOTHING = 1, 2, 3
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])

file_path = click.Path(path_type=Path)
with_config = click.option(
    "-f",
    "--config",
    "config_file",
    metavar="FILE",
    type=file_path,
    help="The configuration, config.yml.",
)
with_journal = click.option(
    "--journal",
    "journals",
    metavar="FILE|DIR",
    multiple=True,
    type=file_path,
    help="A node's journal, or the folder with its segments. Once per node.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_PROOF = (
    click.option(
        "--evidence",
        "evidence_path",
        metavar="DIR|ZIP",
        type=file_path,
        help="What `audit export` packed: all journals, held against its manifest.",
    ),
    click.option(
        "--keys", "keys_file", metavar="FILE", type=file_path, help="A JWK set of trusted keys."
    ),
    click.option(
        "--anchor", metavar="KID", default="", help="The key id that must have begun the log."
    ),
    click.option(
        "--trust", metavar="KID", multiple=True, help="Trust this key without endorsement."
    ),
    click.option(
        "--pinned",
        "pinned_file",
        metavar="FILE",
        type=file_path,
        help="Heads printed by `audit head`.",
    ),
)


def with_proof(command: C) -> C:
    """Add the options that say what is proven, and with whose keys."""
    for option in reversed((with_config, with_journal, *_PROOF)):
        command = option(command)
    return command


class Proof:
    """What is to be proven, as the options of `with_proof` say."""

    def __init__(self, given: Given, packed: Evidence | None) -> None:
        self.given = given
        self.packed = packed

    def check(self, summary: Summary) -> None:
        """Raise JournalBroken where evidence says otherwise than its journals."""
        if self.packed is not None:
            self.packed.check_proof(summary)


@contextmanager
def proof(options: dict[str, Any]) -> Iterator[Proof]:
    """Take the options of `with_proof` out of a command's; what goes wrong in the block is told."""
    with told(), ExitStack() as stack:
        path = options.pop("evidence_path")
        config_file, journals = options.pop("config_file"), options.pop("journals")
        packed = None
        if path is None:
            given = given_of(config_file, journals)
        elif config_file or journals:
            raise click.UsageError("--evidence has all journals: give it without -f and --journal")
        else:
            packed = stack.enter_context(evidence.opened(path))
            given = Given(packed.journals)
        given.keys = _keys(options.pop("keys_file"))
        given.anchor, given.trusted = options.pop("anchor"), options.pop("trust")
        pinned = [*_pinned(options.pop("pinned_file")), *(packed.heads if packed else ())]
        given.pinned = sorted(pinned, key=lambda head: head.position)
        yield Proof(given, packed)


def given_of(config_file: Path | None, journals: tuple[Path, ...]) -> Given:
    """Return what a command is about: the configured node, journals, or both."""
    if config_file is None and not journals:
        raise click.UsageError("give -f config.yml, or --journal FILE|DIR, or both")
    given = Given([segments(path) for path in journals])
    if config_file is not None:
        settings = settings_of(config_file)
        given.add_node(settings.workdir, settings.audit.path, _source(settings))
    return given


def _source(settings: "Settings") -> Path | Source:
    """Return the configured database; a SQLite file is read without the server's libraries."""
    if settings.database.driver == "sqlite":
        return settings.database.path
    from certeasy.store.asked import ServerSource  # noqa: PLC0415 - only a server needs it

    return ServerSource(settings.database)


def settings_of(config_file: Path) -> "Settings":
    """Read the configuration; the kit has nothing to read one with."""
    try:
        from certeasy.cli.options import read  # noqa: PLC0415 - only -f needs a configuration
    except ModuleNotFoundError as error:
        if error.name != "certeasy.cli.options":
            raise
        raise click.UsageError(
            "this is the kit, without the server: give --journal or --evidence in place of -f"
        ) from None
    return read(config_file)


def _keys(path: Path | None) -> dict[str, PublicKey]:
    return {} if path is None else _parsed(path, read_key_set)


def _pinned(path: Path | None) -> list[Head]:
    heads = [] if path is None else _parsed(path, read_heads)
    if path is not None and not heads:
        fail(f"{path}: there is no head in it: nothing would be pinned", USAGE)
    return heads


def _parsed(path: Path, parse: Callable[[bytes], T]) -> T:
    """Return what a small file given by hand holds; a wrong one is a wrong command line."""
    try:
        return parse(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        fail(f"{path}: {getattr(error, 'strerror', None) or error}", USAGE)


# -- what is told --------------------------------------------------------------------------------


def fail(message: str, code: int = BROKEN) -> NoReturn:
    """End the command with a message on stderr."""
    click.echo(f"certeasy: {as_typed(message)}", err=True)
    raise SystemExit(code)


@contextmanager
def told() -> Iterator[None]:
    """Tell what went wrong in one line: a break or a full disk exits 1, a missing file 2."""
    try:
        yield
    except JournalBroken as broken:
        meaning = altered(Path(broken.file)) if broken.line == 1 else ""
        click.echo(as_typed(f"{broken}; {meaning}" if meaning else str(broken)), err=True)
        raise SystemExit(BROKEN) from None
    except NoDatabase as error:
        fail(printable(str(error)), BROKEN)
    except (NoJournal, NoEvidence, NoState) as error:
        fail(printable(str(error)), USAGE)
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        if error.errno in FULL:
            why = f"{why}; nothing is left of it. Make room there, or choose another disk"
        fail(printable(why), USAGE if isinstance(error, _NOT_THERE) else BROKEN)
    except sqlite3.Error as error:
        fail(f"a temporary file cannot be used: {error}", BROKEN)


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """Show a bar on stderr, if it is a terminal, and yield what is told how much is done."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label=what, file=sys.stderr) as shown:
        yield lambda done: shown.update(done - shown.pos)


@contextmanager
def verifying(given: Given) -> Iterator[Progress | None]:
    """Show how much of the journals is verified."""
    done: dict[str, int] = {}
    with bar("verifying", given.size()) as shown:
        if shown is None:
            yield None
            return

        def tell(line: Line, _lines: int) -> None:
            done[line.file] = line.offset
            shown(sum(done.values()))

        yield tell

"""`certeasy audit replay`, `diff` and `limits`: the tables as of any position, made from journals
alone."""

from pathlib import Path
from typing import Any

import click
import msgspec

from certeasy.audit import limits as counting
from certeasy.audit import verifying as proving
from certeasy.audit.diff import Difference, StateFile, check_comparable, compare
from certeasy.audit.replay import Replay, Replayed, line_time
from certeasy.audit.state import AsOf
from certeasy.cli.auditing import (
    BROKEN,
    USAGE,
    as_json,
    bar,
    fail,
    file_path,
    proof,
    told,
    verifying,
    with_proof,
)
from events.counting import counted
from journal.breaks import printable
from journal.verify import Summary


class _Answer(msgspec.Struct, frozen=True):
    """What `replay --json` prints."""

    out: str
    folded: int
    as_of: AsOf
    proof: Summary


class _Compared(msgspec.Struct, frozen=True):
    """What `diff --json` prints."""

    equal: bool
    a: AsOf
    b: AsOf
    differences: list[Difference]


@click.command(
    short_help="Make the tables anew from journals, as of any time.",
    epilog="Example: certeasy audit replay --journal node1 --journal node2 --keys keys.json"
    " --at 2026-11-24T18:30:00Z --out state.sqlite",
)
@with_proof
@click.option(
    "--out", "--output", "out", required=True, metavar="FILE", type=file_path, help="A new file."
)
@click.option(
    "--position", metavar="N", type=click.IntRange(1), help="Fold up to and with this position."
)
@click.option("--at", metavar="TIME", help="Fold up to this time (RFC 3339).")
@as_json
def replay(
    *, out: Path, position: int | None, at: str | None, as_json: bool, **options: Any
) -> None:
    """Verify journals and fold them into the server's tables, in a new SQLite file.

    All of the log is verified, also what comes behind --position or --at.

    Exit codes: 0 done, 1 broken (then there is no file), 2 the command line is wrong.
    """
    if position is not None and at is not None:
        raise click.UsageError("give --position or --at, not both")
    with proof(options) as asked:
        folding = _begun(out, position, at)
        try:
            with verifying(asked.given) as progress:
                summary = proving.verify(asked.given, progress=progress, watch=folding)
            asked.check(summary)
            done = folding.finish()
        finally:
            folding.close()
    if as_json:
        click.echo(msgspec.json.encode(_Answer(str(out), done.folded, done.as_of, summary)))
    else:
        click.echo(_sentence(out, done, summary))


def _begun(out: Path, position: int | None, at: str | None) -> Replay:
    try:
        return Replay(out, position=position, at=None if at is None else line_time(at))
    except FileExistsError as error:
        fail(printable(str(error)), USAGE)
    except ValueError as error:
        fail(f"--at {printable(str(error))}", USAGE)


def _sentence(out: Path, done: Replayed, summary: Summary) -> str:
    of = done.as_of
    when = f", {of.at}, hash {of.hash}" if of.position else ""
    if not of.position:
        when = f": the log begins at {summary.first_at}" if summary.lines else ": the log is empty"
    return f"{out}: {counted(done.folded, 'event')} folded, as of position {of.position}{when}"


@click.command(
    short_help="Compare two states, table by table.",
    epilog="Example: certeasy audit diff replayed.sqlite live.sqlite",
)
@click.argument("one", metavar="A", type=file_path)
@click.argument("other", metavar="B", type=file_path)
@click.option(
    "--ignore-position", is_flag=True, help="Compare states of different positions all the same."
)
@as_json
def diff(one: Path, other: Path, *, ignore_position: bool, as_json: bool) -> None:
    """Compare two states that `audit replay` or `projections export` wrote: tables and rows.

    Exit codes: 0 equal, 1 different (each row is named on stdout), 2 the command line is wrong, a
    file is no state, or the two are as of different positions.
    """
    with told():
        a = StateFile(one)
        try:
            b = StateFile(other)
            try:
                found = _compared(a, b, ignore_position=ignore_position, tell=not as_json)
            finally:
                b.close()
        finally:
            a.close()
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif found.equal:
        click.echo(f"equal: every row, as of position {found.a.position}")
    if not found.equal:
        raise SystemExit(BROKEN)


@click.command(
    "limits",
    short_help="Show what limits and the license count in a state.",
    epilog="Example: certeasy audit limits june.sqlite",
)
@click.argument("state", metavar="STATE", type=file_path)
@as_json
def limits_(state: Path, *, as_json: bool) -> None:
    """Show what limits and the license count in a state that `audit replay` or `projections export`
    wrote: certificates by their names, failures, pending authorizations, managed servers.

    Exit codes: 0 shown, be it nothing, 2 the command line is wrong, or the file is no state of this
    version.
    """
    with told():
        file = StateFile(state)
        try:
            found = counting.count(file)
        finally:
            file.close()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    of = found.as_of
    click.echo(f"{state}: as of position {of.position}{f', {of.at}' if of.at else ''}")
    for line in counting.lines(found):
        click.echo(printable(line))


def _compared(a: StateFile, b: StateFile, *, ignore_position: bool, tell: bool) -> _Compared:
    """Compare, and tell each difference as it is found, or keep it for the answer."""
    check_comparable(a, b, ignore_position=ignore_position)
    total = sum(a.count(table) for table in a.tables())
    kept: list[Difference] = []
    equal = True
    with bar("comparing", total) as shown:
        for difference in compare(a, b, shown or (lambda _done: None)):
            equal = False
            if tell:
                click.echo(printable(str(difference)))
            else:
                kept.append(difference)
    return _Compared(equal, a.as_of, b.as_of, kept)

"""`certeasy journal`: mending what only an administrator may decide to mend."""

from pathlib import Path

import click

from certeasy.admin.journal import RotateJournal
from certeasy.cli.administration import carry_out, refusals_told
from certeasy.cli.at_rest import refuse_root
from certeasy.cli.options import fail, read, told, with_config
from certeasy.cli.progress import progress_bar
from certeasy.cli.recovery import reconcile, restore
from certeasy.clock import SystemClock
from certeasy.cluster import boot
from certeasy.cluster.boot import BootRefused
from certeasy.commit import Command, Committer
from certeasy.commit.command import Unavailable
from certeasy.commit.segments import Segment
from certeasy.decide.decision import Decision
from certeasy.ids import RandomIds
from certeasy.store import DatabaseUnavailable
from events.nodes import JournalRefilled

EVERYTHING = 1 << 62


@click.group()
def journal() -> None:
    """Mend a node's journal, or the database from it; close a file of it."""


journal.add_command(restore)
journal.add_command(reconcile)


@journal.command(
    short_help="Write lines that the journal lost, from the database.",
    epilog="Example: certeasy journal refill -f config.yml --reason 'disk replaced'",
)
@with_config
@click.option("--reason", required=True, help="Why the lines are missing; it is recorded.")
@click.option("--closed", is_flag=True, help="Write closed segments that are missing again, too.")
@told(BootRefused, DatabaseUnavailable, Unavailable)
def refill(config_file: Path, reason: str, *, closed: bool) -> None:
    """Write lines that this node's journal lost again, from the database, and record that it was
    done.

    Closed segments that are not in its folder are written again only with --closed: they may have
    been moved to an archive. Stop the server first. Exit codes: 0 done or nothing was missing, 1
    refused or failed.
    """
    settings = read(config_file)
    clock = SystemClock()
    ids = RandomIds(clock)
    if "\0" in reason or len(reason) > 500:  # noqa: PLR2004 - said in the message
        fail("--reason has at most 500 characters and no NUL", 2)
    refuse_root(settings)
    node = boot.open_node(settings, ids)
    try:
        path = node.journal.path
        again = [(each.first, each.last) for each in _write_closed(node)] if closed else []
        standing = boot.level(node, most=EVERYTHING)
        if standing.mended:
            again.append((standing.seq - standing.mended + 1, standing.seq))
            click.echo(f"{path}: seq {again[-1][0]} to {standing.seq} were written again")
        if not again:
            click.echo(
                f"nothing is missing: {path} ends at seq {standing.seq}, as the database does"
            )
            return
        committer = Committer(node.store, node.journal, clock)
        committer.start(boot.take_place(node, clock, ids), standing)
        stream = f"node/{node.identity.server_id}"
        facts = tuple((stream, JournalRefilled(*bounds, reason)) for bounds in _joined(again))
        committer.submit(Command(lambda _rows, _now: Decision(facts), boot.operator(node, ids)))
        committer.stop()
        click.echo("the log has a line about it")
    finally:
        node.close()


def _write_closed(node: boot.Opened) -> list[Segment]:
    """Write the closed segments that are missing, and tell of each."""
    missing = boot.missing_segments(node)
    total = sum(each.last - each.first + 1 for each in missing)
    done = 0
    with progress_bar("writing closed segments again", total) as show:
        for each in boot.write_again(node, missing):
            done += each.last - each.first + 1
            show(done)
    for each in missing:
        click.echo(f"{each.path}: seq {each.first} to {each.last} were written again")
    return missing


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of seq, in order, those that follow each other as one."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and joined[-1][1] + 1 == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


@journal.command(
    short_help="Close the journal's file, and begin another.",
    epilog="Example: certeasy journal rotate -f config.yml",
)
@with_config
@refusals_told
def rotate(config_file: Path) -> None:
    """Close this node's active journal file, record that, and begin another.

    The closed one never changes again, and is named after the first and the last line in it. With
    the server running or stopped. Exit codes: 0 done, or there was no line to close; 1 refused or
    failed.
    """
    rotated = carry_out(config_file, RotateJournal())
    if not rotated.last:
        click.echo(f"nothing to close: {rotated.path} has no line yet")
    elif not rotated.renamed:
        fail(
            f"{rotated.path} could not be renamed to {Path(rotated.closed).name}, which was"
            " recorded: it goes on, and is closed under a longer name later. Does another program"
            " have it open?"
        )
    else:
        click.echo(
            f"{rotated.closed}: seq {rotated.first} to {rotated.last} are closed;"
            f" {rotated.path} is empty"
        )

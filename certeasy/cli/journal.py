"""`certeasy journal`: mending what only an administrator may decide to mend."""

from pathlib import Path

import click

from certeasy.cli.options import fail, read, told, with_config
from certeasy.clock import SystemClock
from certeasy.cluster import boot
from certeasy.cluster.boot import BootRefused
from certeasy.commit import Command, Committer
from certeasy.commit.command import Unavailable
from certeasy.decide.decision import Decision
from certeasy.ids import RandomIds
from certeasy.store import DatabaseUnavailable
from events.nodes import JournalRefilled
from journal.file import read_tail

EVERYTHING = 1 << 62


@click.group()
def journal() -> None:
    """Mend a node's journal."""


@journal.command(epilog="Example: certeasy journal refill -f config.yml --reason 'disk replaced'")
@with_config
@click.option("--reason", required=True, help="Why the lines are missing; it is recorded.")
@told(BootRefused, DatabaseUnavailable, Unavailable)
def refill(config_file: Path, reason: str) -> None:
    """Write lines that this node's journal lost again, from the database, and record that it was
    done.

    Stop the server first. Exit codes: 0 done or nothing was missing, 1 refused or failed.
    """
    settings = read(config_file)
    clock = SystemClock()
    ids = RandomIds(clock)
    if "\0" in reason or len(reason) > 500:  # noqa: PLR2004 - said in the message
        fail("--reason has at most 500 characters and no NUL", 2)
    node = boot.open_node(settings, ids)
    try:
        path = node.journal.path
        lines = read_tail(path).lines if path.exists() else []
        standing = boot.level(node, most=EVERYTHING)
        first = boot.next_seq(lines)
        if first > standing.seq:
            click.echo(
                f"nothing is missing: {path} ends at seq {standing.seq}, as the database does"
            )
            return
        committer = Committer(node.store, node.journal, clock)
        committer.start(boot.take_place(node, clock, ids), standing)
        fact = JournalRefilled(first, standing.seq, reason)
        stream = f"node/{node.identity.server_id}"
        committer.submit(
            Command(lambda _rows, _now: Decision(((stream, fact),)), boot.operator(node, ids))
        )
        committer.stop()
        click.echo(
            f"{path}: seq {first} to {standing.seq} were written again; the log has a line about it"
        )
    finally:
        node.close()

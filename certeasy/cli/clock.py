"""`certeasy clock`: a clock that is behind the log's latest time."""

from pathlib import Path

import click

from certeasy.cli.options import read, told, with_config
from certeasy.clock import SystemClock
from certeasy.cluster import boot
from certeasy.cluster.boot import BootRefused
from certeasy.commit import Command, Committer
from certeasy.commit.command import Unavailable
from certeasy.decide.decision import Decision
from certeasy.ids import RandomIds
from certeasy.store import DatabaseUnavailable
from events.envelope import timestamp
from events.nodes import ClockSetBack


@click.group()
def clock() -> None:
    """Accept a clock that is behind the log."""


@clock.command(epilog="Example: certeasy clock accept -f config.yml")
@with_config
@told(BootRefused, DatabaseUnavailable, Unavailable)
def accept(config_file: Path) -> None:
    """Go on although the log's latest time is ahead of the clock, and record it. Stop the server
    first.

    The log's time then stands still until the clock has passed it. Exit codes: 0 done or not
    needed, 1 refused or failed.
    """
    settings = read(config_file)
    now = SystemClock()
    ids = RandomIds(now)
    node = boot.open_node(settings, ids)
    try:
        latest = node.store.head().at
        here = timestamp(now.now())
        if latest <= here:
            click.echo(f"not needed: the log's latest time is {latest}, the clock says {here}")
            return
        standing = boot.level(node)
        committer = Committer(node.store, node.journal, now)
        committer.start(boot.take_place(node, now, ids), boot.accepting(standing, latest))
        fact = ClockSetBack(latest, here)
        stream = f"node/{node.identity.server_id}"
        committer.submit(
            Command(lambda _rows, _now: Decision(((stream, fact),)), boot.operator(node, ids))
        )
        committer.stop()
        click.echo(
            f"accepted: the log's time stands at {latest} until the clock ({here}) has passed it"
        )
    finally:
        node.close()

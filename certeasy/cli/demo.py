"""`certeasy demo`: from nothing to a certificate in a client's hands, every step of it in the log.

Nothing here is staged: the server is the one that `serve` runs, the client is a library by others
that speaks to it over HTTPS, and the journal is verified as `audit verify` does it.
"""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from certeasy import config, log
from certeasy.cli import demo_folder
from certeasy.cli.demo_folder import LISTEN, ZONE, DemoFailed, Folder, own_ca
from certeasy.cli.demo_screen import Screen
from certeasy.cli.options import fail
from certeasy.clock import SystemClock
from certeasy.cluster.boot import BootRefused
from certeasy.config import forms
from certeasy.ids import RandomIds
from certeasy.serve.contexts import UnusableCertificate
from certeasy.serve.node import Node, run
from certeasy.serve.stopping import StopRequest, stop_on_signals
from certeasy.tls.own import NoCertificate
from journal.breaks import JournalBroken

if TYPE_CHECKING:
    from certeasy.cli.demo_story import Story

EXPECTED = (DemoFailed, BootRefused, NoCertificate, UnusableCertificate, JournalBroken, OSError)
Teller = Callable[..., "Story"]
"""Makes a story, as the class of that name does."""
logger = log.logger("demo")


class Trouble(logging.Handler):
    """The first error of the server's log. During the start it ends what `serve` would wait for."""

    def __init__(self, stop: StopRequest) -> None:
        super().__init__(logging.ERROR)
        self.said = ""
        self.starting = True
        self._stop = stop

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of an error."""
        self.said = self.said or record.getMessage()
        if self.starting:
            self._stop.ask(self.said)


def as_listen(_ctx: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """Return where to listen, in one spelling: click's callback."""
    try:
        return None if text is None else demo_folder.canonical_listen(text)
    except ValueError as wrong:
        raise click.BadParameter(f"{text!r} {wrong}") from None


def as_name(_ctx: click.Context, _option: click.Parameter, text: str) -> str:
    """Return a name that the demo has: click's callback."""
    try:
        name = forms.name(text)
    except ValueError as wrong:
        raise click.BadParameter(f"{text!r} {wrong}") from None
    if not name.endswith(f".{ZONE}"):
        raise click.BadParameter(f"{text!r} is not below {ZONE}, as all names of the demo are")
    return name


@click.command(epilog="Example: certeasy demo --workdir ./demo")
@click.option(
    "--workdir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything is put; a new or empty folder, or that of an earlier demo."
    "  [default: a new folder for temporary files]",
)
@click.option("--once", is_flag=True, help="End when the certificate is there.")
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    callback=as_listen,
    help=f"Where the server listens, on loopback.  [default: {LISTEN}, or any port if taken]",
)
@click.option(
    "--name",
    default=f"web.{ZONE}",
    show_default=True,
    callback=as_name,
    help="The name that the certificate is for.",
)
def demo(workdir: Path | None, once: bool, listen: str | None, name: str) -> None:
    """Start a server with its own CA, obtain a certificate from it, go on serving until Ctrl-C.

    Exit codes: 0 after Ctrl-C, or with --once when the certificate is there; 1 where something
    failed; 2 for a wrong command line.
    """
    ids = RandomIds(SystemClock())
    show(lambda: own_ca(demo_folder.prepare(workdir, listen, ids)), name, once=once)


def show(
    prepare: Callable[[], Folder], name: str, *, once: bool, tell: Teller | None = None
) -> None:
    """Perform a demo in the folder that `prepare` returns, and end the program where it fails.

    `tell` makes its story; None: the one of the server's own CA.
    """
    if find_spec("acme") is None:
        fail("the demo's client is the acme library: pip install 'certeasy[demo]'")
    stop = StopRequest()
    with stop_on_signals(stop):
        try:
            folder = prepare()
        except (DemoFailed, OSError) as error:
            fail(str(error))
        log.set_up("info", "text", "file", folder.log_file)
        for warning in config.warnings(folder.settings):
            logger.warning("%s", warning)
        try:
            story = _perform(folder, name, stop, tell, once=once)
        except Exception as error:
            # Whatever it was, a newcomer is told in one line; the log has the rest.
            said = " ".join(str(error).split()) or type(error).__name__
            logger.error("the demo failed: %s", said, exc_info=not isinstance(error, EXPECTED))
            fail(f"{said} (more in {folder.log_file})")
    if once and not story.certified:
        fail("stopped before the certificate was there")


def _perform(
    folder: Folder, name: str, stop: StopRequest, make: Teller | None, *, once: bool
) -> "Story":
    """Run the server, and tell the story while it runs."""
    from certeasy.cli.demo_story import Story, end_of_log  # noqa: PLC0415 - needs the acme library

    trouble = Trouble(stop)
    logging.getLogger(log.ROOT).addHandler(trouble)
    screen = Screen(Console(highlight=False))
    make = make or Story
    story = make(folder, name, screen, stop, after=end_of_log(folder), clock=SystemClock())

    def tell(node: Node) -> None:
        trouble.starting = False
        story.tell(node, once=once)

    story.begin()
    code = run(folder.settings, stop, tell)
    if code or (trouble.starting and trouble.said):
        raise DemoFailed(trouble.said or "the server ended before it was asked to")
    story.end()
    return story

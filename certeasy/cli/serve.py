"""`certeasy serve`."""

import os
from functools import partial
from pathlib import Path

import click

from certeasy import __version__, config, log
from certeasy.cli import preflight
from certeasy.cli.license import framed
from certeasy.cli.options import read_for_service, told, with_config
from certeasy.cluster.boot import BootRefused
from certeasy.jobs.license import NotLicensed
from certeasy.serve import logs
from certeasy.serve.contexts import UnusableCertificate
from certeasy.serve.node import Node, run
from certeasy.serve.stopping import ReloadRequest, StopRequest, reload_on_hangup, stop_on_signals
from certeasy.serve.systemd import Systemd
from certeasy.settings import Settings
from certeasy.tls.own import NoCertificate

logger = log.logger("main")


@click.command(epilog="Example: certeasy serve -f /etc/certeasy/config.yml")
@with_config
@click.option(
    "--unendorsed",
    is_flag=True,
    help="Serve although this node is not endorsed: where no node is left that could do that.",
)
@told(BootRefused, NoCertificate, UnusableCertificate)
def serve(config_file: Path, *, unendorsed: bool) -> None:
    """Run the server until SIGTERM, SIGINT or Ctrl-C; SIGHUP has it read its configuration again.

    Exit codes: 0 after an orderly stop, 1 if the server may not or cannot run, 2 for a wrong
    command line.
    """
    settings = read_for_service(config_file)
    logs.begin(settings)
    for warning in config.warnings(settings):
        logger.warning("%s", warning)
    stop, again = StopRequest(), ReloadRequest()
    # Taken out, so that programs which the server starts do not speak for it.
    systemd = Systemd(os.environ.pop("NOTIFY_SOCKET", ""))  # noqa: TID251 - systemd's own
    with stop_on_signals(stop), reload_on_hangup(again):
        reloads = (again, partial(reread, config_file))
        try:
            code = run(
                settings,
                stop,
                announce,
                unendorsed=unendorsed,
                reloads=reloads,
                supervisor=systemd,
            )
        except NotLicensed as refusal:
            click.echo(framed(refusal.banner), err=True)
            raise SystemExit(1) from None
    raise SystemExit(code)


def reread(config_file: Path, used: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Return what a running node takes over of its file, and the keys of what waits for a start.

    ConfigurationError: the file, or what it names on the disk, is not in order.
    """
    found, page = config.read_page(config_file)
    preflight.check(found, page)
    page.raise_if_wrong()
    return config.taken_over(used, found, page)


def announce(node: Node) -> None:
    """Say in the log that clients are served, and where."""
    url = node.settings.server.url[0]
    logger.info("certeasy %s serves %s/acme/directory", __version__, url)
    logger.info(
        "node %s, health at http://%s/readyz",
        node.application.node.identity.server_id,
        node.settings.admin.listen,
    )

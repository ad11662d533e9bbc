"""`certeasy serve`."""

from pathlib import Path

import click

from certeasy import __version__, config, log
from certeasy.cli.options import read_for_service, told, with_config
from certeasy.cluster.boot import BootRefused
from certeasy.serve.contexts import UnusableCertificate
from certeasy.serve.node import Node, run
from certeasy.serve.stopping import StopRequest, stop_on_signals
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
    """Run the server until SIGTERM, SIGINT or Ctrl-C.

    Exit codes: 0 after an orderly stop, 1 if the server may not or cannot run, 2 for a wrong
    command line.
    """
    settings = read_for_service(config_file)
    chosen = settings.logs
    log.set_up(
        chosen.level,
        chosen.format,
        chosen.output,
        chosen.file,
        services=dict(chosen.services.items()),
        tags=chosen.tags,
        rotate=log.Rotation(chosen.rotate.max_size_mb << 20, chosen.rotate.max_backups),
    )
    for warning in config.warnings(settings):
        logger.warning("%s", warning)
    stop = StopRequest()
    with stop_on_signals(stop):
        code = run(settings, stop, announce, unendorsed=unendorsed)
    raise SystemExit(code)


def announce(node: Node) -> None:
    """Say in the log that clients are served, and where."""
    url = node.settings.server.url[0]
    logger.info("certeasy %s serves %s/acme/directory", __version__, url)
    logger.info(
        "node %s, health at http://%s/readyz",
        node.application.node.identity.server_id,
        node.settings.admin.listen,
    )

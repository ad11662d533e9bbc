"""The command line of the load generator."""

import platform
import signal
import sys
from functools import partial

import click
import msgspec

import certeasy
from tools.acmeload.report import report
from tools.acmeload.run import Plan, RunFailed, run

MANY = click.IntRange(min=1)
PORT = click.IntRange(0, 65535)
FILE = click.Path(exists=True, dir_okay=False)

option = partial(click.option, show_default=True)


@click.command()
@option("--directory", required=True, help="URL of the server's ACME directory.")
@option("--ca", required=True, type=FILE, help="Root (PEM) of the server's own certificate.")
@option("--clients", default=8, type=MANY, help="Clients at once.")
@option("--orders", default=500, type=MANY, help="Orders in all.")
@option("--names", default=1, type=MANY, help="Names per order.")
@option("--warmup", default=0, type=click.IntRange(min=0), help="Orders before measuring.")
@option("--pid", type=MANY, help="The server's process: measure its CPU and memory (Linux).")
@option("--http-port", default=5002, type=PORT, help="Where http-01 is answered.")
@option("--domain", default="lab.test", help="All names end in this.")
@option("--processes", default=2, type=MANY, help="Processes of the generator.")
@option("--first-poll-ms", default=10, type=MANY, help="First wait when polling.")
@option("--json", "compact", is_flag=True, help="The report on one line.")
def main(*, compact: bool, **options: object) -> None:
    """Load an ACME server on this machine and print what it did as JSON.

    Exits with 0 if every order led to the right certificate, 1 if not, 2 if it could not begin.
    """
    plan = msgspec.convert(options, Plan)
    # An end from outside takes the same road as any other: the child processes are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    try:
        tally, before, after = run(plan)
    except (RunFailed, OSError) as error:
        click.echo(f"acmeload: {error}", err=True)
        sys.exit(2)
    document = {"version": _version(), "plan": options} | report(tally, before, after)
    text = msgspec.json.encode(document)
    click.echo(text if compact else msgspec.json.format(text, indent=2))
    sys.exit(1 if tally.failures else 0)


def _version() -> str:
    return f"certeasy {certeasy.__version__}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()

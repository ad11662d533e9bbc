"""`certeasy COMMAND`: what an administrator types.

Commands are loaded when they are called for, so that those of an auditor need no server's
libraries. Exit codes: 0 done, 1 refused, failed or broken, 2 the command line is wrong.
"""

import importlib
from collections.abc import Sequence

import click

from certeasy import __version__
from certeasy.cli.printing import while_it_is_read

COMMANDS = {  # name: (module, attribute, the help text of the listing)
    "serve": ("certeasy.cli.serve", "serve", "Run the server."),
    "service": (
        "certeasy.cli.service",
        "service",
        "Have the system run it: a Windows service, or a systemd unit.",
    ),
    "init": ("certeasy.cli.init", "init", "Ask, and write a configuration."),
    "demo": ("certeasy.cli.demo", "demo", "Show a first certificate, from nothing."),
    "validate": ("certeasy.cli.validate", "validate", "Check a configuration; change nothing."),
    "doctor": ("certeasy.cli.doctor", "doctor", "Look whether everything is as it should be."),
    "dns": ("certeasy.cli.dns", "dns", "See the DNS as a validator does."),
    "adcs": ("certeasy.cli.adcs", "adcs", "Look at the Microsoft AD CS that is configured."),
    "license": (
        "certeasy.cli.license",
        "license_",
        "Install the license, and see what follows from it.",
    ),
    "cold-start": (
        "certeasy.cli.cold_start",
        "cold_start",
        "Begin without a license, while one is on its way.",
    ),
    "audit": ("certeasy.cli.audit", "audit", "Look at the log, and prove that it is whole."),
    "projections": (
        "certeasy.cli.projections",
        "projections",
        "Compare the tables with the log, export them, or make them anew.",
    ),
    "node": ("certeasy.cli.node", "node", "Look after the nodes and their keys."),
    "eab": (
        "certeasy.cli.eab",
        "eab",
        "Make, list and take back keys for external account bindings.",
    ),
    "certs": ("certeasy.cli.certs", "certs", "List, show, export and revoke certificates."),
    "limits": (
        "certeasy.cli.limits",
        "limits",
        "See what clients have spent of limits, and have it forgotten.",
    ),
    "accounts": ("certeasy.cli.accounts", "accounts", "List, show and close ACME accounts."),
    "notices": ("certeasy.cli.notices", "notices", "Tell people what goes wrong: try it."),
    "journal": (
        "certeasy.cli.journal",
        "journal",
        "Mend a node's journal, or the database from it.",
    ),
    "renew-all": (
        "certeasy.cli.renewal",
        "renew_all",
        "Have certificates renewed ahead of their time.",
    ),
    "unsettled": (
        "certeasy.cli.unsettled",
        "unsettled",
        "List what is open between the log and the authorities.",
    ),
    "migrate": (
        "certeasy.cli.migrate",
        "migrate",
        "Bring the database's tables to this version's format.",
    ),
    "privacy": (
        "certeasy.cli.privacy",
        "privacy",
        "Show or erase what the log has about a person.",
    ),
    "backup": (
        "certeasy.cli.backup",
        "backup",
        "Copy a SQLite database in use, look at a copy, put one back.",
    ),
    "clock": ("certeasy.cli.clock", "clock", "Accept a clock that is behind the log."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they are met."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None if there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="To begin: certeasy demo; to set up a server: certeasy init;"
    " with a configuration: certeasy serve -f config.yml",
)
@click.version_option(__version__, prog_name="certeasy")
def group() -> None:
    """An ACME server in front of Microsoft AD CS, whose state is a signed log."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    with while_it_is_read():
        group(args=arguments, prog_name="certeasy")

"""`certeasy notices`: whether those who are to be told are reached."""

from pathlib import Path

import click
import msgspec

from certeasy.cli.options import fail, read_for_service, with_config
from certeasy.clock import SystemClock
from certeasy.cluster.identity import known_id
from certeasy.ids import RandomIds
from certeasy.notices import Sender, a_test, channels_of
from certeasy.notices.post import NotSent

NOBODY = (
    "notices has neither webhook nor smtp in this configuration: there is nobody to tell"
    " (docs/notices.md)"
)


class Result(msgspec.Struct, frozen=True):
    """What came of one channel."""

    channel: str
    sent: bool
    told: str


class Report(msgspec.Struct, frozen=True):
    """What `notices test --json` prints."""

    sent: bool
    channels: tuple[Result, ...]


@click.group()
def notices() -> None:
    """Tell people what goes wrong: by webhook, and by mail."""


@notices.command(
    short_help="Send a test on each way.",
    epilog="Example: certeasy notices test -f /etc/certeasy/config.yml",
)
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(config_file: Path, *, as_json: bool) -> None:
    """Send one notice, of kind test, on each way that is configured, and tell what came of it.

    It is sent by this command itself, once, beside a running server or without one; nothing is
    recorded.

    Exit codes: 0 each was taken, 1 one was not, or there is nobody to tell.
    """
    settings = read_for_service(config_file)
    clock = SystemClock()
    sender = Sender(settings.server.url[0], known_id(settings.workdir))
    channels = channels_of(settings.notices, sender)
    if not channels:
        fail(NOBODY)
    results = []
    for channel in channels:
        try:
            said = channel.send(a_test(sender, RandomIds(clock), clock.now()))
            results.append(Result(channel.name, True, said))
        except NotSent as error:
            results.append(Result(channel.name, False, str(error)))
        if not as_json:
            last = results[-1]
            click.echo(f"{last.channel}: {'sent' if last.sent else 'not sent'}: {last.told}")
    report = Report(all(each.sent for each in results), tuple(results))
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
    if not report.sent:
        raise SystemExit(1)

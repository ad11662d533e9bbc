"""What several commands share: the configuration file, and how errors are told."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import click

from certeasy import config
from certeasy.cli.printing import as_typed
from certeasy.clock import SystemClock
from certeasy.config.forms import span
from certeasy.settings import Settings

if TYPE_CHECKING:
    from certeasy.store import Store

P = ParamSpec("P")
R = TypeVar("R")

with_config = click.option(
    "-f",
    "--config",
    "config_file",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration, config.yml.",
)


def a_duration(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> timedelta | None:
    """Return how long an option says, more than nothing; None where it was not given."""
    if text is None:
        return None
    try:
        length = span(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}") from None
    if not length:
        raise click.BadParameter(f"{text!r} is no time at all; give more than that, such as 24h")
    return length


def now_by(store: "Store") -> datetime:
    """Return the time: the clock's, and never before the log's latest."""
    here, latest = SystemClock().now(), store.head().at
    return max(here, datetime.fromisoformat(latest)) if latest else here


def rfc3339(at: datetime) -> str:
    """Return a time as the log writes it, without fractions of a second."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def a_moment(_context: click.Context, _option: click.Parameter, text: str | None) -> str:
    """Return the time that an option says, as the log writes it; without a zone it is in UTC."""
    if text is None:
        return ""
    try:
        at = datetime.fromisoformat(text)
        return rfc3339(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no time such as 2026-11-01 or 2026-11-01T12:00:00Z"
        ) from None


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with a message on stderr."""
    click.echo(f"certeasy: {as_typed(message)}", err=True)
    raise SystemExit(code)


def no_database(path: Path, code: int = 1) -> NoReturn:
    """End the command where the configured database, a file, is not there."""
    fail(
        f"there is no database at {path}: the first 'certeasy serve -f config.yml' makes it; if it"
        " was lost, put a backup back ('certeasy backup restore --input FILE -f config.yml'), or"
        " its log ('certeasy journal restore -f config.yml')",
        code,
    )


def read(config_file: Path) -> Settings:
    """Read the configuration, or end the command with every mistake, one per line."""
    with _mistakes_told():
        return config.load(config_file)


def read_for_service(config_file: Path) -> Settings:
    """Read the configuration and look at what it names on the disk, as a node is about to do.

    Ends the command with every mistake, one per line. Nothing is created or changed.
    """
    from certeasy.cli import preflight  # noqa: PLC0415 - an auditor's commands need no TLS

    with _mistakes_told():
        settings, page = config.read_page(config_file)
        preflight.check(settings, page)
        page.raise_if_wrong()
        return settings


@contextmanager
def _mistakes_told() -> Iterator[None]:
    try:
        yield
    except config.ConfigurationError as error:
        for mistake in error.mistakes:
            click.echo(str(mistake), err=True)
        raise SystemExit(1) from None


def _said(error: Exception) -> str:
    """Return what an error says, without the numbers that systems give them."""
    if not isinstance(error, OSError) or not error.strerror or error.filename is None:
        return str(error)
    whose = ": is this the user that the server runs as?"
    return f"{error.filename}: {error.strerror}{whose * isinstance(error, PermissionError)}"


def told(*kinds: type[Exception]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Turn these exceptions, and any OSError, into a one-line message and exit code 1."""

    caught: tuple[type[Exception], ...] = (*kinds, OSError)

    def wrap(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return command(*args, **kwargs)
            except caught as error:
                fail(_said(error))

        return run

    return wrap

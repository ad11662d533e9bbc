"""Listings: lines for people, JSON or CSV, as many as are asked for, read a page at a time."""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import Any, TypeVar

import click
import msgspec

from journal.breaks import printable

S = TypeVar("S", bound=msgspec.Struct)
C = TypeVar("C", bound=Callable[..., Any])
_STEERS = ("=", "+", "-", "@", "\t", "\r")
_encode = msgspec.json.encode


class Form(Enum):
    """How a listing is printed."""

    LINES = "lines"
    JSON = "json"
    CSV = "csv"


def form(*, as_json: bool, as_csv: bool) -> Form:
    """Return how a listing is printed; the command line is wrong if it says both."""
    if as_json and as_csv:
        raise click.UsageError("give --json or --csv, not both")
    return Form.JSON if as_json else Form.CSV if as_csv else Form.LINES


def with_listing(command: C) -> C:
    """Give a command the options of a listing: `limit`, `after`, `as_json` and `as_csv`."""
    options = (
        click.option(
            "--limit",
            metavar="N",
            type=click.IntRange(1),
            help="So many at most; without: all there are.",
        ),
        click.option(
            "--after",
            metavar="ID",
            default="",
            help="Only what comes behind this id: that of the last one that was listed.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a line of headings."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class Lines(msgspec.Struct, frozen=True):
    """How a listing is printed for people: the first cells of a line with their headings and
    widths, then whatever else there is to say."""

    headings: tuple[tuple[str, int], ...]
    cells: Callable[[Any], list[str]]


def tell(found: Iterable[S], kind: type[S], how: Form, limit: int | None, lines: Lines) -> None:
    """Print what is found, the first `limit` of it; if there is more, stderr says how to go on.

    The structs have an `id`, by which they are sorted. A terminal is shown headings, too.
    """
    rows = iter(found)
    listed = rows if limit is None else islice(rows, limit)
    last = ""
    for text, id_ in _printed(listed, kind, how, lines):
        click.echo(text)
        last = id_
    if how is Form.JSON:
        click.echo("]" if last else "[]")
    if limit is not None and next(rows, None) is not None:
        click.echo(f"certeasy: there are more: go on with --after {last}", err=True)


def tell_one(
    shown: msgspec.Struct, sheet: Iterable[tuple[str, str]], width: int, *, as_json: bool
) -> None:
    """Print one thing whole: its sheet of labels and texts, one below the other, or as JSON.

    `width` is that of the column of labels.
    """
    if as_json:
        click.echo(msgspec.json.format(_encode(shown), indent=2))
        return
    for label, text in sheet:
        click.echo(printable(f"{label:<{width}}{text}"))


def _printed(
    rows: Iterator[S], kind: type[S], how: Form, lines: Lines
) -> Iterator[tuple[str, str]]:
    """Yield what to print, and the id that it is about."""
    names = kind.__struct_fields__
    widths = [width for _, width in lines.headings] if sys.stdout.isatty() else []
    if how is Form.LINES and widths:
        yield _columns([title for title, _ in lines.headings], widths), ""
    if how is Form.CSV:
        yield _csv(names), ""
    before = "[\n"
    for row in rows:
        id_: str = getattr(row, "id")  # noqa: B009 - mypy knows of no `id` in all structs
        if how is Form.JSON:
            yield f"{before}{_encode(row).decode()}", id_
            before = ","
        elif how is Form.CSV:
            yield _csv([getattr(row, name) for name in names]), id_
        else:
            yield printable(_columns(lines.cells(row), widths)), id_


def _columns(cells: list[str], widths: list[int]) -> str:
    """Return a line; the cells that have a width are filled up to it."""
    filled = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return "  ".join([*filled, *cells[len(filled) :]]).rstrip()


def _csv(cells: Iterable[object]) -> str:
    """Return a line of CSV (RFC 4180, without its end)."""
    page = io.StringIO()
    csv.writer(page, lineterminator="").writerow([_cell(cell) for cell in cells])
    return page.getvalue()


def _cell(value: object) -> str:
    """Return a cell; no spreadsheet takes it for a formula."""
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    return f"'{text}" if text.startswith(_STEERS) else text

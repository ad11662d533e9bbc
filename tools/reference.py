"""The tables of the documents that say what the code says, written from the code.

    python -m tools.reference

In docs/configuration.md: which keys a section has, their types and what is allowed, and their
defaults, from the structs of `certeasy.settings`. What a key means stays as it stands there; a key
that is new has its docstring. Words that no type has stay too: `address:port` is a text like any
other to the struct. In docs/cli.md: the exit codes of every command, from its `--help`.

A test compares both pages with the code.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from ipaddress import IPv4Network
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import click
import msgspec
from msgspec.structs import FieldInfo, fields

from certeasy import __version__
from certeasy.cli import group
from certeasy.config.forms import duration_text
from certeasy.settings import CONFIGURATIONS, Name, Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"
CONFIGURATION, COMMANDS = DOCS / "configuration.md", DOCS / "cli.md"
HEAD = "| key | type | default | meaning | since |\n|---|---|---|---|---|\n"
CODES = "| command | 0 | 1 | 2 | 3 |\n|---|---|---|---|---|\n"
NOT_A_KEY = "source"
_LARGE = 1 << 32
_ROW = re.compile(r"^\| `([^`]*)` \| (.*) \|$")
_CODE = re.compile(r"(?:^|[,;] )(?=\d )")


# ---------------------------------------------------------------- docs/configuration.md


def structs_in(hint: Any) -> Iterator[type[msgspec.Struct]]:
    """Yield the structs that a type is made of."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for inner in get_args(hint):
        yield from structs_in(inner)


def sections(
    kind: type[msgspec.Struct] = Settings, heading: str = ""
) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Yield heading and struct of a section, and of those inside it."""
    words = [word for word, each in CONFIGURATIONS.items() if each is kind][:1]
    yield "` of `".join([heading or "Top level", *words]), kind
    for field in fields(kind):
        for inner in structs_in(field.type):
            many = "[]" if get_origin(field.type) is tuple else ""
            name = f"{heading}.{field.encode_name}" if heading else field.encode_name
            yield from sections(inner, name + many)


def type_of(hint: Any, told: str) -> str:
    """Return a type as an administrator reads it. `told` is what the page says until now."""
    inner = [each for each in get_args(hint) if each is not NoneType]
    if NoneType in get_args(hint):
        return type_of(inner[0], told)
    if hint == Name:
        return "name"
    if next(structs_in(hint), None):
        return "list" if get_origin(hint) is tuple else "section"
    found = _words(hint, inner, told)
    return told if told.startswith(f"{found}, ") else found  # bounds that the checks have


def _words(hint: Any, inner: list[Any], told: str) -> str:  # noqa: PLR0911 - a table of forms
    if get_origin(hint) is Annotated:
        base, meta = inner
        if base is int:
            return f"{_number(meta.ge)} to {_number(meta.le)}"
        return type_of(base, told) if meta.max_length is None else _text(told, meta.max_length)
    if get_origin(hint) is Literal:
        return ", ".join(f"`{word}`" for word in inner)
    if get_origin(hint) is tuple:
        if IPv4Network in get_args(inner[0]):
            return "list of networks"
        if inner[0] is str:
            return told if told.startswith("list of ") else "list of texts"
        return f"list of {type_of(inner[0], told.removeprefix('list of '))}"
    plain = {bool: "`true`, `false`", Path: "path", timedelta: "duration", Fraction: "fraction"}
    return plain.get(hint) or told or "text"


def _text(told: str, longest: int) -> str:
    word, _, _ = told.partition(", to ")
    return f"{word or 'text'}, to {longest}"


def _number(value: int) -> str:
    return f"2^{value.bit_length() - 1}" if value >= _LARGE else str(value)


def default_of(field: FieldInfo) -> str:  # noqa: PLR0911 - a table of forms
    """Return a default as an administrator reads it."""
    default = None if field.required else field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    match default:
        case None if field.required:
            return "required"
        case None:
            return "not set"
        case msgspec.Struct() | (msgspec.Struct(),):
            return "see below"
        case () | {}:
            return "none"
        case "":
            return "the only one"
        case bool():
            return f"`{str(default).lower()}`"
        case timedelta():
            return f"`{duration_text(default)}`"
        case tuple():
            return ", ".join(f"`{item}`" for item in default)
        case _:
            return f"`{default}`"


def docstrings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return what stands below each field of a struct that has something there."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    (found,) = tree.body
    assert isinstance(found, ast.ClassDef)
    told = {}
    for field, below in zip(found.body, found.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                told[name] = " ".join(str(text).split())
            case _:
                pass
    return told


def table_of(kind: type[msgspec.Struct], told: dict[str, list[str]]) -> str:
    """Return a section's table. `told` has the cells of each key that was there before."""
    meanings = docstrings(kind)
    since = ".".join(__version__.split(".")[:2])
    rows = []
    for field in fields(kind):
        if field.name != NOT_A_KEY:
            new = ["", "", meanings.get(field.name, "?"), since]
            before, _, meaning, came = told.get(field.encode_name, new)
            cells = (type_of(field.type, before), default_of(field), meaning, came)
            rows.append(f"| `{field.encode_name}` | {' | '.join(cells)} |\n")
    return HEAD + "".join(rows)


def configuration(page: str) -> str:
    """Return docs/configuration.md with its tables as the structs have them.

    Raises KeyError for a table or a section that the other side does not have.
    """
    structs = dict(sections())
    pieces = re.split(r"^(#+ .*\n)", page, flags=re.MULTILINE)
    for at in range(2, len(pieces), 2):
        before, head, rest = pieces[at].partition(HEAD)
        if head:
            rows = rest.partition("\n\n")[0].splitlines()
            told = {row[1]: row[2].split(" | ") for row in filter(None, map(_ROW.match, rows))}
            kind = structs.pop(pieces[at - 1].strip("#` \n"))
            after = rest[len("\n".join(rows)) :].removeprefix("\n")
            pieces[at] = before + table_of(kind, told) + after
    if structs:
        raise KeyError(f"the page has no table for {', '.join(structs)}")
    return "".join(pieces)


# ---------------------------------------------------------------- docs/cli.md


def commands(found: click.Command = group, name: str = "certeasy") -> Iterator[tuple[str, str]]:
    """Yield the whole name and the help of each command that does something."""
    if not isinstance(found, click.Group):
        yield name, " ".join((found.help or "").split())
        return
    context = click.Context(found)
    for word in found.list_commands(context):
        command = found.get_command(context, word)
        assert command is not None
        yield from commands(command, f"{name} {word}")


def codes_of(told: str) -> dict[str, str]:
    """Return exit code and meaning, as a command's help tells them.

    >>> codes_of("It does. Exit codes: 0 done, or not needed; 1 refused, 2 the line is wrong.")
    {'0': 'done, or not needed', '1': 'refused', '2': 'the line is wrong'}
    """
    found = told.partition("Exit codes: ")[2].removesuffix(".")
    parts = [part.partition(" ") for part in _CODE.split(found) if part]
    return {code: meaning for code, _, meaning in parts}


def exit_codes() -> str:
    """Return the table of all exit codes."""
    rows = []
    for name, told in commands():
        codes = {"2": "wrong command line", **codes_of(told)}
        assert codes.keys() <= set("0123"), (name, codes)
        rows.append(f"| `{name}` | {' | '.join(codes.get(code, '') for code in '0123')} |\n")
    return CODES + "".join(rows)


def command_page(page: str) -> str:
    """Return docs/cli.md with its table of exit codes as the commands' help has it."""
    before, head, rest = page.partition(CODES)
    if not head:
        raise KeyError("the page has no table of exit codes")
    return before + exit_codes() + rest[rest.index("\n\n") + 1 :]


def main() -> None:
    """Write both pages anew."""
    for path, made in ((CONFIGURATION, configuration), (COMMANDS, command_page)):
        path.write_text(made(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Every command that a message advises can be typed as it is printed."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from certeasy.cli import COMMANDS, group
from tests.make.configs import a_config
from tests.unit.test_cli_documented import COMMANDS as EVERY

ROOT = Path(__file__).resolve().parents[2]
ADVICE = re.compile(rf"(?P<quote>['`]?)certeasy (?P<rest>(?:{'|'.join(COMMANDS)})\b.*)", re.DOTALL)
ENDS = {"'": r"'(?![a-z])", "`": "`", "": r"; |; *$| > | >> | < |$"}
GIVEN = {"config_file", "journals", "evidence_path"}


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield each string of a module that is no docstring; of an f-string, X for each value."""
    apart = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for each in ast.walk(tree):
        if isinstance(each, ast.JoinedStr):
            apart |= {id(value) for value in each.values}
            parts = [v.value if isinstance(v, ast.Constant) else "X" for v in each.values]
            yield "".join(map(str, parts))
    for each in ast.walk(tree):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in apart:
            yield each.value


def messages() -> Iterator[tuple[str, str]]:
    """Yield whatever the product may print, and where it stands."""
    for package in ("certeasy", "events", "journal", "projections"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for text in texts(ast.parse(file.read_text(encoding="utf-8"))):
                yield file.relative_to(ROOT).as_posix(), text
    for name, command in EVERY.items():  # the rest of their help are strings of the modules
        yield f"{name} --help", " ".join((command.help or "").split())


def advised(text: str) -> Iterator[str]:
    """Yield each command that a text names, as it would be typed."""
    while found := ADVICE.search(text):
        rest = found["rest"]
        command = re.split(ENDS[found["quote"]], rest, maxsplit=1)[0]
        yield command
        text = rest[len(command) :]


ADVISED = sorted({(command, where) for where, text in messages() for command in advised(text)})


def missing(words: list[str]) -> list[str]:
    """Return what a command would be refused for lacking. Raises click.UsageError."""
    command: click.Command = group
    context = click.Context(group, info_name="certeasy")
    while isinstance(command, click.Group):
        name, *words = words or ["?"]
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no such command: {name}")
        command, context = found, click.Context(found, context)
    given, rest, _ = command.make_parser(context).parse_args(words)
    names = {each.name or "": each.required for each in command.params}
    lacking = [name for name, required in names.items() if required and not given.get(name)]
    sources = GIVEN & set(names)
    if names.get("config_file") is False and not any(given.get(each) for each in sources):
        lacking.append("one of " + ", ".join(sorted(sources)))
    return lacking + [f"no {word}" for word in rest]


@pytest.mark.parametrize(("command", "where"), ADVISED)
def test_a_command_that_a_message_advises_can_be_typed_as_it_is_printed(command: str, where: str):
    assert missing(shlex.split(command)) == [], where


def test_what_is_advised_is_found_wherever_it_stands():
    commands = [command for command, _ in ADVISED]
    assert "journal refill -f config.yml --reason WHY" in commands  # a constant
    assert "journal refill --closed -f config.yml --reason WHY" in commands  # within a sentence
    assert "node endorse X X -f config.yml" in commands  # with values
    assert "journal restore -f config.yml" in commands  # also of help
    assert "audit verify --evidence evidence.zip --anchor KID" in commands  # of several examples


def test_what_cannot_be_typed_is_found():
    assert missing(["journal", "refill"]) == ["config_file", "reason"]
    assert missing(["audit", "verify"]) == ["one of config_file, evidence_path, journals"]
    with pytest.raises(click.UsageError, match="no such command"):
        missing(["journal"])
    with pytest.raises(click.UsageError, match="--force"):
        missing(["journal", "refill", "--force"])


def test_the_configuration_in_an_advised_command_is_the_one_that_was_given(tmp_path: Path):
    folder = tmp_path / "of a node"
    folder.mkdir()
    for given, typed in ((tmp_path, "{}"), (folder, '"{}"')):
        config = a_config(given)
        result = CliRunner().invoke(group, ["eab", "list", "-f", str(config)])
        assert result.exit_code == 1
        assert f"the first 'certeasy serve -f {typed.format(config)}' makes it" in result.stderr

"""docs/cli.md has every command, with every option."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from certeasy.cli import group
from tools.reference import codes_of, command_page

PAGE = (Path(__file__).resolve().parents[2] / "docs/cli.md").read_text(encoding="utf-8")


def commands(found: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command that does something, with its whole name."""
    if not isinstance(found, click.Group):
        yield name, found
        return
    context = click.Context(found)
    for word in found.list_commands(context):
        command = found.get_command(context, word)
        assert command is not None
        yield from commands(command, f"{name} {word}")


COMMANDS = dict(commands(group, "certeasy"))


def row(name: str) -> str:
    table = PAGE.partition("\n## All commands\n")[2]
    [found] = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_row_and_each_option_its_word_there(name: str):
    shown = set(row(name).split("|")[2].split())
    options = [option for option in COMMANDS[name].params if isinstance(option, click.Option)]
    assert shown == {f"`{option.opts[0]}`" for option in options if option.opts[0] != "--help"}


def test_no_row_tells_of_a_command_that_is_not_there():
    told = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `certeasy ")}
    assert told == {*COMMANDS, "certeasy --version"}


def groups(found: click.Command, name: str) -> Iterator[tuple[str, click.Group]]:
    """Yield each command that has commands, with its whole name."""
    if isinstance(found, click.Group):
        yield name, found
        context = click.Context(found)
        for word in found.list_commands(context):
            command = found.get_command(context, word)
            assert command is not None
            yield from groups(command, f"{name} {word}")


GROUPS = dict(groups(group, "certeasy"))


@pytest.mark.parametrize("name", GROUPS)
def test_no_listing_of_commands_breaks_off_in_mid_sentence(name: str):
    page = GROUPS[name].get_help(click.Context(GROUPS[name], info_name=name))
    assert "..." not in page.partition("Commands:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_tells_its_exit_codes_and_an_example(name: str):
    command = COMMANDS[name]
    assert "Exit codes: 0" in " ".join((command.help or "").split())
    assert f"{name} " in f"{command.epilog} "


def test_all_exit_codes_are_one_table_written_from_the_help():
    """After a change, `python -m tools.reference`."""
    assert command_page(PAGE) == PAGE


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_ends_as_its_help_says_when_its_line_is_wrong(name: str):
    words = [*name.split()[1:], "--no-such-option"]
    told = codes_of(" ".join((COMMANDS[name].help or "").split()))
    wrong = 1 if "line" not in told.get("2", "line") else 2
    assert CliRunner().invoke(group, words).exit_code == wrong

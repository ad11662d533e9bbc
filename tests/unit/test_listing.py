"""Listings: a terminal is shown headings above columns, everything else gets plain lines."""

import io

import msgspec
import pytest

from certeasy.cli.listing import Form, Lines, tell


class Row(msgspec.Struct):
    """Something that is listed."""

    id: str
    status: str
    names: tuple[str, ...]


ROWS = [Row("a1", "valid", ("web.corp.test",)), Row("a2", "revoked", ("b.test", "c.test"))]
LINES = Lines(
    (("id", 4), ("status", 7), ("names", 0)), lambda row: [row.id, row.status, " ".join(row.names)]
)


class Terminal(io.StringIO):
    """Takes what is printed, as somebody's window."""

    def isatty(self) -> bool:
        return True


def printed(monkeypatch: pytest.MonkeyPatch, output: io.StringIO, how: Form) -> list[str]:
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", output)
        tell(ROWS, Row, how, None, LINES)
    return output.getvalue().splitlines()


def test_a_terminal_is_shown_headings_above_columns(monkeypatch: pytest.MonkeyPatch):
    assert printed(monkeypatch, Terminal(), Form.LINES) == [
        "id    status   names",
        "a1    valid    web.corp.test",
        "a2    revoked  b.test c.test",
    ]


def test_a_program_gets_lines_as_they_are(monkeypatch: pytest.MonkeyPatch):
    plain = ["a1  valid  web.corp.test", "a2  revoked  b.test c.test"]
    assert printed(monkeypatch, io.StringIO(), Form.LINES) == plain
    assert printed(monkeypatch, Terminal(), Form.JSON) == printed(
        monkeypatch, io.StringIO(), Form.JSON
    )

"""What is printed: commands that can be typed as they stand, and an end when nobody reads on.

The auditor's kit has this too, so nothing of the server is imported here.
"""

import errno
import io
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NOBODY_READS = 141
"""The exit code of a program that was ended because nobody reads what it prints, as shells say it:
128 and the number of SIGPIPE."""
_ANY_CONFIG = " -f config.yml"
_CLOSED = {errno.EPIPE, errno.EINVAL} if os.name == "nt" else {errno.EPIPE}


def as_typed(message: str) -> str:
    """Return a message whose commands, which all have `-f config.yml`, name the configuration that
    this command was given: they can be typed as they are printed."""
    context = click.get_current_context(silent=True)
    given = None if context is None else context.params.get("config_file")
    if given is None:
        return message
    path = str(given)
    return message.replace(_ANY_CONFIG, f' -f "{path}"' if " " in path else f" -f {path}")


def program() -> str:
    """Return how this program can be called again, from any folder."""
    called = Path(sys.argv[0])
    if called.suffix == ".py":
        beside = shutil.which("certeasy", path=str(Path(sys.executable).parent))
        return shlex.quote(beside) if beside else f"{shlex.quote(sys.executable)} -m certeasy"
    found = shutil.which("certeasy")
    if found and Path(found).absolute() == called.absolute():
        return "certeasy"
    return shlex.quote(str(called.absolute()))


class OutputClosed(Exception):
    """Nobody reads what is printed any more.

    It is no OSError, so that no other connection that breaks is taken for it, nor it for one.
    """


class _Output(io.FileIO):
    """Standard output, of which it is known when its reader has gone."""

    silent = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, or raise OutputClosed; once that was told, what is left in buffers is let go."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _CLOSED:
                raise
            if self.silent:
                return memoryview(data).nbytes
            raise OutputClosed from None


@contextmanager
def while_it_is_read() -> Iterator[None]:
    """End the program silently where standard output is closed before all is printed, as by `head`,
    and with the exit code that shells have for it."""
    output = _output()
    if output is None:
        yield
        return
    before = sys.stdout
    buffered = io.BufferedWriter(output)
    sys.stdout = io.TextIOWrapper(buffered, before.encoding, before.errors)
    try:
        yield
    except OutputClosed:
        output.silent = True
        raise SystemExit(NOBODY_READS) from None
    finally:
        sys.stdout = before


def _output() -> _Output | None:
    """Return standard output, unless it is a terminal, closed, or taken over by a test."""
    try:
        if sys.stdout.isatty():
            return None
        return _Output(sys.stdout.fileno(), "wb", closefd=False)
    except (AttributeError, OSError, ValueError):
        return None

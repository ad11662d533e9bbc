"""Passwords and keys in files of their own, that nobody else can read; read each time they are
needed, so that a changed one is taken up without a restart."""

from pathlib import Path

from certeasy.ca.adcs.identity import NotAuthenticated, read_secret


class NoSecret(Exception):
    """There is no secret to be had from a file; one line says why, and what to do."""


def first_line(file: Path, what: str) -> bytes:
    """Return the first line of a private file; `what` names it to people: "secret-file"."""
    try:
        content = read_secret(file, what)
    except NotAuthenticated as error:
        raise NoSecret(f"{error.cause}; {error.remedy}") from None
    line = content.partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise NoSecret(f"{what} {file} has nothing in its first line; write the secret there")
    return line

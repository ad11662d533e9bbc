"""A reference server of the vendor's: it hands newer licenses to installations that ask for them.

    python -m tools.license_server --folder FOLDER --listen 127.0.0.1:8600

FOLDER has files as `tools.license_issue` makes them, a license each or what takes one back, with
the name `<installation key>.lic`: what an installation gets when it asks. docs/license.md tells the
request and its answers. It speaks plain HTTP: put a proxy that speaks TLS in front.
"""

import base64
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from waitress import create_server  # type: ignore[import-untyped] # it has no types

from certeasy.licensing import keys
from certeasy.outward.license import Question

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PATH = "/v1/license"
LONGEST = 1024
_ID = re.compile(rb'"id":"([0-9a-v]{26})"')


class LicenseServer:
    """The WSGI application."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        status, body = self._answer(environ)
        length = [("Content-Length", str(len(body)))] if body else []
        start_response(status, [("Content-Type", "text/plain; charset=us-ascii"), *length])
        return [body]

    def _answer(self, environ: "WSGIEnvironment") -> tuple[str, bytes]:
        if environ["PATH_INFO"] != PATH:
            return "404 Not Found", b"there is nothing here\n"
        if environ["REQUEST_METHOD"] != "POST":
            return "405 Method Not Allowed", b"ask with POST\n"
        told = environ["wsgi.input"].read(LONGEST + 1)
        try:
            asked = msgspec.json.decode(told, type=Question)
            installation = keys.read(asked.installation_key, keys.INSTALLATION)
        except (msgspec.MsgspecError, UnicodeDecodeError, keys.WrongKey):
            return "400 Bad Request", b"that is no question\n"
        try:
            block = (self._folder / f"{installation}.lic").read_bytes()
        except FileNotFoundError:
            return "404 Not Found", b"this installation is not known\n"
        if b"REVOCATION" not in block and id_of(block) == asked.license:
            return "204 No Content", b""
        return "200 OK", block


def id_of(block: bytes) -> str:
    """Return the id of a license; whether it is one, its reader looks at."""
    found = _ID.search(base64.b64decode(b"".join(block.splitlines()[3:-1])))
    return found[1].decode() if found else ""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True
)
@click.option("--listen", default="127.0.0.1:8600", show_default=True)
def main(folder: Path, listen: str) -> None:
    """Hand licenses to installations that ask."""
    server = create_server(LicenseServer(folder), listen=listen, threads=4)
    click.echo(f"http://{listen}{PATH} hands out what is in {folder}; Ctrl-C ends it")
    server.run()


if __name__ == "__main__":
    main()

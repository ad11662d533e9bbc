"""The auditor's kit in one file: `certeasy audit` as a zipapp, without the server.

    python -m tools.kit --out certeasy-audit.pyz
    python certeasy-audit.pyz verify --evidence evidence.zip

It runs on any Python 3.11 or later that has msgspec and cryptography. click goes along, as files
of the environment that this runs in (docs/adr/0009). The same sources give the same bytes, so that
an auditor may build it from the sources and compare.
"""

import errno
import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import files
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("events", "journal", "projections", "certeasy/audit")
MODULES = (
    "LICENSE",
    "certeasy/__init__.py",
    "certeasy/cli/__init__.py",
    "certeasy/cli/audit.py",
    "certeasy/cli/auditing.py",
    "certeasy/cli/evidence.py",
    "certeasy/cli/printing.py",
    "certeasy/cli/states.py",
)
SHEBANG = b"#!/usr/bin/env python3\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can tell
MAIN = '''\
"""`certeasy audit` without the server."""

import sys

NEEDED = (3, 11)
if sys.version_info < NEEDED:
    sys.exit("certeasy-audit: Python 3.11 or later is needed")
try:
    import cryptography
    import msgspec
except ImportError as error:
    sys.exit(f"certeasy-audit: {error}; install it: python -m pip install msgspec cryptography")

from certeasy.cli.audit import audit
from certeasy.cli.printing import while_it_is_read

with while_it_is_read():
    audit(prog_name="certeasy-audit")
'''


def contents() -> Iterator[tuple[str, bytes]]:
    """Yield the kit's files: their names in it, and what they hold."""
    yield "__main__.py", MAIN.encode()
    for name in MODULES:
        yield name, (ROOT / name).read_bytes()
    for package in PACKAGES:
        for path in sorted((ROOT / package).glob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_bytes()
    for file in sorted(files("click") or ()):
        if file.suffix == ".py":
            yield file.as_posix(), Path(str(file.locate())).read_bytes()
        elif "licenses" in file.parts:
            yield f"click/{file.name}", Path(str(file.locate())).read_bytes()


def build() -> bytes:
    """Return the kit."""
    made = io.BytesIO(SHEBANG)
    made.seek(0, io.SEEK_END)
    with zipfile.ZipFile(made, "w") as kit:
        for name, data in contents():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            kit.writestr(entry, data)
    return made.getvalue()


def write(whole: bytes, out: Path) -> None:
    """Write the kit, whole or not at all.

    Raises OSError where it cannot be written; what stood at `out` stays then.
    """
    out = out.resolve()
    if out.exists() and not out.is_file():  # a device, say: it is not to be replaced
        raise FileExistsError(errno.EEXIST, "what is there is no file")
    draft = out.with_name(f".{out.name}.new")
    try:
        draft.write_bytes(whole)
        draft.chmod(0o755)
        draft.replace(out)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("certeasy-audit.pyz"))
def main(out: Path) -> None:
    """Build the auditor's kit."""
    whole = build()
    try:
        write(whole, out)
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror}") from None
    click.echo(f"{hashlib.sha256(whole).hexdigest()}  {out}")


if __name__ == "__main__":
    main()

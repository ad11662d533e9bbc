"""Make a release: everything that is handed out, in one new folder, with signed checksums.

    python -m tools.release key --out release.key          a signing key, once
    python -m tools.release build --out DIR --key release.key [--bundle linux-x86_64:3.13 ...]

DIR gets the wheel and the source of Certeasy, the auditor's kit, the lock file of what it needs, a
list of all that (SBOM, CycloneDX), and for each `--bundle` a zip file that installs on a machine of
that platform and Python without Internet. `SHA256SUMS` names each file, `SHA256SUMS.sig` is its
Ed25519 signature, `release-key.pem` the key that it is checked with:

    openssl pkeyutl -verify -pubin -inkey release-key.pem -rawin \
        -in SHA256SUMS -sigfile SHA256SUMS.sig

With `--vendor-key FILE` the wheel has another public key by which it verifies licenses
(docs/license.md) than the source has.

The same commit makes the same files, whoever builds it; packages by others come by their hashes.
Needs what `requirements/release.txt` has, and git.
"""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct
from packaging.markers import Marker

from certeasy import __version__
from certeasy.licensing import vendor
from tools import kit

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements/server.txt"
VENDOR_KEY = "certeasy/licensing/vendor.pem"
INSTALLERS = ROOT / "tools/installers"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can tell
SOURCE_ONLY = frozenset({"impacket"})
"""Packages that are handed out as source alone: they are built here, and are pure Python."""
LINUX = (*(f"manylinux_2_{minor}" for minor in range(34, 16, -1)), "manylinux2014")
PACKAGE = re.compile(r"(?m)^(?P<name>[\w.-]+)==(?P<version>\S+?)(?: ; (?P<marker>.+?))? \\$")


class Platform(Struct, frozen=True):
    """A platform: its wheels' tags, what markers see there, and its installer."""

    tags: tuple[str, ...]
    markers: dict[str, str]
    installer: str


def _linux(machine: str) -> Platform:
    markers = {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux"}
    tags = tuple(f"{tag}_{machine}" for tag in LINUX)
    return Platform(tags, {**markers, "platform_machine": machine}, "install.sh")


PLATFORMS = {
    "linux-x86_64": _linux("x86_64"),
    "linux-aarch64": _linux("aarch64"),
    "windows-amd64": Platform(
        ("win_amd64",),
        {
            "sys_platform": "win32",
            "os_name": "nt",
            "platform_system": "Windows",
            "platform_machine": "AMD64",
        },
        "install.ps1",
    ),
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def release() -> None:
    """Make what is handed out."""


@release.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
def key(out: Path) -> None:
    """Make a signing key, for its owner's eyes alone; no file is written over."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    click.echo(f"wrote {out}; keep it where nobody else reads it")


@release.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--key", "key_file", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--bundle", "bundles", multiple=True, metavar="PLATFORM:PYTHON")
@click.option(
    "--vendor-key",
    type=click.Path(path_type=Path, exists=True),
    help="Public key (PEM) by which this build verifies licenses, in the place of the source's.",
)
def build(out: Path, key_file: Path, bundles: Sequence[str], vendor_key: Path | None) -> None:
    """Build everything into a new folder, and sign it."""
    if vendor_key is not None:
        vendor.public_key(vendor_key)
    wanted = [_bundle(text) for text in bundles]
    signing = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(signing, Ed25519PrivateKey):
        raise click.ClickException(f"{key_file} is no Ed25519 key; `tools.release key` makes one")
    if out.exists():
        raise click.ClickException(f"{out} is there already; a release goes into a new folder")
    out.mkdir(parents=True)
    _ours(out)
    if vendor_key is not None:
        (wheel,) = out.glob("certeasy-*.whl")
        with_vendor_key(wheel, vendor_key.read_bytes())
    shutil.copy(LOCK, out / f"certeasy-{__version__}-requirements.txt")
    _sbom(out / f"certeasy-{__version__}.cdx.json")
    for platform, python in wanted:
        click.echo(f"collecting wheels for {platform}, Python {python}")
        pack(out, platform, python)
    sign(out, signing)
    for file in sorted(out.iterdir()):
        click.echo(f"{file.stat().st_size:>12,}  {file.name}")


def _bundle(text: str) -> tuple[str, str]:
    platform, _, python = text.partition(":")
    if platform not in PLATFORMS or not re.fullmatch(r"3\.\d+", python):
        known = ", ".join(PLATFORMS)
        raise click.BadParameter(f"{text!r}: one of {known}, a colon, and a Python, as 3.13")
    return platform, python


def _ours(out: Path) -> None:
    """Build wheel and source as of the commit's own time, and the kit."""
    git = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    committed = _said(git).strip()
    _run([sys.executable, "-m", "hatchling", "build", "-d", str(out)], SOURCE_DATE_EPOCH=committed)
    kit.write(kit.build(), out / "certeasy-audit.pyz")


def _sbom(out: Path) -> None:
    how = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--of", "JSON"]
    _run([str(Path(sys.executable).with_name("cyclonedx-py")), "requirements", str(LOCK), *how,
          "--output-file", str(out)])  # fmt: skip


def pack(out: Path, platform: str, python: str) -> Path:
    """Write the zip file that installs on this platform and Python, from Certeasy's wheel in `out`
    and everybody else's. Returns its path."""
    target = PLATFORMS[platform]
    name = f"certeasy-{__version__}-{platform}-py{python}"
    with tempfile.TemporaryDirectory() as temporary:
        wheels = Path(temporary, "wheels")
        wheels.mkdir()
        (own,) = out.glob("certeasy-*.whl")
        shutil.copy(own, wheels)
        _collect(wheels, target, python, Path(temporary))
        files = {f"{name}/wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels.iterdir()}
    files[f"{name}/requirements.txt"] = _requirements(files)
    installer = (INSTALLERS / target.installer).read_text()
    files[f"{name}/{target.installer}"] = installer.replace("@PYTHON@", python).encode()
    packed = out / f"{name}.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            archive.writestr(zipfile.ZipInfo(path, LONG_AGO), files[path])
    return packed


def _collect(wheels: Path, target: Platform, python: str, scratch: Path) -> None:
    """Fetch the wheels of all that is needed there; each has one of the hashes that are locked."""
    tag = "cp" + python.replace(".", "")
    seen = {
        **target.markers,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    binary, source = scratch / "binary.txt", scratch / "source.txt"
    sections = list(locked(LOCK.read_text(), seen))
    binary.write_text("".join(text for name, text in sections if name not in SOURCE_ONLY))
    source.write_text("".join(text for name, text in sections if name in SOURCE_ONLY))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    where = [word for each in target.tags for word in ("--platform", each)]
    abis = [word for each in (tag, "abi3", "none") for word in ("--abi", each)]
    for_it = ["--python-version", python, "--implementation", "cp", *abis, *where]
    hashes = ["--no-deps", "--require-hashes"]
    _run([*pip, "download", *hashes, "--only-binary", ":all:", *for_it, "-d", str(wheels),
          "-r", str(binary)])  # fmt: skip
    _run([*pip, "wheel", *hashes, "--no-build-isolation", "-w", str(wheels), "-r", str(source)],
         SOURCE_DATE_EPOCH="315532800")  # fmt: skip
    for name in SOURCE_ONLY:
        (built,) = wheels.glob(f"{name}-*.whl")
        without_scripts(built)


def locked(text: str, seen: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield name and text, without marker, of each package of a lock file that is needed where
    markers see this."""
    found = list(PACKAGE.finditer(text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    for one, end in zip(found, ends, strict=True):
        if one["marker"] is None or Marker(one["marker"]).evaluate(seen):
            body = "".join(
                line + "\n"
                for line in text[one.end() : end].splitlines()
                if line.lstrip().startswith("--hash")
            )
            yield one["name"], f"{one['name']}=={one['version']} \\\n{body}"


def without_scripts(wheel: Path) -> None:
    """Leave the command scripts out of a wheel: impacket's are tools to attack a domain with, and
    nobody wants them on a server."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    kept = {name: data for name, data in files.items() if ".data/scripts/" not in name}
    (record,) = [name for name in kept if name.endswith(".dist-info/RECORD")]
    rows = [line for line in kept[record].splitlines(True) if b".data/scripts/" not in line]
    kept[record] = b"".join(rows)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(kept):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), kept[name])


def with_vendor_key(wheel: Path, pem: bytes) -> None:
    """Put another vendor's public key into a wheel of ours."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files[VENDOR_KEY] = pem
    digest = base64.urlsafe_b64encode(hashlib.sha256(pem).digest()).rstrip(b"=").decode()
    (record,) = [name for name in files if name.endswith(".dist-info/RECORD")]
    rows = [
        f"{VENDOR_KEY},sha256={digest},{len(pem)}\n" if row.startswith(f"{VENDOR_KEY},") else row
        for row in files[record].decode().splitlines(keepends=True)
    ]
    files[record] = "".join(rows).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), files[name])


def _requirements(files: dict[str, bytes]) -> bytes:
    """Return a requirements file for these wheels, by path and hash."""
    lines = []
    for path in sorted(files):
        name, version, *_ = Path(path).name.split("-")
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(files[path]).hexdigest()}\n")
    return "".join(lines).encode()


def sign(folder: Path, signing: Ed25519PrivateKey) -> None:
    """Write the checksums of all files in a folder, their signature, and the key to check it."""
    public = signing.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    sums = "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.iterdir())
    ).encode()
    (folder / "SHA256SUMS").write_bytes(sums)
    (folder / "SHA256SUMS.sig").write_bytes(signing.sign(sums))
    (folder / "release-key.pem").write_bytes(public)


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own words


def _run(command: list[str], **environment: str) -> None:
    """Run a program; what it said is shown if it failed. Raises ClickException then."""
    env = {**os.environ, **environment}  # noqa: TID251 - pip's and the system's own
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)  # noqa: S603 - our own words
    if done.returncode:
        raise click.ClickException(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    release()

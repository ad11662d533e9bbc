"""What an installation contains, and that it is ours that is imported."""

import base64
import hashlib
import subprocess
import sys
from importlib import import_module
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.make.licenses import VENDOR
from tools.release import VENDOR_KEY, with_vendor_key

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("certeasy", "events", "journal", "projections")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(built: Path) -> list[PurePosixPath]:
    """The names of the files in it."""
    with ZipFile(built) as archive:
        return [PurePosixPath(name) for name in archive.namelist()]


def test_the_wheel_holds_our_four_packages_and_nothing_else(wheel: list[PurePosixPath]):
    folders = {name.parts[0] for name in wheel}
    assert {name for name in folders if not name.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_says_that_it_is_typed(wheel: list[PurePosixPath], package: str):
    assert PurePosixPath(package, "py.typed") in wheel


def test_every_module_of_the_checkout_is_in_the_wheel(wheel: list[PurePosixPath]):
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    modules = {PurePosixPath(file.relative_to(ROOT).as_posix()) for file in files}
    assert modules
    assert modules <= set(wheel)


def test_the_licence_goes_along(wheel: list[PurePosixPath]):
    assert [name for name in wheel if name.parts[-2:] == ("licenses", "LICENSE")]


def test_a_build_can_have_another_vendor_s_key(built: Path, tmp_path: Path):
    """Its list of contents agrees, as installers want it."""
    other = tmp_path / built.name
    other.write_bytes(built.read_bytes())
    public = VENDOR.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with_vendor_key(other, pem)
    with ZipFile(built) as before, ZipFile(other) as after:
        changed = {n for n in before.namelist() if before.read(n) != after.read(n)}
        (record,) = changed - {VENDOR_KEY}
        rows = dict(row.split(",", 1) for row in after.read(record).decode().splitlines())
        assert set(before.namelist()) == set(after.namelist()) == set(rows)
        found = after.read(VENDOR_KEY)
    digest = base64.urlsafe_b64encode(hashlib.sha256(found).digest()).rstrip(b"=").decode()
    assert rows[VENDOR_KEY] == f"sha256={digest},{len(found)}"
    assert found == pem


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_that_is_imported_is_ours(package: str):
    # Others on PyPI install a top-level package of the same name ("Events").
    assert Path(str(import_module(package).__file__)) == ROOT / package / "__init__.py"

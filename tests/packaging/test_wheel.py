"""What an installation contains, and that it is ours that is imported."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("certeasy", "events", "journal", "projections")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[PurePosixPath]:
    """The names of the files in a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
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


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_that_is_imported_is_ours(package: str):
    # Others on PyPI install a top-level package of the same name ("Events").
    assert Path(str(import_module(package).__file__)) == ROOT / package / "__init__.py"

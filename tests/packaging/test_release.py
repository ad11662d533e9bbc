"""A release: the same bytes for everybody, signed, and installed where there is no Internet."""

import io
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import msgspec
import pytest
from click.testing import CliRunner

from tools.release import LOCK, PLATFORMS, locked, release, without_scripts

PYTHON = "{}.{}".format(*sys.version_info[:2])
HERE = f"linux-x86_64:{PYTHON}"


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made(*words: str | Path) -> str:
    result = CliRunner().invoke(release, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release for this machine, and for Windows."""
    folder = tmp_path_factory.mktemp("release")
    made("key", "--out", folder / "release.key")
    bundles = ["--bundle", HERE, "--bundle", "windows-amd64:3.13"]
    made("build", "--out", folder / "out", "--key", folder / "release.key", *bundles)
    return folder


@pytest.mark.interop
def test_openssl_and_sha256sum_prove_a_release(folder: Path) -> None:
    out = folder / "out"
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "release-key.pem", "-rawin"]
    told = run(*verify, "-in", "SHA256SUMS", "-sigfile", "SHA256SUMS.sig", cwd=out)
    assert "Verified Successfully" in told
    checked = run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=out).splitlines()
    files = {file.name for file in out.iterdir()}
    unsigned = {"SHA256SUMS", "SHA256SUMS.sig", "release-key.pem"}
    assert {line.partition(":")[0] for line in checked} == files - unsigned


@pytest.mark.interop
def test_what_it_is_made_of_is_listed(folder: Path) -> None:
    (listed,) = (folder / "out").glob("*.cdx.json")
    told = msgspec.json.decode(listed.read_bytes())
    assert told["bomFormat"] == "CycloneDX"
    assert told["metadata"]["component"]["name"] == "certeasy"
    assert {"cryptography", "falcon", "impacket"} <= {each["name"] for each in told["components"]}


@pytest.mark.interop
def test_it_installs_where_there_is_no_internet(folder: Path, tmp_path: Path) -> None:
    (packed,) = (folder / "out").glob("*linux*.zip")
    with ZipFile(packed) as archive:
        archive.extractall(tmp_path)
    (unpacked,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    target = tmp_path / "installed"
    nowhere = "http://127.0.0.1:9"  # what would be asked for a package: nobody answers there
    environment = ["env", f"PIP_INDEX_URL={nowhere}", f"PYTHON={sys.executable}"]
    for _ in range(2):  # done again, it upgrades
        told = run(*environment, "sh", unpacked / "install.sh", target, cwd=tmp_path)
        assert f"installed in {target}" in told
    scripts = {path.name for path in (target / "bin").iterdir()}
    assert "certeasy" in scripts
    assert not [name for name in scripts if name.endswith(".py")]
    assert "certeasy" in run(target / "bin/certeasy", "--version", cwd=tmp_path)
    demo = [target / "bin/certeasy", "validate", "--help"]
    assert "Example" in run(*demo, cwd=tmp_path)


@pytest.mark.interop
def test_windows_gets_the_wheels_of_windows(folder: Path) -> None:
    (packed,) = (folder / "out").glob("*windows*.zip")
    with ZipFile(packed) as archive:
        names = [Path(name).name for name in archive.namelist()]
        (wheel,) = [name for name in archive.namelist() if "/impacket-" in name]
        inside = ZipFile(io.BytesIO(archive.read(wheel))).namelist()
    assert not [name for name in names if "linux" in name]
    assert [name for name in names if name.startswith("cryptography-") and "win_amd64" in name]
    assert [name for name in names if name.startswith("sspilib-")]
    assert "install.ps1" in names
    assert not [name for name in inside if "scripts" in name]


@pytest.mark.interop
def test_a_release_is_written_over_by_nothing(folder: Path) -> None:
    words = ["build", "--out", folder / "out", "--key", folder / "release.key"]
    result = CliRunner().invoke(release, list(map(str, words)))
    assert (result.exit_code, "is there already" in result.output) == (1, True)
    again = CliRunner().invoke(release, ["key", "--out", str(folder / "release.key")])
    assert again.exit_code == 1


def test_a_platform_that_is_not_known_is_told_with_those_that_are(tmp_path: Path) -> None:
    made("key", "--out", tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    words = ["build", "--out", tmp_path / "x", "--key", tmp_path / "key", "--bundle", "beos:3.13"]
    result = CliRunner().invoke(release, list(map(str, words)))
    assert result.exit_code == 2
    assert "linux-x86_64" in result.output
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("platform", "has"), [("linux-x86_64", False), ("windows-amd64", True)])
def test_each_platform_has_what_is_locked_for_it(platform: str, has: bool) -> None:
    seen = {"python_version": "3.13", "python_full_version": "3.13.0",
            "implementation_name": "cpython", "platform_python_implementation": "CPython",
            **PLATFORMS[platform].markers}  # fmt: skip
    sections = dict(locked(LOCK.read_text(), seen))
    assert ("sspilib" in sections) == has
    assert all("--hash=sha256:" in text for text in sections.values())
    assert {"certeasy", "falcon", "cryptography"} - set(sections) == {"certeasy"}


def test_command_scripts_are_left_out_of_a_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        archive.writestr("x/__init__.py", "")
        archive.writestr("x-1.data/scripts/attack.py", "")
        record = "x/__init__.py,,\nx-1.data/scripts/attack.py,,\nx-1.dist-info/RECORD,,\n"
        archive.writestr("x-1.dist-info/RECORD", record)
    without_scripts(wheel)
    with ZipFile(wheel) as archive:
        assert archive.namelist() == ["x-1.dist-info/RECORD", "x/__init__.py"]
        assert archive.read("x-1.dist-info/RECORD") == b"x/__init__.py,,\nx-1.dist-info/RECORD,,\n"

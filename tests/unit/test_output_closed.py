"""A command ends silently when nobody reads what it prints, and tells every other error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from certeasy.cli.options import told
from certeasy.cli.printing import NOBODY_READS
from tests.make.audited import laid_out
from tests.make.certeasy_server import CERTEASY
from tests.make.journals import a_log
from tools import kit

COMMANDS = {
    "--help": ("--help",),
    "audit verify": ("audit", "verify", "-f", "config.yml"),
    "audit verify --json": ("audit", "verify", "-f", "config.yml", "--json"),
    "audit show": ("audit", "show", "name", "web.corp.internal", "-f", "config.yml"),
    "audit list-servers": ("audit", "list-servers", "-f", "config.yml"),
    "dns test": ("dns", "test", "192.0.2.1", "-f", "config.yml", "--challenge", "http-01"),
    "projections export": ("projections", "export", "-f", "config.yml", "--out", "live.sqlite"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = a_log()
    for number in range(200):
        log.an_order("web.corp.internal", f"host{number}.corp.internal")
    return laid_out(log, tmp_path_factory.mktemp("node"))


def closed_early(command: list[str], folder: Path) -> tuple[int, str]:
    """Run a program whose stdout nobody reads; return its exit code, and what it says on stderr."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_command_whose_output_nobody_reads_ends_silently(folder: Path, words: tuple[str, ...]):
    assert closed_early([str(CERTEASY), *words], folder) == (NOBODY_READS, "")


def test_it_ends_silently_in_the_middle_too(folder: Path):
    shell = f"set -o pipefail; {CERTEASY} audit show name web.corp.internal -f config.yml | head -1"
    done = subprocess.run(
        ["bash", "-c", shell], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    assert done.returncode in {0, NOBODY_READS}  # all of it may have been written before


def test_the_auditor_s_kit_ends_silently_too(folder: Path, tmp_path: Path):
    kit.write(kit.build(), tmp_path / "kit.pyz")
    command = [sys.executable, str(tmp_path / "kit.pyz"), "head", "--journal", "work/audit.log"]
    assert closed_early(command, folder) == (NOBODY_READS, "")


def test_a_disk_that_is_full_is_told(folder: Path):
    with Path("/dev/full").open("wb") as full:
        command = [str(CERTEASY), "audit", "list-servers", "-f", "config.yml"]
        done = subprocess.run(
            command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_another_pipe_that_breaks_is_told(capsys: pytest.CaptureFixture[str]):
    @told()
    def command() -> None:
        raise BrokenPipeError(32, "Broken pipe", "the database")

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 1
    assert "the database: Broken pipe" in capsys.readouterr().err

"""Small disks of our own, for root on Linux: a tmpfs that gets full, a folder that is read-only."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.crashlab.trouble import LeftOut


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Have a disk of `size` bytes in a new folder until the end of the block. Raises LeftOut."""
    folder.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "crashlab", folder)
    try:
        yield folder
    finally:
        _umount(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody open a file of a folder for writing; what is open goes on. Raises LeftOut."""
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        _umount(folder)


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill the disk but for `leave` bytes; return the file that did it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            space = os.statvfs(folder)
            size = space.f_bavail * space.f_frsize - leave
            if size <= 0:
                return ballast
            # Somebody else may take the last of it meanwhile; then there is less to take.
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, ballast.stat().st_size + size)


def _mount(*words: str | Path) -> None:
    if os.geteuid() != 0:
        raise LeftOut("only root may mount")
    done = _run("mount", *words)
    if done.returncode != 0:
        raise LeftOut(f"mount {words[0]} is refused here: {done.stderr.strip()}")


def _umount(folder: Path) -> None:
    if _run("umount", folder).returncode != 0:
        _run("umount", "--lazy", folder)


def _run(program: str, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    path = shutil.which(program)
    if path is None:
        raise LeftOut(f"there is no {program} here")
    return subprocess.run(  # noqa: S603 - a program of the system, our own words
        [path, *words], capture_output=True, text=True, check=False
    )

"""What another process costs: read from /proc, so on Linux only."""

import os
from pathlib import Path

from tools.acmeload.report import Usage

UTIME = 11
"""Where utime, stime, cutime, cstime begin in /proc/PID/stat, counted after the command's name."""


def usage(pid: int) -> Usage:
    """Return what the process and its descendants have used. Raises OSError if it is gone."""
    memory = _memory(pid)
    return Usage(cpu=_cpu(pid), vm_hwm=memory["VmHWM"], vm_rss=memory["VmRSS"])


def _cpu(pid: int) -> float:
    """Return seconds of user and system time, those of living and dead descendants included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[UTIME : UTIME + 4])
    return ticks / os.sysconf("SC_CLK_TCK") + sum(_cpu(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split() for line in lines if line.startswith(("VmHWM:", "VmRSS:")))
    return {name.removesuffix(":"): int(kib) for name, kib, _ in pairs}

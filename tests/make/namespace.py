"""A network of its own on this machine: a loopback, a hosts file, and nothing else. Root, Linux.

    with Namespace(folder, hosts={"dc1.lab.test": "127.0.0.1"}) as lab:
        lab.command("samba", ...)     # the arguments of a process inside
        lab.inside(lambda: ...)       # a call inside, by a thread of this process

A thread that is inside sees the hosts file as /etc/hosts; the threads that it starts are inside as
well, and stay there. No other thread of the process notices.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

NEW_NET, NEW_MOUNTS = 0x40000000, 0x00020000
PRIVATE_ALL_THE_WAY, BIND = 1 << 18 | 0x4000, 0x1000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """Between `with` and its end."""

    def __init__(self, folder: Path, hosts: Mapping[str, str], name: str = "") -> None:
        self.name = name or f"certeasy-{os.getpid()}"
        self._hosts, self._resolv = folder / "hosts", folder / "resolv.conf"
        lines = ["127.0.0.1 localhost", *(f"{address} {one}" for one, address in hosts.items())]
        self._hosts.write_text("\n".join(lines) + "\n")
        self._resolv.write_text("nameserver 127.0.0.1\n")

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            subprocess.run(self.command("ip", "link", "set", "lo", "up"), check=True)
        except BaseException:
            self._delete()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._delete()

    def _delete(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs a program inside."""
        mounts = (
            f"mount --bind {self._hosts} /etc/hosts && mount --bind {self._resolv}"
            ' /etc/resolv.conf && exec "$@"'
        )
        inside = ["ip", "netns", "exec", self.name]
        return [*inside, "sh", "-c", mounts, "sh", *arguments]

    def inside(self, work: Callable[[], T]) -> T:
        """Return what it returns, or raise what it raises."""
        done: list[T] = []
        failed: list[BaseException] = []

        def enter_and_work() -> None:
            try:
                self._enter()
                done.append(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                failed.append(error)

        thread = threading.Thread(target=enter_and_work, name=self.name)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return done[0]

    def _enter(self) -> None:
        """Take this thread inside, for good."""
        net = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _called("setns", net, NEW_NET)
        finally:
            os.close(net)
        _called("unshare", NEW_MOUNTS)
        _called("mount", b"none", b"/", None, ctypes.c_ulong(PRIVATE_ALL_THE_WAY), None)
        for ours, theirs in ((self._hosts, b"/etc/hosts"), (self._resolv, b"/etc/resolv.conf")):
            _called("mount", os.fsencode(ours), theirs, None, ctypes.c_ulong(BIND), None)


def _called(function: str, *arguments: object) -> None:
    if getattr(_LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")

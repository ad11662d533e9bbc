"""What systemd is told (sd_notify): when clients are served, that the node lives, that it stops.

A line each, as a datagram to the Unix socket that `$NOTIFY_SOCKET` names: a path, or an abstract
name behind `@`. That is all of the protocol that a service needs (sd_notify(3)), so no library is.
Where nobody listens nothing is lost: the server serves all the same.
"""

import socket

from certeasy.log import logger

log = logger("main")


class Systemd:
    """The service manager at the other end of a socket. No address: there is none."""

    def __init__(self, address: str = "") -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._turns = -1

    def ready(self) -> None:
        """Clients are served."""
        self._tell("READY=1")

    def alive(self, turns: int) -> None:
        """Tell the watchdog, if the committer has taken a turn since the last time.

        It takes one every few seconds at the least. One that hangs is not told of, and after
        `WatchdogSec` the service is ended and started anew.
        """
        if turns != self._turns:
            self._turns = turns
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """What was begun is being ended."""
        self._tell("STOPPING=1")

    def _tell(self, line: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # A manager that does not read must not hold us up.
                sender.setblocking(False)
                sender.sendto(line.encode(), self._address)
        except OSError as error:
            log.debug("systemd was not told %s: %s", line, error)

"""Enough file descriptors for the connections that the settings promise.

Many systems start a process with a soft limit of 1,024 and let it raise that by itself.
"""

import sys

from certeasy.log import logger

log = logger("http-server")

SPARE = 256
"""Descriptors beside those of clients: database, journal, validations, a second listener."""


def allow_descriptors(connections: int) -> None:
    """Raise this process's own limit to what so many connections need, as far as it may."""
    if sys.platform == "win32":
        return  # a socket is no descriptor there
    import resource  # noqa: PLC0415 - does not exist on Windows

    wanted = connections + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < wanted:
        log.warning("%d file descriptors are allowed, %d would be needed", possible, wanted)

"""TCP connections, made within a time and looked after."""

import contextlib
import ipaddress
import socket

from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import NotReached


def connected(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first address of a host that answers. Raises NotReached or Late."""
    places = addresses(host, port)
    error: OSError | None = None
    for number, address in enumerate(places):
        share = deadline.remaining() / (len(places) - number)
        try:
            made = socket.create_connection((address, port), timeout=share)
        except OSError as refused:
            error = refused
            continue
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    assert error is not None
    raise NotReached("connect", described(f"{host} port {port}", error)) from None


def addresses(host: str, port: int) -> list[str]:
    """Return a host's addresses, in the system's order. Nothing bounds that but who calls.

    Raises NotReached.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotReached("dns", described(host, error)) from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def described(what: str, error: Exception) -> str:
    """Tell people what happened to what."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{what}: {reason}"


def quiet(connection: socket.socket) -> bool:
    """Whether it is open, as far as is known, and nothing has come unasked."""
    try:
        before = connection.gettimeout()
        connection.setblocking(False)
        try:
            connection.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        finally:
            connection.settimeout(before)
    except OSError:
        return False
    return False  # the end, or something that nobody asked for


def close(connection: socket.socket) -> None:
    """End it, also for whoever waits for it in another thread."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()

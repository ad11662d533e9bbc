"""What carries the bytes to a CA: a TCP connection, or a pipe over SMB.

Both are such as impacket wants them, so that its own code can be given one. Whatever fails while
one is made, nothing was executed: `NotReached` says which layer an operator has to look at.
"""

import contextlib
import socket
from typing import Any, Literal

from impacket.smb import SMB_DIALECT
from impacket.smbconnection import SessionError, SMBConnection
from msgspec import Struct

from certeasy.ca.adcs.deadline import Deadline, Late
from certeasy.ca.adcs.errors import NotReached
from certeasy.ca.adcs.identity import Credentials
from certeasy.ca.adcs.rpc import CutShort
from certeasy.ca.adcs.sockets import close, connected, quiet

PIPE = "\\cert"
ONE_RECEIVE = 1 << 16

Way = Literal["tcp", "np"]


class Target(Struct, frozen=True):
    """Where a CA is, and how it is reached.

    `host` is the name in its service principal. `address`: connect to this instead of looking the
    name up. `port` 0: ask the endpoint mapper. `connect_timeout` (seconds) is for everything up to
    the first request, by either way.
    """

    host: str
    address: str = ""
    transport: Literal["auto", "tcp", "np"] = "auto"
    port: int = 0
    mapper_port: int = 135
    smb_port: int = 445
    connect_timeout: float = 10


class TcpWire:
    """A TCP connection as `rpc` and impacket want one. Every wait ends by `deadline`."""

    way: Way = "tcp"

    def __init__(self, host: str, address: str, port: int, deadline: Deadline) -> None:
        self.deadline = deadline
        self._host = host
        self._socket = connected(address or host, port, deadline)

    def send(self, data: bytes, forceWriteAndx: int = 0, forceRecv: int = 0) -> None:  # noqa: N803 - impacket's names
        """Send all of it. Raises CutShort if the last bytes surely have not left."""
        del forceWriteAndx, forceRecv
        rest = memoryview(data)
        while rest:
            try:
                self._socket.settimeout(self.deadline.remaining())
                sent = self._socket.send(rest)
            except (OSError, Late) as error:
                raise CutShort(f"the request could not be sent: {error}") from error
            rest = rest[sent:]

    def recv(self, forceRecv: int = 0, count: int = 0) -> bytes:  # noqa: N803 - impacket's names
        """Return what comes, at most `count` bytes; nothing at the end."""
        del forceRecv
        self._socket.settimeout(self.deadline.remaining())
        try:
            return self._socket.recv(count or ONE_RECEIVE)
        except TimeoutError:
            self.deadline.remaining()
            raise

    def quiet(self) -> bool:
        """Whether it is open, as far as is known, and nothing has come unasked."""
        return quiet(self._socket)

    def close(self) -> None:
        """End it, whoever is waiting for it."""
        close(self._socket)


class PipeWire:
    """A named pipe over SMB. impacket bounds each of its waits; whoever calls bounds their sum."""

    way: Way = "np"

    def __init__(self, target: Target, credentials: Credentials, deadline: Deadline) -> None:
        self.deadline = deadline
        self._smb = _smb(target, deadline)
        try:
            self._log_in(credentials)
            self._tree = self._smb.connectTree("IPC$")
            self._file = self._smb.openFile(self._tree, PIPE)
        except SessionError as error:
            self.close()
            cause = error.getErrorString()[0]
            raise NotReached("smb", f"the server says {cause}", error.getErrorCode()) from None
        except BaseException:
            self.close()
            raise

    def _log_in(self, given: Credentials) -> None:
        if given.kerberos:
            self._smb.kerberosLogin(
                given.user, "", given.domain, TGT=given.tgt, TGS=given.tgs, useCache=False
            )
        else:
            self._smb.login(
                given.user, given.password, given.domain, nthash=given.nt_hash, ntlmFallback=False
            )

    @property
    def _socket(self) -> Any:
        return self._smb.getSMBServer().get_socket()

    def send(self, data: bytes, forceWriteAndx: int = 0, forceRecv: int = 0) -> None:  # noqa: N803 - impacket's names
        """Write it to the pipe."""
        del forceWriteAndx, forceRecv
        self._wait()
        self._smb.writeFile(self._tree, self._file, data)

    def recv(self, forceRecv: int = 0, count: int = 0) -> bytes:  # noqa: N803 - impacket's names
        """Return one message of the pipe, or what is left of it."""
        del forceRecv, count
        self._wait()
        return bytes(self._smb.readFile(self._tree, self._file))

    def _wait(self) -> None:
        self._smb.setTimeout(self.deadline.remaining())

    def quiet(self) -> bool:
        """Whether it is open, as far as is known, and nothing has come unasked."""
        return quiet(self._socket)

    def close(self) -> None:
        """End it, whoever is waiting for it. Nobody is told: that may last."""
        with contextlib.suppress(Exception):  # impacket may not have got as far as a socket
            close(self._socket)


def _smb(target: Target, deadline: Deadline) -> Any:
    """Return an SMB session that is not logged in yet: version 2 or 3, and everything signed."""
    made = connected(target.address or target.host, target.smb_port, deadline)
    address = made.getpeername()[0]
    close(made)
    smb = SMBConnection(
        target.host, address, sess_port=target.smb_port, timeout=deadline.remaining()
    )
    server = smb.getSMBServer()
    if smb.getDialect() == SMB_DIALECT:
        close(server.get_socket())
        raise NotReached("smb", "the server speaks nothing but SMB 1")
    server._Connection["RequireSigning"] = True  # noqa: SLF001 - impacket has no other way to ask for it
    server.get_socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return smb

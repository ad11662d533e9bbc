r"""The local socket where there are named pipes: `\\.\pipe\certeasy-<digest of the workdir>`.

Who may use it: administrators, the system, and the user whom the server runs as; the pipe's access
list says so, and remote clients are turned away by the system. Names of pipes are anybody's, so the
server insists on being the first to use its name, and a client looks whom the pipe belongs to: the
account of the installed service is one of those whom it believes.

Windows only. Written by the documentation of its API; run under wine, not on Windows itself yet.
"""

import ctypes
import hashlib
import sys
import threading
from pathlib import Path

from certeasy.cluster.refusal import BootRefused

assert sys.platform == "win32"

from ctypes import wintypes  # noqa: E402 - not everywhere

from certeasy.cluster.access_lists import (  # noqa: E402 - the same
    ADMINISTRATORS,
    SYSTEM,
    check,
    own_sid,
    service_users,
    text_of,
)

_GENERIC_READ_WRITE = 0x80000000 | 0x40000000
_OPEN_EXISTING = 3
_SQOS_IDENTIFICATION = 0x00100000 | 0x00010000  # the server may learn who we are, and no more
_DUPLEX = 3
_FIRST_INSTANCE = 0x00080000
_REJECT_REMOTE = 0x00000008
_BUFFER = 1 << 16
_MOST_INSTANCES = 16
_OWNER_INFORMATION = 1
_SE_KERNEL_OBJECT = 6
_SDDL_REVISION = 1
_ERROR_FILE_NOT_FOUND = 2
_ERROR_ACCESS_DENIED = 5
_ERROR_BROKEN_PIPE = 109
_ERROR_PIPE_BUSY = 231
_ERROR_PIPE_CONNECTED = 535
_ERROR_OPERATION_ABORTED = 995
_INVALID = ctypes.c_void_p(-1).value

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_advapi = ctypes.WinDLL("advapi32", use_last_error=True)
for _function in (_kernel.CreateFileW, _kernel.CreateNamedPipeW, _kernel.GetCurrentThread):
    _function.restype = wintypes.HANDLE


class _SecurityAttributes(ctypes.Structure):
    _fields_ = (
        ("length", wintypes.DWORD),
        ("descriptor", ctypes.c_void_p),
        ("inherit", wintypes.BOOL),
    )


class PipeConnection:
    """An instance of the pipe, connected; each message may take so many seconds.

    Its calls wait; a timer that runs out cancels the one that is under way.
    """

    def __init__(self, handle: int, seconds: float, *, serving: bool) -> None:
        self._handle = wintypes.HANDLE(handle)
        self._seconds = seconds
        self._serving = serving

    def receive(self, length: int) -> bytes:
        """Return so many bytes, fewer only where the other side has ended."""
        received = bytearray()
        buffer = ctypes.create_string_buffer(_BUFFER)
        got = wintypes.DWORD()
        with _Watchdog(self._handle, self._seconds):
            while len(received) < length:
                most = min(length - len(received), _BUFFER)
                if not _kernel.ReadFile(self._handle, buffer, most, ctypes.byref(got), None):
                    if (code := ctypes.get_last_error()) == _ERROR_BROKEN_PIPE:
                        break
                    raise _failure(code)
                received += buffer.raw[: got.value]
        return bytes(received)

    def send(self, data: bytes) -> None:
        """Return once all of it is on its way."""
        put = wintypes.DWORD()
        with _Watchdog(self._handle, self._seconds):
            while data:
                part = data[:_BUFFER]
                if not _kernel.WriteFile(self._handle, part, len(part), ctypes.byref(put), None):
                    raise _failure(ctypes.get_last_error())
                data = data[put.value :]

    def user(self) -> str:
        """Return who is at the other end. The pipe's access list has let in nobody who may not."""
        check(_advapi.ImpersonateNamedPipeClient(self._handle))
        try:
            name = ctypes.create_unicode_buffer(257)
            size = wintypes.DWORD(len(name))
            check(_advapi.GetUserNameW(name, ctypes.byref(size)))
            return name.value
        finally:
            # A thread that cannot be itself again must do nothing more.
            if not _advapi.RevertToSelf():
                raise SystemExit("a thread could not end an impersonation")

    def close(self) -> None:
        """Hang up, once the other side has read what was sent."""
        if self._serving:
            with _Watchdog(self._handle, self._seconds):
                _kernel.FlushFileBuffers(self._handle)
            _kernel.DisconnectNamedPipe(self._handle)
        _kernel.CloseHandle(self._handle)


class PipeDoorway:
    """Where a server waits for connections: always one instance of the pipe that is free."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._closing = False
        self._free = _instance(name, first=True)

    def accept(self) -> PipeConnection | None:
        """Return the next connection; None once `close` was called. Raises OSError."""
        waiting = self._free
        if not _kernel.ConnectNamedPipe(wintypes.HANDLE(waiting), None):
            code = ctypes.get_last_error()
            if code != _ERROR_PIPE_CONNECTED and not self._closing:
                self._renew(waiting)
                raise ctypes.WinError(code)
        if self._closing:
            return None
        self._free = _instance(self._name, first=False)
        return PipeConnection(waiting, self._seconds, serving=True)

    def close(self) -> None:
        """Let nobody in any more; a connection of our own wakes whoever waits in `accept`."""
        self._closing = True
        handle = _opened(self._name)
        if handle != _INVALID:
            _kernel.CloseHandle(wintypes.HANDLE(handle))

    def release(self) -> None:
        """Give the free instance back."""
        _kernel.CloseHandle(wintypes.HANDLE(self._free))

    def _renew(self, broken: int) -> None:
        self._free = _instance(self._name, first=False)
        _kernel.CloseHandle(wintypes.HANDLE(broken))


def open_doorway(workdir: Path, seconds: float) -> PipeDoorway:
    """Begin to wait for connections. The caller holds the workdir's lock.

    Raises BootRefused where another process uses the pipe's name, OSError.
    """
    try:
        return PipeDoorway(_name(workdir), seconds)
    except PermissionError:
        raise BootRefused(
            f"another process has the named pipe {_name(workdir)}, by which this server is"
            " administered: find out which, and stop it"
        ) from None


def connect(workdir: Path, seconds: float) -> PipeConnection | None:
    """Return a connection to the server of this workdir, or None where none runs.

    Raises OSError where it cannot be reached, PermissionError where the pipe is not the server's.
    """
    name = _name(workdir)
    handle = _opened(name)
    if handle == _INVALID and ctypes.get_last_error() == _ERROR_PIPE_BUSY:
        _kernel.WaitNamedPipeW(name, int(seconds * 1000))
        handle = _opened(name)
    if handle == _INVALID:
        code = ctypes.get_last_error()
        if code == _ERROR_FILE_NOT_FOUND:
            return None
        if code == _ERROR_ACCESS_DENIED:
            raise PermissionError(
                f"{name} may be used by the user whom the server runs as, and by administrators:"
                " run the command as one of them"
            )
        raise ctypes.WinError(code)
    owner = _owner(handle)
    if owner not in (SYSTEM, ADMINISTRATORS, own_sid(), *service_users()):
        _kernel.CloseHandle(wintypes.HANDLE(handle))
        raise PermissionError(
            f"{name} belongs to {owner}, who is neither the system nor an administrator, nor the"
            " service's account, nor you: nothing was said to it"
        )
    return PipeConnection(handle, seconds, serving=False)


class _Watchdog:
    """Cancels what is under way on a handle when the time is over."""

    def __init__(self, handle: wintypes.HANDLE, seconds: float) -> None:
        self._timer = threading.Timer(seconds, _kernel.CancelIoEx, (handle, None))
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_exc: object) -> None:
        self._timer.cancel()


def _failure(code: int) -> OSError:
    if code == _ERROR_OPERATION_ABORTED:
        return TimeoutError("it took too long")
    return ctypes.WinError(code)


def _name(workdir: Path) -> str:
    digest = hashlib.sha256(str(workdir.resolve()).lower().encode()).hexdigest()
    return rf"\\.\pipe\certeasy-{digest[:32]}"


def _instance(name: str, *, first: bool) -> int:
    """Make an instance of the pipe, for the users that its access list names."""
    sddl = f"O:{own_sid()}D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;{own_sid()})"
    descriptor = ctypes.c_void_p()
    check(
        _advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl, _SDDL_REVISION, ctypes.byref(descriptor), None
        )
    )
    attributes = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, False)
    try:
        handle: int = _kernel.CreateNamedPipeW(
            name,
            _DUPLEX | (_FIRST_INSTANCE if first else 0),
            _REJECT_REMOTE,  # bytes, waiting
            _MOST_INSTANCES,
            _BUFFER,
            _BUFFER,
            0,
            ctypes.byref(attributes),
        )
        if handle == _INVALID:
            raise ctypes.WinError(ctypes.get_last_error())
    finally:
        _kernel.LocalFree(descriptor)
    return handle


def _opened(name: str) -> int:
    handle: int = _kernel.CreateFileW(
        name, _GENERIC_READ_WRITE, 0, None, _OPEN_EXISTING, _SQOS_IDENTIFICATION, None
    )
    return handle


def _owner(handle: int) -> str:
    """Return whom a pipe belongs to."""
    sid, descriptor = ctypes.c_void_p(), ctypes.c_void_p()
    code = _advapi.GetSecurityInfo(
        wintypes.HANDLE(handle),
        _SE_KERNEL_OBJECT,
        _OWNER_INFORMATION,
        ctypes.byref(sid),
        None,
        None,
        None,
        ctypes.byref(descriptor),
    )
    if code:
        raise ctypes.WinError(code)
    try:
        return text_of(sid)
    finally:
        _kernel.LocalFree(descriptor)

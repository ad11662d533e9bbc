r"""Access lists of files and folders, where Windows has them in the place of modes.

What mode 0700 is to a folder: an access list of its own, nothing inherited from above, which lets
in the system, administrators, and the users named, and which everything in it inherits.

Windows only. Run under wine, which keeps of a list what a mode can say; not on Windows itself yet.
"""

import ctypes
import sys
from collections.abc import Collection
from pathlib import Path

from certeasy.cluster import sddl
from certeasy.cluster.sddl import ADMINISTRATORS, SYSTEM

assert sys.platform == "win32"

import winreg  # noqa: E402 - not everywhere
from ctypes import wintypes  # noqa: E402 - the same

SERVICE = "certeasy"
OF_SERVICES = rf"SYSTEM\CurrentControlSet\Services\{SERVICE}"

_SDDL_REVISION = 1
_FILE_OBJECT = 1
_OWNER, _DACL, _PROTECTED = 0x1, 0x4, 0x80000000
_TOKEN_QUERY = 8
_TOKEN_USER = 1
_KNOWN = {
    "localsystem": SYSTEM,
    "nt authority\\system": SYSTEM,
    "nt authority\\localservice": "S-1-5-19",
    "nt authority\\local service": "S-1-5-19",
    "nt authority\\networkservice": "S-1-5-20",
    "nt authority\\network service": "S-1-5-20",
}

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_advapi = ctypes.WinDLL("advapi32", use_last_error=True)
_kernel.GetCurrentProcess.restype = wintypes.HANDLE
_kernel.LocalFree.argtypes = (ctypes.c_void_p,)


def keep_to(
    path: Path, full: Collection[str], read: Collection[str] = (), *, owner: str = ""
) -> None:
    """Let nobody but the system, administrators and these users (SIDs) have a file or folder.

    Windows passes a folder's list on to all that is in it, but what has a list of its own. Raises
    OSError where that cannot be set: then it is not private.
    """
    text = (f"O:{owner}" if owner else "") + sddl.private(full, read, folder=path.is_dir())
    descriptor = ctypes.c_void_p()
    check(
        _advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(
            text, _SDDL_REVISION, ctypes.byref(descriptor), None
        )
    )
    try:
        what = _DACL | _PROTECTED
        whose, listed = ctypes.c_void_p(), ctypes.c_void_p()
        there, by_default = wintypes.BOOL(), wintypes.BOOL()
        check(
            _advapi.GetSecurityDescriptorDacl(
                descriptor, ctypes.byref(there), ctypes.byref(listed), ctypes.byref(by_default)
            )
        )
        if owner:
            what |= _OWNER
            check(
                _advapi.GetSecurityDescriptorOwner(
                    descriptor, ctypes.byref(whose), ctypes.byref(by_default)
                )
            )
        code = _advapi.SetNamedSecurityInfoW(
            str(path), _FILE_OBJECT, wintypes.DWORD(what), whose, None, listed, None
        )
        if code:
            raise ctypes.WinError(code)
    finally:
        _kernel.LocalFree(descriptor)


def read_text(path: Path) -> str:
    """Return owner and access list of a file or folder as text (SDDL). Raises OSError."""
    descriptor, text = ctypes.c_void_p(), wintypes.LPWSTR()
    code = _advapi.GetNamedSecurityInfoW(
        str(path), _FILE_OBJECT, _OWNER | _DACL, None, None, None, None, ctypes.byref(descriptor)
    )
    if code:
        raise ctypes.WinError(code)
    try:
        check(
            _advapi.ConvertSecurityDescriptorToStringSecurityDescriptorW(
                descriptor, _SDDL_REVISION, _OWNER | _DACL, ctypes.byref(text), None
            )
        )
        return text.value or ""
    finally:
        _kernel.LocalFree(text)
        _kernel.LocalFree(descriptor)


def strangers(path: Path, rights: int) -> list[str]:
    """Return who else than its owner, the system, administrators, this process's user and the
    service's account may do one of these things with a file. Raises OSError."""
    return sddl.strangers(read_text(path), users(), rights)


def users() -> list[str]:
    """Return who the server is: the user of this process, and of the service, if there is one."""
    return list(dict.fromkeys([own_sid(), *service_users()]))


def service_users() -> list[str]:
    """Return the account of the installed service; none: there is no service."""
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, OF_SERVICES) as key:
            account = winreg.QueryValueEx(key, "ObjectName")[0]
        return [sid_of(str(account))]
    except OSError:
        return []


def sid_of(account: str) -> str:
    """Return the SID of an account. Raises OSError where there is none of that name."""
    domain, _, name = account.partition("\\")
    if (known := _KNOWN.get(account.lower())) is not None:
        return known
    if domain.lower() == "nt service":
        return sddl.sid_of_service(name)  # Windows itself knows it from when the service is there
    wanted = name if domain == "." else account
    size, length = wintypes.DWORD(), wintypes.DWORD()
    kind = wintypes.DWORD()
    asked = (None, wanted, None, ctypes.byref(size), None, ctypes.byref(length), ctypes.byref(kind))
    _advapi.LookupAccountNameW(*asked)
    if not size.value:
        raise ctypes.WinError(ctypes.get_last_error())
    sid = ctypes.create_string_buffer(size.value)
    where = ctypes.create_unicode_buffer(length.value)
    check(
        _advapi.LookupAccountNameW(
            None, wanted, sid, ctypes.byref(size), where, ctypes.byref(length), ctypes.byref(kind)
        )
    )
    return text_of(ctypes.cast(sid, ctypes.c_void_p))


def own_sid() -> str:
    """Return the user whom this process runs as."""
    token = wintypes.HANDLE()
    process = wintypes.HANDLE(_kernel.GetCurrentProcess())
    check(_advapi.OpenProcessToken(process, _TOKEN_QUERY, ctypes.byref(token)))
    try:
        size = wintypes.DWORD()
        _advapi.GetTokenInformation(token, _TOKEN_USER, None, 0, ctypes.byref(size))
        held = ctypes.create_string_buffer(size.value)
        check(_advapi.GetTokenInformation(token, _TOKEN_USER, held, size, ctypes.byref(size)))
        return text_of(ctypes.c_void_p.from_buffer(held))  # a pointer to the SID stands first
    finally:
        _kernel.CloseHandle(token)


def text_of(sid: ctypes.c_void_p) -> str:
    """Return how a SID is written."""
    text = wintypes.LPWSTR()
    check(_advapi.ConvertSidToStringSidW(sid, ctypes.byref(text)))
    try:
        return text.value or ""
    finally:
        _kernel.LocalFree(text)


def check(outcome: int) -> None:
    """Raise what the last call has met, if it failed."""
    if not outcome:
        raise ctypes.WinError(ctypes.get_last_error())


__all__ = [
    "ADMINISTRATORS",
    "SYSTEM",
    "check",
    "keep_to",
    "own_sid",
    "read_text",
    "service_users",
    "sid_of",
    "strangers",
    "text_of",
    "users",
]

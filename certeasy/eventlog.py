r"""Windows' Event Log: where entries are put, and how it learns their source.

An entry's text is found by the viewer in a message file. Ours is Windows' own `EventCreate.exe`,
which has for each number from 1 to 1000 a message that is the text and nothing else: no file of
this installation is held open by the viewer while an upgrade wants to replace it.

Windows only. Written by the documentation of its API; run under wine, not on Windows itself yet.
"""

import contextlib
import ctypes
import sys

assert sys.platform == "win32"

import winreg  # noqa: E402 - not everywhere
from ctypes import wintypes  # noqa: E402 - the same

SOURCE = "Certeasy"
PLACE = rf"SYSTEM\CurrentControlSet\Services\EventLog\Application\{SOURCE}"
MESSAGES = r"%SystemRoot%\System32\EventCreate.exe"
_ALL_KINDS = 7  # errors, warnings, information

_advapi = ctypes.WinDLL("advapi32", use_last_error=True)
_advapi.RegisterEventSourceW.restype = wintypes.HANDLE
_advapi.ReportEventW.argtypes = (
    wintypes.HANDLE,
    wintypes.WORD,
    wintypes.WORD,
    wintypes.DWORD,
    ctypes.c_void_p,
    wintypes.WORD,
    wintypes.DWORD,
    ctypes.POINTER(wintypes.LPCWSTR),
    ctypes.c_void_p,
)


def write(kind: int, number: int, text: str) -> None:
    """Put an entry into the Application log. Raises OSError."""
    handle = _advapi.RegisterEventSourceW(None, SOURCE)
    if not handle:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        texts = (wintypes.LPCWSTR * 1)(text)
        if not _advapi.ReportEventW(handle, kind, 0, number, None, 1, 0, texts, None):
            raise ctypes.WinError(ctypes.get_last_error())
    finally:
        _advapi.DeregisterEventSource(wintypes.HANDLE(handle))


def register() -> None:
    """Tell the Event Log of the source. Raises OSError."""
    with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, PLACE) as key:
        winreg.SetValueEx(key, "EventMessageFile", 0, winreg.REG_EXPAND_SZ, MESSAGES)
        winreg.SetValueEx(key, "TypesSupported", 0, winreg.REG_DWORD, _ALL_KINDS)


def unregister() -> None:
    """Have it forget the source; the entries stay."""
    with contextlib.suppress(FileNotFoundError):
        winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, PLACE)

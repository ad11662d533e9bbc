"""Windows' access lists as text (SDDL): whom one lets in.

    O:BAG:DUD:PAI(A;OICI;FA;;;SY)(A;;0x1200a9;;;S-1-5-80-1-2-3-4-5)

Owner and group, then the list: each entry has its kind, flags, rights, and whom it is for, as a SID
or two letters that stand for one. [MS-DTYP] section 2.5.1.
"""

import hashlib
import re
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

SYSTEM = "S-1-5-18"
ADMINISTRATORS = "S-1-5-32-544"
EVERYONE = "S-1-1-0"

ALIASES = {
    "SY": SYSTEM,
    "BA": ADMINISTRATORS,
    "WD": EVERYONE,
    "AU": "S-1-5-11",
    "BU": "S-1-5-32-545",
    "BG": "S-1-5-32-546",
    "CO": "S-1-3-0",
    "OW": "S-1-3-4",
    "IU": "S-1-5-4",
    "NU": "S-1-5-2",
    "AN": "S-1-5-7",
    "LS": "S-1-5-19",
    "NS": "S-1-5-20",
}
NAMES = {
    EVERYONE: "Everyone",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-32-545": "Users",
    "S-1-5-32-546": "Guests",
    "S-1-5-4": "Interactive",
    "S-1-5-2": "Network",
    "S-1-5-7": "Anonymous",
    "S-1-5-19": "Local Service",
    "S-1-5-20": "Network Service",
    "DU": "Domain Users",
    "DC": "Domain Computers",
}
# Whoever makes or owns the file, and administrators by other names: local, of a domain, of all.
_ALWAYS = frozenset({SYSTEM, ADMINISTRATORS, "S-1-3-0", "S-1-3-4", "LA", "DA", "EA"})

READ = 0x00000001
WRITE = 0x00000002 | 0x00000004 | 0x00000040 | 0x00010000 | 0x00040000 | 0x00080000
"""Data, appending, removing what is in a folder, removing, the list itself, the owner."""
_GENERIC_READ, _GENERIC_WRITE, _GENERIC_ALL = 0x80000000, 0x40000000, 0x10000000
_FILE_ALL, _FILE_READ, _FILE_WRITE, _FILE_EXECUTE = 0x1F01FF, 0x120089, 0x120116, 0x1200A0
_RIGHTS = {
    "GA": _FILE_ALL, "GR": _FILE_READ, "GW": _FILE_WRITE, "GX": _FILE_EXECUTE,
    "FA": _FILE_ALL, "FR": _FILE_READ, "FW": _FILE_WRITE, "FX": _FILE_EXECUTE,
    "RC": 0x20000, "SD": 0x10000, "WD": 0x40000, "WO": 0x80000,
    "CC": 0x1, "DC": 0x2, "LC": 0x4, "SW": 0x8, "RP": 0x10, "WP": 0x20, "DT": 0x40, "LO": 0x80,
    "CR": 0x100,
}  # fmt: skip
_ALLOWING = frozenset({"A", "XA", "OA", "ZA"})
_OWNER = re.compile(r"O:(S-[\d-]+|[A-Z]{2})")
_LIST = re.compile(r"D:(?P<flags>[A-Z_]*)(?P<entries>(?:\([^()]*(?:\([^()]*\)[^()]*)*\))*)")
_ENTRY = re.compile(r"\((?P<kind>\w+);\w*;(?P<rights>\w*);[^;]*;[^;]*;(?P<who>[\w-]+)")


class Entry(NamedTuple):
    """What an access list lets somebody do."""

    who: str
    rights: int


def owner(text: str) -> str:
    """Return whom the file belongs to; empty: that was not asked for."""
    found = _OWNER.search(text)
    return _sid(found[1]) if found else ""


def allowed(text: str) -> Iterator[Entry]:
    """Yield what is allowed, and to whom; what is forbidden takes nothing away here.

    Entries count that a folder only passes on, for what is in it is what matters. No list at all
    lets everyone do everything.
    """
    found = _LIST.search(text)
    if found is None or "NO_ACCESS_CONTROL" in found["flags"]:
        yield Entry(EVERYONE, _FILE_ALL)
        return
    for each in _ENTRY.finditer(found["entries"]):
        if each["kind"] in _ALLOWING:
            yield Entry(_sid(each["who"]), _mask(each["rights"]))


def strangers(text: str, known: Collection[str], rights: int) -> list[str]:
    """Return who may do one of these things beside the owner, the system, administrators and those
    who are known (SIDs)."""
    mine = {*_ALWAYS, *known, owner(text)}
    who = (each.who for each in allowed(text) if each.rights & rights and each.who not in mine)
    return [NAMES.get(each, each) for each in dict.fromkeys(who)]


def private(full: Collection[str], read: Collection[str] = (), *, folder: bool) -> str:
    """Return the list that lets in the system, administrators, and these users; nothing is
    inherited, and what is made in a folder inherits it."""
    passed_on = "OICI" if folder else ""
    everything = dict.fromkeys([SYSTEM, ADMINISTRATORS, *full])
    entries = [f"(A;{passed_on};FA;;;{sid})" for sid in everything]
    entries += [f"(A;{passed_on};FRFX;;;{sid})" for sid in dict.fromkeys(read)]
    return "D:P" + "".join(entries)


def sid_of_service(name: str) -> str:
    r"""Return the SID that Windows gives `NT SERVICE\name`: made of the name, in capitals."""
    digest = hashlib.sha1(name.upper().encode("utf-16-le"), usedforsecurity=False).digest()
    return "-".join(["S-1-5-80", *map(str, struct.unpack("<5I", digest))])


def _sid(text: str) -> str:
    return ALIASES.get(text, text)


def _mask(text: str) -> int:
    if text[:2].lower() == "0x":
        number = int(text, 16)
        number |= _FILE_ALL if number & _GENERIC_ALL else 0
        number |= _FILE_READ if number & _GENERIC_READ else 0
        return number | (_FILE_WRITE if number & _GENERIC_WRITE else 0)
    mask = 0
    for start in range(0, len(text), 2):
        mask |= _RIGHTS.get(text[start : start + 2], 0)
    return mask

"""Who may do what with an object: security descriptors, as a directory or a CA hands them out.

Read from their bytes (self-relative, MS-DTYP section 2.4.6), and judged as Windows judges them (the
access check of MS-DTYP section 2.5.3.2, the control access rights of MS-ADTS section 5.1.3.3):

1. Without a DACL everybody may do everything; with an empty one nobody may do anything.
2. Entries count in their order. The first that speaks of one of the account's SIDs and of the right
   decides: an allowing one grants it, a denying one refuses it.
3. An entry that is only there to be inherited says nothing about the object itself.
4. An entry with a condition cannot be judged here: one that allows grants nothing, one that denies
   denies. So this errs on the side of "no".
5. An entry for all extended rights covers each of them; one with a GUID covers that one alone.

No I/O; whatever the bytes are, the outcome is a descriptor or `Malformed`.
"""

import uuid
from collections.abc import Collection
from struct import unpack_from

from msgspec import Struct

LARGEST = 1 << 18
"""More bytes than any descriptor can have: an ACL's length has 16 bits, and there are two."""

ENROLL = uuid.UUID("0e10c968-78fb-11d2-90d4-00c04f79dc55")
"""The control access right Certificate-Enrollment."""

CONTROL_ACCESS = 0x100
"""On an object of the directory: the extended rights. On a CA this bit means "read"."""
WRITE_PROPERTY = 0x20
WRITE_DAC = 0x40000
WRITE_OWNER = 0x80000
GENERIC_ALL = 0x1000_0000
GENERIC_WRITE = 0x4000_0000

CA_ADMINISTRATOR, CA_OFFICER, CA_READ, CA_ENROLL = 0x1, 0x2, 0x100, 0x200
"""On a CA: Manage CA, Issue and Manage Certificates, Read, Request Certificates. MS-CSRA 3.1.1.7"""

EVERYBODY = {
    "S-1-1-0": "Everyone",
    "S-1-5-7": "Anonymous Logon",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-32-545": "Users",
}
"""Groups that whoever has an account belongs to."""
EVERYBODY_OF_A_DOMAIN = {513: "Domain Users", 514: "Domain Guests", 515: "Domain Computers"}
"""Further ones: a domain's, by the last number of their SID."""
OF_EVERY_LOGON = frozenset({"S-1-1-0", "S-1-5-11", "S-1-5-2", "S-1-5-15"})
"""What Windows adds to whoever comes over the network: Everyone, Authenticated Users, Network, This
Organization."""

_DACL_PRESENT = 0x0004
_SELF_RELATIVE = 0x8000
_INHERIT_ONLY = 0x08
_HAS_TYPE, _HAS_INHERITED_TYPE = 0x1, 0x2
# ACE types: (allows, has GUIDs, has a condition). MS-DTYP section 2.4.4.1. Others are of auditing
# and labels, and no part of an access check.
_KINDS = {
    0x00: (True, False, False),
    0x01: (False, False, False),
    0x05: (True, True, False),
    0x06: (False, True, False),
    0x09: (True, False, True),
    0x0A: (False, False, True),
    0x0B: (True, True, True),
    0x0C: (False, True, True),
}
_LONGEST_SID = 15  # sub-authorities


class Malformed(ValueError):
    """The bytes are no security descriptor."""


class Entry(Struct, frozen=True):
    """One line of a DACL: `mask` is allowed, or denied, to `sid`."""

    allows: bool
    mask: int
    sid: str
    right: uuid.UUID | None = None
    """The one extended right (or property) that it is about; None: all of them."""
    inherited_only: bool = False
    conditional: bool = False


class Descriptor(Struct, frozen=True):
    """Whose an object is, and who may do what with it."""

    owner: str | None
    entries: tuple[Entry, ...] | None
    """None: there is no DACL."""


class Verdict(Struct, frozen=True):
    """Whether a right is had. `by` is the entry that decided; None: the lack of one."""

    granted: bool
    by: Entry | None = None


def parse(data: bytes) -> Descriptor:
    """Return what the bytes say. Raises Malformed."""
    if not 20 <= len(data) <= LARGEST:  # noqa: PLR2004 - the header's length
        raise Malformed(f"{len(data)} bytes are no security descriptor")
    revision, _, control, owner, _group, _sacl, dacl = unpack_from("<BBHIIII", data)
    if revision != 1 or not control & _SELF_RELATIVE:
        raise Malformed("this is no self-relative security descriptor of revision 1")
    return Descriptor(
        _sid(data, owner, len(data))[0] if owner else None,
        _entries(data, dacl) if control & _DACL_PRESENT and dacl else None,
    )


def sid(data: bytes) -> str:
    """Return a SID, `S-1-5-...`, from its bytes. Raises Malformed; so does anything after it."""
    found, length = _sid(data, 0, len(data))
    if length != len(data):
        raise Malformed("there is something behind the SID")
    return found


def granted(
    descriptor: Descriptor,
    sids: Collection[str],
    mask: int,
    right: uuid.UUID | None = None,
) -> Verdict:
    """Tell whether whoever has these SIDs has a right: one bit, or one extended right of it."""
    if descriptor.entries is None:
        return Verdict(granted=True)
    for entry in descriptor.entries:
        if entry.inherited_only or entry.sid not in sids or not _covers(entry, mask, right):
            continue
        if entry.allows and entry.conditional:
            continue
        return Verdict(entry.allows, entry)
    return Verdict(granted=False)


def may_enroll(descriptor: Descriptor, sids: Collection[str]) -> Verdict:
    """Tell whether whoever has these SIDs has the right Enroll on a template."""
    return granted(descriptor, sids, CONTROL_ACCESS, ENROLL)


def everybody(name_of: str) -> str | None:
    """Return the name of the group with this SID if it is one of everybody's; else None."""
    if name_of in EVERYBODY:
        return EVERYBODY[name_of]
    head, _, last = name_of.rpartition("-")
    if head.startswith("S-1-5-21-") and last.isdecimal():
        return EVERYBODY_OF_A_DOMAIN.get(int(last))
    return None


def groups_of_everybody(descriptor: Descriptor) -> tuple[str, ...]:
    """Return the SIDs of everybody's groups that a descriptor speaks of, each once, in order."""
    if descriptor.entries is None:
        return ("S-1-1-0",)
    return tuple(
        dict.fromkeys(entry.sid for entry in descriptor.entries if everybody(entry.sid) is not None)
    )


def may_change(descriptor: Descriptor, sids: Collection[str]) -> bool:
    """Tell whether whoever has these SIDs may rewrite the object, its owner or its rights."""
    if descriptor.owner is not None and descriptor.owner in sids:
        return True
    asked = (WRITE_DAC, WRITE_OWNER, WRITE_PROPERTY)
    return any(granted(descriptor, sids, bit).granted for bit in asked)


def _covers(entry: Entry, mask: int, right: uuid.UUID | None) -> bool:
    """Whether an entry speaks of the right at all."""
    if entry.mask & GENERIC_ALL:
        return entry.right is None or entry.right == right
    if mask == WRITE_PROPERTY and entry.mask & GENERIC_WRITE:
        return entry.right is None
    return bool(entry.mask & mask) and (entry.right is None or entry.right == right)


def _entries(data: bytes, start: int) -> tuple[Entry, ...]:
    """Return the entries of the ACL at `start`."""
    _need(data, start, 8)
    _revision, _, size, count, _ = unpack_from("<BBHHH", data, start)
    end, at = start + size, start + 8
    _need(data, start, size)
    found = []
    for _n in range(count):
        if at + 4 > end:
            raise Malformed("an ACL ends before its last entry")
        kind, flags, length = unpack_from("<BBH", data, at)
        if length < 4 or at + length > end:  # noqa: PLR2004 - an entry's header
            raise Malformed("an entry of an ACL is longer than it")
        if kind in _KINDS:
            found.append(_entry(data, kind, flags, at + 4, at + length))
        at += length
    return tuple(found)


def _entry(data: bytes, kind: int, flags: int, at: int, end: int) -> Entry:
    """Return the entry whose body is from `at` to `end`."""
    allows, has_guids, conditional = _KINDS[kind]
    _within(at, 4, end)
    (mask,) = unpack_from("<I", data, at)
    at += 4
    right = None
    if has_guids:
        _within(at, 4, end)
        (there,) = unpack_from("<I", data, at)
        at += 4
        if there & _HAS_TYPE:
            _within(at, 16, end)
            right = uuid.UUID(bytes_le=bytes(data[at : at + 16]))
            at += 16
        if there & _HAS_INHERITED_TYPE:
            at += 16
    who, _ = _sid(data, at, end)
    return Entry(allows, mask, who, right, bool(flags & _INHERIT_ONLY), conditional)


def _sid(data: bytes, at: int, end: int) -> tuple[str, int]:
    """Return the SID at `at`, and its length. MS-DTYP section 2.4.2.2."""
    _need(data, at, 8)
    _within(at, 8, end)
    revision, count = unpack_from("<BB", data, at)
    if revision != 1 or count > _LONGEST_SID:
        raise Malformed("this is no SID")
    _within(at, 8 + 4 * count, end)
    authority = int.from_bytes(data[at + 2 : at + 8], "big")
    numbers = unpack_from(f"<{count}I", data, at + 8)
    return "-".join(map(str, ("S", revision, authority, *numbers))), 8 + 4 * count


def _need(data: bytes, at: int, length: int) -> None:
    _within(at, length, len(data))


def _within(at: int, length: int, end: int) -> None:
    if at + length > end:
        raise Malformed("a part of a security descriptor is behind its end")

"""Security descriptors as bytes: MS-DTYP 2.4."""

import struct

ADMINISTRATE, OFFICER, READ, ENROLL = 0x1, 0x2, 0x100, 0x200
"""Rights at a CA: MS-CSRA 3.1.1.7."""


def security_descriptor(entries: list[tuple[int, bytes]]) -> bytes:
    """Return a self-relative descriptor (MS-DTYP 2.4.6): masks by SID; administrators own it."""
    owner = sid(5, 32, 544)
    aces = b"".join(struct.pack("<BBHI", 0, 0, 8 + len(one), mask) + one for mask, one in entries)
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(aces), len(entries), 0) + aces
    head = struct.pack("<BBHIIII", 1, 0, 0x8004, 20, 20 + len(owner), 0, 20 + 2 * len(owner))
    return head + owner + owner + acl


def sid(authority: int, *parts: int) -> bytes:
    """Return a SID (MS-DTYP 2.4.2.2)."""
    head = bytes((1, len(parts))) + authority.to_bytes(6, "big")
    return head + b"".join(struct.pack("<I", part) for part in parts)


ADMINISTRATORS = sid(5, 32, 544)
AUTHENTICATED_USERS = sid(5, 11)

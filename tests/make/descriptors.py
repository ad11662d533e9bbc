"""Security descriptors and templates of a directory, made by a sentence."""

import struct
import uuid
from collections.abc import Iterable

ENROLL = uuid.UUID("0e10c968-78fb-11d2-90d4-00c04f79dc55")
DOMAIN = "S-1-5-21-1004336348-1177238915-682003330"
SERVICE = f"{DOMAIN}-1105"
ADMINS = f"{DOMAIN}-512"
USERS = f"{DOMAIN}-513"
AUTHENTICATED = "S-1-5-11"
FULL = 0xF01FF


def a_sid(text: str) -> bytes:
    """Return the bytes of a SID."""
    revision, authority, *numbers = (int(part) for part in text.split("-")[1:])
    head = struct.pack("<BB", revision, len(numbers)) + authority.to_bytes(6, "big")
    return head + b"".join(struct.pack("<I", number) for number in numbers)


def an_entry(
    sid: str,
    mask: int,
    right: uuid.UUID | None = None,
    *,
    kind: int | None = None,
    denies: bool = False,
    flags: int = 0,
    inherited: uuid.UUID | None = None,
) -> bytes:
    """Return one entry of an ACL; with a right, or a class that inherits it, one with GUIDs."""
    guids = right is not None or inherited is not None
    body = struct.pack("<I", mask)
    if guids:
        body += struct.pack("<I", (right is not None) | (inherited is not None) << 1)
        body += b"" if right is None else right.bytes_le
        body += b"" if inherited is None else inherited.bytes_le
    body += a_sid(sid)
    kind = (5 if guids else 0) + denies if kind is None else kind
    return struct.pack("<BBH", kind, flags, 4 + len(body)) + body


def an_acl(entries: Iterable[bytes]) -> bytes:
    """Return the ACL with these entries."""
    entries = list(entries)
    body = b"".join(entries)
    return struct.pack("<BBHHH", 4, 0, 8 + len(body), len(entries), 0) + body


def a_descriptor(*entries: bytes, owner: str | None = ADMINS, dacl: bool = True) -> bytes:
    """Return a self-relative security descriptor with these entries; without `dacl`, with none."""
    who = b"" if owner is None else a_sid(owner)
    at = 20 + len(who)
    control = 0x8000 | (0x4 if dacl else 0)
    head = struct.pack("<BBHIIII", 1, 0, control, 20 if who else 0, 0, 0, at if dacl else 0)
    return head + who + (an_acl(entries) if dacl else b"")


def a_template(
    name: str = "AcmeServer", **changed: bytes | tuple[bytes, ...]
) -> dict[str, tuple[bytes, ...]]:
    """Return the attributes of a template as an ACME server wants it, with these changed.

    `enrollment_flag=b"2"` changes msPKI-Enrollment-Flag; an empty tuple takes one away.
    """
    found: dict[str, tuple[bytes, ...]] = {
        "cn": (name.encode(),),
        "flags": (b"131649",),
        "mspki-template-schema-version": (b"2",),
        "mspki-certificate-name-flag": (b"1",),
        "mspki-enrollment-flag": (b"0",),
        "mspki-private-key-flag": (b"16842752",),
        "mspki-ra-signature": (b"0",),
        "mspki-minimal-key-size": (b"2048",),
        "mspki-certificate-application-policy": (b"1.3.6.1.5.5.7.3.1",),
        "pkiextendedkeyusage": (b"1.3.6.1.5.5.7.3.1",),
        "pkiexpirationperiod": (struct.pack("<q", -90 * 86400 * 10**7),),
        "ntsecuritydescriptor": (
            a_descriptor(an_entry(ADMINS, FULL), an_entry(SERVICE, 0x100, ENROLL)),
        ),
    }
    for key, value in changed.items():
        [full] = [each for each in found if each.replace("-", "_").endswith(key)] or [
            "mspki-ra-application-policies"
        ]
        found[full] = value if isinstance(value, tuple) else (value,)
    return found

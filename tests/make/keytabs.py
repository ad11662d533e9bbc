"""Keytabs and credential caches, byte by byte as MIT Kerberos describes them."""

import struct
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from impacket.krb5.crypto import Key


class HasTicket(Protocol):
    """What a cache is made of."""

    client: tuple[str, ...]
    realm: str
    service: tuple[str, ...]
    der: bytes
    session: Key
    starts: datetime
    ends: datetime
    renewable_until: datetime | None


def a_keytab(file: Path, *entries: bytes) -> Path:
    """Write entries (or holes) into a private file."""
    file.write_bytes(b"\x05\x02" + b"".join(entries))
    file.chmod(0o600)
    return file


def an_entry(
    principal: str, etype: int, key: bytes, version: int = 1, *, long_version: bool = True
) -> bytes:
    """Return an entry of a keytab."""
    name, realm = principal.split("@")
    parts = name.split("/")
    body = struct.pack(">H", len(parts)) + _short(realm) + b"".join(_short(one) for one in parts)
    body += struct.pack(">IIB", 1, 0, version & 0xFF) + struct.pack(">HH", etype, len(key)) + key
    if long_version:
        body += struct.pack(">I", version)
    return struct.pack(">i", len(body)) + body


def a_hole(size: int) -> bytes:
    """Return what a deleted entry leaves."""
    return struct.pack(">i", -size) + bytes(size)


def a_ccache(
    file: Path, owner: str, tickets: Iterable[HasTicket], *, version: int = 4, note: bool = True
) -> Path:
    """Write tickets into a private file, with a library's own note among them."""
    content = bytes([5, version])
    if version == 4:
        content += struct.pack(">HHH", 12, 1, 8) + bytes(8)
    name, realm = owner.split("@")
    content += _principal(tuple(name.split("/")), realm)
    if note:
        where = ("krb5_ccache_conf_data", "fast_avail", "krbtgt/X@X")
        content += _credential(
            (name,), realm, where, "X-CACHECONF:", 0, b"", (0, 0, 0, 0), 0, b"yes", version
        )
    for one in tickets:
        renewable = int(one.renewable_until.timestamp()) if one.renewable_until else 0
        begun, over = int(one.starts.timestamp()), int(one.ends.timestamp())
        content += _credential(
            one.client,
            one.realm,
            one.service,
            one.realm,
            one.session.enctype,
            one.session.contents,
            (begun, begun, over, renewable),
            0x0080_0000 if renewable else 0,
            one.der,
            version,
        )
    file.write_bytes(content)
    file.chmod(0o600)
    return file


def _credential(
    client: tuple[str, ...],
    realm: str,
    service: tuple[str, ...],
    service_realm: str,
    etype: int,
    key: bytes,
    times: tuple[int, int, int, int],
    flags: int,
    der: bytes,
    version: int,
) -> bytes:
    return b"".join(
        (
            _principal(client, realm),
            _principal(service, service_realm),
            struct.pack(">H", etype) * (2 if version == 3 else 1),
            _long(key),
            struct.pack(">4I", *times),
            b"\x00",
            struct.pack(">I", flags),
            struct.pack(">IHI4s", 1, 2, 4, bytes([127, 0, 0, 1])),
            struct.pack(">IHI2s", 1, 1, 2, b"ad"),
            _long(der),
            _long(b""),
        )
    )


def _principal(parts: tuple[str, ...], realm: str) -> bytes:
    head = struct.pack(">II", 1, len(parts)) + _long(realm.encode())
    return head + b"".join(_long(one.encode()) for one in parts)


def _short(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data

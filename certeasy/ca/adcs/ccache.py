"""The ticket that somebody else fetched: a credential cache in a file (`kinit`, `k5start`).

Only the file that the settings name is ever read; the environment (KRB5CCNAME) has no say. Format:
MIT Kerberos, "Credential cache file format", versions 3 and 4.
"""

from datetime import UTC, datetime
from pathlib import Path
from struct import Struct as Packed
from struct import error as Short  # noqa: N812 - an exception of ours by what it means

from impacket.krb5 import asn1
from impacket.krb5.crypto import Key
from pyasn1.codec.der import encoder

from certeasy.ca.adcs.identity import NotAuthenticated, read_secret
from certeasy.ca.adcs.keys import LENGTHS
from certeasy.ca.adcs.tickets import (
    AS_REP,
    NT_PRINCIPAL,
    Garbled,
    Principal,
    Ticket,
    copy_ticket,
    named,
    parse,
)

VERSIONS = (b"\x05\x03", b"\x05\x04")
RENEWABLE = 0x0080_0000
"""The ticket flag. RFC 4120 section 5.3."""

_LENGTH, _NUMBER, _TIMES = Packed(">H"), Packed(">I"), Packed(">4I")


class _Reader:
    """Reads on and on; raises Short at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def take(self, length: int) -> bytes:
        if self._at + length > len(self._data):
            raise Short("ends too early")
        self._at += length
        return self._data[self._at - length : self._at]

    def short(self) -> int:
        number: int = _LENGTH.unpack(self.take(_LENGTH.size))[0]
        return number

    def number(self) -> int:
        number: int = _NUMBER.unpack(self.take(_NUMBER.size))[0]
        return number

    def counted(self) -> bytes:
        return self.take(self.number())

    def principal(self) -> tuple[Principal, str]:
        self.number()  # what kind of name it is
        count = self.number()
        realm = self.counted().decode()
        return tuple(self.counted().decode() for _ in range(count)), realm


def read_ccache(file: Path, user: str, realm: str, now: datetime) -> Ticket:
    """Return the ticket of `user` in `realm` that others are got with, the one that lasts longest.

    An empty `user`: whoever the cache belongs to.

    Raises NotAuthenticated where there is none, or it is over.
    """
    content = read_secret(file, "ccache")
    if content[:2] not in VERSIONS:
        raise NotAuthenticated(
            "", f"{file} is no credential cache of version 3 or 4", "make it with kinit -c FILE:…"
        )
    try:
        owner, tickets = _tickets(content, now)
    except (Short, UnicodeDecodeError, ValueError, Garbled):
        raise NotAuthenticated(
            "",
            f"ccache {file} is torn, or being written",
            "make it anew with kinit",
            transient=True,
        ) from None
    expected = f"{user or owner.partition('@')[0]}@{realm}"
    if owner.lower() != expected.lower():
        raise NotAuthenticated(
            "",
            f"ccache {file} belongs to {owner}, not to {expected}",
            "make it for that account (and check `user` and `domain`)",
        )
    wanted = ("krbtgt", realm.lower())
    ours = [one for one in tickets if tuple(part.lower() for part in one.service) == wanted]
    if not ours:
        raise NotAuthenticated(
            "", f"ccache {file} has no ticket krbtgt/{realm}", "make it with kinit"
        )
    best = max(ours, key=lambda one: one.expires)
    if best.expires <= now:
        raise NotAuthenticated(
            "",
            f"the ticket in ccache {file} expired at {best.expires:%Y-%m-%dT%H:%M:%SZ}",
            "run kinit, or have k5start renew it; or use a keytab",
        )
    return best


def _tickets(content: bytes, now: datetime) -> tuple[str, list[Ticket]]:
    """Return whose cache it is, and every ticket in it that we could use."""
    reader = _Reader(content)
    if reader.take(2) == VERSIONS[1]:
        reader.take(reader.short())
    client, realm = reader.principal()
    owner = f"{'/'.join(client)}@{realm}"
    tickets = []
    while not reader.over:
        client, realm = reader.principal()
        service, _ = reader.principal()
        etype = reader.short()
        if content[1:2] == b"\x03":
            reader.short()  # version 3 writes it twice
        contents = reader.counted()
        _, starts, ends, renewable = _TIMES.unpack(reader.take(_TIMES.size))
        reader.take(1)
        flags = reader.number()
        for _ in range(2):  # addresses, authorization data
            for _ in range(reader.number()):
                reader.short()
                reader.counted()
        der = reader.counted()
        reader.counted()  # a second ticket
        # What a library notes for itself stands among them, under a realm of its own.
        if LENGTHS.get(etype) != len(contents) or not der.startswith(b"\x61"):
            continue
        begun = datetime.fromtimestamp(starts, UTC)
        tickets.append(
            Ticket(
                client=client,
                realm=realm,
                service=service,
                der=der,
                session=Key(etype, contents),
                starts=begun,
                ends=datetime.fromtimestamp(ends, UTC),
                renewable_until=(
                    datetime.fromtimestamp(renewable, UTC) if flags & RENEWABLE else None
                ),
                fetched=min(begun, now),
                reply=_as_reply(client, realm, der),
            )
        )
    return owner, tickets


def _as_reply(client: Principal, realm: str, der: bytes) -> bytes:
    """Return the ticket in the shape of the reply that brought it, as far as anybody looks."""
    reply = asn1.AS_REP()
    reply["pvno"], reply["msg-type"], reply["crealm"] = 5, AS_REP, realm
    asn1.seq_set(reply, "cname", lambda name: named(name, NT_PRINCIPAL, client))
    copy_ticket(reply.setComponentByName("ticket")["ticket"], parse(asn1.Ticket(), der))
    sealed = reply.setComponentByName("enc-part")["enc-part"]
    sealed["etype"], sealed["cipher"] = 0, b""
    whole: bytes = encoder.encode(reply)
    return whole

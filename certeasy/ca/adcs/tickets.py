"""Tickets, and the messages that a KDC is asked for them with. RFC 4120.

Built from impacket's ASN.1 and ciphers, and checked as the RFC wants a client to: every reply is
decrypted with the key that only the KDC has, must carry the nonce of its request, be for the client
that asked, and for the service that was asked for; everything outside of the encrypted part is
anybody's word. A request for a service's ticket carries a checksum of its body, without which
Heimdal's KDC (Samba) refuses it.
"""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from impacket.krb5 import asn1, crypto
from impacket.krb5.crypto import InvalidChecksum, Key
from msgspec import Struct
from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error

from certeasy.ca.adcs.keys import AES128, AES256, RC4

Principal = tuple[str, ...]
Asn1 = TypeVar("Asn1")

AS_REQ, AS_REP, TGS_REQ, TGS_REP, AP_REQ = 10, 11, 12, 13, 14
NT_PRINCIPAL, NT_SRV_INST = 1, 2
PA_TGS_REQ, PA_ENC_TIMESTAMP, PA_ETYPE_INFO2, PA_PAC_REQUEST = 1, 2, 19, 128
ENCRYPTED_TIMESTAMP, AS_REPLY, TGS_CHECKSUM, TGS_AUTHENTICATOR, TGS_REPLY = 1, 3, 6, 7, 8
"""Key usages. RFC 4120 section 7.5.1."""
CHECKSUMS = {AES256: 16, AES128: 15, RC4: -138}
CONFOUNDERS = {AES256: 16, AES128: 16, RC4: 8}
CANONICALIZE, RENEW = 15, 30
"""KDC options, counted from the first bit. RFC 4120 section 5.4.1."""
A_DAY = timedelta(days=1)
LONGEST_LIFE = timedelta(days=365)
"""A ticket is not taken for good for longer than that."""


class Garbled(Exception):
    """What came is no message, or not the answer to what was asked."""


class Referred(Exception):
    """The KDC knows the service as another realm's."""

    def __init__(self, realm: str) -> None:
        super().__init__(f"the service belongs to realm {realm}")
        self.realm = realm


class Cipher:
    """A type of encryption as impacket's own callers use it, out of its public functions."""

    def __init__(self, etype: int) -> None:
        self.enctype = etype

    def encrypt(self, key: Key, usage: int, plain: bytes, confounder: bytes | None = None) -> bytes:
        """Return it encrypted."""
        fresh = os.urandom(CONFOUNDERS[self.enctype])
        encrypted: bytes = crypto.encrypt(key, usage, plain, confounder or fresh)
        return encrypted

    def decrypt(self, key: Key, usage: int, encrypted: bytes) -> bytes:
        """Return it decrypted. Raises InvalidChecksum or ValueError."""
        plain: bytes = crypto.decrypt(key, usage, bytes(encrypted))
        return plain


class Ticket(Struct, frozen=True):
    """A ticket for a service, and the key that goes with it.

    `client` is spelt as the KDC spelt it. `fetched` is by our clock, the other times by the KDC's.
    """

    client: Principal
    realm: str
    service: Principal
    der: bytes
    session: Key
    starts: datetime
    ends: datetime
    renewable_until: datetime | None
    fetched: datetime
    reply: bytes

    @property
    def expires(self) -> datetime:
        """When it is worthless, by our clock."""
        return self.fetched + self._life

    @property
    def stale(self) -> datetime:
        """From when on a new one is asked for: 80 % of its life are over."""
        return self.fetched + self._life * 4 / 5

    @property
    def _life(self) -> timedelta:
        """How long it is good in all; a KDC may write any two times."""
        return min(self.ends - self.starts, LONGEST_LIFE)

    def for_impacket(self) -> Mapping[str, Any]:
        """Return it in the shape that impacket's calls take."""
        cipher = Cipher(self.session.enctype)
        return {"KDC_REP": self.reply, "cipher": cipher, "sessionKey": self.session}

    def __repr__(self) -> str:
        return f"Ticket({'/'.join(self.service)!r}, until {self.ends:%Y-%m-%dT%H:%M:%SZ})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Say no more than that to whoever prints with colours."""
        return [("service", "/".join(self.service)), ("ends", self.ends)]


class Asked(Struct, frozen=True):
    """A request, and what its reply is held against."""

    message: bytes
    nonce: int
    realm: str
    service: Principal
    etypes: tuple[int, ...]
    client: Principal


def parse(spec: Asn1, data: bytes) -> Asn1:
    """Return the message. Raises Garbled if it is none, or if anything follows it."""
    try:
        message, rest = decoder.decode(data, asn1Spec=spec)
    # Whatever is wrong with bytes off the wire, pyasn1 has an error of its own for it, or not.
    except (PyAsn1Error, ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
        raise Garbled(f"it is no {type(spec).__name__}: {type(error).__name__}") from None
    if rest:
        raise Garbled("something follows the message")
    return message  # type: ignore[no-any-return] # pyasn1 has no types


def for_login(
    client: Principal,
    realm: str,
    etypes: tuple[int, ...],
    now: datetime,
    proof: tuple[Key, datetime] | None = None,
) -> Asked:
    """Return the request for the ticket that others are got with.

    `proof`: the key to encrypt the time with, and the time. RFC 4120 section 5.2.7.2.
    """
    pac = asn1.KERB_PA_PAC_REQUEST()
    pac["include-pac"] = True
    shown = [(PA_PAC_REQUEST, encoder.encode(pac))]
    if proof is not None:
        key, at = proof
        stamp = asn1.PA_ENC_TS_ENC()
        stamp["patimestamp"], stamp["pausec"] = written(at), at.microsecond
        sealed = encrypted(asn1.EncryptedData(), key, ENCRYPTED_TIMESTAMP, encoder.encode(stamp))
        shown.insert(0, (PA_ENC_TIMESTAMP, encoder.encode(sealed)))
    service = ("krbtgt", realm)
    request, nonce = _request(asn1.AS_REQ(), AS_REQ, realm, service, etypes, now)
    asn1.seq_set(request["req-body"], "cname", lambda name: named(name, NT_PRINCIPAL, client))
    _show(request, shown)
    return Asked(encoder.encode(request), nonce, realm, service, etypes, client)


def for_service(
    tgt: Ticket, service: Principal, etypes: tuple[int, ...], now: datetime, *, renew: bool = False
) -> Asked:
    """Return the request for a service's ticket, or for `tgt` itself again."""
    request, nonce = _request(
        asn1.TGS_REQ(), TGS_REQ, tgt.realm, service, etypes, now, options=(RENEW,) * renew
    )
    body = encoder.encode(request["req-body"])
    # Inside the request the body has a tag of its own; the checksum is over what that contains.
    plain = body[2 + (body[1] & 0x7F if body[1] & 0x80 else 0) :]
    etype = tgt.session.enctype
    authenticator = asn1.Authenticator()
    authenticator["authenticator-vno"] = 5
    authenticator["crealm"] = tgt.realm
    asn1.seq_set(authenticator, "cname", lambda name: named(name, NT_PRINCIPAL, tgt.client))
    checksum = authenticator.setComponentByName("cksum")["cksum"]
    checksum["cksumtype"] = CHECKSUMS[etype]
    checksum["checksum"] = _checksum(tgt.session, plain)
    authenticator["cusec"], authenticator["ctime"] = now.microsecond, written(now)
    shown = asn1.AP_REQ()
    shown["pvno"], shown["msg-type"] = 5, AP_REQ
    shown["ap-options"] = flags(())
    copy_ticket(shown.setComponentByName("ticket")["ticket"], parse(asn1.Ticket(), tgt.der))
    sealed = shown.setComponentByName("authenticator")["authenticator"]
    encrypted(sealed, tgt.session, TGS_AUTHENTICATOR, encoder.encode(authenticator))
    _show(request, [(PA_TGS_REQ, encoder.encode(shown))])
    return Asked(encoder.encode(request), nonce, tgt.realm, service, etypes, tgt.client)


def from_login(asked: Asked, reply: bytes, key: Key, now: datetime) -> Ticket:
    """Return the ticket of a reply to `for_login`. Raises Garbled."""
    return _ticket(asked, reply, asn1.AS_REP(), key, AS_REPLY, now)


def from_service(asked: Asked, reply: bytes, tgt: Ticket, now: datetime) -> Ticket:
    """Return the ticket of a reply to `for_service`. Raises Garbled or Referred."""
    return _ticket(asked, reply, asn1.TGS_REP(), tgt.session, TGS_REPLY, now)


def etypes_told(padata: Any) -> list[tuple[int, bytes, bytes]]:
    """Return what a KDC tells of the account's keys: type, salt, rounds. Its own order."""
    for item in padata:
        if int(item["padata-type"]) == PA_ETYPE_INFO2:
            entries = parse(asn1.ETYPE_INFO2(), bytes(item["padata-value"]))
            return [
                (int(entry["etype"]), _optional(entry["salt"]), _optional(entry["s2kparams"]))
                for entry in entries
            ]
    return []


def _ticket(asked: Asked, reply: bytes, spec: Any, key: Key, usage: int, now: datetime) -> Ticket:
    """Check a reply, in the order of RFC 4120 section 3.1.5 and 3.3.4.

    1. Only the KDC can have encrypted it: the key of the account, or of the session.
    2. It answers this request: the nonce.
    3. It is for who asked, and for what was asked for.
    4. Its session key is of a type that was asked for.
    """
    message = parse(spec, reply)
    # (1):
    if int(message["enc-part"]["etype"]) != key.enctype:
        raise Garbled("the reply is encrypted with a key of another type than the request's")
    try:
        plain = crypto.decrypt(key, usage, bytes(message["enc-part"]["cipher"]))
    except (InvalidChecksum, ValueError, AssertionError):
        raise Garbled("the reply was not encrypted with the key that we have") from None
    part = _either_part(plain)
    # (2):
    if int(part["nonce"]) & 0xFFFF_FFFF != asked.nonce:
        raise Garbled("the reply belongs to another request: its nonce is not ours")
    # (3):
    client = spelt(message["cname"])
    if not same(client, asked.client) or str(message["crealm"]).lower() != asked.realm.lower():
        raise Garbled("the reply is for another client")
    service = spelt(part["sname"])
    if service != spelt(message["ticket"]["sname"]):
        raise Garbled("the ticket is for another service than the reply says")
    if not same(service, asked.service):
        if len(service) == 2 and service[0].lower() == "krbtgt":  # noqa: PLR2004 - krbtgt/REALM
            raise Referred(service[1])
        raise Garbled(f"the ticket is for {'/'.join(service)}, which was not asked for")
    # (4):
    etype = int(part["key"]["keytype"])
    if etype not in asked.etypes:
        raise Garbled("the session key is of a type that was not asked for")
    starts = part["starttime"] if part["starttime"].hasValue() else part["authtime"]
    renewable = part["renew-till"]
    return Ticket(
        client=client,
        realm=str(message["crealm"]),
        service=service,
        der=encoder.encode(copy_ticket(asn1.Ticket(), message["ticket"])),
        session=_session(etype, bytes(part["key"]["keyvalue"])),
        starts=read(starts),
        ends=read(part["endtime"]),
        renewable_until=read(renewable) if renewable.hasValue() else None,
        fetched=now,
        reply=reply,
    )


def _either_part(plain: bytes) -> Any:
    """Return the encrypted part; a KDC may take the other one's tag. RFC 4120 section 5.4.2."""
    # RC4 pads nothing and AES neither, so nothing may follow.
    try:
        return parse(asn1.EncASRepPart(), plain)
    except Garbled:
        return parse(asn1.EncTGSRepPart(), plain)


def _session(etype: int, contents: bytes) -> Key:
    try:
        return Key(etype, contents)
    except ValueError:
        raise Garbled("the session key is of a wrong length") from None


def copy_ticket(into: Any, ticket: Any) -> Any:
    """Return a Ticket that is filled in like another, whatever tags the two have."""
    into["tkt-vno"], into["realm"] = int(ticket["tkt-vno"]), str(ticket["realm"])
    kind = int(ticket["sname"]["name-type"])
    asn1.seq_set(into, "sname", lambda name: named(name, kind, spelt(ticket["sname"])))
    theirs, ours = ticket["enc-part"], into.setComponentByName("enc-part")["enc-part"]
    ours["etype"], ours["cipher"] = int(theirs["etype"]), bytes(theirs["cipher"])
    if theirs["kvno"].hasValue():
        ours["kvno"] = int(theirs["kvno"])
    return into


def _request(
    request: Any,
    kind: int,
    realm: str,
    service: Principal,
    etypes: tuple[int, ...],
    now: datetime,
    options: tuple[int, ...] = (),
) -> tuple[Any, int]:
    """Return a request whose body is filled in, and its nonce.

    No ticket is asked to be forwardable: nothing here hands one on.
    """
    request["pvno"], request["msg-type"] = 5, kind
    body = request.setComponentByName("req-body")["req-body"]
    # So asked, a domain controller tells which other realm a service belongs to.
    canonicalize = (CANONICALIZE,) if kind == TGS_REQ else ()
    body["kdc-options"] = flags((*canonicalize, *options))
    body["realm"] = realm
    asn1.seq_set(body, "sname", lambda name: named(name, NT_SRV_INST, service))
    body["till"] = written(now + A_DAY)
    nonce = int.from_bytes(os.urandom(4), "big") >> 1
    body["nonce"] = nonce
    asn1.seq_set_iter(body, "etype", etypes)
    return request, nonce


def _show(request: Any, shown: Iterable[tuple[int, bytes]]) -> None:
    items = request.setComponentByName("padata")["padata"]
    for number, (kind, value) in enumerate(shown):
        item = items.setComponentByPosition(number).getComponentByPosition(number)
        item["padata-type"], item["padata-value"] = kind, value


def _checksum(key: Key, text: bytes) -> bytes:
    kind = CHECKSUMS[key.enctype]
    checksum: bytes = crypto.make_checksum(kind, key, TGS_CHECKSUM, text)
    return checksum


def encrypted(into: Any, key: Key, usage: int, plain: bytes) -> Any:
    """Return an EncryptedData that is filled in."""
    into["etype"] = key.enctype
    into["cipher"] = Cipher(key.enctype).encrypt(key, usage, plain)
    return into


def named(into: Any, kind: int, principal: Principal) -> Any:
    """Return a PrincipalName that is filled in."""
    into["name-type"] = kind
    asn1.seq_set_iter(into, "name-string", principal)
    return into


def spelt(name: Any) -> Principal:
    """Return the components of a PrincipalName."""
    return tuple(str(component) for component in name["name-string"])


def same(one: Principal, other: Principal) -> bool:
    """Whether a directory that ignores case knows both as one."""
    return [part.lower() for part in one] == [part.lower() for part in other]


def flags(numbers: Iterable[int]) -> str:
    """Return bits, counted from the first, as pyasn1 takes them."""
    on = frozenset(numbers)
    return "'" + "".join("1" if bit in on else "0" for bit in range(32)) + "'B"


def written(at: datetime) -> str:
    """Return a KerberosTime: whole seconds, UTC."""
    return f"{at.astimezone(UTC):%Y%m%d%H%M%SZ}"


def read(time: Any) -> datetime:
    """Return what a KerberosTime says. Raises Garbled."""
    try:
        return datetime.strptime(str(time), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Garbled("a time in the reply is none") from None


def _optional(value: Any) -> bytes:
    return value.asOctets() if value.hasValue() else b""

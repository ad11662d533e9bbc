"""Kerberos as a security context: the client's side of RFC 4121, as Windows has it for DCE/RPC.

The ticket was fetched before (`kerberos`); nothing here talks to a KDC. What impacket's own does
not look at is looked at here, in this order:

1. The server's answer repeats the time of our request. Without that, a recorded connection could
   be played to us again, with all the answers in it, as long as the ticket is the same.
2. The keys come from the server's answer, never from the ticket. They are AES keys: what RC4 seals,
   nobody can tell from what was changed on the way, and Windows has had AES since 2008.
3. Every reply carries the next number, and its head is what was sealed.

Headers of packets are not covered, since impacket's peers do not agree on that. What a changed
header can do is to have a reply refused.
"""

import hmac
import os
import struct
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from impacket.krb5 import asn1, constants
from impacket.krb5.crypto import _get_enctype_profile
from impacket.krb5.types import KerberosTime, Principal, Ticket
from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import noValue

from certeasy.ca.adcs.security import Refused, Tampered
from certeasy.clock import Clock, SystemClock

KERBEROS = bytes.fromhex("06092a864886f712010202")
KERBEROS_AS_WINDOWS_SAYS = bytes.fromhex("06092a864882f712010202")
SPNEGO = bytes.fromhex("06062b0601050502")
AP_REQUEST = b"\x01\x00"
"""What stands before it in the frame of RFC 4121 section 4.1; an answer or error has others."""
MUTUAL, REPLAY, SEQUENCE, PRIVATE, WHOLE, DCE_STYLE = 2, 4, 8, 0x10, 0x20, 0x1000
FLAGS = MUTUAL | REPLAY | SEQUENCE | PRIVATE | WHOLE | DCE_STYLE
CHECKSUM_OF_FLAGS = 0x8003

REQUEST_USAGE, ANSWER_USAGE = 11, 12
FROM_ACCEPTOR, FROM_INITIATOR = 22, 24
"""Which key is derived for which purpose. RFC 4120 section 7.5.1, RFC 4121 section 2."""
WRAP = b"\x05\x04"
SENT_BY_ACCEPTOR, IS_SEALED, ACCEPTORS_KEY = 1, 2, 4
HEAD = struct.Struct(">2sBBHHQ")
"""RFC 4121 section 4.2.6.2."""
AES_TYPES = (17, 18)
BLOCK, MAC = 16, 12
SEALED_OVERHEAD = HEAD.size + BLOCK + HEAD.size + MAC


class AesKey:
    """A key for one purpose. RFC 3961 section 5.3, RFC 3962."""

    def __init__(self, key: Any, usage: int) -> None:
        profile = _get_enctype_profile(key.enctype)
        self._check = profile.derive(key, struct.pack(">IB", usage, 0x55)).contents
        self._crypt = AES(profile.derive(key, struct.pack(">IB", usage, 0xAA)).contents)

    def encrypt(self, plain: bytes) -> bytes:
        """Return it with 28 bytes more."""
        plain = os.urandom(BLOCK) + plain
        cipher = Cipher(self._crypt, CBC(bytes(BLOCK))).encryptor()
        done = cipher.update(plain + bytes(-len(plain) % BLOCK))
        rest = len(plain) % BLOCK or BLOCK
        stolen = done[: -2 * BLOCK] + done[-BLOCK:] + done[-2 * BLOCK : -BLOCK][:rest]
        return stolen + hmac.digest(self._check, plain, "sha1")[:MAC]

    def decrypt(self, data: bytes) -> bytes:
        """Return it with 28 bytes less. Raises Tampered."""
        sealed, mac = data[:-MAC], data[-MAC:]
        if len(sealed) <= BLOCK:
            raise Tampered("what the server sealed is too short")
        rest = len(sealed) % BLOCK or BLOCK
        before, last = sealed[-BLOCK - rest : -rest], sealed[-rest:]
        mixed = Cipher(self._crypt, ECB()).decryptor().update(before)  # noqa: S305 - as in RFC 3962
        end = bytes(one ^ other for one, other in zip(mixed[:rest], last, strict=True))
        cipher = Cipher(self._crypt, CBC(bytes(BLOCK))).decryptor()
        plain = cipher.update(sealed[: -BLOCK - rest] + last + mixed[rest:]) + end
        if not hmac.compare_digest(hmac.digest(self._check, plain, "sha1")[:MAC], mac):
            raise Tampered("the seal of a reply is not the server's")
        return plain[BLOCK:]


class KerberosContext:
    """A connection as the client of a ticket (impacket's: KDC_REP, cipher, sessionKey)."""

    kind = 9

    def __init__(
        self,
        user: str,
        realm: str,
        ticket: Mapping[str, Any] | None,
        clock: Clock | None = None,
        *,
        flags: int = FLAGS,
        bindings: bytes = bytes(16),
    ) -> None:
        """`flags` without DCE_STYLE: there is no third leg. `bindings` tells the channel below."""
        if ticket is None:
            raise ValueError("a ticket for the service is needed")
        self._flags = flags
        self._bindings = bindings
        self._user = user
        self._realm = realm
        self._ticket = ticket
        self._now = (clock or SystemClock()).now()
        self._sent = False
        self._ours: AesKey | None = None
        self._theirs: AesKey | None = None
        self._number = 0
        self._expected: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the server has proven who it is."""
        return self._ours is not None

    def step(self, token: bytes) -> bytes:
        """Return the request, then the answer to the server's answer, then nothing."""
        if not self._sent:
            self._sent = True
            return _offer(self._request())
        answer = _answer(token)
        if self.complete:
            return b""
        if not answer:
            raise Tampered("the server's answer to our ticket is empty")
        third = self._agree(_unframed(answer))
        return _reply(third) if self._flags & DCE_STYLE else b""

    def _request(self) -> bytes:
        """Return an AP-REQ in its frame. RFC 4120 section 5.5.1."""
        cipher, key = self._ticket["cipher"], self._ticket["sessionKey"]
        answer = decoder.decode(self._ticket["KDC_REP"], asn1Spec=asn1.TGS_REP())[0]
        ticket = Ticket()
        ticket.from_asn1(answer["ticket"])
        client = Principal(self._user, type=constants.PrincipalNameType.NT_PRINCIPAL.value)

        proof = asn1.Authenticator()
        proof["authenticator-vno"] = 5
        proof["crealm"] = self._realm
        asn1.seq_set(proof, "cname", client.components_to_asn1)
        proof["cusec"] = self._now.microsecond
        proof["ctime"] = KerberosTime.to_asn1(self._now)
        proof["cksum"] = noValue
        proof["cksum"]["cksumtype"] = CHECKSUM_OF_FLAGS
        proof["cksum"]["checksum"] = struct.pack("<I16sI", 16, self._bindings, self._flags)
        proof["seq-number"] = self._number

        request = asn1.AP_REQ()
        request["pvno"] = 5
        request["msg-type"] = int(constants.ApplicationTagNumbers.AP_REQ.value)
        wanted = [constants.APOptions.mutual_required.value]
        request["ap-options"] = constants.encodeFlags(wanted)
        asn1.seq_set(request, "ticket", ticket.to_asn1)
        request["authenticator"] = noValue
        request["authenticator"]["etype"] = cipher.enctype
        sealed = cipher.encrypt(key, REQUEST_USAGE, encoder.encode(proof), None)
        request["authenticator"]["cipher"] = sealed
        return _der(0x60, KERBEROS + AP_REQUEST + encoder.encode(request))

    def _agree(self, answer: bytes) -> bytes:
        """Take the server's AP-REP; return ours, the third leg that DCE/RPC wants."""
        cipher, key = self._ticket["cipher"], self._ticket["sessionKey"]
        try:
            outer = decoder.decode(answer, asn1Spec=asn1.AP_REP())[0]
            plain = cipher.decrypt(key, ANSWER_USAGE, outer["enc-part"]["cipher"].asOctets())
            part = decoder.decode(plain, asn1Spec=asn1.EncAPRepPart())[0]
            when = (str(part["ctime"]), int(part["cusec"]))
            kind, value = int(part["subkey"]["keytype"]), part["subkey"]["keyvalue"].asOctets()
            number = int(part["seq-number"])
        except Exception as error:  # noqa: BLE001 - impacket raises what it likes
            raise Tampered(f"the server's answer to our ticket is not its own: {error}") from None
        if when != (KerberosTime.to_asn1(self._now), self._now.microsecond):
            raise Tampered("the server answers another connection's ticket")
        if kind not in AES_TYPES:
            raise Tampered(f"the server wants keys of kind {kind}, and only AES can be verified")
        try:
            subkey = type(key)(kind, value)
        except ValueError:
            raise Tampered("the key that the server wants is of a wrong length") from None
        part["subkey"].clear()
        ours = part.clone()
        ours["ctime"], ours["cusec"] = when
        ours["seq-number"] = number
        outer["enc-part"].clear()
        outer["enc-part"]["etype"] = cipher.enctype
        outer["enc-part"]["cipher"] = cipher.encrypt(key, ANSWER_USAGE, encoder.encode(ours), None)
        self._ours = AesKey(subkey, FROM_INITIATOR)
        self._theirs = AesKey(subkey, FROM_ACCEPTOR)
        return bytes(encoder.encode(outer))

    def overhead(self, _length: int) -> int:
        """Return 60: two heads, a block of noise, and the check."""
        return SEALED_OVERHEAD

    def seal(self, _header: bytes, body: bytes, _trailer: bytes) -> tuple[bytes, bytes]:
        """Return the body encrypted, and the rest of the token. MS-KILE section 3.4.5.4.1."""
        assert self._ours is not None
        flags = IS_SEALED | ACCEPTORS_KEY
        plain_head = HEAD.pack(WRAP, flags, 0xFF, 0, 0, self._number)
        sealed = self._ours.encrypt(body + plain_head)
        # Rotated, so that the body is encrypted in its place and all else is in the verifier.
        turn = HEAD.size + MAC
        sealed = sealed[-turn:] + sealed[:-turn]
        head = HEAD.pack(WRAP, flags, 0xFF, 0, turn, self._number)
        self._number += 1
        return sealed[turn + BLOCK :], head + sealed[: turn + BLOCK]

    def unseal(self, _header: bytes, body: bytes, _trailer: bytes, verifier: bytes) -> bytes:
        """Return the body decrypted. Raises Tampered unless it is the server's next."""
        assert self._theirs is not None
        if len(verifier) < HEAD.size:
            raise Tampered("the seal of a reply is cut off")
        kind, flags, filler, extra, turn, number = HEAD.unpack_from(verifier)
        if kind != WRAP or flags != SENT_BY_ACCEPTOR | IS_SEALED | ACCEPTORS_KEY or filler != 0xFF:  # noqa: PLR2004 - RFC 4121 section 4.2.6.2
            raise Tampered("a reply is sealed in another way than was agreed")
        turned = verifier[HEAD.size :] + body
        back = (turn + extra) % max(len(turned), 1)
        plain = self._theirs.decrypt(turned[back:] + turned[:back])
        end = len(plain) - HEAD.size
        if plain[end:] != HEAD.pack(WRAP, flags, filler, extra, 0, number) or end - extra != len(
            body
        ):
            raise Tampered("the head of a reply is not the one that was sealed")
        # Which number the server begins with is its own affair; nothing has been sent before.
        if self._expected is not None and number != self._expected:
            raise Tampered("a reply is not the server's next one")
        self._expected = number + 1
        return plain[: end - extra]


# ---------------------------------------------------------------------- frames


def _der(tag: int, value: bytes) -> bytes:
    length = len(value)
    if length < 0x80:  # noqa: PLR2004 - DER
        return bytes((tag, length)) + value
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + value


def _parts(data: bytes) -> dict[int, bytes]:
    """Return what is in a DER sequence by its tags. Raises Tampered."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        try:
            tag, length, start = data[at], data[at + 1], at + 2
        except IndexError:
            raise Tampered("the server's token is cut off") from None
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[start : start + size], "big")
            start += size
        at = start + length
        if at > len(data):
            raise Tampered("the server's token is cut off")
        found[tag] = data[start:at]
    return found


def _offer(token: bytes) -> bytes:
    """Return a NegTokenInit with one mechanism. RFC 4178 section 4.2.1."""
    mechanisms = _der(0xA0, _der(0x30, KERBEROS_AS_WINDOWS_SAYS))
    offer = _der(0x30, mechanisms + _der(0xA2, _der(0x04, token)))
    return _der(0x60, SPNEGO + _der(0xA0, offer))


def _reply(token: bytes) -> bytes:
    """Return a NegTokenResp. RFC 4178 section 4.2.2."""
    return _der(0xA1, _der(0x30, _der(0xA2, _der(0x04, token))))


def _answer(token: bytes) -> bytes:
    """Return the token in a NegTokenResp, or b"". Raises Refused or Tampered."""
    parts = _parts(_parts(_parts(token).get(0xA1, b"")).get(0x30, b""))
    inner = _parts(parts.get(0xA2, b"")).get(0x04, b"")
    if _parts(parts.get(0xA0, b"")).get(0x0A) == b"\x02" and not inner:
        raise Refused("SPNEGO_REJECT", "the server rejects Kerberos")
    return inner


def _unframed(token: bytes) -> bytes:
    """Return an answer without its frame, if it has one. Raises Refused if it is an error."""
    if token[:1] == b"\x60":
        token = _parts(token)[0x60][len(KERBEROS) + 2 :]
    try:
        error = decoder.decode(token, asn1Spec=asn1.KRB_ERROR())[0]
        code = int(error["error-code"])
    # Whatever is wrong with bytes off the wire, pyasn1 has an error of its own for it, or not.
    except (PyAsn1Error, ValueError, TypeError, IndexError, KeyError, RecursionError):
        return token
    try:
        symbol = constants.ErrorCodes(code).name
    except ValueError:
        symbol = f"KRB_ERROR_{code}"
    raise Refused(symbol, "the server refuses our ticket", code)

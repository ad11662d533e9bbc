"""What the connector to a CA of a domain is given any bytes of: what a CA, an endpoint mapper, a
domain controller and a directory answer, and whoever sits on the line in their place.

Before anything of an answer was verified, all of it is anybody's; afterwards it is the CA's own
word, which may be odd. As in `targets`, a target returns whether the bytes were let in, and raises
for findings alone.
"""

import contextlib
import datetime as dt
from collections.abc import Callable

from cryptography import x509
from impacket.krb5 import asn1, crypto
from impacket.krb5.crypto import Key
from pyasn1.codec.der import encoder

from certeasy.ca import Denied, InDoubt, Issued, Unavailable
from certeasy.ca.adcs import (
    activation,
    answers,
    authority,
    chain,
    csra,
    dcom,
    descriptors,
    gss,
    ldap,
    mapper,
    ndr,
    pdu,
    sasl,
    tickets,
)
from certeasy.ca.adcs.errors import Fault, HResult, NotReached
from certeasy.ca.adcs.ndr import Reply
from certeasy.ca.adcs.ntlm import ASKED, NtlmContext
from certeasy.ca.adcs.rpc import Channel
from certeasy.ca.adcs.security import Refused, Tampered
from tests.fakes.clocks import HeldClock
from tests.fakes.kerberos_acceptor import a_ticket, an_error
from tests.fakes.played_line import Played
from tests.fuzz.targets import in_one_line
from tests.make.certificates import BEGIN, a_leaf
from tests.make.descriptors import AUTHENTICATED, SERVICE, a_descriptor, an_entry
from tests.make.golden_bytes import golden
from tools.adcs_sim import signing

Target = Callable[[bytes], bool]

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
STAMP = "20300101000000Z"
AES256 = 18
KEY = Key(AES256, bytes(range(32)))
"""The account's, or the session's: what only the KDC could have sealed is tried as well."""
CLIENT, REALM = ("svc-acme",), "LAB.TEST"
LEAF = a_leaf(begins=BEGIN, life=dt.timedelta(days=90))
CHAIN = signing.chain_of([x509.load_der_x509_certificate(LEAF)])
SIGNATURE, TIME = b"NTLMSSP\0", b"\7\0\x08\0" + bytes(range(8))
TICKET = a_ticket()
NEVER_AN_ANSWER = (Tampered, Fault, ConnectionResetError)


# -- DCE/RPC, before anything is verified ------------------------------------------------------


def rpc_reply(data: bytes) -> bool:
    """Take bytes for what comes on a line after a protected request: they never are its answer."""
    security = NtlmContext("user", "domain", "password")
    security.step(b"")
    security.step(_challenge())
    channel = Channel(Played(data), security)
    channel._room = pdu.LARGEST_FRAGMENT
    channel._line.call_id = 1
    return _never(lambda: channel.exchange(0, b"stub"), channel)


def rpc_binding(data: bytes) -> bool:
    """Take bytes for what comes after a binding, and after a first request."""
    channel = Channel(Played(data), NtlmContext("user", "domain", "password"))

    def bind_and_ask() -> None:
        channel.bind(ndr.INTERFACE)
        channel.exchange(0, b"stub")

    return _never(bind_and_ask, channel)


def _never(ask: Callable[[], object], channel: Channel) -> bool:
    try:
        ask()
    except NEVER_AN_ANSWER as error:
        told = error
    else:
        raise AssertionError("nobody's bytes were taken for a protected answer")
    assert channel.dead
    return in_one_line(told)


def rpc_plain(data: bytes) -> bool:
    """Take bytes for an unprotected reply, as the endpoint mapper sends them."""
    channel = Channel(Played(data))
    channel._room = pdu.LARGEST_FRAGMENT
    channel._line.call_id = 1
    try:
        stub = channel.exchange(mapper.MAP, b"stub")
    except NEVER_AN_ANSWER:
        return False
    rpc_mapper(stub)
    return True


def rpc_mapper(data: bytes) -> bool:
    """Take bytes for what the endpoint mapper tells: towers."""
    try:
        port = mapper.read_answer(data)
    except (Tampered, NotReached) as error:
        return in_one_line(error)
    assert 0 < port < 1 << 16
    return True


def ntlm_challenge(data: bytes) -> bool:
    """Take bytes for a server's challenge."""
    context = NtlmContext("User", "Domain", "Password", target="host/ca1.lab.test")
    context.step(b"")
    try:
        context.step(data)
    except Tampered:
        return False
    assert context.complete
    return True


def gss_answer(data: bytes) -> bool:
    """Take bytes for what a server answers to a ticket: in SPNEGO, framed, sealed, or plain."""
    taken = False
    for token in (data, gss._reply(data), gss._reply(_sealed_answer(data))):
        context = gss.KerberosContext("svc", REALM, TICKET, HeldClock(NOW))
        context._sent = True  # to make a request takes its time
        try:
            context.step(token)
        except (Tampered, Refused) as error:
            in_one_line(error)
        else:
            taken = True
            assert context.complete
    return taken


def _sealed_answer(part: bytes) -> bytes:
    """Return an AP-REP with any bytes in its sealed part."""
    reply = asn1.AP_REP()
    reply["pvno"], reply["msg-type"] = 5, 15
    reply["enc-part"]["etype"] = AES256
    cipher, key = TICKET["cipher"], TICKET["sessionKey"]
    reply["enc-part"]["cipher"] = cipher.encrypt(key, gss.ANSWER_USAGE, part, None)
    whole: bytes = encoder.encode(reply)
    return whole


# -- the CA's own word -------------------------------------------------------------------------


def ca_reply(data: bytes) -> bool:
    """Take bytes for the results of CertServerRequest, as they come out of the seal."""
    try:
        reply = ndr.read_reply(data)
    except (Tampered, HResult) as error:
        return in_one_line(error)
    return _answered(reply)


def ca_certificate(data: bytes) -> bool:
    """Take bytes for a certificate that was issued, and for those that came along with it."""
    taken = [
        _answered(Reply(3, 7, data, LEAF, "")),
        _answered(Reply(3, 7, b"", data, "")),
        _answered(Reply(3, 7, data, data, "")),
    ]
    return any(taken) and bool(chain.read(data) or authority._key_of(data))


def _answered(reply: Reply) -> bool:
    """Look at a reply as the connector does."""
    try:
        outcome = answers.outcome(reply)
    except (Unavailable, InDoubt) as error:
        return in_one_line(error)
    if isinstance(outcome, Denied):
        assert outcome.reason.isprintable()
        assert outcome.reason_for_client.isprintable()
    if isinstance(outcome, Issued):
        assert outcome.certificate == reply.certificate
        assert len(outcome.issuers) <= chain.MOST
        authority._names(outcome.certificate)
        authority._key_of(outcome.certificate)
        authority._signed(LEAF, outcome.certificate)
    return True


def ca_object(data: bytes) -> bool:
    """Take bytes for what an object of the CA returns; the first says to which question."""
    readers: tuple[Callable[[bytes], object], ...] = (
        activation.answer,
        activation.orpc_that,
        lambda stub: csra.blob(activation.orpc_that(stub)),
        lambda stub: csra._variant(activation.orpc_that(stub)),
        lambda stub: dcom.done(activation.orpc_that(stub)),
        activation._port,
        activation._ipid,
        activation._properties,
        lambda text: activation._bindings(text[: len(text) & ~1]),
    )
    which = readers[data[0] % len(readers)] if data else readers[0]
    try:
        which(data[1:])
    except (Tampered, HResult, NotReached) as error:
        return in_one_line(error)
    return True


# -- domain controllers ------------------------------------------------------------------------


def kdc_reply(data: bytes) -> bool:
    """Take bytes for what a KDC answers, and for what it sealed in an answer."""
    login = tickets.for_login(CLIENT, REALM, (AES256,), NOW)
    with contextlib.suppress(tickets.Garbled):
        error = tickets.parse(asn1.KRB_ERROR(), data)
        int(error["error-code"])
        tickets.read(error["stime"])
    with contextlib.suppress(tickets.Garbled):
        tickets.etypes_told(tickets.parse(asn1.METHOD_DATA(), data))
    taken = False
    for reply in (data, _as_rep(data)):
        asked = tickets.Asked(login.message, 7, REALM, ("krbtgt", REALM), (AES256,), CLIENT)
        try:
            ticket = tickets.from_login(asked, reply, KEY, NOW)
        except (tickets.Garbled, tickets.Referred) as refused:
            in_one_line(refused)
        else:
            taken = True
            assert ticket.session.enctype == AES256
            assert ticket.stale <= max(ticket.expires, NOW)
    return taken


def _as_rep(part: bytes) -> bytes:
    """Return an AS-REP with any bytes in its sealed part."""
    reply = asn1.AS_REP()
    reply["pvno"], reply["msg-type"], reply["crealm"] = 5, 11, REALM
    asn1.seq_set(reply, "cname", lambda name: tickets.named(name, 1, CLIENT))
    ticket = reply.setComponentByName("ticket")["ticket"]
    ticket["tkt-vno"], ticket["realm"] = 5, REALM
    asn1.seq_set(ticket, "sname", lambda name: tickets.named(name, 2, ("krbtgt", REALM)))
    ticket["enc-part"]["etype"], ticket["enc-part"]["cipher"] = AES256, b"sealed for others"
    reply["enc-part"]["etype"] = AES256
    reply["enc-part"]["cipher"] = crypto.encrypt(KEY, tickets.AS_REPLY, part, bytes(16))
    whole: bytes = encoder.encode(reply)
    return whole


def _as_rep_part(begins: str = STAMP, ends: str = "20300101100000Z") -> bytes:
    """Return what stands in an AS-REP's sealed part."""
    part = asn1.EncASRepPart()
    part["key"]["keytype"], part["key"]["keyvalue"] = AES256, bytes(32)
    entry = part.setComponentByName("last-req")["last-req"].setComponentByPosition(0)[0]
    entry["lr-type"], entry["lr-value"] = 0, STAMP
    part["nonce"] = 7
    part["flags"] = "'" + "0" * 32 + "'B"
    part["authtime"], part["endtime"] = begins, ends
    part["srealm"] = REALM
    asn1.seq_set(part, "sname", lambda name: tickets.named(name, 2, ("krbtgt", REALM)))
    whole: bytes = encoder.encode(part)
    return whole


def ldap_answer(data: bytes) -> bool:
    """Take bytes for a message of a directory, or for its TLS certificate."""
    sasl.bindings(data)
    try:
        length = ldap.length_of(data)
        assert length is None or length <= ldap.LARGEST_MESSAGE + 6
        ldap.answer(data)
    except ldap.Malformed as error:
        return in_one_line(error)
    return True


def descriptor(data: bytes) -> bool:
    """Take bytes for a security descriptor."""
    try:
        found = descriptors.parse(data)
    except descriptors.Malformed as error:
        return in_one_line(error)
    descriptors.may_enroll(found, descriptors.OF_EVERY_LOGON)
    descriptors.groups_of_everybody(found)
    return True


def _challenge() -> bytes:
    head = SIGNATURE + b"\2\0\0\0" + bytes(8)
    pairs = TIME + bytes(4)
    size = len(pairs).to_bytes(2, "little") * 2
    flags = ASKED.to_bytes(4, "little")
    return head + flags + bytes(range(8)) + bytes(8) + size + (48).to_bytes(4, "little") + pairs


def _ap_rep_part(key: int = 32) -> bytes:
    """Return what stands in an AP-REP's sealed part."""
    part = asn1.EncAPRepPart()
    part["ctime"], part["cusec"] = STAMP, 0
    part["subkey"]["keytype"], part["subkey"]["keyvalue"] = AES256, bytes(key)
    part["seq-number"] = 1
    whole: bytes = encoder.encode(part)
    return whole


def _packet(kind: int, body: bytes, verifier: bytes = b"") -> bytes:
    """Return a packet of a server's, of the second call."""
    call = pdu.CALL.pack(len(body), 0, 0) if kind in (pdu.RESPONSE, pdu.FAULT) else b""
    trailer = pdu.TRAILER.pack(10, 6, 0, 0, 0) if verifier else b""
    rest = call + body + trailer + verifier
    flags = pdu.FIRST | pdu.LAST
    head = pdu.COMMON.pack(
        5, 0, kind, flags, pdu.LITTLE_ENDIAN, pdu.COMMON.size + len(rest), len(verifier), 2
    )
    return head + rest


TARGETS: dict[str, Target] = {
    "rpc-reply": rpc_reply,
    "rpc-binding": rpc_binding,
    "rpc-plain": rpc_plain,
    "rpc-mapper": rpc_mapper,
    "ntlm-challenge": ntlm_challenge,
    "gss-answer": gss_answer,
    "ca-reply": ca_reply,
    "ca-certificate": ca_certificate,
    "ca-object": ca_object,
    "kdc-reply": kdc_reply,
    "ldap-answer": ldap_answer,
    "descriptor": descriptor,
}


def seeds(target: str) -> list[bytes]:
    """Return inputs that are let in, or nearly, from which a run starts."""
    bound = b"\xb8\x10\xb8\x10\1\0\0\0" + b"\x06\x0049200\0" + bytes(2)
    bound += b"\1\0\0\0" + bytes(4) + pdu.NDR
    mapped, sealed = golden("ept-mapped"), bytes(16)
    made = {
        "rpc-reply": [
            _packet(pdu.RESPONSE, b"stub" * 9, sealed),
            _packet(pdu.FAULT, b"\5\0\0\0" + bytes(4)),
            _packet(pdu.RESPONSE, mapped),
        ],
        "rpc-binding": [
            _packet(pdu.BIND_ACK, bound, _challenge()) + _packet(pdu.RESPONSE, b"stub", sealed),
            _packet(pdu.BIND_NAK, b"\1\0\0\0"),
        ],
        "rpc-plain": [_packet(pdu.RESPONSE, mapped)],
        "rpc-mapper": [mapped],
        "ntlm-challenge": [_challenge()],
        "gss-answer": [_ap_rep_part(), _ap_rep_part(key=31), an_error(37)],
        "ca-reply": [golden("icpr-issued"), golden("icpr-wrong-authority")],
        "ca-certificate": [LEAF, CHAIN],
        "ca-object": [
            bytes((number,)) + golden(name)
            for number, name in (
                (0, "dcom-activated"), (1, "dcom-done"), (2, "dcom-property"),
                (3, "dcom-config-flags"), (4, "dcom-done"), (4, "dcom-not-found"),
            )
        ],
        "kdc-reply": [
            _as_rep_part(),
            _as_rep_part("00010101000000Z", "99991231235959Z"),
            _as_rep(_as_rep_part()),
            an_error(24),
        ],
        "ldap-answer": [
            ldap._message(1, ldap._tlv(ldap.DONE, b"\x0a\1\0\4\0\4\0")),
            ldap._message(2, ldap._tlv(ldap.ENTRY, ldap._text("CN=x") + ldap._tlv(0x30, b""))),
            LEAF,
        ],
        "descriptor": [
            a_descriptor(an_entry(SERVICE, 0x202), an_entry(AUTHENTICATED, 0x100)),
        ],
    }  # fmt: skip
    return made[target]

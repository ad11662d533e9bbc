"""What is given any bytes at all: the readers of what strangers send, by their real entry points.

A target takes bytes and returns whether they were let in. It raises for nothing but a finding: an
exception that is no refusal, a refusal that is no 4xx or no proper document, something let in that
must not be. The property-based tests and the coverage-guided run use the same targets.
"""

import datetime as dt
import functools
import hmac
import re
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certeasy.acme import bindings, messages, renewal
from certeasy.acme.jws import AccountKey
from certeasy.acme.nonces import MemoryRedeemedNonces, Nonces
from certeasy.acme.requests import Door, KnownAccount
from certeasy.acme.urls import Urls
from certeasy.decide import chains, contacts, csr, identifiers
from certeasy.decide import renewal as renewals
from certeasy.decide.problems import Refused
from certeasy.settings import CsrRules, SignatureRules
from certeasy.settings.names import canonical, fault
from certeasy.validate import issue_value as issue_values
from certeasy.validate import reach, tlsalpn01, wire
from tests.fakes.clocks import HeldClock
from tests.make import alpn
from tests.make.csrs import (
    MICROSOFT_EXTENSION_REQUEST,
    SUBJECT_ALT_NAME,
    a_csr,
    a_raw_csr,
    asking_for,
    cn,
    raw_cn,
    raw_extension,
    raw_san,
    san,
    tlv,
)
from tests.make.signers import Signer, b64

Target = Callable[[bytes], bool]

URL = "https://acme.lab.test"
PATH = "/acme/new-order"
ACCOUNT = "0" * 26
KID = f"{URL}/acme/acct/{ACCOUNT}"
NONCE = b"$NONCE"
"""Stands in a protected header for a nonce that is good."""
NAMES = ("web.corp.test", "mail.corp.test")
SECRET = bytes(range(32))
KEY_AUTHORIZATION = f"{'t' * 43}.{'k' * 43}"
EXTENSIONS = (
    SUBJECT_ALT_NAME, "2.5.29.15", "2.5.29.19", "2.5.29.37", "2.5.29.14", "2.5.29.35", "2.5.29.30",
    "2.5.29.31", "2.5.29.32", "2.5.29.36", "2.5.29.54", "2.5.29.9", "1.3.6.1.5.5.7.1.1",
    "1.3.6.1.5.5.7.1.11", "1.3.6.1.5.5.7.1.24", "1.3.6.1.4.1.311.20.2", "1.3.6.1.4.1.311.21.7",
    "1.3.6.1.4.1.11129.2.4.2", "1.3.6.1.5.5.7.48.1.5", "2.5.29.16", "1.3.36.8.3.3",
)  # fmt: skip
"""Those that the library makes something of, and one or two that it does not."""
FEATURES = [b"\x0e" + tlv(0x30, tlv(2, b"\5")), b"\x0e" + tlv(0x30), b"\x0e\x30\x03\x02\x01\x63"]
SENT_AT_ONCE = 32 * 1024
SLOWEST = 10
"""Seconds that one input may take."""
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
LDH = re.compile(rf"(?!.*\.[0-9]+\Z){LABEL}(\.{LABEL})*")
DECODERS = tuple(
    made for name, made in sorted(vars(messages).items())
    if isinstance(made, msgspec.json.Decoder) and not name.startswith("_")
)  # fmt: skip


def the_key() -> ec.EllipticCurvePrivateKey:
    """The same key at each run, so that an input that was found tells the same again."""
    return ec.derive_private_key(0x1D0C, ec.SECP256R1())


class _House:
    """A door as the server has it, and the one account that may come in."""

    def __init__(self) -> None:
        clock = HeldClock(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
        self.signer = Signer("ES256", the_key())
        count = iter(range(1 << 60))
        self.nonces = Nonces(
            bytes(32),
            MemoryRedeemedNonces(clock, 1000),
            clock,
            lambda size: next(count).to_bytes(size, "big"),
        )
        known = KnownAccount(ACCOUNT, AccountKey.from_jwk(self.signer.jwk), "valid")
        self.door = Door(
            Urls((URL,)), self.nonces, lambda which: known if which == ACCOUNT else None, 1 << 20
        )


_HOUSE = _House()


def jws(data: bytes) -> bool:
    """Take bytes for the body of a request."""
    try:
        signed = _HOUSE.door.authenticate(data, PATH, "either")
    except Refused as refused:
        return assert_proper(refused)
    # Nothing random makes a signature: whoever is let in knew the key.
    assert signed.url == URL + PATH
    return True


def signed_request(data: bytes) -> bool:
    """Take bytes for a protected header and a payload (a line end between), signed as they are.

    In the header `$NONCE` stands for a nonce that is good.
    """
    header, _, payload = data.partition(b"\n")
    header = header.replace(NONCE, _HOUSE.nonces.issue().encode())
    body = _HOUSE.signer.request(payload, header=header)
    try:
        signed = _HOUSE.door.authenticate(body, PATH, "either")
    except Refused as refused:
        return assert_proper(refused)
    assert signed.key.thumbprint == AccountKey.from_jwk(_HOUSE.signer.jwk).thumbprint
    assert signed.payload == payload
    json_payload(payload)
    return True


def json_payload(data: bytes) -> bool:
    """Take bytes for a payload, and read it as each of the messages that clients send."""
    read = False
    for decoder in DECODERS:
        try:
            value = messages.read(decoder, data)
        except Refused as refused:
            assert_proper(refused)
        else:
            read = True
            # What was read can be written down: no half characters, no NUL.
            assert b"\\u0000" not in msgspec.json.encode(value)
    return read


def binding(data: bytes) -> bool:
    """Take bytes for the header and the payload of an external account binding, as `signed_request`
    does, with the right MAC."""
    header, _, payload = data.partition(b"\n")
    first, second = b64(header), b64(payload)
    mac = hmac.digest(SECRET, f"{first}.{second}".encode(), "sha256")
    made = messages.Binding(first, second, b64(mac))
    key = AccountKey.from_jwk(_HOUSE.signer.jwk)
    try:
        kid = bindings.verified(
            made, url=URL + PATH, key=key, mac_key=lambda kid: SECRET if kid == "k1" else None
        )
    except Refused as refused:
        return assert_proper(refused)
    assert kid == "k1"
    assert AccountKey.from_jwk(payload).thumbprint == key.thumbprint
    return True


def csr_text(data: bytes) -> bool:
    """Take bytes for the `csr` member of a finalize."""
    try:
        der = csr.from_base64url(data.decode("utf-8", "replace"))
    except Refused as refused:
        return assert_proper(refused)
    assert b64(der).encode() == data
    return csr_der(der)


def csr_der(data: bytes) -> bool:
    """Take bytes for a certificate request in DER."""
    try:
        request = csr.parse(data)
    except Refused as refused:
        return assert_proper(refused)
    assert request.der == data
    loaded = x509.load_der_x509_csr(data)
    assert loaded.is_signature_valid
    assert csr.spki_of(data) == request.spki
    taken = [_checked(request, copied=copied) for copied in (False, True)]
    return any(taken)


def _checked(request: csr.CertificateRequest, *, copied: bool) -> bool:
    try:
        csr.check(request, NAMES, SignatureRules(), CsrRules(), copied=copied)
    except Refused as refused:
        return assert_proper(refused)
    asked = {name.lower() for name in (*request.names, *request.common_names)}
    assert asked == set(NAMES)
    return True


def signed_csr(data: bytes) -> bool:
    """Take bytes for what stands in a request after its key (the attributes), and sign that."""
    return csr_der(a_raw_csr(data, key=the_key()))


def csr_subject(data: bytes) -> bool:
    """Take bytes for the subject of a request that is right otherwise, and sign that."""
    return csr_der(a_raw_csr(asking_for(raw_san(*NAMES)), subject=data, key=the_key()))


def name(data: bytes) -> bool:
    """Take bytes for a DNS name in an order."""
    text = data.decode("utf-8", "replace")
    try:
        made = identifiers.dns_name(text, wildcards=True)
    except Refused as refused:
        return assert_proper(refused)
    base, _ = identifiers.split(made)
    assert LDH.fullmatch(base)
    assert len(made) <= 253
    assert fault(base) is None
    # One form for all its spellings, which stays as it is.
    assert canonical(made) == made == identifiers.dns_name(made, wildcards=True)
    for spelled in (made.upper(), made + ".", made.title()):
        assert identifiers.dns_name(spelled, wildcards=True) == made
    assert text.lower().removesuffix(".") == made
    return True


def address(data: bytes) -> bool:
    """Take bytes for an IP address in an order."""
    text = data.decode("utf-8", "replace")
    try:
        (made,) = identifiers.names((messages.AskedIdentifier("ip", text),), ips=True)
    except Refused as refused:
        return assert_proper(refused)
    assert str(ip_address(made)) == made == text.lower()
    return True


def contact(data: bytes) -> bool:
    """Take bytes for a contact of an account."""
    text = data.decode("utf-8", "replace")
    try:
        (kept,) = contacts.checked((text,))
    except Refused as refused:
        return assert_proper(refused)
    assert kept == text
    assert kept.isascii()
    assert kept.isprintable()
    return True


def cert_id(data: bytes) -> bool:
    """Take bytes for what a certificate is called by who asks when to renew it."""
    try:
        made = renewal.cert_id(data.decode("utf-8", "replace"))
    except Refused as refused:
        return assert_proper(refused)
    assert made.serial >= 0
    return True


def issue_value(data: bytes) -> bool:
    """Take bytes for the value of a CAA record."""
    try:
        made = issue_values.parse(data)
    except ValueError as error:
        return in_one_line(error)
    assert made.issuer == made.issuer.lower().strip()
    assert all(tag == tag.lower() for tag, _ in made.parameters)
    return True


def http_answer(data: bytes) -> bool:
    """Take bytes for what a web server answers, after which it hangs up."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[:SENT_AT_ONCE])
        theirs.shutdown(socket.SHUT_WR)
        try:
            answer = wire.get(ours, "web.lab.test", "/", wire.Deadline(SLOWEST))
        except wire.Unanswered as fault:
            return in_one_line(fault)
    assert 200 <= answer.status <= 599
    assert len(answer.body) <= wire.MAX_BODY
    assert wire.kind(answer.body, cut=answer.cut).isprintable()
    return True


def alpn_certificate(data: bytes) -> bool:
    """Take bytes for the certificate that a TLS server shows for tls-alpn-01, or a CA hands out."""
    chains.read_issuer(data)
    renewals.key_id(data)
    try:
        tlsalpn01._check(data, NAMES[0], KEY_AUTHORIZATION)
    except reach.Stop as stop:
        return in_one_line(stop)
    extensions = x509.load_der_x509_certificate(data).extensions
    extension = extensions.get_extension_for_oid(alpn.ACME_IDENTIFIER)
    assert extension.critical
    assert extension.value == alpn.proof(KEY_AUTHORIZATION)
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value.lower() for name in names] == [NAMES[0]]
    return True


def alpn_extension(data: bytes) -> bool:
    """Take bytes for an extension of such a certificate (the first says which), signed as it is."""
    which = EXTENSIONS[data[0] % len(EXTENSIONS)] if data else EXTENSIONS[0]
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(which), data[1:])
    proof = (alpn.proof(KEY_AUTHORIZATION), True)
    names = () if which == SUBJECT_ALT_NAME else ((san(NAMES[0]), False),)
    made = alpn.alpn_certificate((extension, False), proof, *names, key=the_key())
    return alpn_certificate(made.public_bytes(serialization.Encoding.DER))


def csr_extension(data: bytes) -> bool:
    """Take bytes for an extension of a request (the first says which), and sign that."""
    which = EXTENSIONS[data[0] % len(EXTENSIONS)] if data else EXTENSIONS[0]
    return signed_csr(asking_for(raw_san(*NAMES), raw_extension(which, data[1:])))


def planted(data: bytes) -> bool:
    """Find something at once: whoever runs targets is tested with it."""
    if b"!" in data:
        raise LookupError("what was planted here is found")
    return False


CONNECTOR = (
    "rpc-reply", "rpc-binding", "rpc-plain", "rpc-mapper", "ntlm-challenge", "gss-answer",
    "ca-reply", "ca-certificate", "ca-object", "kdc-reply", "ldap-answer", "descriptor",
)  # fmt: skip
"""Targets of `tests.fuzz.connector`, which takes its time to be imported."""


def of_the_connector(name: str, data: bytes) -> bool:
    """Take bytes for what a CA of a domain, or somebody in its place, answers."""
    from tests.fuzz import connector  # noqa: PLC0415 - it imports what speaks RPC

    return connector.TARGETS[name](data)


def prepare(name: str) -> Target:
    """Return a target; whatever it imports is imported by then."""
    if name in CONNECTOR:
        from tests.fuzz import connector  # noqa: PLC0415 - as above

        return connector.TARGETS[name]
    return TARGETS[name]


TARGETS: dict[str, Target] = {
    "jws": jws,
    "signed-request": signed_request,
    "json": json_payload,
    "binding": binding,
    "csr": csr_der,
    "csr-text": csr_text,
    "signed-csr": signed_csr,
    "csr-subject": csr_subject,
    "csr-extension": csr_extension,
    "name": name,
    "address": address,
    "contact": contact,
    "cert-id": cert_id,
    "issue-value": issue_value,
    "http-answer": http_answer,
    "alpn-certificate": alpn_certificate,
    "alpn-extension": alpn_extension,
    "planted": planted,
} | {name: functools.partial(of_the_connector, name) for name in CONNECTOR}


@functools.cache
def seeds(target: str) -> list[bytes]:
    """Return inputs that are let in, or nearly, from which a run starts."""
    if target in CONNECTOR:
        from tests.fuzz import connector  # noqa: PLC0415 - as above

        return connector.seeds(target)
    signer = _HOUSE.signer
    header = {"alg": "ES256", "nonce": NONCE.decode(), "url": URL + PATH}
    by_kid = msgspec.json.encode(header | {"kid": KID})
    by_jwk = msgspec.json.encode(header | {"jwk": signer.jwk})
    order = b'{"identifiers":[{"type":"dns","value":"web.lab.test"}],"notAfter":null}'
    good = a_csr(*NAMES, key=the_key(), subject=cn(NAMES[0]))
    attribute = asking_for(raw_san(*NAMES))
    made = {
        "jws": [signer.request(order, url=URL + PATH, nonce="AAAA", kid=KID), signer.request()],
        "signed-request": [by_kid + b"\n" + order, by_jwk + b"\n{}", by_kid + b"\n"],
        "binding": [
            msgspec.json.encode({"alg": "HS256", "kid": "k1", "url": URL + PATH})
            + b"\n"
            + msgspec.json.encode(signer.jwk)
        ],
        "json": [
            order,
            b'{"contact":["mailto:a@b.test"],"termsOfServiceAgreed":true,"onlyReturnExisting":false}',
            b'{"csr":"AAAA"}',
            b'{"certificate":"AAAA","reason":1}',
            b'{"status":"deactivated"}',
            b'{"identifiers":[{"type":"ip","value":"::1"}],"replaces":"AA.AA","profile":"p"}',
        ],
        "csr": [good, a_csr(NAMES[0]), a_raw_csr(attribute)],
        "csr-text": [b64(good).encode()],
        "signed-csr": [attribute, asking_for(raw_san(*NAMES), dotted=MICROSOFT_EXTENSION_REQUEST)],
        "csr-subject": [raw_cn(0x0C, b"web.corp.test"), tlv(0x30), raw_cn(0x1E, b"\0w")],
        "name": [b"web.lab.test", b"*.lab.test", b"xn--bcher-kva.test", b"B\xc3\xbc.test", b"A.B."],
        "address": [b"192.0.2.1", b"2001:db8::1", b"::ffff:10.0.0.1", b"2001:DB8::1"],
        "contact": [b"mailto:a@b.test", b"MAILTO:a.b+c@d.e.test"],
        "cert-id": [b"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", b"AA.AQ"],
        "issue-value": [b"ca.test; accounturi=https://a/b; validationmethods=dns-01", b";"],
        "http-answer": [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\nh\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n",
        ],
        "alpn-certificate": [
            alpn.right_certificate(NAMES[0], KEY_AUTHORIZATION).public_bytes(
                serialization.Encoding.DER
            )
        ],
        "alpn-extension": [b"\0" + tlv(0x30, tlv(0x82, NAMES[0].encode())), *FEATURES],
        "csr-extension": [b"\2" + tlv(0x30), *FEATURES],
        "planted": [b"bud"],
    }  # fmt: skip
    return made[target]


def corpus(folder: Path, target: str) -> Path:
    """Write the seeds of a target into a folder of its own, and return it."""
    place = folder / target
    place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (place / f"seed-{number}").write_bytes(seed)
    return place


def in_one_line(error: Exception) -> bool:
    """Return False for what is told in one line; raise AssertionError for anything else."""
    assert str(error).isprintable()
    return False


def assert_proper(refused: Refused) -> bool:
    """Return False for a refusal as it must be; raise AssertionError for any other."""
    assert 400 <= refused.status < 500, refused
    document = msgspec.json.encode(refused.document())
    assert len(document) < 8192, len(document)
    assert not has_null(msgspec.json.decode(document))
    assert refused.detail.isprintable(), refused.detail
    return False


def has_null(value: object) -> bool:
    """Tell whether there is a null anywhere in what was read from JSON."""
    match value:
        case dict():
            return any(map(has_null, value.values()))
        case list():
            return any(map(has_null, value))
        case _:
            return value is None

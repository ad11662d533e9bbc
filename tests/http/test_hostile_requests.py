"""Requests made to confuse: about algorithms, keys, urls, nonces, spellings and sizes.

Each attack is sent to every route that takes a POST (`tests/make/doors.py`), built on a request
that would be right there. Each must be answered with the right problem and a nonce, and nothing
may be written. RFC 8555 sections 6.2 to 6.5 and 10.2; RFC 7515 section 10; RFC 8725.
"""

import base64
import gzip
import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from tests.make.doors import DOORS, Door, Owner, a_hostile_lab
from tests.make.lab import URL, Lab, Result, problem
from tests.make.signers import ALGORITHMS, Signer, a_signer, b64, the_signer

MAX_BODY = 32 * 1024
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

MALFORMED = (400, "malformed")
ALGORITHM = (400, "badSignatureAlgorithm")
BAD_KEY = (400, "badPublicKey")
ELSEWHERE = (403, "unauthorized")
NOBODY = (400, "accountDoesNotExist")
NONCE = (400, "badNonce")


class Right:
    """A request that would be right at a door, in its parts, to be put together wrongly."""

    def __init__(self, owner: Owner, door: Door) -> None:
        self.signer: Signer = owner.client.signer
        self.url = door.url(owner)
        self.by_key = door.by_key
        right = door.right(owner)
        self.payload = right if isinstance(right, bytes) else msgspec.json.encode(right)
        key: dict[str, Any] = {"jwk": self.signer.jwk} if door.by_key else {"kid": owner.account}
        nonce = owner.lab.a_nonce()
        self.members: dict[str, Any] = {"alg": self.signer.alg, "nonce": nonce, "url": self.url}
        self.members |= key

    def changed(self, **members: Any) -> bytes:
        """Return it with other members in its protected header (None takes one out), signed."""
        kept = {name: value for name, value in (self.members | members).items() if value is not ...}
        return self.texts(b64(msgspec.json.encode(kept)))

    def raw(self, protected: bytes) -> bytes:
        """Return it with this protected header, signed."""
        return self.texts(b64(protected))

    def saying(self, payload: bytes) -> bytes:
        """Return it with this payload, signed."""
        return self.texts(second=b64(payload))

    def texts(
        self,
        first: str | None = None,
        second: str | None = None,
        third: str | None = None,
        **outer: Any,
    ) -> bytes:
        """Return it with these three texts; what is not given is right, the signature too."""
        first = b64(msgspec.json.encode(self.members)) if first is None else first
        second = b64(self.payload) if second is None else second
        third = b64(self.signer.sign(f"{first}.{second}".encode())) if third is None else third
        return msgspec.json.encode(
            {"protected": first, "payload": second, "signature": third} | outer
        )

    def signing_input(self, **members: Any) -> bytes:
        """Return what would be signed of it with other members."""
        return f"{b64(msgspec.json.encode(self.members | members))}.{b64(self.payload)}".encode()

    def signed_by(self, signature: bytes, **members: Any) -> bytes:
        """Return it with other members and a signature that somebody else made."""
        return self.texts(b64(msgspec.json.encode(self.members | members)), third=b64(signature))

    def twice(self, name: str, first: Any, spelled: str | None = None) -> bytes:
        """Return it with a member twice in its protected header: `first`, then the right one."""
        before = b'{"%s":%s,' % ((spelled or name).encode(), msgspec.json.encode(first))
        return self.raw(before + msgspec.json.encode(self.members)[1:])


def _mac(right: Right, secret: bytes) -> bytes:
    """Return it with the public key taken for the secret of an HMAC."""
    signing_input = right.signing_input(alg="HS256")
    return right.signed_by(hmac.digest(secret, signing_input, hashlib.sha256), alg="HS256")


def _spki(right: Right, encoding: serialization.Encoding) -> bytes:
    public = right.signer.private_key.public_key()
    made: bytes = public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    return made


def _pss(right: Right) -> bytes:
    key = the_signer("RS256").private_key
    salted = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    signature: bytes = key.sign(right.signing_input(alg="PS256"), salted, hashes.SHA256())
    return right.signed_by(signature, alg="PS256")


def _numbers(right: Right) -> tuple[int, int]:
    signature = right.signer.sign(right.signing_input())
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


def _with_numbers(right: Right, r: int, s: int, size: int = 32) -> bytes:
    return right.signed_by(r.to_bytes(size, "big") + s.to_bytes(size, "big"))


def _compact(right: Right) -> bytes:
    jws = msgspec.json.decode(right.texts())
    return f"{jws['protected']}.{jws['payload']}.{jws['signature']}".encode()


def _general(right: Right) -> bytes:
    jws = msgspec.json.decode(right.texts())
    one = {"protected": jws["protected"], "signature": jws["signature"]}
    return msgspec.json.encode({"payload": jws["payload"], "signatures": [one]})


def _doubled(right: Right, name: str) -> bytes:
    return b'{"%s":"AAAA",' % name.encode() + right.texts()[1:]


def _stray_bits(text: str) -> str:
    """Return another spelling of the same bytes: one of the last character's unused bits is set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(text) % 4, "it has no unused bits"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


def _protected(right: Right, remainder: int) -> bytes:
    """Return the protected header, filled up with spaces so that it leaves such a remainder."""
    text = msgspec.json.encode(right.members)
    return text + b" " * ((remainder - len(text)) % 3)


Attack = Callable[[Right], bytes]

CONFUSED_ALGORITHMS: dict[str, tuple[Attack, tuple[int, str]]] = {
    **{
        f"alg {alg!r}": (lambda r, alg=alg: r.changed(alg=alg), ALGORITHM)
        for alg in (
            "none None NONE nOnE HS256 HS384 HS512 RS256 RS384 RS512 PS256 ES384 ES512 ES256K EdDSA"
            " Ed25519 Ed448 es256 ES-256 A128KW dir RSA1_5"
        ).split()
    },
    "alg empty": (lambda r: r.changed(alg=""), ALGORITHM),
    "alg none, no signature": (lambda r: r.signed_by(b"", alg="none"), ALGORITHM),
    "alg a list": (lambda r: r.changed(alg=["ES256"]), MALFORMED),
    "alg null": (lambda r: r.changed(alg=None), MALFORMED),
    "alg a number": (lambda r: r.changed(alg=0), MALFORMED),
    "alg in capitals as a name": (lambda r: r.changed(alg=..., ALG="ES256"), MALFORMED),
    "HMAC with the key in PEM": (
        lambda r: _mac(r, _spki(r, serialization.Encoding.PEM)), ALGORITHM),
    "HMAC with the key in DER": (
        lambda r: _mac(r, _spki(r, serialization.Encoding.DER)), ALGORITHM),
    "HMAC with the JWK": (lambda r: _mac(r, msgspec.json.encode(r.signer.jwk)), ALGORITHM),
    "HMAC with x": (lambda r: _mac(r, r.signer.jwk["x"].encode()), ALGORITHM),
    "HMAC with nothing": (lambda r: _mac(r, b""), ALGORITHM),
    "HMAC said to be ES256": (
        lambda r: r.signed_by(
            hmac.digest(_spki(r, serialization.Encoding.DER), r.signing_input(), "sha512")),
        MALFORMED),
    "HMAC with a key of its own": (
        lambda r: r.changed(alg="HS256", kid=..., jwk={"kty": "oct", "k": "AAAA"}), ALGORITHM),
    "RSA by somebody": (
        lambda r: r.signed_by(
            the_signer("RS256").sign(r.signing_input(alg="RS256")), alg="RS256"), ALGORITHM),
    "RSA said to be ES256": (
        lambda r: r.signed_by(the_signer("RS256").sign(r.signing_input())), MALFORMED),
    "RSASSA-PSS": (_pss, ALGORITHM),
    "P-384 said to be ES256": (
        lambda r: r.signed_by(the_signer("ES384").sign(r.signing_input())), MALFORMED),
}  # fmt: skip

CONFUSED_SIGNATURES: dict[str, tuple[Attack, tuple[int, str]]] = {
    "none": (lambda r: r.signed_by(b""), MALFORMED),
    "zeros": (lambda r: r.signed_by(bytes(64)), MALFORMED),
    "r is zero": (lambda r: _with_numbers(r, 0, _numbers(r)[1]), MALFORMED),
    "s is zero": (lambda r: _with_numbers(r, _numbers(r)[0], 0), MALFORMED),
    "r is the order": (lambda r: _with_numbers(r, P256_ORDER, 1), MALFORMED),
    "all ones": (lambda r: r.signed_by(b"\xff" * 64), MALFORMED),
    "in DER": (lambda r: r.signed_by(encode_dss_signature(*_numbers(r))), MALFORMED),
    "of 66 bytes": (lambda r: _with_numbers(r, *_numbers(r), size=33), MALFORMED),
    "a byte too long": (
        lambda r: r.signed_by(r.signer.sign(r.signing_input()) + b"\0"), MALFORMED),
    "r and s exchanged": (lambda r: _with_numbers(r, *reversed(_numbers(r))), MALFORMED),
    "over the payload alone": (lambda r: r.signed_by(r.signer.sign(r.payload)), MALFORMED),
    "over another payload": (
        lambda r: r.texts(second=b64(b"{} "), third=b64(r.signer.sign(r.signing_input()))),
        MALFORMED),
    "over another header": (
        lambda r: r.signed_by(r.signer.sign(r.signing_input()), x=1), MALFORMED),
    "of b64 false": (
        lambda r: r.changed(b64=False, crit=["b64"]), MALFORMED),
    "b64 false alone": (lambda r: r.changed(b64=False), MALFORMED),
    "b64 true": (lambda r: r.changed(b64=True), MALFORMED),
    "crit of nothing": (lambda r: r.changed(crit=[]), MALFORMED),
    "crit of url": (lambda r: r.changed(crit=["url"]), MALFORMED),
    "crit null": (lambda r: r.changed(crit=None), MALFORMED),
    "an unprotected header": (lambda r: r.texts(header={"alg": "none"}), MALFORMED),
    "an unprotected kid": (lambda r: r.texts(header={"kid": "x"}), MALFORMED),
    "an unprotected null": (lambda r: r.texts(header=None), MALFORMED),
    "alg unprotected only": (
        lambda r: msgspec.json.encode(
            msgspec.json.decode(r.changed(alg=...)) | {"header": {"alg": "none"}}), MALFORMED),
    "a second signature": (lambda r: r.texts(signatures=[]), MALFORMED),
    "the general form": (_general, MALFORMED),
    "the compact form": (_compact, MALFORMED),
    "no protected header": (lambda r: r.texts(""), MALFORMED),
    "a list as header": (lambda r: r.raw(b"[]"), MALFORMED),
    "null as header": (lambda r: r.raw(b"null"), MALFORMED),
}  # fmt: skip

CONFUSED_KEYS: dict[str, tuple[Attack, tuple[int, str]]] = {
    "jwk and kid": (lambda r: r.changed(jwk=r.signer.jwk, kid=f"{URL}/acme/acct/x"), MALFORMED),
    "neither": (lambda r: r.changed(jwk=..., kid=...), MALFORMED),
    "jwk null and kid": (lambda r: r.changed(jwk=None, kid=f"{URL}/acme/acct/x"), MALFORMED),
    "kid null": (lambda r: r.changed(jwk=..., kid=None), MALFORMED),
    "x5c instead": (lambda r: r.changed(jwk=..., kid=..., x5c=["MIIB"]), MALFORMED),
    "jku instead": (lambda r: r.changed(jwk=..., kid=..., jku=f"{URL}/keys"), MALFORMED),
    "x5u instead": (lambda r: r.changed(jwk=..., kid=..., x5u=f"{URL}/cert"), MALFORMED),
    "the key of another": (lambda r: r.changed(kid=..., jwk=a_signer().jwk), MALFORMED),
    "a secret key": (lambda r: r.changed(kid=..., jwk=r.signer.jwk | {"d": "AA"}), MALFORMED),
    "an empty kid": (lambda r: r.changed(jwk=..., kid=""), (MALFORMED, NOBODY)),
    "a kid of 26 zeros": (
        lambda r: r.changed(jwk=..., kid=f"{URL}/acme/acct/{'0' * 26}"), (MALFORMED, NOBODY)),
}  # fmt: skip

KIDS: dict[str, Callable[[str], str]] = {
    "http": lambda kid: kid.replace("https", "http"),
    "upper case": str.upper,
    "another host": lambda kid: kid.replace("acme.lab.test", "evil.lab.test"),
    "a port": lambda kid: kid.replace("lab.test", "lab.test:443"),
    "a user": lambda kid: kid.replace("https://", "https://acme.lab.test@"),
    "a slash after": lambda kid: kid + "/",
    "a slash more": lambda kid: kid.replace("/acct/", "/acct//"),
    "a query": lambda kid: kid + "?x",
    "a fragment": lambda kid: kid + "#x",
    "dots": lambda kid: kid.replace("/acct/", "/acct/../acct/"),
    "encoded": lambda kid: kid.replace("/acct/", "/%61cct/"),
    "a line end": lambda kid: kid + "\n",
    "a space": lambda kid: " " + kid,
    "the id alone": lambda kid: kid.rpartition("/")[2],
    "the path alone": lambda kid: kid.removeprefix(URL),
    "the orders": lambda kid: kid + "/orders",
    "letters": lambda kid: kid[:-1] + "\u0660",
    "long": lambda kid: kid + "x" * 1900,
}

URLS: dict[str, Callable[[str], str]] = {
    "none": lambda _: "",
    "another path": lambda _: f"{URL}/acme/elsewhere",
    "another host": lambda url: url.replace("acme.lab.test", "evil.lab.test"),
    "http": lambda url: url.replace("https", "http"),
    "no scheme": lambda url: url.removeprefix("https:"),
    "the path alone": lambda url: url.removeprefix(URL),
    "a user": lambda url: url.replace("https://", "https://acme.lab.test@"),
    "a user before": lambda url: url.replace("https://", "https://me@"),
    "the usual port": lambda url: url.replace("lab.test", "lab.test:443"),
    "another port": lambda url: url.replace("lab.test", "lab.test:8443"),
    "a dot after the host": lambda url: url.replace("lab.test", "lab.test."),
    "the host in capitals": lambda url: url.replace("acme.lab", "ACME.lab"),
    "the scheme in capitals": lambda url: url.replace("https", "HTTPS"),
    "all in capitals": lambda url: url.upper(),
    "encoded": lambda url: url.replace("lab.test/", "lab.test/%2e/"),
    "an encoded letter": lambda url: url.replace("test", "t%65st"),
    "an encoded slash": lambda url: url.replace("lab.test/", "lab.test%2f"),
    "a slash more": lambda url: url.replace("lab.test/", "lab.test//"),
    "a slash after": lambda url: url + "/",
    "dots": lambda url: url.replace("lab.test/", "lab.test/./"),
    "a query": lambda url: url + "?x=1",
    "an empty query": lambda url: url + "?",
    "a fragment": lambda url: url + "#x",
    "parameters": lambda url: url + ";x",
    "a space": lambda url: url + " ",
    "a line end": lambda url: url + "\n",
    "backslashes": lambda url: url.replace("//", "\\\\"),
    "a wide dot": lambda url: url.replace("lab.test", "lab\uff0etest"),
    "a Cyrillic letter": lambda url: url.replace("acme", "\u0430cme"),
    "two": lambda url: url + "," + url,
}

NONCES: dict[str, Callable[[str], object]] = {
    "none": lambda _: "",
    "invented": lambda _: "AAAAAAAAAAAAAAAAAAAA",
    "of the right length": lambda nonce: "A" * len(nonce),
    "one character off": lambda nonce: ("B" if nonce[0] == "A" else "A") + nonce[1:],
    "its end off": lambda nonce: nonce[:-1] + ("B" if nonce[-1] == "A" else "A"),
    "cut": lambda nonce: nonce[:-1],
    "long": lambda nonce: nonce + "A",
    "padded": lambda nonce: nonce + "=",
    "twice": lambda nonce: nonce + nonce,
    "in lower case": lambda nonce: "x" + nonce.lower()[1:],
    "with a line end": lambda nonce: nonce + "\n",
    "with a letter of another alphabet": lambda nonce: nonce[:-1] + "\u0660",
    "not base64": lambda nonce: "!" + nonce[1:],
}

DOUBLED: dict[str, Attack] = {
    "alg": lambda r: r.twice("alg", "none"),
    "alg, spelled otherwise": lambda r: r.twice("alg", "none", "\\u0061lg"),
    "nonce": lambda r: r.twice("nonce", "AAAA"),
    "url": lambda r: r.twice("url", f"{URL}/acme/elsewhere"),
    "url, spelled otherwise": lambda r: r.twice("url", "x", "ur\\u006c"),
    "kid": lambda r: r.twice("kid", "x") if "kid" in r.members else r.twice("jwk", {}),
    "jwk within": lambda r: r.raw(
        msgspec.json.encode({name: r.members[name] for name in ("alg", "nonce", "url")})[:-1]
        + b',"jwk":{"x":"AAAA",'
        + msgspec.json.encode(r.signer.jwk)[1:]
        + b"}"
    ),
    "a member nobody knows": lambda r: r.raw(
        b'{"x":1,"x":2,' + msgspec.json.encode(r.members)[1:]
    ),
    "protected": lambda r: _doubled(r, "protected"),
    "payload": lambda r: _doubled(r, "payload"),
    "signature": lambda r: _doubled(r, "signature"),
    "payload, spelled otherwise": lambda r: _doubled(r, "p\\u0061yload"),
    "one nobody knows in the JWS": lambda r: b'{"x":1,"x":2,' + r.texts()[1:],
}  # fmt: skip

SPELLED: dict[str, Attack] = {
    "protected, padded": lambda r: r.texts(b64(_protected(r, 1)) + "=="),
    "protected, stray bits": lambda r: r.texts(_stray_bits(b64(_protected(r, 1)))),
    "protected, more stray bits": lambda r: r.texts(_stray_bits(b64(_protected(r, 2)))),
    "protected, a line end": lambda r: r.texts(b64(_protected(r, 0)) + "\n"),
    "protected, a space within": lambda r: r.texts(" ".join(b64(_protected(r, 0)).partition("e"))),
    "protected, the other alphabet": lambda r: r.texts(
        base64.b64encode(msgspec.json.encode(r.members | {"x": "\u00ff\u00be\u03ff?>?>"}))
        .decode()
        .rstrip("=")
        + ("" if "+" in str(r.members) else "/+++")
    ),
    "protected, cut": lambda r: r.texts(b64(_protected(r, 0)) + "A"),
    "protected, not ASCII": lambda r: r.texts(b64(_protected(r, 0)) + "\u00e9"),
    "payload, padded": lambda r: r.texts(second=b64(b"{}") + "="),
    "payload, stray bits": lambda r: r.texts(second=_stray_bits(b64(b"{}"))),
    "payload, the other alphabet": lambda r: r.texts(second="e30+/w"),
    "payload, not base64": lambda r: r.texts(second="{}"),
    "payload, a line end": lambda r: r.texts(second=b64(b"{}") + "\r\n"),
    "payload, not ASCII": lambda r: r.texts(second="\u0435\u04310"),
    "signature, padded": lambda r: r.texts(
        third=b64(r.signer.sign(r.signing_input())) + "=="),
    "signature, stray bits": lambda r: r.texts(
        third=_stray_bits(b64(r.signer.sign(r.signing_input())))),
    "signature, the other alphabet": lambda r: r.texts(third="+/" + "A" * 84),
    "signature, a line end": lambda r: r.texts(
        third=b64(r.signer.sign(r.signing_input())) + "\n"),
}  # fmt: skip

HUGE = b"9" * 6000
NOT_JSON: dict[str, Attack] = {
    "nothing": lambda _: b"",
    "a space": lambda _: b" ",
    "null": lambda _: b"null",
    "a number": lambda _: b"1e999999999",
    "a list of it": lambda r: b"[" + r.texts() + b"]",
    "it twice": lambda r: r.texts() + r.texts(),
    "something after it": lambda r: r.texts() + b"x",
    "a NUL after it": lambda r: r.texts() + b"\0",
    "a mark of UTF-8 before it": lambda r: b"\xef\xbb\xbf" + r.texts(),
    "in UTF-16": lambda r: r.texts().decode().encode("utf-16"),
    "in UTF-7": lambda r: r.texts().replace(b"{", b"+AHs-"),
    "packed": lambda r: gzip.compress(r.texts()),
    "a comma more": lambda r: r.texts()[:-1] + b",}",
    "a comment": lambda r: b"/**/" + r.texts(),
    "single quotes": lambda r: r.texts().replace(b'"', b"'"),
    "an overlong slash": lambda r: b'{"x":"\xc0\xaf",' + r.texts()[1:],
    "a bare surrogate": lambda r: b'{"x":"\xed\xa0\x80",' + r.texts()[1:],
    "a surrogate as a name": lambda r: b'{"\xed\xa0\x80":1,' + r.texts()[1:],
    "a byte that is none": lambda r: b'{"x":"\xff",' + r.texts()[1:],
    "not a number": lambda r: b'{"x":NaN,' + r.texts()[1:],
    "infinity": lambda r: b'{"x":-Infinity,' + r.texts()[1:],
    "a zero before": lambda r: b'{"x":007,' + r.texts()[1:],
    "a NUL within": lambda r: b'{"x":"\\u0000",' + r.texts()[1:],
    "a bare NUL within": lambda r: b'{"x":"\0",' + r.texts()[1:],
    "a bare line end within": lambda r: b'{"x":"\n",' + r.texts()[1:],
    "deep lists": lambda _: b"[" * 20_000,
    "deep objects": lambda _: b'{"x":' * 5_000,
    "deep beside": lambda r: b'{"x":' + b"[" * 200 + b"]" * 200 + b"," + r.texts()[1:],
    "header: a surrogate": lambda r: r.raw(
        b'{"x":"\xed\xa0\x80",' + msgspec.json.encode(r.members)[1:]),
    "header: half a pair as url": lambda r: r.raw(
        msgspec.json.encode(r.members).replace(b'"url":"', b'"url":"\\ud800')),
    "header: half a pair as kid": lambda r: r.raw(
        msgspec.json.encode(r.members | {"kid": "?"}).replace(b'"?"', b'"\\udfff"')),
    "header: a NUL": lambda r: r.raw(
        b'{"x":"\\u0000",' + msgspec.json.encode(r.members)[1:]),
    "header: a byte that is none": lambda r: r.raw(
        b'{"x":"\xfe",' + msgspec.json.encode(r.members)[1:]),
    "header: deep": lambda r: r.raw(
        b'{"x":' + b"[" * 33 + b"]" * 33 + b"," + msgspec.json.encode(r.members)[1:]),
    "header: text": lambda r: r.raw(b'"text"'),
    "header: it twice": lambda r: r.raw(msgspec.json.encode(r.members) * 2),
    "header: url a number": lambda r: r.raw(
        msgspec.json.encode(r.members | {"url": 1}).replace(b'"url":1', b'"url":' + HUGE)),
    "header: jwk deep": lambda r: r.raw(
        msgspec.json.encode(r.members | {"jwk": 1}).replace(
            b'"jwk":1', b'"jwk":' + b'{"x":' * 40 + b"1" + b"}" * 40)),
}  # fmt: skip

OVERSIZED: dict[str, tuple[Attack, tuple[int, str]]] = {
    "body": (lambda r: r.saying(b"x" * MAX_BODY), (413, "malformed")),
    "protected": (lambda r: r.changed(x="x" * 13_000), MALFORMED),
    "signature": (lambda r: r.signed_by(b"\1" * 2000), MALFORMED),
    "alg": (lambda r: r.changed(alg="ES256" * 20), MALFORMED),
    "url": (lambda r: r.changed(url=r.url + "/x" * 1200), MALFORMED),
    "nonce": (lambda r: r.changed(nonce="A" * 257), MALFORMED),
    "kid": (lambda r: r.changed(jwk=..., kid=URL + "/x" * 1200), MALFORMED),
    "jwk": (lambda r: r.changed(kid=..., jwk=r.signer.jwk | {"x5c": ["A" * 5000]}), MALFORMED),
    "jwk of RSA": (
        lambda r: r.changed(
            alg="RS256", kid=..., jwk={"kty": "RSA", "e": "AQAB", "n": b64(b"\xff" * 2000)}),
        (MALFORMED, BAD_KEY)),
    "jwk with a huge exponent": (
        lambda r: r.changed(
            alg="RS256", kid=..., jwk=the_signer("RS256").jwk | {"e": b64(b"\xff" * 256)}),
        (MALFORMED, BAD_KEY)),
}  # fmt: skip


def test_tables_are_as_they_say() -> None:
    """What spoils a request does what it says."""
    assert _stray_bits("e30") == "e31"
    assert decode_dss_signature(encode_dss_signature(1, 2)) == (1, 2)
    assert isinstance(the_signer().private_key, ec.EllipticCurvePrivateKey)


class World:
    """A server and an account that has one of everything."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.owner = Owner(lab, 1)

    def right(self, path: str) -> Right:
        """Return a request that is right at a route."""
        return Right(self.owner, DOORS[path])

    def sent(self, right: Right, body: bytes, content_type: str = "") -> Result:
        """Send a body to where the right request would go."""
        headers = {"Content-Type": content_type} if content_type else None
        return self.owner.client.send(right.url, body, headers)

    def refused(self, attack: Attack, *expected: tuple[int, str]) -> None:
        """Try an attack at every door; each refuses in one of the ways expected."""
        before = self.position()
        for path in DOORS:
            right = self.right(path)
            result = self.sent(right, attack(right))
            assert problem(result)[:2] in expected, (path, result.text)
            assert len(result.headers["replay-nonce"]) == 40
            assert len(result.content) < 1000
        assert self.position() == before

    def position(self) -> int:
        """Return how many lines the log has."""
        return self.lab.server.node.store.head().position


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with a_hostile_lab(tmp_path_factory.mktemp("lab"), max_body_bytes=MAX_BODY) as lab:
        made = World(lab)
        yield made
        assert made.owner.client.certificate("after.lab.test").startswith(b"-----BEGIN CERTIFICATE")


def ways(expected: Any) -> tuple[tuple[int, str], ...]:
    """Return the answers that will do: one, or several."""
    return expected if isinstance(expected[0], tuple) else (expected,)


def test_the_request_that_is_spoiled_below_is_right_before(world: World) -> None:
    for path in DOORS:
        if path in ("/acme/finalize/{order_id:id}", "/acme/revoke-cert", "/acme/key-change"):
            continue  # would use up what the other tests need; the fixture's end does the same
        right = world.right(path)
        result = world.sent(right, right.texts())
        assert result.status_code in (200, 201, 204), (path, result.text)


@pytest.mark.parametrize(
    ("attack", "expected"), CONFUSED_ALGORITHMS.values(), ids=CONFUSED_ALGORITHMS
)
def test_a_key_has_one_algorithm_whatever_is_claimed(
    world: World, attack: Attack, expected: Any
) -> None:
    """Pitfall 7. RFC 8725 sections 2.1 and 3.1."""
    world.refused(attack, *ways(expected))


@pytest.mark.parametrize("claimed", ALGORITHMS)
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_kind_of_key_signs_with_its_own_algorithm_only(
    world: World, alg: str, claimed: str
) -> None:
    """Pitfall 7: the refusal lists what would have been taken."""
    client = world.lab.client(the_signer(alg))
    client.register()
    before = world.position()
    result = client.post(str(client.kid), header={"alg": claimed})
    if claimed == alg:
        assert result.status_code == 200
    else:
        assert problem(result)[:2] == ALGORITHM
        assert msgspec.json.decode(result.content)["algorithms"] == [alg]
    assert world.position() == before


@pytest.mark.parametrize(
    ("attack", "expected"), CONFUSED_SIGNATURES.values(), ids=CONFUSED_SIGNATURES
)
def test_what_is_not_one_plain_signature_is_malformed(
    world: World, attack: Attack, expected: Any
) -> None:
    """RFC 8555 section 6.2."""
    world.refused(attack, *ways(expected))


@pytest.mark.parametrize(("attack", "expected"), CONFUSED_KEYS.values(), ids=CONFUSED_KEYS)
def test_a_request_names_one_key_in_one_way(world: World, attack: Attack, expected: Any) -> None:
    """RFC 8555 section 6.2."""
    world.refused(attack, *ways(expected))


@pytest.mark.parametrize("spell", KIDS.values(), ids=KIDS)
def test_an_account_has_one_name(world: World, spell: Callable[[str], str]) -> None:
    """Another spelling of one's own kid is nobody; at the doors of keys, no kid will do."""
    kid = spell(world.owner.account)
    world.refused(lambda r: r.changed(jwk=..., kid=kid), NOBODY, MALFORMED)


def test_the_bare_key_opens_no_door_of_an_account(world: World) -> None:
    before = world.position()
    for path, door in DOORS.items():
        if door.by_key or path == "/acme/revoke-cert":
            continue
        right = world.right(path)
        result = world.sent(right, right.changed(kid=..., jwk=right.signer.jwk))
        assert problem(result)[:2] == MALFORMED, path
    assert world.position() == before


def test_keys_are_fetched_from_nowhere(world: World) -> None:
    """`jku` and `x5u` are ignored as RFC 7515 section 4.1 says: a request may not send us about.

    The address is one where nothing is ever connected to; a fetch would be an error here, and the
    sockets of the tests are closed to everything but loopback.
    """
    right = world.right("/acme/new-nonce")
    for name in ("jku", "x5u"):
        fresh = world.right("/acme/new-nonce")
        body = fresh.changed(**{name: "https://192.0.2.1/keys"})
        assert world.sent(right, body).status_code == 204


@pytest.mark.parametrize("spell", URLS.values(), ids=URLS)
def test_a_request_is_for_the_url_that_it_came_to(
    world: World, spell: Callable[[str], str]
) -> None:
    """RFC 8555 section 6.4: compared character by character; pitfall 8."""
    world.refused(lambda r: r.changed(url=spell(r.url)), ELSEWHERE)


def test_a_request_for_one_door_opens_no_other(world: World) -> None:
    before = world.position()
    for path in DOORS:
        for other in DOORS:
            right, there = world.right(path), world.right(other)
            if right.url == there.url or right.by_key or there.by_key:
                continue
            result = world.sent(there, right.texts())
            assert problem(result)[:2] == ELSEWHERE, (path, other)
    assert world.position() == before


@pytest.mark.parametrize("spell", NONCES.values(), ids=NONCES)
def test_a_nonce_is_one_that_was_given(world: World, spell: Callable[[str], object]) -> None:
    """RFC 8555 section 6.5; pitfalls 1 and 3."""
    world.refused(lambda r: r.changed(nonce=spell(r.members["nonce"])), NONCE)


@pytest.mark.parametrize("value", [None, 7, ["x"], {"x": 1}], ids=str)
def test_a_nonce_is_a_text(world: World, value: object) -> None:
    world.refused(lambda r: r.changed(nonce=value), MALFORMED)


@pytest.mark.parametrize("attack", DOUBLED.values(), ids=DOUBLED)
def test_a_member_stands_once(world: World, attack: Attack) -> None:
    """RFC 7515 section 4: another reader could believe the other one."""
    world.refused(attack, MALFORMED)


@pytest.mark.parametrize("attack", SPELLED.values(), ids=SPELLED)
def test_base64_has_one_spelling(world: World, attack: Attack) -> None:
    """RFC 8555 section 6.1: padding is refused; RFC 4648 section 3.5: and so are stray bits."""
    world.refused(attack, MALFORMED)


@pytest.mark.parametrize("attack", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_plain_json_is_malformed(world: World, attack: Attack) -> None:
    """RFC 8259 sections 8 and 9."""
    world.refused(attack, MALFORMED)


@pytest.mark.parametrize(("attack", "expected"), OVERSIZED.values(), ids=OVERSIZED)
def test_everything_has_a_bound(world: World, attack: Attack, expected: Any) -> None:
    world.refused(attack, *ways(expected))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json", "text/plain", "application/jose", "application/jose+jsonx",
        "application/jose+json, application/json", "application/problem+json",
        "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "*/*", ";",
        "\u00e9",
    ],
)  # fmt: skip
def test_a_request_says_what_it_is(world: World, content_type: str) -> None:
    """RFC 8555 section 6.2: 415 for every other content type."""
    before = world.position()
    for path in DOORS:
        right = world.right(path)
        result = world.sent(right, right.texts(), content_type)
        assert problem(result)[:2] == (415, "malformed"), path
    assert world.position() == before


PAYLOADS: dict[str, bytes] = {
    "a huge integer": HUGE,
    "a huge float": b"-1e99999999999999999999",
    "half a pair": b'{"contact":["mailto:\\ud800@x"],"csr":"\\ud800","certificate":"\\ud800",'
    b'"identifiers":[{"type":"dns","value":"\\ud800"}]}',
    "a surrogate": b'{"x":"\xed\xa0\x80"}',
    "a byte that is none": b'{"x":"\xff"}',
    "a NUL": b'{"x":"\\u0000"}',
    "deep": b'{"x":' * 40 + b"1" + b"}" * 40,
    "very deep": b"[" * 15_000,
    "twice": b'{"csr":"AAAA","csr":"AAAB","certificate":"AAAA","certificate":"AAAB",'
    b'"contact":[],"contact":[],"identifiers":[],"identifiers":[]}',
    "twice within": b'{"identifiers":[{"type":"dns","type":"ip","value":"a.lab.test"}],"contact":'
    b'[],"x":{"y":1,"y":2},"csr":"AAAA","certificate":"AAAA"}',
    "a list": b"[{}]",
    "true": b"true",
    "two objects": b"{}{}",
}  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_that_cannot_be_read_is_malformed(world: World, payload: bytes) -> None:
    world.refused(lambda r: r.saying(payload), MALFORMED)


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        ("/acme/revoke-cert", b'{"certificate":"AAAA","reason":%s}'),
        ("/acme/revoke-cert", b'{"certificate":%s}'),
        ("/acme/finalize/{order_id:id}", b'{"csr":%s}'),
        ("/acme/new-order", b'{"identifiers":[{"type":"dns","value":%s}]}'),
        ("/acme/new-order", b'{"identifiers":[{"type":"dns","value":"a.lab.test"}],"notAfter":%s}'),
        ("/acme/new-account", b'{"contact":[%s]}'),
    ],
)
@pytest.mark.parametrize("value", [HUGE, b"-" + HUGE, b"1e999999999", b"9.9e-999999999"])
def test_a_huge_number_is_of_the_wrong_kind(
    world: World, path: str, payload: bytes, value: bytes
) -> None:
    before = world.position()
    right = world.right(path)
    assert problem(world.sent(right, right.saying(payload % value)))[:2] == MALFORMED
    assert world.position() == before

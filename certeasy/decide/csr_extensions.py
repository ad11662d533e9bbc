"""Which extensions a certificate signing request may carry.

The harmless ones are those that real clients put in without being asked (certbot and lego a SAN,
acme.sh an EKU, Posh-ACME basic constraints and a key identifier, cert-manager a key usage), with
values that fit a server's certificate. Everything else is refused by name: a CA that copies what
it is given would turn a SID, an application policy or a second identity into somebody's log-on.
"""

from collections.abc import Iterable
from typing import Any

from cryptography import x509

from certeasy.decide import purposes
from certeasy.decide.addresses import address
from certeasy.decide.problems import Problem, Refused
from certeasy.settings import CsrRules

_REFUSED = {
    "1.3.6.1.4.1.311.20.2": "certificate template name",
    "1.3.6.1.4.1.311.21.7": "certificate template",
    "1.3.6.1.4.1.311.21.10": "application policies",
    "1.3.6.1.4.1.311.25.2": "security identifier",
    "1.3.6.1.5.5.7.1.1": "authority information access",
    "2.5.29.18": "issuer alternative name",
    "2.5.29.30": "name constraints",
    "2.5.29.31": "CRL distribution points",
    "2.5.29.32": "certificate policies",
    "2.5.29.35": "authority key identifier",
    "2.16.840.1.113730.1.1": "Netscape certificate type",
    "2.16.840.1.113730.1.13": "Netscape comment",
}
_OTHER_NAMES = {
    "1.3.6.1.4.1.311.20.2.3": "user principal name",
    "1.3.6.1.4.1.311.25.1": "directory GUID",
    "1.3.6.1.5.2.2": "Kerberos principal",
}
_SMIME_CAPABILITIES = "1.2.840.113549.1.9.15"  # Windows adds them to every RSA request
_TAKEN = "only DNS names and IP addresses are taken"
_SHOWN = 100


def names(extensions: Iterable[x509.Extension[Any]]) -> tuple[str, ...]:
    """Return the names of the subject alternative name: DNS names as they stand there, addresses
    as text (RFC 8738 section 3). Raises Refused (badCSR) for an address as a DNS name."""
    return tuple(
        _text(name)
        for extension in extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
        for name in extension.value
        if isinstance(name, x509.DNSName | x509.IPAddress)
    )


def _text(name: x509.DNSName | x509.IPAddress) -> str:
    text = str(name.value)
    if isinstance(name, x509.DNSName) and address(text) is not None:
        raise _bad(f"has the address {text} as a DNS name in its SAN; it is an IP address there")
    return text


def check(extensions: Iterable[x509.Extension[Any]], rules: CsrRules, *, copied: bool) -> None:
    """Return if every extension is harmless. Raises Refused (badCSR), naming the one that is not.

    `copied`: the authority copies extensions out of the request instead of making its own.
    """
    for extension in extensions:
        match extension.value:
            case x509.SubjectAlternativeName() as names:
                _check_names(names)
            case x509.BasicConstraints(ca=True):
                raise _bad("asks to be a CA (basic constraints 2.5.29.19 with CA:TRUE)")
            case x509.KeyUsage() as usage:
                _check_usage(usage, copied=copied)
            case x509.ExtendedKeyUsage() as asked:
                _check_purposes(asked, rules)
            case x509.TLSFeature() as features:
                _check_features(features, rules)
            case x509.BasicConstraints() | x509.SubjectKeyIdentifier():
                pass
            case _:
                _check_unknown(extension.oid.dotted_string)


def _check_names(names: x509.SubjectAlternativeName) -> None:
    """Refuse every identity that is no DNS name and no address."""
    for name in names:
        match name:
            case x509.DNSName() | x509.IPAddress():
                pass
            case x509.OtherName(type_id=oid):
                kind = _OTHER_NAMES.get(oid.dotted_string, "other name")
                raise _bad(f"has a {kind} ({oid.dotted_string}) in its SAN; {_TAKEN}")
            case _:
                shown = f"{type(name).__name__} {ascii(str(name.value))[:_SHOWN]}"
                raise _bad(f"has the {shown} in its SAN; {_TAKEN}")


def _check_usage(usage: x509.KeyUsage, *, copied: bool) -> None:
    """Refuse a CA's usages; and where they are copied, what no server needs."""
    if usage.key_cert_sign or usage.crl_sign:
        raise _bad("asks for a CA's key usage (2.5.29.15 with keyCertSign or cRLSign)")
    if copied and (usage.content_commitment or usage.data_encipherment):
        raise _bad(
            "asks for key usage (2.5.29.15) nonRepudiation or dataEncipherment, and the CA would"
            " copy it; digitalSignature, keyEncipherment and keyAgreement are taken"
        )


def _check_features(features: x509.TLSFeature, rules: CsrRules) -> None:
    """Refuse must-staple unless the policy takes it, and any other feature. RFC 7633."""
    if not rules.must_staple:
        raise _bad(
            "asks for the TLS feature extension (1.3.6.1.5.5.7.1.24, must-staple), which the policy"
            " does not take"
        )
    if set(features) != {x509.TLSFeatureType.status_request}:
        raise _bad("asks for TLS features (1.3.6.1.5.5.7.1.24) other than status_request")


def _check_purposes(asked: x509.ExtendedKeyUsage, rules: CsrRules) -> None:
    """Refuse purposes beside those of the policy; some may be asked for and are not given."""
    found = [purpose.dotted_string for purpose in asked]
    welcome = purposes.allowed((*rules.allowed_extra_eku, *rules.ignored_eku))
    if strange := purposes.unwelcome(found, welcome):
        raise _bad(f"asks for the extended key usage {strange}, which the policy does not allow")
    if purposes.SERVER_AUTH not in found:
        raise _bad("has an extended key usage (2.5.29.37) without serverAuth (1.3.6.1.5.5.7.3.1)")


def _check_unknown(oid: str) -> None:
    """Refuse everything that is not known to be harmless."""
    if oid != _SMIME_CAPABILITIES:
        shown = f"{oid} ({_REFUSED[oid]})" if oid in _REFUSED else oid
        raise _bad(f"has the extension {shown}, which is not taken")


def _bad(what: str) -> Refused:
    """Return the refusal of a request that has or asks for something."""
    return Refused(Problem.BAD_CSR, f"The CSR {what}")

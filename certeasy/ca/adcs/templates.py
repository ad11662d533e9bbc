"""What a certificate template says, and whether it suits an ACME server.

A template is an object in the directory (MS-CRTD). An ACME server needs one whose subject is in the
request, and whose certificates are for servers and nothing else: the two together with any purpose
that logs people on would let whoever may order become anybody. Each function judges one thing, has
no I/O, and returns what is said about it.

Where two sources differ on a bit, MS-CRTD holds. Numbers come from the directory as signed decimal
text; they are read as unsigned.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from msgspec import Struct

from certeasy.ca.adcs import descriptors
from certeasy.ca.adcs.descriptors import Descriptor
from certeasy.ca.adcs.findings import Finding, listed, shown

Attributes = Mapping[str, Sequence[bytes]]
"""An object of the directory: its attributes by their lower-case names."""

READ = (
    "cn",
    "displayName",
    "flags",
    "msPKI-Template-Schema-Version",
    "msPKI-Certificate-Name-Flag",
    "msPKI-Enrollment-Flag",
    "msPKI-Private-Key-Flag",
    "msPKI-RA-Signature",
    "msPKI-RA-Application-Policies",
    "msPKI-Minimal-Key-Size",
    "msPKI-Certificate-Application-Policy",
    "pKIExtendedKeyUsage",
    "pKIExpirationPeriod",
    "nTSecurityDescriptor",
)
"""The attributes that are asked for."""

SUPPLIES_SUBJECT, SUPPLIES_SAN = 0x1, 0x10000  # msPKI-Certificate-Name-Flag
PENDS, PUBLISHES = 0x2, 0x8  # msPKI-Enrollment-Flag
ARCHIVES, ALTERNATE_SIGNATURE, ATTESTS = 0x1, 0x40, 0x2000  # msPKI-Private-Key-Flag
CA_TEMPLATE = 0x80  # flags: of a certification authority

SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
LOGS_ON = {
    "1.3.6.1.5.5.7.3.2": "client authentication",
    "1.3.6.1.4.1.311.20.2.2": "smart card logon",
    "1.3.6.1.5.2.3.4": "PKINIT client authentication",
    "2.5.29.37.0": "any purpose",
}
"""Purposes with which a certificate logs its holder on to the domain."""
AGENT = "1.3.6.1.4.1.311.20.2.1"
"""Certificate request agent: its holder enrols for others."""
BITS = {"P-256": 256, "P-384": 384, "P-521": 521}
_OLD = 1  # schema version of the templates that came with Windows 2000
_UNIT = 10_000_000  # ticks of 100 ns in a second


class Unreadable(ValueError):
    """An attribute of a template is not what it has to be."""


class Template(Struct, frozen=True):
    """A certificate template, as far as an ACME server is concerned."""

    name: str
    version: int
    flags: int
    name_flags: int
    enrollment_flags: int
    key_flags: int
    signatures: int
    key_size: int
    algorithm: str
    """`RSA`, `ECDSA_P256`, ...; empty where the template does not name one, and means RSA then."""
    purposes: frozenset[str]
    validity: timedelta | None
    descriptor: Descriptor | None
    """None: this account may not read it."""

    @property
    def supplies_subject(self) -> bool:
        """Whether the subject is the one in the request."""
        return bool(self.name_flags & SUPPLIES_SUBJECT)

    @property
    def pends(self) -> bool:
        """Whether requests wait for an officer."""
        return bool(self.enrollment_flags & PENDS)

    @property
    def elliptic(self) -> bool:
        """Whether it is for elliptic curves."""
        return self.algorithm.upper().startswith(("EC", "1.2.840.10045"))


class KeyRules(Struct, frozen=True):
    """Which keys a policy of this server lets a request have."""

    policy: str
    rsa: bool
    min_rsa_bits: int
    curves: tuple[str, ...]
    """Empty: no elliptic curves."""
    ed25519: bool = False


class PendingRule(Struct, frozen=True):
    """Whether a policy of this server lets orders wait for an officer, and for how long."""

    policy: str
    accepted: bool
    limit: timedelta


def read(attributes: Attributes) -> Template:
    """Return what the object says. Raises Unreadable."""
    purposes = [
        value.decode("ascii", "replace")
        for key in ("pkiextendedkeyusage", "mspki-certificate-application-policy")
        for value in attributes.get(key, ())
    ]
    return Template(
        name=shown(_first(attributes, "cn") or b"?"),
        version=_number(attributes, "mspki-template-schema-version", _OLD),
        flags=_number(attributes, "flags", 0),
        name_flags=_number(attributes, "mspki-certificate-name-flag", 0),
        enrollment_flags=_number(attributes, "mspki-enrollment-flag", 0),
        key_flags=_number(attributes, "mspki-private-key-flag", 0),
        signatures=_number(attributes, "mspki-ra-signature", 0),
        key_size=_number(attributes, "mspki-minimal-key-size", 0),
        algorithm=_algorithm(_first(attributes, "mspki-ra-application-policies")),
        purposes=frozenset(purposes),
        validity=_period(_first(attributes, "pkiexpirationperiod")),
        descriptor=_descriptor(_first(attributes, "ntsecuritydescriptor")),
    )


def judge(
    template: Template,
    rules: Iterable[KeyRules],
    pending: Iterable[PendingRule],
    longest: timedelta | None,
) -> tuple[Finding, ...]:
    """Return all that is said about a template itself, step by step."""
    return (
        subject(template),
        purposes(template),
        key(template, tuple(rules)),
        approval(template, tuple(pending)),
        signatures(template),
        private_key(template),
        validity(template, longest),
    )


def subject(template: Template) -> Finding:
    """The subject, and with it the names, have to be those of the request."""
    step = "subject"
    if template.supplies_subject:
        return Finding(step, "ok", f"{template.name} takes the subject from the request")
    tick = "certtmpl.msc, the template's properties, tab Subject Name: Supply in the request"
    if template.name_flags & SUPPLIES_SAN:
        return Finding(
            step,
            "warn",
            f"{template.name} takes the alternative names from the request, but builds the subject"
            " from the directory: certificates carry the name of the service account",
            tick,
        )
    return Finding(
        step,
        "fail",
        f"{template.name} builds the subject from the directory: certificates would be for the"
        " service account, not for the names that were ordered",
        tick,
    )


def purposes(template: Template) -> Finding:
    """Certificates are for servers; with any purpose that logs on, the template is a hole: ESC1."""
    step, found = "eku", template.purposes
    only = "tab Extensions, Application Policies: Server Authentication alone"
    if template.flags & CA_TEMPLATE:
        return Finding(
            step,
            "fail",
            f"{template.name} is a template for certification authorities",
            "duplicate the template Web Server instead",
        )
    if not found:
        return Finding(
            step,
            "warn",
            f"{template.name} names no purpose, so its certificates are for any, logging on to the"
            f" domain included{_esc1(template)}",
            only,
        )
    dangerous = [LOGS_ON[each] for each in LOGS_ON if each in found]
    if AGENT in found:
        dangerous.append("certificate request agent")
    if dangerous:
        return Finding(
            step,
            "warn",
            f"certificates of {template.name} are also for {' and '.join(dangerous)}"
            f"{_esc1(template)}",
            only,
        )
    if SERVER_AUTH not in found:
        return Finding(
            step,
            "fail",
            f"certificates of {template.name} are not for server authentication, but for"
            f" {listed(sorted(found))}",
            only,
        )
    if template.version == _OLD and template.supplies_subject:
        return Finding(
            step,
            "warn",
            f"{template.name} is of schema version 1: a CA without the updates of November 2024"
            " lets whoever may enrol add any purpose to his request (ESC15, CVE-2024-49019)",
            "update the CA, and use a duplicate of the template, which has version 2 or later",
        )
    return Finding(step, "ok", f"server authentication, {template.name} has no purpose to log on")


def _esc1(template: Template) -> str:
    if not template.supplies_subject:
        return ""
    return "; as the request brings the subject, whoever may order could become anybody (ESC1)"


def key(template: Template, rules: tuple[KeyRules, ...]) -> Finding:
    """The keys that the policies let in have to be those that the template takes."""
    kind = template.algorithm or "RSA"
    said = f"{template.name} takes {shown(kind, 40)} keys of at least {template.key_size} bits"
    worst: Finding | None = None
    for rule in rules:
        wrong = (_elliptic if template.elliptic else _rsa)(template, rule, said)
        if wrong is not None and (worst is None or wrong.status == "fail"):
            worst = wrong
    return worst or Finding("key", "ok", said)


def _rsa(template: Template, rule: KeyRules, said: str) -> Finding | None:
    if not rule.rsa:
        return Finding(
            "key",
            "fail",
            f"{said}; the policy {rule.policy} lets no RSA keys in",
            "allow RSA in its signature.allowed-algorithms, or use a template for elliptic curves",
            "0x80094811",
        )
    # A CA compares the number of bits, whatever the kind of the key is.
    refused = [curve for curve in rule.curves if BITS[curve] < template.key_size]
    if refused or rule.ed25519:
        others = " and ".join(refused + ["Ed25519"] * rule.ed25519)
        return Finding(
            "key",
            "warn",
            f"{said}; the policy {rule.policy} also lets {others} in, which the CA refuses, and"
            " many ACME clients make P-256 keys unless told otherwise",
            f"give {rule.policy} signature.allowed-algorithms of RSA only, so that clients are told"
            " at once, and have clients make RSA keys (certbot --key-type rsa)",
            "0x80094811",
        )
    if rule.min_rsa_bits < template.key_size:
        return Finding(
            "key",
            "warn",
            f"{said}; the policy {rule.policy} lets keys of {rule.min_rsa_bits} bits in, which the"
            " CA refuses",
            f"set signature.min-rsa-bits of {rule.policy} to {template.key_size}",
            "0x80094811",
        )
    return None


def _elliptic(template: Template, rule: KeyRules, said: str) -> Finding | None:
    fitting = [curve for curve in rule.curves if BITS[curve] >= template.key_size]
    if not fitting:
        return Finding(
            "key",
            "fail",
            f"{said}; the policy {rule.policy} lets none of these in",
            "allow ECDSA and the curve in its signature rules, or use a template for RSA",
            "0x80094811",
        )
    others = [curve for curve in rule.curves if curve not in fitting]
    if rule.rsa or rule.ed25519 or others:
        more = " and ".join(["RSA"] * rule.rsa + ["Ed25519"] * rule.ed25519 + others)
        return Finding(
            "key",
            "warn",
            f"{said}; the policy {rule.policy} also lets {more} in, which the CA may refuse",
            f"narrow the signature rules of {rule.policy} to what the template takes",
            "0x80094811",
        )
    return None


def approval(template: Template, pending: tuple[PendingRule, ...]) -> Finding:
    """Requests that wait for an officer are fine where the policies let orders wait."""
    step = "approval"
    if not template.pends:
        return Finding(step, "ok", f"{template.name} issues without a manager's approval")
    refusing = [rule.policy for rule in pending if not rule.accepted]
    if refusing:
        return Finding(
            step,
            "fail",
            f"{template.name} wants a manager's approval, and orders under {listed(refusing)} may"
            " not wait for one",
            "tab Issuance Requirements: no approval; or pending.accept: true in the policy",
        )
    limit = min((rule.limit for rule in pending), default=None)
    upto = "" if limit is None else f", up to {days(limit)}"
    return Finding(
        step,
        "ok",
        f"{template.name} wants a manager's approval: orders wait for one{upto}",
    )


def signatures(template: Template) -> Finding:
    """A request of an ACME client has no signatures of enrolment agents."""
    if template.signatures == 0:
        return Finding("ra-signatures", "ok", "no authorized signatures are wanted")
    return Finding(
        "ra-signatures",
        "fail",
        f"{template.name} wants {template.signatures} authorized signatures on each request, which"
        " ACME clients cannot give",
        "tab Issuance Requirements: untick This number of authorized signatures",
        "0x80094809",
    )


def private_key(template: Template) -> Finding:
    """The private key stays with the client: nothing of it can be archived or attested."""
    step = "private-key"
    if template.key_flags & ARCHIVES:
        return Finding(
            step,
            "fail",
            f"{template.name} archives private keys, which ACME clients never send",
            "tab Request Handling: untick Archive subject's encryption private key",
            "0x80094804",
        )
    if template.key_flags & ATTESTS:
        return Finding(
            step,
            "fail",
            f"{template.name} wants keys attested by a TPM, which ACME clients do not do",
            "tab Key Attestation: None",
        )
    if template.key_flags & ALTERNATE_SIGNATURE:
        return Finding(
            step,
            "warn",
            f"certificates of {template.name} are signed in the alternate format (RSASSA-PSS),"
            " which some clients cannot read",
            "tab Cryptography: untick Use alternate signature format",
        )
    if template.enrollment_flags & PUBLISHES:
        return Finding(
            step,
            "warn",
            f"the CA writes each certificate of {template.name} to the service account's object in"
            " the directory, which grows with them",
            "tab General: untick Publish certificate in Active Directory",
        )
    return Finding(step, "ok", "neither archived nor attested")


def validity(template: Template, longest: timedelta | None) -> Finding:
    """How long certificates live. `longest` is what the policies allow at most; None: any."""
    step = "validity"
    if template.validity is None:
        return Finding(step, "warn", f"{template.name} does not say for how long it issues")
    said = f"{template.name} issues for {days(template.validity)}"
    if longest is not None and template.validity > longest:
        return Finding(
            step,
            "fail",
            f"{said}, the policies allow {days(longest)} at most: each certificate would be refused"
            " and revoked",
            "tab General: Validity period; or max-validity in the policy",
        )
    return Finding(step, "ok", f"{said} (the CA may shorten it)")


def enroll_right(template: Template, account: str, sids: frozenset[str]) -> Finding:
    """The service account has the right Enroll."""
    step = "enroll-right"
    if template.descriptor is None:
        return Finding(
            step,
            "skipped",
            f"{account} may not read who may enrol with {template.name}",
            "tab Security: give it Read beside Enroll",
        )
    verdict = descriptors.may_enroll(template.descriptor, sids)
    if verdict.granted:
        by = "" if verdict.by is None else f", by the entry of {_group(verdict.by.sid)}"
        return Finding(step, "ok", f"{account} may enrol with {template.name}{by}")
    why = (
        "no entry of its security allows it"
        if verdict.by is None
        else f"the entry of {_group(verdict.by.sid)} denies it"
    )
    return Finding(
        step,
        "fail",
        f"{account} may not enrol with {template.name}: {why}",
        "certtmpl.msc, the template's properties, tab Security: add the account (or a group of it),"
        " tick Read and Enroll",
        "0x80094012",
    )


def others(template: Template) -> Finding:
    """Nobody passes by this server: groups of all users may neither enrol nor change the template.

    Where the request brings the subject, who may enrol gets certificates for any name of the
    company from the CA itself, and no policy or challenge of this server is asked.
    """
    step = "others"
    if template.descriptor is None:
        return Finding(step, "skipped", f"who else may enrol with {template.name} is not readable")
    groups = descriptors.groups_of_everybody(template.descriptor)
    changing = [each for each in groups if descriptors.may_change(template.descriptor, {each})]
    if changing:
        return Finding(
            step,
            "warn",
            f"{_names(changing)} may change {template.name}, and so have it issue anything (ESC4)",
            "tab Security: leave them Read at most",
        )
    enrolling = [
        each for each in groups if descriptors.may_enroll(template.descriptor, {each}).granted
    ]
    if not enrolling:
        return Finding(step, "ok", f"no group of all users may enrol with {template.name}")
    if template.pends or not template.supplies_subject:
        return Finding(step, "ok", f"{_names(enrolling)} may enrol, but not for any name at once")
    return Finding(
        step,
        "warn",
        f"{_names(enrolling)} may enrol with {template.name} for any name, past this server and its"
        " checks (ESC1 too, if its certificates log on)",
        "tab Security: Enroll for the service account alone",
    )


def days(span: timedelta) -> str:
    """Return a time span in whole days, or in hours where it is shorter than two days."""
    hours = int(span.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"  # noqa: PLR2004


def _names(sids: Iterable[str]) -> str:
    return " and ".join(_group(each) for each in sids)


def _group(sid: str) -> str:
    name = descriptors.everybody(sid)
    return sid if name is None else f"{name} ({sid})"


# -- attributes --------------------------------------------------------------------------------


def _first(attributes: Attributes, key: str) -> bytes | None:
    values = attributes.get(key, ())
    return values[0] if values else None


def _number(attributes: Attributes, key: str, default: int) -> int:
    """Return a signed decimal of 32 bits as the unsigned number that its bits are."""
    value = _first(attributes, key)
    if value is None:
        return default
    text = value.decode("ascii", "replace")
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 10):  # noqa: PLR2004
        raise Unreadable(f"{key} is {shown(value, 40)!r}, which is no number")
    return int(text) & 0xFFFF_FFFF


def _period(value: bytes | None) -> timedelta | None:
    """Return a negative number of 100 ns, in eight bytes, as a time span."""
    if value is None or len(value) != 8:  # noqa: PLR2004
        return None
    (ticks,) = struct.unpack("<q", value)
    seconds = -ticks // _UNIT
    # "Forever" is the smallest number there is.
    return timedelta(seconds=seconds) if 0 <= seconds < 1 << 35 else None


def _algorithm(value: bytes | None) -> str:
    """Return the key algorithm out of `name`type`value` triples. MS-CRTD section 2.23."""
    parts = [] if value is None else value.decode("utf-8", "replace").split("`")
    for n in range(0, len(parts) - 2, 3):
        if parts[n] == "msPKI-Asymmetric-Algorithm":
            return shown(parts[n + 2], 40)
    return ""


def _descriptor(value: bytes | None) -> Descriptor | None:
    if value is None:
        return None
    try:
        return descriptors.parse(value)
    except descriptors.Malformed as error:
        raise Unreadable(f"nTSecurityDescriptor: {error}") from None

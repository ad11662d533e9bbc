"""What the codes mean that a CA and the way to it answer with, as data.

Every lookup is by code: the texts beside them are in the CA's own language. A `kind` tells what
follows:

| kind | what follows |
|---|---|
| `csr` | the request itself is refused, for good |
| `config` | this template, or what is asked, does not fit: another CA may do, or an administrator |
| `transient` | asking again later may help |
| `service` | the CA cannot work: others are asked, and this one later |

Sources: [MS-WCCE] 3.2.1.4.2.1 and 2.2.3, [MS-ERREF] 2.1, [MS-CSRA] 3.1.4.1.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from certeasy.ca.adcs.errors import hexadecimal
from certeasy.ca.authority import DenialProblem

Kind = Literal["config", "csr", "transient", "service"]


class Meaning(Struct, frozen=True):
    """A code: its symbol, what follows, a cause and a remedy for an administrator, a sentence each.

    `problem` is what a client is told where the order fails for it.
    """

    symbol: str
    kind: Kind
    cause: str
    remedy: str
    problem: DenialProblem = "serverInternal"


E_ACCESSDENIED = 0x80070005
E_INVALIDARG = 0x80070057
ENROLL_DENIED = 0x80094011
TEMPLATE_DENIED = 0x80094012
UNSUPPORTED_CERT_TYPE = 0x80094800
NO_SUCH_REQUEST = 0x80094002
NO_SUCH = frozenset({NO_SUCH_REQUEST, 0x80094004, 0x80070002, 0x80070490})
"""The CA has no such request or certificate: no use in asking again."""

_ARCHIVAL = "turn key archival off in the template (Request Handling)"
_SIGNATURES = "set the number of authorized signatures in the template to 0 (Issuance Requirements)"
_SUPPLY = "choose `Supply in the request` in the template (Subject Name)"
_OFFICER = "look at the CA's event log (source CertificationAuthority) and at Failed Requests"
_NETWORK = "look at the network and the services between the CA and its domain controllers"
_CRL = "publish the revocation lists of the CAs above this one, where it can fetch them"
_HSM = "look at the CA's key: its provider or HSM does not answer"
_TAMEMYCERTS = "see the policy file of the CA's policy module (TameMyCerts) for the template"

MEANINGS: Mapping[int, Meaning] = {
    # -- the template and the rights on it
    UNSUPPORTED_CERT_TYPE: Meaning(
        "CERTSRV_E_UNSUPPORTED_CERT_TYPE",
        "config",
        "the CA does not offer the template, or has not read it from the directory yet",
        "publish it at the CA (Certificate Templates, New, Certificate Template to Issue), and use"
        " its name, not its display name",
    ),
    0x80094801: Meaning(
        "CERTSRV_E_NO_CERT_TYPE",
        "config",
        "the CA was told no template",
        "set certificate-template",
    ),
    0x80094802: Meaning(
        "CERTSRV_E_TEMPLATE_CONFLICT",
        "csr",
        "the request names another template inside",
        "have the client make its request without a template extension",
        "badCSR",
    ),
    0x80094803: Meaning(
        "CERTSRV_E_SUBJECT_ALT_NAME_REQUIRED",
        "csr",
        "the template wants a subject alternative name, and the request has none",
        "have the client put its names into the request",
        "badCSR",
    ),
    0x80094804: Meaning(
        "CERTSRV_E_ARCHIVED_KEY_REQUIRED",
        "config",
        "the template archives private keys",
        _ARCHIVAL,
    ),
    0x80094805: Meaning(
        "CERTSRV_E_SMIME_REQUIRED",
        "config",
        "the template wants S/MIME capabilities in the request",
        "use a template for web servers",
    ),
    0x80094806: Meaning(
        "CERTSRV_E_BAD_RENEWAL_SUBJECT",
        "config",
        "the template lets renewals keep their subject only",
        "use a template that takes new requests",
    ),
    0x80094807: Meaning(
        "CERTSRV_E_BAD_TEMPLATE_VERSION",
        "transient",
        "the CA knows an older version of the template",
        "wait until it has read the directory, or restart the service CertSvc",
    ),
    0x80094808: Meaning(
        "CERTSRV_E_TEMPLATE_POLICY_REQUIRED",
        "config",
        "the template wants the signature of a registration authority",
        _SIGNATURES,
    ),
    0x80094809: Meaning(
        "CERTSRV_E_SIGNATURE_POLICY_REQUIRED",
        "config",
        "the template wants the signature of a registration authority",
        _SIGNATURES,
    ),
    0x8009480A: Meaning(
        "CERTSRV_E_SIGNATURE_COUNT",
        "config",
        "the template wants more signatures on a request than there are",
        _SIGNATURES,
    ),
    0x8009480B: Meaning(
        "CERTSRV_E_SIGNATURE_REJECTED",
        "config",
        "a signature on the request is not accepted",
        _SIGNATURES,
    ),
    0x8009480C: Meaning(
        "CERTSRV_E_ISSUANCE_POLICY_REQUIRED",
        "config",
        "the template wants an issuance policy in the signer's certificate",
        _SIGNATURES,
    ),
    0x8009480D: Meaning(
        "CERTSRV_E_SUBJECT_UPN_REQUIRED",
        "config",
        "the template takes the user's name from the directory, and the account has none",
        _SUPPLY,
    ),
    0x8009480E: Meaning(
        "CERTSRV_E_SUBJECT_DIRECTORY_GUID_REQUIRED",
        "config",
        "the template takes the subject from the directory",
        _SUPPLY,
    ),
    0x8009480F: Meaning(
        "CERTSRV_E_SUBJECT_DNS_REQUIRED",
        "config",
        "the template takes the DNS name from the directory, and the account has none",
        _SUPPLY,
    ),
    0x80094810: Meaning(
        "CERTSRV_E_ARCHIVED_KEY_UNEXPECTED",
        "config",
        "the request has a key to archive, and the template does not archive",
        _ARCHIVAL,
    ),
    0x80094811: Meaning(
        "CERTSRV_E_KEY_LENGTH",
        "csr",
        "the key is shorter than the template allows, or of another kind (EC where it wants RSA)",
        "have the client make the kind of key that the template wants, or use a template for the"
        " client's kind of key",
        "badPublicKey",
    ),
    0x80094812: Meaning(
        "CERTSRV_E_SUBJECT_EMAIL_REQUIRED",
        "config",
        "the template takes the e-mail address from the directory, and the account has none",
        _SUPPLY,
    ),
    0x80094813: Meaning(
        "CERTSRV_E_UNKNOWN_CERT_TYPE",
        "config",
        "the CA does not know the template",
        "publish it at the CA, and use its name, not its display name",
    ),
    0x80094814: Meaning(
        "CERTSRV_E_CERT_TYPE_OVERLAP",
        "config",
        "the template's validity and renewal periods do not fit",
        "make the renewal period of the template shorter",
    ),
    0x80094815: Meaning(
        "CERTSRV_E_TOO_MANY_SIGNATURES",
        "config",
        "there are more signatures on the request than the template takes",
        _SIGNATURES,
    ),
    ENROLL_DENIED: Meaning(
        "CERTSRV_E_ENROLL_DENIED",
        "service",
        "the account may not request certificates from this CA, or the CA takes no requests from"
        " other machines",
        "give it `Request Certificates` on the CA's Security tab; look at `certutil -getreg"
        " CA\\InterfaceFlags`",
    ),
    TEMPLATE_DENIED: Meaning(
        "CERTSRV_E_TEMPLATE_DENIED",
        "config",
        "the account may not enroll with this template, or a policy module refuses it",
        "give it Read and Enroll on the template's Security tab",
    ),
    # -- the request
    0x80094001: Meaning(
        "CERTSRV_E_BAD_REQUESTSUBJECT",
        "csr",
        "the subject of the request is not valid or too long for the CA",
        "have the client leave the subject out, or keep to a common name",
        "badCSR",
    ),
    NO_SUCH_REQUEST: Meaning(
        "CERTSRV_E_NO_REQUEST",
        "config",
        "the CA knows no request with this number",
        "see whether its database was restored, or ca-name is another CA by now",
    ),
    0x80094003: Meaning(
        "CERTSRV_E_BAD_REQUESTSTATUS",
        "config",
        "the request is in another state than this was asked for",
        _OFFICER,
    ),
    0x80094004: Meaning(
        "CERTSRV_E_PROPERTY_EMPTY",
        "config",
        "the CA has nothing of that kind",
        _OFFICER,
    ),
    0x800B0114: Meaning(
        "CERT_E_INVALID_NAME",
        "csr",
        "a name is not allowed at the CA",
        _TAMEMYCERTS,
        "rejectedIdentifier",
    ),
    0x800B0110: Meaning(
        "CERT_E_WRONG_USAGE",
        "csr",
        "a key usage is not allowed at the CA",
        _TAMEMYCERTS,
        "badCSR",
    ),
    0x80092002: Meaning(
        "CRYPT_E_BAD_ENCODE",
        "csr",
        "the CA cannot read the request",
        "have the client make it anew; if it comes again, send it to us",
        "badCSR",
    ),
    0x80093005: Meaning(
        "OSS_DATA_ERROR",
        "csr",
        "the CA cannot read the request",
        "have the client make it anew; if it comes again, send it to us",
        "badCSR",
    ),
    0x80093102: Meaning(
        "CRYPT_E_ASN1_EOD",
        "csr",
        "the request ends too early for the CA",
        "have the client make it anew; if it comes again, send it to us",
        "badCSR",
    ),
    0x8009310B: Meaning(
        "CRYPT_E_ASN1_BADTAG",
        "csr",
        "the CA cannot read the request",
        "have the client make it anew; if it comes again, send it to us",
        "badCSR",
    ),
    0x80091007: Meaning(
        "CRYPT_E_HASH_VALUE",
        "csr",
        "the signature of the request does not hold at the CA",
        "have the client use another algorithm (ECDSA or RSA with SHA-256)",
        "badSignatureAlgorithm",
    ),
    0x80090006: Meaning(
        "NTE_BAD_SIGNATURE",
        "csr",
        "the signature of the request does not hold at the CA, or its algorithm is unknown there",
        "have the client use another algorithm (ECDSA or RSA with SHA-256)",
        "badSignatureAlgorithm",
    ),
    0x80090008: Meaning(
        "NTE_BAD_ALGID",
        "csr",
        "the CA does not know an algorithm of the request",
        "have the client use another algorithm (ECDSA or RSA with SHA-256)",
        "badSignatureAlgorithm",
    ),
    # -- the CA itself
    0x80094005: Meaning(
        "CERTSRV_E_INVALID_CA_CERTIFICATE",
        "service",
        "the CA's own certificate is not valid",
        "renew it",
    ),
    0x80094006: Meaning(
        "CERTSRV_E_SERVER_SUSPENDED",
        "service",
        "the CA is suspended",
        "see whether a backup or a restore of it is under way",
    ),
    0x80094008: Meaning(
        "CERTSRV_E_ROLECONFLICT",
        "config",
        "the account has several CA roles, and role separation is enforced",
        "leave it one role",
    ),
    0x80094009: Meaning(
        "CERTSRV_E_RESTRICTEDOFFICER",
        "config",
        "the account may not manage certificates of this template or requester",
        "change the restrictions on the CA's Certificate Managers tab",
    ),
    0x8009400F: Meaning(
        "CERTSRV_E_NO_DB_SESSIONS",
        "transient",
        "the CA has more requests at once than its database takes",
        "lower workers.workers, or raise the CA's database sessions",
    ),
    0x80094013: Meaning(
        "CERTSRV_E_DOWNLEVEL_DC_SSL_OR_UPGRADE",
        "transient",
        "the CA cannot talk to its domain controller in a protected way",
        _NETWORK,
    ),
    0x80094014: Meaning(
        "CERTSRV_E_ADMIN_DENIED_REQUEST",
        "csr",
        "an officer has denied the request",
        "ask the CA's officers why",
        "unauthorized",
    ),
    0x80090020: Meaning(
        "NTE_FAIL",
        "service",
        "the CA could not make the certificate, or a policy module refuses it without a reason",
        _OFFICER,
    ),
    0x8009000D: Meaning("NTE_NO_KEY", "service", "the CA's key is not there", _HSM),
    0x80090010: Meaning("NTE_PERM", "service", "the CA may not use its key", _HSM),
    0x80090016: Meaning("NTE_BAD_KEYSET", "service", "the CA's key is not there", _HSM),
    0x80090030: Meaning("NTE_DEVICE_NOT_READY", "service", "the CA's HSM is not ready", _HSM),
    0x80092012: Meaning(
        "CRYPT_E_NO_REVOCATION_CHECK",
        "service",
        "the CA cannot check whether its own chain is revoked",
        _CRL,
    ),
    0x80092013: Meaning(
        "CRYPT_E_REVOCATION_OFFLINE",
        "service",
        "the CA cannot fetch a revocation list of its own chain, or that is too old",
        _CRL,
    ),
    0x800B0101: Meaning(
        "CERT_E_EXPIRED",
        "service",
        "the CA's certificate, or one above it, has expired",
        "renew it",
    ),
    0x800B0109: Meaning(
        "CERT_E_UNTRUSTEDROOT",
        "service",
        "the CA's machine does not trust its own root",
        "install the root there, or in the directory (NTAuth and AIA)",
    ),
    0x800B010A: Meaning(
        "CERT_E_CHAINING",
        "service",
        "the CA's machine cannot build its own chain",
        "install the certificates above the CA there",
    ),
    E_INVALIDARG: Meaning(
        "E_INVALIDARG",
        "service",
        "the machine has no CA of this name",
        "compare ca-name with `certutil -CA` there (the common name, not the machine's)",
    ),
    E_ACCESSDENIED: Meaning(
        "E_ACCESSDENIED",
        "config",
        "the account may not do this at the CA",
        "to revoke, give it `Issue and Manage Certificates` on the CA's Security tab; to connect,"
        " look at the group CERTSVC_DCOM_ACCESS",
    ),
    0x80040154: Meaning(
        "REGDB_E_CLASSNOTREG",
        "config",
        "the machine is no CA, or its service is not installed whole",
        "compare host with the CA's machine",
    ),
    0x80070490: Meaning(
        "ERROR_NOT_FOUND",
        "transient",
        "the CA does not find something in the directory",
        "wait until the directory has been replicated, then restart CertSvc",
    ),
    # -- between the CA and its domain
    0x8007052E: Meaning(
        "ERROR_LOGON_FAILURE",
        "transient",
        "the CA cannot log on at its domain controller",
        _NETWORK,
    ),
    0x80070547: Meaning(
        "ERROR_CANT_ACCESS_DOMAIN_INFO",
        "transient",
        "the CA reads no configuration from its domain controller",
        _NETWORK,
    ),
    0x8007054B: Meaning(
        "ERROR_NO_SUCH_DOMAIN", "transient", "the CA does not find its domain", _NETWORK
    ),
    0x800706BA: Meaning(
        "RPC_S_SERVER_UNAVAILABLE", "transient", "the CA does not reach a server", _NETWORK
    ),
    0x800706BB: Meaning(
        "RPC_S_SERVER_TOO_BUSY", "transient", "a server that the CA needs is busy", _NETWORK
    ),
    0x800706BE: Meaning(
        "RPC_S_CALL_FAILED", "transient", "a call of the CA to a server failed", _NETWORK
    ),
    0x800706BF: Meaning(
        "RPC_S_CALL_FAILED_DNE", "transient", "a call of the CA to a server failed", _NETWORK
    ),
    0x800706D9: Meaning(
        "EPT_S_NOT_REGISTERED", "transient", "a service that the CA needs does not run", _NETWORK
    ),
    0x80070721: Meaning(
        "RPC_S_SEC_PKG_ERROR",
        "transient",
        "the CA cannot log on at a server",
        _NETWORK,
    ),
    0x80093100: Meaning(
        "CRYPT_E_ASN1_ERROR",
        "csr",
        "the CA cannot read the request",
        "have the client make its request anew",
        "badCSR",
    ),
    0x80093101: Meaning(
        "CRYPT_E_ASN1_INTERNAL",
        "csr",
        "the CA cannot read the request",
        "have the client make its request anew",
        "badCSR",
    ),
    0x80093103: Meaning(
        "CRYPT_E_ASN1_CORRUPT",
        "csr",
        "the request is damaged",
        "have the client make its request anew",
        "badCSR",
    ),
    0x80093104: Meaning(
        "CRYPT_E_ASN1_LARGE",
        "csr",
        "a part of the request is too large for the CA",
        "have the client ask for fewer names",
        "badCSR",
    ),
    0x80093105: Meaning(
        "CRYPT_E_ASN1_CONSTRAINT",
        "csr",
        "a part of the request is not what may stand there",
        "have the client make its request anew",
        "badCSR",
    ),
    0x80094007: Meaning(
        "CERTSRV_E_ENCODING_LENGTH",
        "csr",
        "a part of the request is too long for the CA",
        "have the client ask for fewer or shorter names",
        "badCSR",
    ),
    0x80094015: Meaning(
        "CERTSRV_E_NO_POLICY_SERVER", "transient", "no policy server answers the CA", _NETWORK
    ),
    0x80094016: Meaning(
        "CERTSRV_E_WEAK_SIGNATURE_OR_KEY",
        "csr",
        "the CA takes the key or the signature of the request for weak",
        "have the client make a stronger key",
        "badPublicKey",
    ),
    0x80094017: Meaning(
        "CERTSRV_E_KEY_ATTESTATION_NOT_SUPPORTED",
        "config",
        "the template wants keys to be attested",
        "turn key attestation off in the template",
    ),
    0x80094018: Meaning(
        "CERTSRV_E_ENCRYPTION_CERT_REQUIRED",
        "config",
        "the template wants an encryption certificate in the request",
        "use a template for web servers",
    ),
    0x8007203A: Meaning(
        "ERROR_DS_SERVER_DOWN", "transient", "the CA's domain controller is down", _NETWORK
    ),
}

_UNKNOWN = Meaning("", "service", "the CA gave a code that is not in the table", _OFFICER)


def meaning(code: int) -> Meaning:
    """Return what a code means. One that is not known is told by its number, and asked about at
    the CA."""
    return MEANINGS.get(code & 0xFFFF_FFFF, _UNKNOWN)


def table() -> str:
    """Return all meanings as a table of Markdown, by code."""
    lines = [
        "| code | symbol | kind | what it means | what to do | client is told |",
        "|---|---|---|---|---|---|",
    ]
    for code, means in sorted(MEANINGS.items()):
        told = f"`{means.problem}`" if means.kind == "csr" else "waits"
        cells = (
            f"`{hexadecimal(code)}`",
            means.symbol,
            means.kind,
            means.cause,
            means.remedy,
            told,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def told(code: int) -> str:
    """Return a code as an administrator is told it: symbol, number, cause, remedy."""
    means = meaning(code)
    symbol = f"{means.symbol} ({hexadecimal(code)})" if means.symbol else hexadecimal(code)
    return f"{symbol}: {means.cause}; {means.remedy}"

"""Extended key usages: what a certificate may be good for.

A server's certificate is for `serverAuth`. A policy may allow more by name or by OID, but some
purposes let their holder be someone else (log on as a user, enrol for others, sign for the CA):
no policy allows those, and an extension that lists none at all means every purpose.
"""

from collections.abc import Iterable
from functools import lru_cache

SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"

NAMES = {
    SERVER_AUTH: "serverAuth",
    CLIENT_AUTH: "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "1.3.6.1.5.5.7.3.17": "ipsecIKE",
    "1.3.6.1.5.2.3.4": "Kerberos client authentication",
    "1.3.6.1.5.2.3.5": "Kerberos KDC authentication",
    "1.3.6.1.4.1.311.10.3.12": "document signing",
    "1.3.6.1.4.1.311.20.2.1": "certificate request agent",
    "1.3.6.1.4.1.311.20.2.2": "smart card logon",
    "1.3.6.1.4.1.311.21.5": "private key archival",
    "1.3.6.1.4.1.311.21.6": "key recovery agent",
    "2.5.29.37.0": "any purpose",
}
"""What purposes are called, by dotted OID."""

NEVER = frozenset(
    {
        "1.3.6.1.5.5.7.3.9",
        "1.3.6.1.5.2.3.4",
        "1.3.6.1.4.1.311.20.2.1",
        "1.3.6.1.4.1.311.20.2.2",
        "1.3.6.1.4.1.311.21.5",
        "1.3.6.1.4.1.311.21.6",
        "2.5.29.37.0",
    }
)
"""Purposes that no policy allows."""

_BY_NAME = {name: oid for oid, name in NAMES.items()}


@lru_cache(maxsize=256)
def allowed(extra: tuple[str, ...]) -> frozenset[str]:
    """Return the purposes, as dotted OIDs, of a policy that allows `extra` (names or dotted OIDs).

    serverAuth is always among them; what nobody may have never is.
    """
    return frozenset({SERVER_AUTH, *(_BY_NAME.get(word, word) for word in extra)} - NEVER)


def unwelcome(purposes: Iterable[str], welcome: frozenset[str]) -> str:
    """Return the first purpose that is not welcome, as `OID (name)`; empty if there is none."""
    return next((shown(oid) for oid in purposes if oid not in welcome), "")


def shown(oid: str) -> str:
    """Return a purpose for a message: its dotted OID, and its name if it has one."""
    return f"{oid} ({NAMES[oid]})" if oid in NAMES else oid

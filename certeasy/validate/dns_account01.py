"""The dns-account-01 challenge: like dns-01, at a name of the account's own.

draft-ietf-acme-dns-account-label-03:

    _LABEL._acme-challenge.NAME  TXT  base64url(SHA-256(key authorization))
    LABEL = base32(the first 10 bytes of SHA-256(account URL)), in lower case

Several clients, each with its account, can prove one name without treading on each other's records.
An account has as many URLs as the server has public addresses; each of them may be the one that the
client knows, so each has its name, and one of them is enough.
"""

import base64
import hashlib

from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.dns01 import LABEL, digest, prove
from certeasy.validate.resolve import Resolver

HASHED = 10


class DnsAccount01Validator:
    """Validates dns-account-01 through one profile's resolver. One instance serves all threads."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def validate(self, asked: Asked) -> Validated | Failed:
        """Look at the account's names, that of the URL first which clients are told."""
        expected = digest(asked.key_authorization)
        first: Failed | None = None
        for url in asked.account_urls:
            outcome = prove(self._resolver, place(asked.name, url), expected)
            if isinstance(outcome, Validated):
                return outcome
            first = first or outcome
        assert first is not None, "an account has a URL"
        return first


def place(name: str, account_url: str) -> str:
    """Return where the record of a name is expected."""
    hashed = hashlib.sha256(account_url.encode("utf-8")).digest()[:HASHED]
    return f"_{base64.b32encode(hashed).decode('ascii').lower()}.{LABEL}.{name}"

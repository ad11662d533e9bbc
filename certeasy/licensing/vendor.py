"""The vendor's public key: with it, and nothing else, licenses are verified.

It is the build's: `vendor.pem` lies beside this file, and `python -m tools.release build
--vendor-key FILE` puts another into the wheel. Nobody has kept the private half of the one in the
source, so no license fits a checkout; whoever wants some makes a key with `python -m
tools.license_issue key` and builds with its public half.
"""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class NoVendorKey(Exception):
    """The build has no key that licenses could be verified with."""


KEY_FILE = Path(__file__).with_name("vendor.pem")


def public_key(file: Path | None = None) -> Ed25519PublicKey:
    """Return the vendor's key. Raises NoVendorKey."""
    try:
        found = serialization.load_pem_public_key((file or KEY_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise NoVendorKey(f"{file or KEY_FILE} cannot be read: {error}") from error
    if not isinstance(found, Ed25519PublicKey):
        raise NoVendorKey(f"{file or KEY_FILE} is no Ed25519 public key")
    return found

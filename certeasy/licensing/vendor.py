"""The vendor's public key: with it, and nothing else, licenses are verified.

It is the build's: `vendor.pem` lies beside this file, and `python -m tools.release build
--vendor-key FILE` puts another into the wheel. Nobody has kept the private half of the one in the
source, so no license fits a checkout; whoever wants some makes a key with `python -m
tools.license_issue key` and builds with its public half.
"""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class NoVendorKey(OSError):
    """The build has no key that licenses could be verified with: a file that cannot be read, as
    others; one line says which, and what to do."""


KEY_FILE = Path(__file__).with_name("vendor.pem")


def public_key(file: Path | None = None) -> Ed25519PublicKey:
    """Return the vendor's key. Raises NoVendorKey."""
    try:
        found = serialization.load_pem_public_key((file or KEY_FILE).read_bytes())
    except OSError as error:
        raise NoVendorKey(_fault(file, f"cannot be read ({error.strerror})")) from error
    except ValueError as error:
        raise NoVendorKey(_fault(file, "is no public key (PEM)")) from error
    if not isinstance(found, Ed25519PublicKey):
        raise NoVendorKey(_fault(file, "is no Ed25519 public key"))
    return found


def _fault(file: Path | None, why: str) -> str:
    return f"{file or KEY_FILE}, which came with the program, {why}: install the program again"

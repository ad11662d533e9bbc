"""Licenses of a vendor that only the tests have.

block = a_license_file(installation=key, plan="free", managed_servers=2)
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from certeasy.licensing import keys
from certeasy.licensing.file import Payload, Withdrawal
from tools.license_issue import bounds_of, sign, utc

VENDOR = Ed25519PrivateKey.from_private_bytes(b"the vendor whom the tests trust.")
INSTALLATION = keys.installation_key("00000001-0000-4000-8000-0000000000aa")
NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


def a_payload(
    *,
    number: int = 1,
    plan: str = "free",
    installation: str = INSTALLATION,
    begins: datetime = NOW,
    lasts: timedelta = timedelta(days=30),
    **limits: Any,
) -> Payload:
    """Return what a vendor would sign; `limits` differ from the plan's."""
    return Payload(
        format=1,
        id=f"{number:026d}",
        key=keys.license_key(bytes([number]) * 19),
        plan=plan,
        holder="The lab",
        installation=installation,
        limits=replace(bounds_of(plan), **limits),
        issued_at=utc(begins),
        not_before=utc(begins),
        expires=utc(begins + lasts),
        trial=False,
    )


def a_license_file(private: Ed25519PrivateKey = VENDOR, **members: Any) -> str:
    """Return a license as its holder gets it."""
    return sign(private, a_payload(**members))


def a_revocation_file(number: int = 1, at: datetime = NOW) -> str:
    """Return what takes that license back."""
    gone = Withdrawal(format=1, id=f"{number:026d}", revoked_at=utc(at), reason="it was paid back")
    return sign(VENDOR, gone)

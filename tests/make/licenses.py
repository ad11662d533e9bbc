"""Licenses of a vendor that only the tests have.

block = a_license_file(installation=key, plan="free", managed_servers=2)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import replace

from certeasy.admin.desk import Desk
from certeasy.admin.instructions import Instruction
from certeasy.admin.license import InstallLicense, LicenseSet
from certeasy.app import Application
from certeasy.cluster import boot
from certeasy.licensing import keys, vendor
from certeasy.licensing.file import Payload, Withdrawal
from certeasy.settings import AuthoritySettings, Settings
from certeasy.settings.adcs import AdcsSettings
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


# -- in a server -----------------------------------------------------------------------------------


@contextmanager
def trusting(folder: Path) -> Iterator[None]:
    """Let this process be of a build that trusts the tests' vendor, as another build would."""
    build = folder / "vendor.pem"
    public = VENDOR.public_key()
    build.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    before, vendor.KEY_FILE = vendor.KEY_FILE, build
    try:
        yield
    finally:
        vendor.KEY_FILE = before


def license_for(server: Application, **members: Any) -> str:
    """Return a license for a running server's installation, from its own time on."""
    members.setdefault("begins", server.clock.now())
    return a_license_file(installation=server.license.terms.installation, **members)


def carry_out(server: Application, instruction: Instruction[LicenseSet]) -> LicenseSet:
    """Have a running server do what an administrator asks for."""
    return instruction.carry_out(Desk(server._office, *boot.administrator("root", server.ids)))


def install(server: Application, **members: Any) -> LicenseSet:
    """Have a running server take a license into use."""
    return carry_out(server, InstallLicense(license_for(server, **members)))


def with_ad_cs(settings: Settings, *, count: int = 1) -> Settings:
    """Return settings with CAs of a domain beside what they have; nothing is bound to them, and
    nobody answers where they should be."""
    nobody = AdcsSettings(
        ca_name="nobody.lab.test\\Nobody",
        certificate_template="WebServer",
        address="127.0.0.1",
        endpoint_mapper_port=1,
        smb_port=1,
        auth="ntlm",
        domain="lab.test",
        user="svc",
        password_file=settings.workdir / "none",
        ca_certificates=settings.workdir / "none",
        connect_timeout=timedelta(seconds=1),
    )
    others = tuple(
        AuthoritySettings(name=f"ad-{n}", type="adcs", configuration=nobody) for n in range(count)
    )
    return replace(settings, authorities=(*settings.authorities, *others))

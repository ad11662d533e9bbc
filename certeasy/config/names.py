"""Names that sections give their entries, and by which other sections refer to them."""

from collections.abc import Iterable, Sequence

from certeasy.config.mistakes import Page, quoted
from certeasy.settings import (
    AuthoritySettings,
    CertificateProfile,
    DnsProfile,
    IssuancePolicy,
    TlsBundle,
)

PROFILES = "dns-validation-profiles"
AUTHORITIES = "authorities"
POLICIES = "issuance-policies"
BINDINGS = "policy-bindings"
OFFERED = "profiles"
BUNDLES = "tls-certificate-manager.bundles"

Named = TlsBundle | DnsProfile | AuthoritySettings | IssuancePolicy | CertificateProfile


def known(name: str, section: Iterable[Named], key: str, where: str, page: Page) -> None:
    """A name that refers to another section is in it."""
    names = sorted({member.name for member in section})
    if name not in names and page.sound(where, key):
        there = ", ".join(names) or "none"
        page.add(key, f"{quoted(name)} is not in {where}; known: {there}")


def unique(section: Sequence[Named], key: str, page: Page) -> None:
    """Names within a section differ."""
    seen: set[str] = set()
    for index, member in enumerate(section):
        if member.name in seen:
            page.add(f"{key}[{index}].name", f"{quoted(member.name)} is used twice")
        seen.add(member.name)

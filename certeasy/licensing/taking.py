"""A file of the vendor's, on its way into the log."""

from certeasy.commit.command import Decide
from certeasy.decide import license as deciding
from certeasy.licensing import file
from certeasy.licensing.file import Payload
from certeasy.licensing.terms import Terms
from events.license import LicenseRevoked


def taking(block: bytes, terms: Terms, source: str) -> tuple[Decide, str]:
    """Return what decides on a license, or on what takes one back, and the cause of what follows.

    Raises WrongLicense where the vendor did not sign it.
    """
    found = file.read(block, terms.vendor)
    text, here = file.canonical(block), terms.installation
    if isinstance(found, Payload):
        fact = file.installing(found, text, source)
        return (
            lambda rows, now: deciding.install(rows, now, fact, installation=here),
            "a license was installed",
        )
    gone = LicenseRevoked(found.id, found.revoked_at, found.reason, text, source)
    return lambda rows, _now: deciding.revoke(rows, gone), "the license was revoked"


def observing(terms: Terms, cause: str) -> Decide:
    """Return what decides whether the license's state is another than was recorded last."""
    return lambda rows, now: deciding.observe(
        rows, now, terms.configured, cause=cause, forged=terms.forged(deciding.of(rows))
    )

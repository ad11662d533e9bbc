"""What a domain's directory has of a CA: objects by their distinguished names."""

from datetime import UTC, datetime, timedelta

from certeasy.ca.adcs.templates import READ
from tests.make.descriptors import DOMAIN, SERVICE, USERS, a_sid, a_template

NAMING = "DC=lab,DC=test"
CONFIGURATION = f"CN=Configuration,{NAMING}"
PUBLIC_KEYS = f"CN=Public Key Services,CN=Services,{CONFIGURATION}"
NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)

Object = dict[str, tuple[bytes, ...]]


def a_filetime(when: datetime) -> bytes:
    """Return a time as the directory has it."""
    ticks = (when - datetime(1601, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    return str(ticks).encode()


def a_domain(
    *,
    certificate: bytes = b"",
    host: str = "ca1.lab.test",
    ca_name: str = "LAB-CA",
    published: tuple[str, ...] = ("AcmeServer",),
    templates: tuple[Object, ...] | None = None,
    account: Object | None = None,
    groups: tuple[str, ...] = (USERS, "S-1-5-32-545"),
    trusted: tuple[bytes, ...] | None = None,
) -> dict[str, Object]:
    """Return the directory of a domain with one CA, and a service account that may enrol."""
    found: dict[str, Object] = {
        "": {
            "dnsHostName": (b"dc1.lab.test",),
            "defaultNamingContext": (NAMING.encode(),),
            "configurationNamingContext": (CONFIGURATION.encode(),),
            "currentTime": (b"20261102090000.0Z",),
        },
        f"CN={ca_name},CN=Enrollment Services,{PUBLIC_KEYS}": {
            "objectClass": (b"top", b"pKIEnrollmentService"),
            "cn": (ca_name.encode(),),
            "dNSHostName": (host.encode(),),
            "cACertificate": (certificate,) if certificate else (),
            "certificateTemplates": tuple(each.encode() for each in published),
        },
        f"CN=NTAuthCertificates,{PUBLIC_KEYS}": {
            "cACertificate": ((certificate,) if trusted is None else trusted),
        },
        f"CN=svc-acme,CN=Users,{NAMING}": {
            "sAMAccountName": (b"svc-acme",),
            "objectSid": (a_sid(SERVICE),),
            "userAccountControl": (b"66048",),
            "tokenGroups": tuple(a_sid(each) for each in groups),
            "msDS-UserPasswordExpiryTimeComputed": (b"9223372036854775807",),
            **(account or {}),
        },
    }
    spelt = {name.lower(): name for name in READ}
    for template in (a_template(),) if templates is None else templates:
        name = template["cn"][0].decode()
        found[f"CN={name},CN=Certificate Templates,{PUBLIC_KEYS}"] = {
            spelt[key]: values for key, values in template.items()
        }
    return found


__all__ = ["CONFIGURATION", "DOMAIN", "NAMING", "NOW", "a_domain", "a_filetime"]

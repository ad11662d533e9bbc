"""What looks for each type of challenge: one line a type."""

from collections.abc import Sequence

from certeasy.clock import Clock
from certeasy.settings import DnsProfile
from certeasy.validate import Validator
from certeasy.validate.caa import Caa, WithCaa
from certeasy.validate.dns01 import Dns01Validator
from certeasy.validate.dns_account01 import DnsAccount01Validator
from certeasy.validate.dns_persist01 import DnsPersist01Validator
from certeasy.validate.http01 import Http01Validator
from certeasy.validate.resolve import Resolver
from certeasy.validate.tlsalpn01 import TlsAlpn01Validator


def validators_of(
    profile: DnsProfile, issuers: Sequence[str], clock: Clock
) -> dict[str, Validator]:
    """Return what looks for each type of challenge as a profile says.

    `issuers` are the names by which records in the DNS mean this CA.
    """
    resolver = Resolver(profile)
    made: dict[str, Validator] = {
        "http-01": Http01Validator(profile, resolver),
        "dns-01": Dns01Validator(resolver),
        "tls-alpn-01": TlsAlpn01Validator(profile, resolver),
        "dns-account-01": DnsAccount01Validator(resolver),
        "dns-persist-01": DnsPersist01Validator(resolver, issuers, clock),
    }
    if profile.caa == "off":
        return made
    caa, strict = Caa(resolver, issuers), profile.caa == "strict"
    return {kind: WithCaa(each, caa, kind, strict=strict) for kind, each in made.items()}

"""What holds between those who issue: how names are proven, the CAs, the policies that they serve,
and the profiles that stand for these."""

from collections.abc import Sequence
from datetime import timedelta

from certeasy.config.forms import duration_text, is_address
from certeasy.config.mistakes import Page, quoted
from certeasy.config.names import AUTHORITIES, BINDINGS, OFFERED, POLICIES, PROFILES, known, unique
from certeasy.settings import (
    AuthoritySettings,
    CertificateProfile,
    DnsProfile,
    DnsZone,
    EmbeddedSettings,
    IssuancePolicy,
    KeySettings,
    Settings,
)
from certeasy.settings.adcs import AdcsCliSettings, AdcsSettings

_MINUTE = timedelta(minutes=1)
_NEEDS_HOST = r"does not say which machine: write HOST\COMMON NAME, as certutil prints it"
_STATUSES = frozenset({"pending", "ready", "processing", "valid", "invalid"})


def check(settings: Settings, page: Page) -> None:
    """Note every mistake between profiles, authorities and policies."""
    for index, profile in enumerate(settings.dns_validation_profiles):
        _profile(profile, f"{PROFILES}[{index}]", page)
    for index, authority in enumerate(settings.authorities):
        _authority(authority, settings, f"{AUTHORITIES}[{index}]", page)
    for index, policy in enumerate(settings.issuance_policies):
        _policy(policy, settings, f"{POLICIES}[{index}]", page)
    _bindings(settings, page)
    _offered(settings, page)
    _named(settings, page)


def _profile(profile: DnsProfile, key: str, page: Page) -> None:
    """A profile says which addresses may be connected to, and every zone how to find them."""
    policy = profile.resolved_ip_policy
    if not policy.allow_cidrs and not policy.deny_cidrs and page.sound(f"{key}.resolved-ip-policy"):
        what = "needs allow-cidrs or deny-cidrs: the addresses that may, or may not, be asked"
        page.add(f"{key}.resolved-ip-policy", what)
    suffixes: set[str] = set()
    for index, zone in enumerate(profile.zones):
        at = f"{key}.zones[{index}]"
        for twice in sorted(suffixes.intersection(zone.suffixes)):
            page.add(f"{at}.suffixes", f"{quoted(twice)} has a zone already")
        suffixes.update(zone.suffixes)
        if page.sound(at):
            _zone(zone, at, page)


def _zone(zone: DnsZone, key: str, page: Page) -> None:
    """A zone has one way to find addresses; its hosts are inside it."""
    if zone.system and zone.dns_server:
        page.add(key, "has both system: true and dns-server; leave one")
    if not zone.system and not zone.dns_server and not zone.hosts:
        page.add(key, "needs dns-server, hosts, or system: true")
    if not zone.system and not zone.dns_server:
        for name in ("authoritative", "dnssec"):
            if getattr(zone, name):
                page.add(f"{key}.{name}", "needs dns-server or system: true; hosts are not asked")
    for host in zone.hosts:
        name = f".{host.removeprefix('*.')}"
        if "." not in zone.suffixes and not name.endswith(tuple(f".{s}" for s in zone.suffixes)):
            page.add(f'{key}.hosts["{host}"]', "is under none of the zone's suffixes")


def _named(settings: Settings, page: Page) -> None:
    """Whoever looks for records that name this CA has a name to look for."""
    if settings.server.caa_identities or not page.sound("server", PROFILES, POLICIES):
        return
    needs = "needs server.caa-identities: the names by which records in the DNS mean this CA"
    for index, profile in enumerate(settings.dns_validation_profiles):
        if profile.caa != "off":
            page.add(f"{PROFILES}[{index}].caa", f"{quoted(profile.caa)} {needs}")
    for index, policy in enumerate(settings.issuance_policies):
        if "dns-persist-01" in policy.challenges:
            page.add(f"{POLICIES}[{index}].challenges", f"dns-persist-01 {needs}")


def _authority(authority: AuthoritySettings, settings: Settings, key: str, page: Page) -> None:
    """An authority serves policies that exist, and its configuration makes sense."""
    for index, policy in enumerate(authority.policies):
        known(policy, settings.issuance_policies, f"{key}.policies[{index}]", POLICIES, page)
    at = f"{key}.configuration"
    match authority.configuration:
        case EmbeddedSettings() as embedded:
            _embedded(embedded, key, page)
        case AdcsSettings() as adcs:
            _adcs(adcs, settings, at, page)
        case AdcsCliSettings() as cli:
            _call(cli.default_timeout, settings, at, page)
            if "\\" not in cli.ca_name and page.sound(at):
                page.add(f"{at}.ca-name", _NEEDS_HOST)


def _adcs(adcs: AdcsSettings, settings: Settings, key: str, page: Page) -> None:
    """A CA of a domain is found by its name, and one secret proves who we are."""
    if not page.sound(key):
        return
    if not adcs.server:
        page.add(f"{key}.ca-name", f"{_NEEDS_HOST}; or give host")
    elif adcs.auth != "ntlm" and is_address(adcs.server):
        named = "host" if adcs.host else "ca-name"
        what = "is an address: a ticket is for the DNS name in the CA's service principal"
        page.add(f"{key}.{named}", f"{quoted(adcs.server)} {what}; address says where it is")
    secrets = [name for name in ("password-file", "keytab", "ccache") if _given(adcs, name)]
    if adcs.auth == "sspi":
        for name in ("user", "domain", *secrets):
            if _given(adcs, name):
                what = "has no meaning with auth: sspi: the account is the one the server runs as"
                page.add(f"{key}.{name}", f"{what}; leave it out")
    else:
        _account(adcs, secrets, key, page)
    if adcs.port and adcs.transport == "np":
        page.add(f"{key}.port", "has no meaning with transport: np; smb-port is the pipe's")
    if adcs.connect_timeout > adcs.default_timeout:
        page.add(
            f"{key}.connect-timeout",
            f"{duration_text(adcs.connect_timeout)} is longer than default-timeout"
            f" ({duration_text(adcs.default_timeout)})",
        )
    _call(adcs.default_timeout, settings, key, page)


def _account(adcs: AdcsSettings, secrets: Sequence[str], key: str, page: Page) -> None:
    """With Kerberos and NTLM, an account of a domain has exactly one secret, of its kind."""
    for name in ("domain", "user"):
        if not _given(adcs, name):
            page.add(f"{key}.{name}", f"is missing: auth {adcs.auth} needs it")
    allowed = ("password-file",) if adcs.auth == "ntlm" else ("keytab", "password-file", "ccache")
    for name in secrets:
        if name not in allowed:
            page.add(f"{key}.{name}", f"has no meaning with auth: {adcs.auth}; leave it out")
    if len(secrets) > 1:
        page.add(key, f"has {' and '.join(secrets)}: give one of them")
    if not secrets:
        one = "" if len(allowed) == 1 else "one of "
        page.add(f"{key}.{allowed[0]}", f"is missing: auth {adcs.auth} needs {one}{_or(allowed)}")


def _given(adcs: AdcsSettings, name: str) -> bool:
    return getattr(adcs, name.replace("-", "_")) is not None


def _or(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" or " if len(words) > 1 else "") + words[-1]


def _call(timeout: timedelta, settings: Settings, key: str, page: Page) -> None:
    """A call is over before the job that makes it has to be."""
    longest = settings.workers.max_job_duration
    if timeout >= longest and page.sound("workers"):
        page.add(
            f"{key}.default-timeout",
            f"{duration_text(timeout)} is not shorter than workers.max-job-duration"
            f" ({duration_text(longest)})",
        )


def _embedded(configuration: EmbeddedSettings, key: str, page: Page) -> None:
    """An embedded CA's key is one that can be made, and it outlives what it signs."""
    check_key(configuration.key, f"{key}.configuration.key", page)
    if configuration.certificate_validity > configuration.validity:
        page.add(
            f"{key}.configuration.certificate-validity",
            f"{duration_text(configuration.certificate_validity)} is longer than the CA itself"
            f" lives ({duration_text(configuration.validity)})",
        )


def check_key(key: KeySettings, at: str, page: Page) -> None:
    """A key has a size or a curve, as its type has it."""
    wrong = {"ecdsa": "size", "rsa": "curve"}[key.type]
    if page.has(f"{at}.{wrong}"):
        page.add(f"{at}.{wrong}", f"has no meaning for an {key.type} key; leave it out")


def _policy(policy: IssuancePolicy, settings: Settings, key: str, page: Page) -> None:
    """A policy allows something, and names a profile that exists."""
    nothing = not policy.dns.allow and not policy.ip.allow_cidrs
    if nothing and page.sound(f"{key}.dns", f"{key}.ip"):
        page.add(f"{key}.dns.allow", "needs at least one rule, such as .corp.example/2")
    profile = policy.dns_validation_profile
    at = f"{key}.dns-validation-profile"
    if profile:
        known(profile, settings.dns_validation_profiles, at, PROFILES, page)
    elif settings.dns_validation_profiles and page.sound(PROFILES):
        page.add(at, f"is missing; there are {len(settings.dns_validation_profiles)} profiles")
    if (limit := policy.pending.limit) < _MINUTE:
        what = f"{duration_text(limit)} is shorter than 1m, after which it is first asked for"
        page.add(f"{key}.pending.limit", what)


def _bindings(settings: Settings, page: Page) -> None:
    """There is something to issue and somebody to issue it; each policy is bound at most once."""
    for key, section in (
        (PROFILES, settings.dns_validation_profiles),
        (AUTHORITIES, settings.authorities),
        (POLICIES, settings.issuance_policies),
    ):
        unique(section, key, page)
        if not section and page.sound(key):
            page.add(key, "needs at least one entry")
    bound: set[str] = set()
    for index, binding in enumerate(settings.policy_bindings):
        key = f"{BINDINGS}[{index}]"
        known(binding.policy, settings.issuance_policies, f"{key}.policy", POLICIES, page)
        if binding.policy in bound:
            page.add(f"{key}.policy", f"{quoted(binding.policy)} is bound already")
        bound.add(binding.policy)
        for number, name in enumerate(binding.authorities):
            at = f"{key}.authorities[{number}]"
            known(name, settings.authorities, at, AUTHORITIES, page)
            _serves(name, binding.policy, settings, at, page)
    complete = settings.authorities and settings.issuance_policies
    if complete and not settings.policy_bindings and page.sound(POLICIES, AUTHORITIES, BINDINGS):
        page.add(BINDINGS, "is missing: with several policies or authorities, say who serves what")


def _offered(settings: Settings, page: Page) -> None:
    """Every profile stands for a policy that somebody serves; the default profile is one."""
    unique(settings.profiles, OFFERED, page)
    for index, profile in enumerate(settings.profiles):
        _certificate_profile(profile, settings, f"{OFFERED}[{index}]", page)
    if settings.default_profile is not None:
        known(settings.default_profile, settings.profiles, "default-profile", OFFERED, page)


def _certificate_profile(
    profile: CertificateProfile, settings: Settings, key: str, page: Page
) -> None:
    """A profile narrows a policy that exists, and asks nothing that its authority cannot do."""
    if profile.name in _STATUSES:
        # acme.sh looks for these words anywhere in an order.
        what = f"{quoted(profile.name)} is a status of orders, which some clients would mix up"
        page.add(f"{key}.name", what)
    known(profile.policy, settings.issuance_policies, f"{key}.policy", POLICIES, page)
    bound = [b.authorities for b in settings.policy_bindings if b.policy == profile.policy]
    if profile.authority is not None:
        at = f"{key}.authority"
        known(profile.authority, settings.authorities, at, AUTHORITIES, page)
        _serves(profile.authority, profile.policy, settings, at, page)
    elif not bound and page.sound(key, POLICIES, BINDINGS):
        what = f"is missing: no binding says who serves the policy {quoted(profile.policy)}"
        page.add(f"{key}.authority", what)
    serving = (profile.authority,) if profile.authority else tuple(n for b in bound for n in b)
    for authority in settings.authorities if profile.template is not None else ():
        if authority.name in serving and authority.embedded is not None:
            what = f"has no meaning: {quoted(authority.name)} is an embedded CA, without templates"
            page.add(f"{key}.template", f"{what}; leave it out")
    _shorter(profile, settings, key, page)


def _shorter(profile: CertificateProfile, settings: Settings, key: str, page: Page) -> None:
    """A profile's certificates live no longer than its policy allows."""
    for policy in settings.issuance_policies:
        own, longest = profile.max_validity, policy.max_validity
        if policy.name == profile.policy and own and longest and own > longest:
            page.add(
                f"{key}.max-validity",
                f"{duration_text(own)} is longer than the policy {quoted(policy.name)} allows"
                f" ({duration_text(longest)})",
            )


def _serves(name: str, policy: str, settings: Settings, key: str, page: Page) -> None:
    """An authority that lists its policies is bound to no other."""
    for authority in settings.authorities if page.sound(AUTHORITIES) else ():
        if authority.name == name and authority.policies and policy not in authority.policies:
            page.add(key, f"{quoted(name)} does not list {quoted(policy)} among its policies")

"""What holds between settings: names that refer to each other, times that fit into each other.

Single values were looked at when they were read. Here a section in which something was wrong is
passed over where its gaps would only bring forth mistakes that are none.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import fields, replace

from certeasy.config.forms import duration_text, is_address
from certeasy.config.mistakes import Page, quoted
from certeasy.settings import (
    AuthoritySettings,
    CertificateProfile,
    DnsProfile,
    DnsZone,
    EmbeddedSettings,
    IssuancePolicy,
    KeySettings,
    LicenseSettings,
    NoticesSettings,
    PolicyBinding,
    Settings,
    TlsBundle,
)
from certeasy.settings.adcs import AdcsCliSettings, AdcsSettings
from certeasy.settings.limits import FOR_ALL, PER_ACCOUNT, RateLimiting
from journal.segments import bounds_of

PROFILES = "dns-validation-profiles"
AUTHORITIES = "authorities"
POLICIES = "issuance-policies"
BINDINGS = "policy-bindings"
OFFERED = "profiles"
BUNDLES = "tls-certificate-manager.bundles"
LIMITS = "rate-limiting"

_LONGEST_WAIT = timedelta(seconds=60)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_YEAR = timedelta(days=366)
_MOST_TAGS = 16
_MOST_IDENTITIES = 10
_SHORTEST_SEGMENT = timedelta(minutes=1)
_NEEDS_HOST = r"does not say which machine: write HOST\COMMON NAME, as certutil prints it"
_STATUSES = frozenset({"pending", "ready", "processing", "valid", "invalid"})


Named = TlsBundle | DnsProfile | AuthoritySettings | IssuancePolicy | CertificateProfile


def completed(settings: Settings) -> Settings:
    """Return the settings with what goes without saying: the only profile, the only binding."""
    policies, authorities = settings.issuance_policies, settings.authorities
    if len(settings.dns_validation_profiles) == 1:
        only = settings.dns_validation_profiles[0].name
        policies = tuple(
            p if p.dns_validation_profile else replace(p, dns_validation_profile=only)
            for p in policies
        )
    bindings = settings.policy_bindings
    if not bindings and len(policies) == len(authorities) == 1:
        bindings = (PolicyBinding(policy=policies[0].name, authorities=(authorities[0].name,)),)
    return replace(settings, issuance_policies=policies, policy_bindings=bindings)


def check(settings: Settings, page: Page) -> None:
    """Note every mistake between the settings of one file, `completed` already."""
    _listeners(settings, page)
    _times(settings, page)
    _renewal_info(settings, page)
    _retention(settings, page)
    _notices(settings.notices, page)
    _license(settings.license, page)
    _rate_limiting(settings.rate_limiting, page)
    _database(settings, page)
    _files(settings, page)
    _bundles(settings, page)
    _own_by_acme(settings, page)
    for index, profile in enumerate(settings.dns_validation_profiles):
        _profile(profile, f"{PROFILES}[{index}]", page)
    for index, authority in enumerate(settings.authorities):
        _authority(authority, settings, f"{AUTHORITIES}[{index}]", page)
    for index, policy in enumerate(settings.issuance_policies):
        _policy(policy, settings, f"{POLICIES}[{index}]", page)
    _bindings(settings, page)
    _offered(settings, page)
    _named(settings, page)
    if not settings.audit.enabled:
        page.add("audit.enabled", "false is not possible: the journal is the server's state")


def _listeners(settings: Settings, page: Page) -> None:
    """Listeners do not take each other's place; a proxy's header is believed of proxies only."""
    server = settings.server
    if server.listen == settings.admin.listen and not server.listen.endswith(":0"):
        key = "admin.listen" if page.has("admin.listen") else "server.listen"
        page.add(key, f"{quoted(server.listen)} cannot be both server.listen and admin.listen")
    if server.remote_ip_header and not server.trusted_proxies and page.sound("server"):
        what = "without server.trusted-proxies, every client could claim any address"
        page.add("server.remote-ip-header", what)
    if server.proxy_protocol and not server.trusted_proxies and page.sound("server"):
        what = "needs server.trusted-proxies: a PROXY header is believed of proxies only"
        page.add("server.proxy-protocol", what)
    if settings.logs.output == "file" and settings.logs.file is None and page.sound("logs"):
        page.add("logs.output", '"file" needs logs.file, the path to write to')
    if settings.logs.output == "eventlog" and os.name != "nt" and page.sound("logs"):
        page.add("logs.output", '"eventlog" is for Windows; here: journald, stderr, or file')
    if len(settings.logs.tags) > _MOST_TAGS:
        page.add("logs.tags", f"has {len(settings.logs.tags)} tags; {_MOST_TAGS} are enough")


def _times(settings: Settings, page: Page) -> None:
    """Shorter waits fit into the longer ones around them."""
    server, workers = settings.server, settings.workers
    for key, shorter, limit, longer in (
        (
            "server.shutdown-timeout",
            server.shutdown_timeout,
            "workers.drain-timeout",
            workers.drain_timeout,
        ),
        ("workers.base-backoff", workers.base_backoff, "workers.max-backoff", workers.max_backoff),
        ("workers.lease", workers.lease, "workers.max-job-duration", workers.max_job_duration),
    ):
        if shorter > longer:
            page.add(
                key if page.has(key) else limit,
                f"{key} ({duration_text(shorter)}) must not be longer than"
                f" {limit} ({duration_text(longer)})",
            )
    age = settings.audit.rotate.max_age
    if age is not None and age < _SHORTEST_SEGMENT:
        what = f"{duration_text(age)} is shorter than 1m: every other line would close a file"
        page.add("audit.rotate.max-age", what)
    if len(server.caa_identities) > _MOST_IDENTITIES:
        what = f"has {len(server.caa_identities)} names; clients take at most {_MOST_IDENTITIES}"
        page.add("server.caa-identities", what)
    if server.finalize_wait > _LONGEST_WAIT:
        what = f"{duration_text(server.finalize_wait)} is longer than 60s; clients hang up"
        page.add("server.finalize-wait", what)


def _retention(settings: Settings, page: Page) -> None:
    """What still counts is never taken away: a proof, as long as orders that rest on it."""
    keep, lifetime = settings.retention.keep, settings.server.order_lifetime
    for least, what in ((_DAY, "24h"), (lifetime, "server.order-lifetime")):
        if keep < least:
            page.add(
                "retention.keep" if page.has("retention.keep") else "server.order-lifetime",
                f"retention.keep ({duration_text(keep)}) must not be shorter than {what}"
                + (f" ({duration_text(least)})" if least is lifetime else ""),
            )
            return
    if not settings.retention.enabled:
        return
    limits = settings.rate_limiting
    _counted_while_kept(limits, LIMITS, keep, page)
    for index, override in enumerate(limits.overrides):
        _counted_while_kept(override, f"{LIMITS}.overrides[{index}]", keep, page)


def _counted_while_kept(section: Struct, key: str, keep: timedelta, page: Page) -> None:
    """What left the tables is not counted: it must have left every window by then."""
    for name in ("duplicate_certificate", "failed_validation"):
        window = getattr(section, name).window
        if window is not None and window > keep:
            what = f"{duration_text(window)} is longer than retention.keep ({duration_text(keep)})"
            word = name.replace("_", "-")
            page.add(f"{key}.{word}.window", f"{what}: what has left the tables is not counted")


def _license(license_: LicenseSettings, page: Page) -> None:
    """The vendor is asked where both keys say so."""
    if not page.sound("license"):
        return
    if not license_.offline and license_.refresh_url is None:
        what = "is missing: with license.offline: false, it is where the vendor is asked"
        page.add("license.refresh-url", what)
    if license_.offline and license_.refresh_url is not None:
        what = "has no meaning with license.offline: true; leave it out, or say offline: false"
        page.add("license.refresh-url", what)
    if license_.timeout > _MINUTE:
        page.add("license.timeout", f"{duration_text(license_.timeout)} is longer than 1m")


def _notices(notices: NoticesSettings, page: Page) -> None:
    """People are not told too often; a password is sent to nobody but the server it is for."""
    if not page.sound("notices"):
        return
    if notices.repeat < _DAY:
        what = f"{duration_text(notices.repeat)} is shorter than 24h: nobody reads the tenth"
        page.add("notices.repeat", what)
    if notices.after > _HOUR:
        page.add("notices.after", f"{duration_text(notices.after)} is longer than 1h")
    for key, found in (("webhook", notices.webhook), ("smtp", notices.smtp)):
        if found is not None and found.timeout > _MINUTE:
            what = f"{duration_text(found.timeout)} is longer than 1m"
            page.add(f"notices.{key}.timeout", what)
    smtp = notices.smtp
    if smtp is None:
        return
    if (smtp.user is None) != (smtp.password_file is None):
        missing = "user" if smtp.user is None else "password-file"
        page.add(f"notices.smtp.{missing}", "is missing: user and password-file go together")
    elif smtp.user is not None and smtp.security == "none":
        what = "has no meaning with security: none: the password would be sent in clear"
        page.add("notices.smtp.user", what)


def _renewal_info(settings: Settings, page: Page) -> None:
    """Windows and waits are such as clients can keep to. RFC 9773 sections 4.2 and 4.3.2."""
    info = settings.renewal_info
    if info.window_width < _MINUTE:
        what = f"{duration_text(info.window_width)} is shorter than 1m: all would renew at once"
        page.add("renewal-info.window-width", what)
    if not _MINUTE <= info.retry_after <= _DAY:
        what = f"{duration_text(info.retry_after)} is not between 1m and 24h; clients bound it so"
        page.add("renewal-info.retry-after", what)


def _rate_limiting(limits: RateLimiting, page: Page) -> None:
    """Windows are such as can be waited for, and each binding has one override."""
    _windows(limits, (*FOR_ALL, *PER_ACCOUNT), LIMITS, page)
    seen: set[str] = set()
    for index, override in enumerate(limits.overrides):
        key = f"{LIMITS}.overrides[{index}]"
        _windows(override, PER_ACCOUNT, key, page)
        if override.binding in seen:
            page.add(f"{key}.binding", f"{quoted(override.binding)} has an override already")
        seen.add(override.binding)


def _windows(section: Struct, names: Iterable[str], key: str, page: Page) -> None:
    words = {field.name: field.encode_name for field in fields(section)}
    for name in names:
        window = getattr(getattr(section, name), "window", None)
        if window is not None and not _SECOND <= window <= _YEAR:
            what = f"{duration_text(window)} is not between 1s and 366d"
            page.add(f"{key}.{words[name]}.window", what)


def _database(settings: Settings, page: Page) -> None:
    """A database has the address that its driver needs, and no other."""
    database = settings.database
    if not page.sound("database"):
        return
    if database.driver == "sqlite":
        for key in ("dsn", "password-file"):
            if page.has(f"database.{key}"):
                page.add(f"database.{key}", "has no meaning with driver sqlite; leave it out")
        return
    if not database.dsn:
        scheme = {"postgres": "postgresql", "sqlserver": "sqlserver"}[database.driver]
        what = f"is needed with driver {database.driver}, such as {scheme}://user@host/database"
        page.add("database.dsn", what)
    elif "${" in database.dsn:
        page.add("database.dsn", "has ${...} in it: variables are not expanded; write the value")


def _files(settings: Settings, page: Page) -> None:
    """No two things are kept in one file, and none in the file of the node's identity."""
    taken: dict[Path, str] = {
        page.file.absolute(): "this configuration file",
        settings.workdir: "the working directory",
        settings.workdir / "server_id": "the node's identity",
        settings.workdir / "boot_ids": "the node's identity",
        settings.workdir / "admin.sock": "the local socket",
    }
    for key, path in (
        ("database.path", settings.database.path if settings.database.driver == "sqlite" else None),
        ("database.password-file", settings.database.password_file),
        ("secrets.key-file", settings.secrets.key_file),
        ("audit.path", settings.audit.path),
        ("logs.file", settings.logs.file),
    ):
        if path is not None and path in taken:
            page.add(key, f'"{path}" is taken: {taken[path]}')
        elif path is not None:
            taken[path] = key

    if bounds_of(settings.audit.path.name) is not None:
        what = f'"{settings.audit.path}" is called like a closed segment; give it another name'
        page.add("audit.path", what)


def _bundles(settings: Settings, page: Page) -> None:
    """Every host of server.url has exactly one certificate."""
    bundles = settings.tls_certificate_manager.bundles
    _unique(bundles, BUNDLES, page)
    for index, bundle in enumerate(bundles):
        _bundle(bundle, settings, f"{BUNDLES}[{index}]", page)
    if not settings.server.tls or not page.sound(BUNDLES, "server.tls"):
        return
    covered = Counter(host for bundle in bundles for host in bundle.hosts)
    hosts = {urlsplit(url).hostname or "" for url in settings.server.url}
    for host in sorted(hosts | set(covered)):
        if not covered[host]:
            what = f"no bundle has the host {quoted(host)} of server.url"
            page.add(BUNDLES, f"{what}; add it to one, or set server.tls: false behind a proxy")
        if covered[host] > 1:
            page.add(BUNDLES, f"the host {quoted(host)} is in {covered[host]} bundles; leave one")


def _own_by_acme(settings: Settings, page: Page) -> None:
    """Who is to have certificates from another ACME server says which one, and keeps its rules."""
    modes = {bundle.mode for bundle in settings.tls_certificate_manager.bundles}
    acme, key = settings.tls_certificate_manager.acme, "tls-certificate-manager.acme"
    if not page.sound(key):
        return
    if "acme" in modes and acme.directory is None:
        page.add(f"{key}.directory", "is missing: mode acme needs it")
    if "letsencrypt" in modes and acme.directory is None and not acme.terms_of_service_agreed:
        what = "is false: Let's Encrypt issues to nobody who has not read and agreed to its terms"
        page.add(f"{key}.terms-of-service-agreed", what)
    _key(acme.key, f"{key}.key", page)
    if acme.timeout > _HOUR:
        page.add(f"{key}.timeout", f"{duration_text(acme.timeout)} is longer than 1h")
    if modes & {"acme", "letsencrypt"} and page.sound("server", "admin"):
        for name, listen in (
            ("server.listen", settings.server.listen),
            ("admin.listen", settings.admin.listen),
        ):
            if listen == acme.http_addr:
                page.add(f"{key}.http-addr", f"{quoted(listen)} is {name} already")


def _bundle(bundle: TlsBundle, settings: Settings, key: str, page: Page) -> None:
    """A bundle has what its mode needs, and nothing that its mode would pass over."""
    if not page.sound(key):
        return
    needed = {"files": ("certificate", "key"), "pki": ("authority",)}.get(bundle.mode, ())
    for name in ("certificate", "key", "authority"):
        given = getattr(bundle, name) is not None
        if given != (name in needed):
            word = "has no meaning in" if given else "is needed in"
            page.add(f"{key}.{name}", f"{word} mode {bundle.mode}")
    if bundle.mode == "pki" and bundle.authority:
        _known(bundle.authority, settings.authorities, f"{key}.authority", AUTHORITIES, page)
        _renewal(bundle.authority, settings, page)


def _renewal(authority: str, settings: Settings, page: Page) -> None:
    """A certificate of the server itself lives longer than the time it is renewed before."""
    before = settings.tls_certificate_manager.renew_before
    for found in settings.authorities:
        if found.name != authority or found.embedded is None:
            continue
        life = found.embedded.certificate_validity
        if life <= before:
            page.add(
                "tls-certificate-manager.renew-before",
                f"{duration_text(before)} is not shorter than the life of the certificates of"
                f" {quoted(authority)} ({duration_text(life)})",
            )


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


def _authority(authority: AuthoritySettings, settings: Settings, key: str, page: Page) -> None:
    """An authority serves policies that exist, and its configuration makes sense."""
    for index, policy in enumerate(authority.policies):
        _known(policy, settings.issuance_policies, f"{key}.policies[{index}]", POLICIES, page)
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


def _call(timeout: timedelta, settings: Settings, key: str, page: Page) -> None:
    """A call is over before the job that makes it has to be."""
    longest = settings.workers.max_job_duration
    if timeout >= longest and page.sound("workers"):
        page.add(
            f"{key}.default-timeout",
            f"{duration_text(timeout)} is not shorter than workers.max-job-duration"
            f" ({duration_text(longest)})",
        )


def _given(adcs: AdcsSettings, name: str) -> bool:
    return getattr(adcs, name.replace("-", "_")) is not None


def _or(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" or " if len(words) > 1 else "") + words[-1]


def _embedded(configuration: EmbeddedSettings, key: str, page: Page) -> None:
    """An embedded CA's key is one that can be made, and it outlives what it signs."""
    _key(configuration.key, f"{key}.configuration.key", page)
    if configuration.certificate_validity > configuration.validity:
        page.add(
            f"{key}.configuration.certificate-validity",
            f"{duration_text(configuration.certificate_validity)} is longer than the CA itself"
            f" lives ({duration_text(configuration.validity)})",
        )


def _key(key: KeySettings, at: str, page: Page) -> None:
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
        _known(profile, settings.dns_validation_profiles, at, PROFILES, page)
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
        _unique(section, key, page)
        if not section and page.sound(key):
            page.add(key, "needs at least one entry")
    bound: set[str] = set()
    for index, binding in enumerate(settings.policy_bindings):
        key = f"{BINDINGS}[{index}]"
        _known(binding.policy, settings.issuance_policies, f"{key}.policy", POLICIES, page)
        if binding.policy in bound:
            page.add(f"{key}.policy", f"{quoted(binding.policy)} is bound already")
        bound.add(binding.policy)
        for number, name in enumerate(binding.authorities):
            at = f"{key}.authorities[{number}]"
            _known(name, settings.authorities, at, AUTHORITIES, page)
            _serves(name, binding.policy, settings, at, page)
    complete = settings.authorities and settings.issuance_policies
    if complete and not settings.policy_bindings and page.sound(POLICIES, AUTHORITIES, BINDINGS):
        page.add(BINDINGS, "is missing: with several policies or authorities, say who serves what")


def _offered(settings: Settings, page: Page) -> None:
    """Every profile stands for a policy that somebody serves; the default profile is one."""
    _unique(settings.profiles, OFFERED, page)
    for index, profile in enumerate(settings.profiles):
        _certificate_profile(profile, settings, f"{OFFERED}[{index}]", page)
    if settings.default_profile is not None:
        _known(settings.default_profile, settings.profiles, "default-profile", OFFERED, page)


def _certificate_profile(
    profile: CertificateProfile, settings: Settings, key: str, page: Page
) -> None:
    """A profile narrows a policy that exists, and asks nothing that its authority cannot do."""
    if profile.name in _STATUSES:
        # acme.sh looks for these words anywhere in an order.
        what = f"{quoted(profile.name)} is a status of orders, which some clients would mix up"
        page.add(f"{key}.name", what)
    _known(profile.policy, settings.issuance_policies, f"{key}.policy", POLICIES, page)
    bound = [b.authorities for b in settings.policy_bindings if b.policy == profile.policy]
    if profile.authority is not None:
        at = f"{key}.authority"
        _known(profile.authority, settings.authorities, at, AUTHORITIES, page)
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


def _known(name: str, section: Iterable[Named], key: str, where: str, page: Page) -> None:
    """A name that refers to another section is in it."""
    names = sorted({member.name for member in section})
    if name not in names and page.sound(where, key):
        known = ", ".join(names) or "none"
        page.add(key, f"{quoted(name)} is not in {where}; known: {known}")


def _unique(section: Sequence[Named], key: str, page: Page) -> None:
    """Names within a section differ."""
    seen: set[str] = set()
    for index, member in enumerate(section):
        if member.name in seen:
            page.add(f"{key}[{index}].name", f"{quoted(member.name)} is used twice")
        seen.add(member.name)

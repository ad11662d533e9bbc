"""What holds between settings: times that fit into each other, files and addresses that are not
taken twice, certificates of the server itself; and, in `issuing`, who issues what.

Single values were looked at when they were read. Here a section in which something was wrong is
passed over where its gaps would only bring forth mistakes that are none.
"""

import os
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import fields, replace

from certeasy.config import issuing
from certeasy.config.forms import duration_text
from certeasy.config.mistakes import Page, quoted
from certeasy.config.names import AUTHORITIES, BUNDLES, known, unique
from certeasy.settings import LicenseSettings, NoticesSettings, PolicyBinding, Settings, TlsBundle
from certeasy.settings.limits import FOR_ALL, PER_ACCOUNT, RateLimiting
from journal.segments import bounds_of

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
    issuing.check(settings, page)
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
    if license_.proxy_url is not None and not (license_.refresh_url or "").startswith("https:"):
        what = "has no meaning without a license.refresh-url that is https; leave it out"
        page.add("license.proxy-url", what)
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
    unique(bundles, BUNDLES, page)
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
    issuing.check_key(acme.key, f"{key}.key", page)
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
        known(bundle.authority, settings.authorities, f"{key}.authority", AUTHORITIES, page)
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

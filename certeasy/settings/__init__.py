"""What can be set, and what holds when nothing is set.

One frozen struct per section of config.yml; a field `read_timeout` is the key `read-timeout`
there. Every default works when left alone, so a part can be handed its own struct in a test:
`WorkerSettings(lease=timedelta(seconds=2))`. What the types cannot say (a path is absolute, a
policy names a profile that exists) is checked where the file is read, in `certeasy.config`;
whoever builds a struct by hand answers for it himself.

Paths may begin with the anchor `%WORKDIR%`; `Settings` puts the directory in its place.
"""

from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr, replace

from certeasy.settings.adcs import AdcsCliSettings, AdcsSettings
from certeasy.settings.limits import RateLimiting

WORKDIR = "%WORKDIR%"

Network = IPv4Network | IPv6Network
Curve = Literal["P-256", "P-384", "P-521"]
Algorithm = Literal[
    "RSA-SHA256",
    "RSA-SHA384",
    "RSA-SHA512",
    "ECDSA-SHA256",
    "ECDSA-SHA384",
    "ECDSA-SHA512",
    "ED25519",
]
Challenge = Literal["http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01"]
"""A way to prove that a name is one's own, that a policy may offer."""
Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1, le=100_000)]
RsaBits = Annotated[int, Meta(ge=2048, le=8192)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The listener for ACME clients, and what clients are told about this server."""

    url: tuple[str, ...]
    """Where clients reach it, `https://host[:port]`; every URL is built from the first."""
    listen: str = "0.0.0.0:8443"
    tls: bool = True
    threads: Annotated[int, Meta(ge=1, le=256)] = 32
    connection_limit: Count = 1000
    read_header_timeout: timedelta = timedelta(seconds=5)
    read_timeout: timedelta = timedelta(seconds=10)
    write_timeout: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta = timedelta(seconds=60)
    handshake_timeout: timedelta = timedelta(seconds=10)
    max_body_bytes: Annotated[int, Meta(ge=8192, le=16 << 20)] = 1 << 20
    shutdown_timeout: timedelta = timedelta(seconds=30)
    remote_ip_header: str | None = None
    trusted_proxies: tuple[Network, ...] = ()
    proxy_protocol: bool = False
    """Connections of trusted proxies begin with a PROXY header (version 1 or 2); no others do."""
    finalize_wait: timedelta = timedelta(seconds=10)
    order_lifetime: timedelta = timedelta(days=7)
    pre_authorization: bool = False
    """Names may be proven ahead of any order: newAuthz, RFC 8555 section 7.4.1."""
    terms_of_service: str | None = None
    website: str | None = None
    caa_identities: tuple[str, ...] = ()
    """Names by which CAA records mean this CA; RFC 8659."""
    external_account_required: bool = False
    """New accounts need an external account binding (`certeasy eab create`)."""


class AdminSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The listener for health checks: plain HTTP, so loopback only."""

    listen: str = "127.0.0.1:9443"


class DatabaseSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Where the log and its projections are stored."""

    driver: Literal["sqlite", "postgres", "sqlserver"] = "sqlite"
    path: Path = Path(WORKDIR, "db.sqlite")
    """The file; driver sqlite."""
    dsn: str | None = None
    """`postgresql://user@host/database?sslmode=verify-full`, `sqlserver://user@host:1433/database`."""
    password_file: Path | None = None
    """A file (mode 0600) whose first line is the password, so that `dsn` need not have it."""
    max_conn: Annotated[int, Meta(ge=3, le=1000)] = 10
    ping_timeout_sec: Annotated[int, Meta(ge=1, le=60)] = 5
    """How long a connection may take, and how long one is waited for."""
    conn_max_lifetime: timedelta = timedelta(minutes=2)
    """Reading connections are replaced then: below what firewalls allow a silent one."""
    noddl: bool = False
    """The server makes and changes no tables; `certeasy migrate --sql` prints what a DBA runs."""


class SecretsSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The file whose key wraps every secret kept in the database."""

    key_file: Path = Path(WORKDIR, "secret.key")


class RotateSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """When the journal's active file is closed and another one begun. By default never."""

    max_size_mb: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    """Once it has so many MiB; 0: at any size."""
    max_age: timedelta | None = None
    """Once its first line is so old; None: at any age."""


class AuditSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """This node's journal."""

    enabled: bool = True
    """Always true: the log is the state. The key exists so that `false` is answered in words."""
    path: Path = Path(WORKDIR, "audit.log")
    min_free_bytes: Annotated[int, Meta(ge=1 << 16, le=1 << 40)] = 64 << 20
    """Changes are refused while the journal's disk has less room: one batch at its largest."""
    low_free_bytes: Annotated[int, Meta(ge=1 << 16, le=1 << 40)] = 1 << 30
    """With less room on the journal's disk than this, /readyz says so."""
    rotate: RotateSettings = RotateSettings()


Level = Literal["debug", "info", "warning", "error", "off"]
Service = Literal[
    "acme",
    "adcs",
    "admin",
    "authority",
    "committer",
    "counts",
    "database",
    "demo",
    "expiry",
    "files",
    "http-server",
    "issuance",
    "journal",
    "license",
    "main",
    "node",
    "notices",
    "probe",
    "refusals",
    "restore",
    "retention",
    "revocation",
    "tls",
    "twins",
    "validation",
    "worker",
]
"""The parts of the server that lines of the log come from."""


class LogRotateSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """When the log goes on in another file, and how many of them are kept."""

    max_size_mb: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    """Once a file has so many MiB; 0: never."""
    max_backups: Annotated[int, Meta(ge=-1, le=10_000)] = 5
    """So many files beside the one in use; 0: none, -1: all there ever were."""


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The operator's log lines; not the journal."""

    level: Level = "info"
    services: dict[Service, Level] = {}
    """Other levels, for single parts of the server."""
    format: Literal["json", "text"] = "json"
    output: Literal["stderr", "stdout", "file", "journald", "eventlog"] = "stderr"
    """`journald`: stderr, with each line's level in front as journald reads it. `eventlog`: what
    an administrator of Windows has to see, in the Application log there."""
    file: Path | None = None
    tags: dict[str, str] = {}
    """What every line has beside its own words."""
    rotate: LogRotateSettings = LogRotateSettings()


class WorkerSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The threads that validate and issue."""

    workers: Annotated[int, Meta(ge=1, le=256)] = 16
    lease: timedelta = timedelta(seconds=30)
    base_backoff: timedelta = timedelta(seconds=1)
    max_backoff: timedelta = timedelta(minutes=2)
    drain_timeout: timedelta = timedelta(seconds=30)
    max_job_duration: timedelta = timedelta(minutes=5)
    authority_wait: timedelta = timedelta(hours=1)
    """How long a finalized order waits for an authority that can be used."""


class KeySettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A key to be made: `size` (bits) counts for rsa, `curve` for ecdsa."""

    type: Literal["ecdsa", "rsa"] = "ecdsa"
    size: RsaBits = 3072
    curve: Curve = "P-256"


class IpPolicy(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Which resolved addresses may be connected to: deny first; no allow list allows the rest."""

    allow_cidrs: tuple[Network, ...] = ()
    deny_cidrs: tuple[Network, ...] = ()


class AcmeBinding(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What another ACME server gave out, for accounts that may order there."""

    key_id: Annotated[str, Meta(min_length=1, max_length=255)]
    hmac_file: Path
    """A file (mode 0600) whose first line is the key, in base64url as it was given out."""


class AcmeSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Another ACME server, which issues the certificates of the modes acme and letsencrypt."""

    directory: str | None = None
    """The URL of its directory; None: Let's Encrypt's, in mode letsencrypt."""
    contact: tuple[str, ...] = ()
    """Mailboxes that it may write to."""
    terms_of_service_agreed: bool = False
    eab: AcmeBinding | None = None
    key: KeySettings = KeySettings()
    """The key of the certificate."""
    http_addr: str = "0.0.0.0:80"
    """Where it sees, while it looks, that this machine has its names (http-01)."""
    ca_file: Path | None = None
    """Roots (PEM) that are believed of it in place of the system's."""
    timeout: timedelta = timedelta(minutes=2)
    """For a whole certificate."""
    resolved_ip_policy: IpPolicy = IpPolicy()
    """Which addresses its name may lead to."""


class TlsBundle(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """One certificate of the server itself, and the hosts it is shown to."""

    name: Name
    hosts: tuple[str, ...]
    mode: Literal["files", "pki", "acme", "letsencrypt"]
    certificate: Path | None = None
    """The chain in PEM, leaf first; mode files."""
    key: Path | None = None
    """The private key in PEM; mode files."""
    authority: str | None = None
    """The authority that issues it; mode pki."""


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The server's own certificates."""

    bundles: tuple[TlsBundle, ...] = ()
    acme: AcmeSettings = AcmeSettings()
    renew_before: timedelta = timedelta(hours=720)
    file_watch_interval: timedelta = timedelta(seconds=5)


class DnsZone(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """How names under some suffixes are resolved: `hosts` first, then one of the other two."""

    suffixes: tuple[str, ...] = (".",)
    """Lower-case names without dots at the ends, or `.` for all; the longest match wins."""
    system: bool = False
    dns_server: tuple[str, ...] = ()
    """`address:port`, tried in this order."""
    protocol: Literal["udp", "tcp"] = "udp"
    authoritative: bool = False
    """The servers above only find the zone's own servers, and these are asked."""
    dnssec: bool = False
    """Every answer has to be signed, up to one of the profile's trust anchors."""
    hosts: dict[str, str] = {}
    """Lower-case NAME or `*.ZONE` to one IP address."""


class DnsProfile(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """How challenges are looked for."""

    name: Name
    mode: Literal["local"] = "local"
    timeout: timedelta = timedelta(seconds=5)
    zones: tuple[DnsZone, ...] = (DnsZone(system=True),)
    resolved_ip_policy: IpPolicy = IpPolicy()
    trust_anchors: tuple[str, ...] = ()
    """`ZONE TAG ALGORITHM DIGEST-TYPE DIGEST`, as in a DS record; beside those of the root."""
    caa: Literal["off", "soft", "strict"] = "off"
    """Whether CAA records are looked at (soft), and obeyed (strict)."""
    http_01_port: Port = 80
    tls_alpn_01_port: Port = 443


NoticeKind = Literal[
    "authority-sick",
    "certificate-overdue",
    "database-gone",
    "journal-disk-low",
    "journal-stopped",
    "license-ending",
    "own-certificate-failing",
]
"""What people are told of."""
NOTICE_KINDS: tuple[NoticeKind, ...] = get_args(NoticeKind)


class WebhookSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Whoever takes notices by HTTP."""

    url: str
    """Where they are posted to. Many services have a secret in it: only its host is ever shown."""
    secret_file: Path | None = None
    """A file (mode 0600) whose first line is the key that notices are signed with (HMAC)."""
    ca_file: Path | None = None
    """Roots (PEM) that are believed in place of the system's."""
    timeout: timedelta = timedelta(seconds=10)


class SmtpSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The mail server that notices are handed to."""

    host: str
    sender: str = field(name="from")
    to: tuple[str, ...]
    port: Port | None = None
    """None: 587 with starttls, 465 with tls, 25 with none."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password_file: Path | None = None
    """A file (mode 0600) whose first line is the password."""
    ca_file: Path | None = None
    """Roots (PEM) that are believed in place of the system's."""
    timeout: timedelta = timedelta(seconds=30)


class NoticesSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Who is told when something goes wrong, and of what."""

    webhook: WebhookSettings | None = None
    smtp: SmtpSettings | None = None
    kinds: tuple[NoticeKind, ...] = NOTICE_KINDS
    after: timedelta = timedelta(minutes=2)
    """What is over sooner is told to nobody; what comes back sooner was never over."""
    repeat: timedelta = timedelta(hours=24)
    """After so long, what still goes on is told again."""
    resolved_ip_policy: IpPolicy = IpPolicy()
    """Which addresses the names above may lead to."""

    @property
    def secret_files(self) -> dict[str, Path]:
        """The files with secrets that are named here, by their keys."""
        found = {
            "webhook.secret-file": self.webhook.secret_file if self.webhook else None,
            "smtp.password-file": self.smtp.password_file if self.smtp else None,
        }
        return {key: file for key, file in found.items() if file is not None}

    @property
    def ca_files(self) -> dict[str, Path]:
        """The files with roots that are named here, by their keys."""
        found = {
            "webhook.ca-file": self.webhook.ca_file if self.webhook else None,
            "smtp.ca-file": self.smtp.ca_file if self.smtp else None,
        }
        return {key: file for key, file in found.items() if file is not None}


class EmbeddedSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The CA inside this server, for tests and small labs."""

    common_name: Annotated[str, Meta(min_length=1, max_length=64)] = "Certeasy Embedded CA"
    key: KeySettings = KeySettings()
    validity: timedelta = timedelta(days=3650)
    certificate_validity: timedelta = timedelta(hours=2160)


class AuthoritySettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Someone who signs certificates."""

    name: Name
    type: Literal["embedded", "fake", "adcs", "adcs-native", "adcs-cli"]
    """`fake` is another word for `embedded`, `adcs-native` for `adcs`."""
    policies: tuple[str, ...] = ()
    """The issuance policies it may serve; empty: every policy bound to it."""
    disable_ca_revocation: bool = False
    """Whether revocations stay here, and are not passed on to the CA."""
    configuration: EmbeddedSettings | AdcsSettings | AdcsCliSettings = EmbeddedSettings()
    """What the type needs; `CONFIGURATIONS` tells which."""

    @property
    def revokes(self) -> bool:
        """Whether it is told what is revoked; an embedded CA has no list to publish."""
        return not self.disable_ca_revocation and self.embedded is None

    @property
    def embedded(self) -> EmbeddedSettings | None:
        """The configuration of an embedded CA; None: it is another."""
        found = self.configuration
        return found if isinstance(found, EmbeddedSettings) else None

    @property
    def adcs(self) -> AdcsSettings | None:
        """The configuration of a CA reached by RPC; None: it is another."""
        found = self.configuration
        return found if isinstance(found, AdcsSettings) else None


CONFIGURATIONS: Mapping[str, type[EmbeddedSettings | AdcsSettings | AdcsCliSettings]] = {
    "embedded": EmbeddedSettings,
    "fake": EmbeddedSettings,
    "adcs": AdcsSettings,
    "adcs-native": AdcsSettings,
    "adcs-cli": AdcsCliSettings,
}


class NameRules(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Which DNS names may be ordered, in the grammar of `certeasy.settings.names`; deny wins."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class IpRules(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Which IP addresses may be ordered (RFC 8738); deny wins, and none is allowed by default."""

    allow_cidrs: tuple[Network, ...] = ()
    deny_cidrs: tuple[Network, ...] = ()


class SignatureRules(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Which keys and signatures a CSR may carry."""

    allowed_algorithms: tuple[Algorithm, ...] = (
        "RSA-SHA256",
        "RSA-SHA384",
        "RSA-SHA512",
        "ECDSA-SHA256",
        "ECDSA-SHA384",
        "ECDSA-SHA512",
    )
    min_rsa_bits: RsaBits = 2048
    allowed_ec_curves: tuple[Curve, ...] = ("P-256", "P-384")


class CsrRules(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What a CSR may ask for beside its names."""

    allowed_extra_eku: tuple[str, ...] = ()
    """`clientAuth` or dotted OIDs, beside serverAuth."""
    ignored_eku: tuple[str, ...] = ("clientAuth",)
    """May be asked for, and is not given: some clients always ask for clientAuth."""
    must_staple: bool = False
    """Whether a CSR may ask for the TLS feature extension (RFC 7633)."""
    common_name: Literal["keep", "fill", "refuse"] = "keep"
    """`keep`: as the CSR has it, one of the names or none; `fill`: where it has none, the authority
    takes the first of the names; `refuse`: a CSR may have none."""
    subject: Literal["refuse-if-copied", "ignore", "refuse"] = "refuse-if-copied"
    """What becomes of O, OU and the like: refused where the authority would copy them, passed over
    in any case, or refused in any case."""


class PendingRules(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What becomes of an order whose request a person at the authority has to approve."""

    accept: bool = True
    """Whether it is waited for; if not, the order fails at once."""
    limit: timedelta = timedelta(days=14)
    """How long it is waited for; then the order fails."""


class IssuancePolicy(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What is issued, for whom, and how they prove it."""

    name: Name
    dns_validation_profile: str = ""
    """Its name; where the file leaves it out, the only profile there is."""
    dns: NameRules = NameRules()
    ip: IpRules = IpRules()
    signature: SignatureRules = SignatureRules()
    csr: CsrRules = CsrRules()
    max_validity: timedelta | None = None
    """Certificates live no longer than this; None: as long as the authority says."""
    challenges: tuple[Challenge, ...] = ("http-01",)
    pending: PendingRules = PendingRules()


class PolicyBinding(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Which authorities serve a policy, and how one of several is chosen for an order."""

    policy: str
    authorities: tuple[str, ...]
    strategy: Literal["first_available", "round_robin"] = "first_available"
    """`first_available`: the first that can be used; `round_robin`: each gets its share."""


class RenewalInfoSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """When clients are advised to renew (RFC 9773), and how often to ask."""

    lifetime_fraction: Fraction = Fraction(2, 3)
    """The middle of the window, as a part of the certificate's lifetime: `2/3` or `0.75`."""
    window_width: timedelta = timedelta(hours=48)
    """How wide the window is; that of a short certificate is narrower, inside its lifetime."""
    retry_after: timedelta = timedelta(hours=6)
    """After how long a client asks again; spread by a fifth to both sides."""
    explanation_url: str | None = None
    """A page that tells people why certificates are to be renewed ahead of their time."""


class CertificateProfile(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What a client may ask for by name when it orders (draft-ietf-acme-profiles)."""

    name: Name
    description: Annotated[str, Meta(min_length=1, max_length=500)]
    """Shown to clients beside the name: a sentence, or the URL of a page that tells more."""
    policy: str
    authority: str | None = None
    """Who serves it; None: whoever serves the policy."""
    template: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    """The template the authority is to use, if it has templates; None: the authority's own."""
    max_validity: timedelta | None = None
    """Certificates live no longer than this; None: as long as the policy says."""


class RetentionSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What leaves the database's tables when it is over. The log keeps everything."""

    enabled: bool = True
    keep: timedelta = timedelta(days=90)
    """How long an order stays after it, and its certificate, expired."""


class LicenseSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Whether the vendor is asked for newer licenses. By default nobody is."""

    offline: bool = True
    """Licenses come as files alone (`certeasy license install`)."""
    refresh_url: str | None = None
    """Where a newer license is asked for; with `offline: false`."""
    proxy_url: str | None = None
    """The HTTP proxy through which (CONNECT) the vendor is reached; the environment names none."""
    ca_file: Path | None = None
    """Roots (PEM) that are believed in place of the system's."""
    timeout: timedelta = timedelta(seconds=30)


class Settings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Everything config.yml says. Its paths are absolute and without anchors."""

    workdir: Path
    server: ServerSettings
    topology: Literal["single"] = "single"
    admin: AdminSettings = AdminSettings()
    database: DatabaseSettings = DatabaseSettings()
    secrets: SecretsSettings = SecretsSettings()
    audit: AuditSettings = AuditSettings()
    logs: LogSettings = LogSettings()
    workers: WorkerSettings = WorkerSettings()
    tls_certificate_manager: TlsSettings = TlsSettings()
    dns_validation_profiles: tuple[DnsProfile, ...] = ()
    authorities: tuple[AuthoritySettings, ...] = ()
    issuance_policies: tuple[IssuancePolicy, ...] = ()
    policy_bindings: tuple[PolicyBinding, ...] = ()
    rate_limiting: RateLimiting = RateLimiting()
    renewal_info: RenewalInfoSettings = RenewalInfoSettings()
    retention: RetentionSettings = RetentionSettings()
    notices: NoticesSettings = NoticesSettings()
    license: LicenseSettings = LicenseSettings()
    profiles: tuple[CertificateProfile, ...] = ()
    default_profile: str | None = None
    """The profile of orders that name none; None: they fall under the first policy that fits."""
    source: Path | None = None
    """The file it was read from; not a key of the file."""

    def __post_init__(self) -> None:
        """Put the directory in the place of `%WORKDIR%`, so that no reader meets the anchor."""
        at = self.workdir
        password = self.database.password_file
        database = replace(
            self.database,
            path=_under(at, self.database.path),
            password_file=None if password is None else _under(at, password),
        )
        force_setattr(self, "database", database)
        key_file = _under(at, self.secrets.key_file)
        force_setattr(self, "secrets", replace(self.secrets, key_file=key_file))
        force_setattr(self, "audit", replace(self.audit, path=_under(at, self.audit.path)))


def root_file(settings: Settings, authority: str) -> Path:
    """Return where the root certificate (PEM) of an embedded authority is found."""
    return settings.workdir / f"{authority}.root.pem"


def _under(workdir: Path, path: Path) -> Path:
    """Return the path with a leading `%WORKDIR%` replaced."""
    if path.parts[:1] == (WORKDIR,):
        return workdir.joinpath(*path.parts[1:])
    return path

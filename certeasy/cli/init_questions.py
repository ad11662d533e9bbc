"""What `certeasy init` asks, in this order, and what it looks at on the way.

The keys are those of the configuration where it has them; a script has the same.
"""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from certeasy.cli import init_looks as looks
from certeasy.cli.init_answers import Context, Question, Source, Words, read
from certeasy.cli.init_looks import Unusable
from certeasy.config import forms
from certeasy.config.mistakes import one_line
from certeasy.settings import (
    WORKDIR,
    AdminSettings,
    AuthoritySettings,
    DatabaseSettings,
    DnsProfile,
    DnsZone,
    EmbeddedSettings,
    IpPolicy,
    IssuancePolicy,
    NameRules,
    ServerSettings,
    Settings,
    TlsBundle,
)
from certeasy.settings.adcs import AdcsSettings

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")
CREDENTIALS = {"kerberos": ("keytab", "password-file", "ccache"), "ntlm": ("password-file",)}
"""What an account can prove itself with, by the kind of authentication."""
USUAL_PORT, MAPPER_PORT = 443, "135"
UNUSUAL = (
    Question(
        "authority.address",
        "Address of the CA's machine",
        (AdcsSettings, "address"),
        hint="where the DNS does not know it; nothing: it does",
        optional=True,
    ),
    Question(
        "authority.endpoint-mapper-port",
        "Port of its endpoint mapper",
        (AdcsSettings, "endpoint_mapper_port"),
        hint="another than 135 is for labs",
        default=(MAPPER_PORT,),
    ),
    Question(
        "authority.ca-certificates",
        "File with the CA's certificate and those above, PEM",
        (AdcsSettings, "ca_certificates"),
        hint="nothing: the CA is asked for them",
        optional=True,
    ),
)
"""What is asked where a CA does not answer. A script may say it in any case."""
NOW, FIRST_START = "now", "first-start"


class Given:
    """What was answered, by key, in the order of the questions."""

    def __init__(self) -> None:
        self.words: dict[str, Words] = {}
        self.questions: dict[str, Question] = {}

    def one(self, key: str) -> str:
        """Return the answer to a question; empty: it was not asked, or nothing was the answer."""
        words = self.words.get(key, ())
        return words[0] if words else ""

    def many(self, key: str) -> Words:
        """Return all words of an answer."""
        return self.words.get(key, ())

    @property
    def hosts(self) -> list[str]:
        """The hosts under which clients reach the server, each once."""
        urls = self.many("server.url")
        return list(dict.fromkeys(urlsplit(url).hostname or "" for url in urls))


class Wizard:
    """Asks a source everything. `offline`: nothing outside this machine is connected to."""

    def __init__(
        self, source: Source, tell: Callable[[str], None], output: Path, *, offline: bool
    ) -> None:
        self.given = Given()
        self.database: looks.Seen | None = None
        self._source = source
        self._tell = tell
        self._output = output.absolute()
        self._offline = offline

    def run(self) -> Given:
        """Ask, and return what was answered. ConfigurationError: that is not in order."""
        self._server()
        self._workdir()
        self._database()
        self._authority()
        self._names()
        self._tls()
        self._ask(
            Question(
                "signing-key",
                "When this node's signing key is made",
                hint="now: as the user who runs this, which has to be the server's",
                choices=(NOW, FIRST_START),
                default=(NOW,),
            )
        )
        self._source.finish()
        return self.given

    def _ask(self, question: Question) -> Words:
        workdir = self.given.one("workdir")
        context = Context(self._output.parent, Path(workdir) if workdir else None)
        found = self._source.take(question, lambda words: read(question, words, context))
        self.given.words[question.key] = found
        self.given.questions[question.key] = question
        return found

    # -- the server ------------------------------------------------------------------------------

    def _server(self) -> None:
        self._ask(
            Question(
                "server.url",
                "URL under which clients reach the server",
                (ServerSettings, "url"),
                hint="https://acme.corp.example, say; with a port where it is not 443",
                many=True,
            )
        )
        urls = self.given.many("server.url")
        port = (urlsplit(urls[0]).port if urls else None) or USUAL_PORT
        self._ask(
            Question(
                "server.listen",
                "Address and port to listen on for clients",
                (ServerSettings, "listen"),
                default=(f"0.0.0.0:{port}",),
            )
        )
        self._ask(
            Question(
                "admin.listen",
                "Address and port for health checks, on loopback",
                (AdminSettings, "listen"),
                default=("127.0.0.1:9443",),
            )
        )

    def _workdir(self) -> None:
        self._ask(
            Question(
                "workdir",
                "Folder for this node's own files",
                (Settings, "workdir"),
                hint="its identity, its signing key, its journal",
                default=(str(usual_workdir(self._output.parent)),),
            )
        )
        self._ask(
            Question(
                "topology",
                "Topology",
                (Settings, "topology"),
                hint="one node writes at a time; another can stand by, stopped",
                choices=("single",),
                default=("single",),
            )
        )

    # -- the database ----------------------------------------------------------------------------

    def _database(self) -> None:
        self._ask(
            Question(
                "database.driver",
                "Database",
                (DatabaseSettings, "driver"),
                hint="sqlite, a file, is for one host",
                choices=("sqlite", "postgres", "sqlserver"),
                default=("sqlite",),
                decides=True,
            )
        )
        while True:
            key = self._place_of_database()
            if not self._source.sound() or self._is_usable(key):
                return

    def _place_of_database(self) -> str:
        """Ask where the database is; return the key of the question."""
        driver = self.given.one("database.driver")
        if driver == "sqlite":
            self._ask(
                Question(
                    "database.path",
                    "File of the database",
                    (DatabaseSettings, "path"),
                    hint="on a local disk",
                    default=(f"{WORKDIR}/db.sqlite",),
                )
            )
            return "database.path"
        scheme = {"postgres": "postgresql", "sqlserver": "sqlserver"}[driver]
        self._ask(
            Question(
                "database.dsn",
                "Address of the database",
                (DatabaseSettings, "dsn"),
                hint=f"{scheme}://certeasy@db.corp.example/certeasy, say, without a password",
            )
        )
        self._ask(
            Question(
                "database.password-file",
                "File with its password",
                (DatabaseSettings, "password_file"),
                hint="in its first line, mode 0600; nothing where none is needed",
                optional=True,
            )
        )
        return "database.dsn"

    def _is_usable(self, key: str) -> bool:
        """Look at the database; whether there is no need to ask again."""
        settings = self._database_settings()
        if self._offline and settings.driver != "sqlite":
            return True
        try:
            self.database = looks.database(settings)
        except Unusable as error:
            return not self._source.refuse(key, str(error))
        self._tell(f"database: {self.database.text}")
        for warning in self.database.warnings:
            self._tell(f"database: warning: {warning}")
        return True

    def _database_settings(self) -> DatabaseSettings:
        given = self.given
        password = given.one("database.password-file")
        path = given.one("database.path")
        match given.one("database.driver"):
            case "postgres":
                driver = "postgres"
            case "sqlserver":
                driver = "sqlserver"
            case _:
                return DatabaseSettings(path=Path(path))
        return DatabaseSettings(
            driver=driver,  # type: ignore[arg-type] # one of its words
            dsn=given.one("database.dsn"),
            password_file=Path(password) if password else None,
        )

    # -- the authority ---------------------------------------------------------------------------

    def _authority(self) -> None:
        self._ask(
            Question(
                "authority.type",
                "Authority",
                hint="adcs: a CA of a Windows domain; embedded: one inside this server, for labs",
                choices=("adcs", "embedded"),
                default=("adcs",),
                decides=True,
            )
        )
        embedded = self.given.one("authority.type") == "embedded"
        self._ask(
            Question(
                "authority.name",
                "How the authority is called here",
                (AuthoritySettings, "name"),
                default=("lab" if embedded else "corp",),
            )
        )
        if embedded:
            self._ask(
                Question(
                    "authority.common-name",
                    "Common name of its root certificate",
                    (EmbeddedSettings, "common_name"),
                    default=(EmbeddedSettings().common_name,),
                )
            )
            return
        self._adcs()

    def _adcs(self) -> None:
        self._ask(
            Question(
                "authority.ca-name",
                "The CA",
                (AdcsSettings, "ca_name"),
                hint=r"as certutil prints it, HOST\COMMON NAME",
            )
        )
        if "\\" not in self.given.one("authority.ca-name"):
            self._ask(
                Question("authority.host", "DNS name of the CA's machine", (AdcsSettings, "host"))
            )
        self._ask(
            Question(
                "authority.auth",
                "How this server proves who it is",
                (AdcsSettings, "auth"),
                hint="sspi: as the account that it runs as, on Windows",
                choices=("kerberos", "ntlm", "sspi"),
                default=("sspi" if os.name == "nt" else "kerberos",),
                decides=True,
            )
        )
        if self.given.one("authority.auth") != "sspi":
            self._account()
        self._unusual(needed=False)
        self._template()

    def _account(self) -> None:
        self._ask(Question("authority.domain", "DNS name of the domain", (AdcsSettings, "domain")))
        self._ask(
            Question(
                "authority.user",
                "Name of the account in the domain",
                (AdcsSettings, "user"),
                hint="its sAMAccountName, without the domain",
            )
        )
        kinds = CREDENTIALS[self.given.one("authority.auth")]
        self._ask(
            Question(
                "authority.credentials",
                "What the account proves itself with",
                hint="each is a file with mode 0600",
                choices=kinds,
                default=kinds[:1],
                decides=True,
            )
        )
        kind = self.given.one("authority.credentials")
        self._ask(
            Question(
                f"authority.{kind}",
                f"File: the {kind}",
                (AdcsSettings, kind.replace("-", "_")),
            )
        )
        self._ask(
            Question(
                "authority.domain-controllers",
                "Domain controllers",
                (AdcsSettings, "domain_controllers"),
                hint="nothing: those that the DNS names",
                many=True,
                optional=True,
            )
        )

    def _unusual(self, *, needed: bool) -> bool:
        """Ask what few CAs need; whether something was answered."""
        new = [each for each in UNUSUAL if each.key not in self.given.words]
        asked = [each for each in new if self._source.wants(each.key, needed=needed)]
        return [self._ask(each) for each in asked] != [each.default for each in asked]

    def _template(self) -> None:
        """Ask for the template, with those that the CA offers to choose from."""
        looking = not self._offline and self._source.sound()
        while looking:
            looking = False
            try:
                names = looks.published(self._adcs_settings())
                said = ", ".join(one_line(name[:64]) for name in names) or "none"
            except Unusable as error:
                said = f"not known: {error}"
                looking = True
            self._tell(f"templates that the CA offers: {said}")
            looking = looking and self._unusual(needed=True)
        self._ask(
            Question(
                "authority.certificate-template",
                "Name of the template",
                (AdcsSettings, "certificate_template"),
                hint="not its display name",
            )
        )

    def _adcs_settings(self) -> AdcsSettings:
        given = self.given
        files = (given.one(f"authority.{kind}") for kind in CREDENTIALS["kerberos"])
        keytab, password, ccache = (Path(file) if file else None for file in files)
        return AdcsSettings(
            ca_name=given.one("authority.ca-name"),
            certificate_template="-",  # not chosen yet
            host=given.one("authority.host") or None,
            address=given.one("authority.address") or None,
            endpoint_mapper_port=int(given.one("authority.endpoint-mapper-port") or MAPPER_PORT),
            auth=given.one("authority.auth"),  # type: ignore[arg-type] # one of its words
            domain=given.one("authority.domain") or None,
            user=given.one("authority.user") or None,
            domain_controllers=given.many("authority.domain-controllers"),
            keytab=keytab,
            password_file=password,
            ccache=ccache,
        )

    # -- what is issued --------------------------------------------------------------------------

    def _names(self) -> None:
        zone = next((host.partition(".")[2] for host in self.given.hosts if "." in host), "")
        wrong = not zone or forms.is_address(self.given.hosts[0])
        self._ask(
            Question(
                "policy.allow",
                "Names that may be ordered",
                (NameRules, "allow"),
                hint=".corp.example/2: up to two labels in front of the zone; *.corp.example: that"
                " wildcard; =www.corp.example: that name",
                default=() if wrong else (f".{zone}/2",),
                many=True,
            )
        )
        self._ask(
            Question(
                "policy.challenges",
                "How clients prove that a name is theirs",
                (IssuancePolicy, "challenges"),
                hint="http-01, dns-01, tls-alpn-01",
                default=("http-01",),
                many=True,
            )
        )
        self._ask(
            Question(
                "dns.servers",
                "DNS servers that know these names",
                (DnsZone, "dns_server"),
                hint="nothing: this machine's resolver",
                many=True,
                optional=True,
            )
        )
        self._ask(
            Question(
                "dns.hosts",
                "Names whose address is not in the DNS",
                hint="NAME=ADDRESS or *.ZONE=ADDRESS; nothing: none",
                form=_host,
                many=True,
                optional=True,
            )
        )
        self._ask(
            Question(
                "dns.networks",
                "Networks of the machines that get certificates",
                (IpPolicy, "allow_cidrs"),
                hint="no other address is connected to",
                default=PRIVATE,
                many=True,
            )
        )
        if "http-01" in self.given.many("policy.challenges"):
            self._ask(
                Question(
                    "dns.http-01-port",
                    "Port on which they answer http-01",
                    (DnsProfile, "http_01_port"),
                    hint="another than 80 is for labs",
                    default=("80",),
                )
            )

    # -- the server's own certificate ------------------------------------------------------------

    def _tls(self) -> None:
        self._ask(
            Question(
                "tls.mode",
                "The server's own certificate",
                hint="pki: the authority issues it; files: two PEM files; proxy: none, a proxy in"
                " front speaks TLS",
                choices=("pki", "files", "proxy"),
                default=("pki",),
                decides=True,
            )
        )
        match self.given.one("tls.mode"):
            case "files":
                self._ask(
                    Question(
                        "tls.certificate",
                        "File of the certificate chain, PEM, leaf first",
                        (TlsBundle, "certificate"),
                    )
                )
                self._ask(Question("tls.key", "File of its private key, PEM", (TlsBundle, "key")))
            case "proxy":
                self._ask(
                    Question(
                        "tls.trusted-proxies",
                        "Addresses of the proxies",
                        (ServerSettings, "trusted_proxies"),
                        hint="they tell the client's address in X-Forwarded-For",
                        default=("127.0.0.1/32",),
                        many=True,
                    )
                )
            case _:
                pass  # pki, from the authority


def usual_workdir(beside: Path) -> Path:
    """Return where a server's files are where nothing else is said."""
    if os.name == "nt":
        return Path(r"C:\ProgramData\certeasy")
    return Path("/var/lib/certeasy") if os.geteuid() == 0 else beside / "workdir"


def _host(text: str) -> str:
    name, equals, address = text.partition("=")
    if not equals:
        raise ValueError("is not NAME=ADDRESS")
    return f"{forms.host_pattern(name.strip())}={forms.address(address.strip())}"

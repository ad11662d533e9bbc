"""The config.yml that `certeasy init` writes: what was answered, each section with a comment."""

import re
from collections.abc import Iterable, Iterator

from certeasy.cli.init_answers import as_yaml
from certeasy.cli.init_questions import CREDENTIALS, Given

BUNDLE, PROFILE, POLICY = "own", "default", "servers"
_PLAIN = re.compile(r"[A-Za-z/.][A-Za-z0-9_./-]*|[0-9]{1,5}")
_WORDS = frozenset("true false null yes no on off ~ . ..".split())


def config_text(given: Given) -> str:
    """Return the whole file."""
    sections = (
        _head(given),
        _server(given),
        _database(given),
        _tls(given),
        _validation(given),
        _authority(given),
        _policy(given),
    )
    return "\n".join("".join(f"{line}\n" for line in section) for section in sections)


def scalar(text: str) -> str:
    """Return a value as the file has it: as it is where that cannot be misread, else in quotes."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if plain else as_yaml(text)


def _list(words: Iterable[str]) -> str:
    return f"[{', '.join(as_yaml(word) for word in words)}]"


def _head(given: Given) -> Iterator[str]:
    yield "# Written by `certeasy init`. After a change, `certeasy validate -f config.yml` tells"
    yield "# what is wrong with it; docs/configuration.md has every other key, with its default."
    yield ""
    yield "# This node's own files: identity, signing key, journal. No two nodes share it."
    yield f"workdir: {scalar(given.one('workdir'))}"
    yield ""
    yield "# One node writes at a time; the nodes of an installation all say the same here."
    yield f"topology: {given.one('topology')}"


def _server(given: Given) -> Iterator[str]:
    yield "server:"
    yield "  # Clients reach it here; every URL that they are told begins with the first."
    yield f"  url: {_list(given.many('server.url'))}"
    yield f"  listen: {as_yaml(given.one('server.listen'))}"
    if given.one("tls.mode") == "proxy":
        yield "  # A proxy speaks TLS, and nobody else may reach this listener. The client's"
        yield "  # address is taken from this header, and believed from these proxies only."
        yield "  tls: false"
        yield "  remote-ip-header: X-Forwarded-For"
        yield f"  trusted-proxies: {_list(given.many('tls.trusted-proxies'))}"
    yield ""
    yield "admin:"
    yield "  # /healthz and /readyz, in plain HTTP, for this machine alone."
    yield f"  listen: {as_yaml(given.one('admin.listen'))}"


def _database(given: Given) -> Iterator[str]:
    driver = given.one("database.driver")
    yield "# The log, and all that is computed from it. Secrets in it are wrapped by secret.key in"
    yield "# the workdir: back that up, apart from the database."
    yield "database:"
    yield f"  driver: {driver}"
    if driver == "sqlite":
        yield f"  path: {scalar(given.one('database.path'))}"
        return
    yield f"  dsn: {as_yaml(given.one('database.dsn'))}"
    if password := given.one("database.password-file"):
        yield "  # Its first line is the password; mode 0600."
        yield f"  password-file: {scalar(password)}"


def _tls(given: Given) -> Iterator[str]:
    mode = given.one("tls.mode")
    if mode == "proxy":
        yield "# No certificate of its own: server.tls is false."
        return
    yield "tls-certificate-manager:"
    yield "  bundles:"
    if mode == "pki":
        yield "    # The server's own certificate: the authority below issues and renews it."
    else:
        yield "    # The server's own certificate: two PEM files, read again when they change."
    yield f"    - name: {BUNDLE}"
    yield f"      mode: {mode}"
    yield f"      hosts: {_list(given.hosts)}"
    if mode == "pki":
        yield f"      authority: {scalar(given.one('authority.name'))}"
    else:
        yield f"      certificate: {scalar(given.one('tls.certificate'))}"
        yield f"      key: {scalar(given.one('tls.key'))}"


def _validation(given: Given) -> Iterator[str]:
    yield "dns-validation-profiles:"
    yield f"  - name: {PROFILE}"
    yield from _zones(given)
    if port := given.one("dns.http-01-port"):
        yield "    # Where clients answer http-01."
        yield f"    http-01-port: {port}"
    yield "    # Only machines in these networks are connected to, whatever the DNS says."
    yield "    resolved-ip-policy:"
    yield f"      allow-cidrs: {_list(given.many('dns.networks'))}"


def _zones(given: Given) -> Iterator[str]:
    servers, hosts = given.many("dns.servers"), given.many("dns.hosts")
    yield "    # How names are looked up."
    yield "    zones:"
    yield '      - suffixes: ["."]'
    yield f"        dns-server: {_list(servers)}" if servers else "        system: true"
    if hosts:
        yield "        # Looked up here first."
        yield "        hosts:"
    for host in hosts:
        name, _, address = host.partition("=")
        yield f"          {as_yaml(name)}: {as_yaml(address)}"


def _authority(given: Given) -> Iterator[str]:
    yield "# Who signs."
    yield "authorities:"
    yield f"  - name: {scalar(given.one('authority.name'))}"
    yield f"    type: {given.one('authority.type')}"
    yield "    configuration:"
    if given.one("authority.type") == "embedded":
        yield "      # A CA inside this server, its key in the database: for labs alone."
        yield f"      common-name: {as_yaml(given.one('authority.common-name'))}"
        return
    for key in ("ca-name", "host", "address", "certificate-template", "auth", "domain", "user"):
        if word := given.one(f"authority.{key}"):
            yield f"      {key}: {as_yaml(word)}"
    for key in CREDENTIALS["kerberos"]:
        if word := given.one(f"authority.{key}"):
            yield "      # Mode 0600; the password or key itself is not written here."
            yield f"      {key}: {scalar(word)}"
    if controllers := given.many("authority.domain-controllers"):
        yield f"      domain-controllers: {_list(controllers)}"
    for key in ("endpoint-mapper-port", "ca-certificates"):
        if word := given.one(f"authority.{key}"):
            yield f"      {key}: {scalar(word)}"


def _policy(given: Given) -> Iterator[str]:
    yield "# What is issued. It is bound to the authority above, there being one of each."
    yield "issuance-policies:"
    yield f"  - name: {POLICY}"
    yield "    dns:"
    yield "      # .zone/N: up to N labels in front of the zone; *.zone: that wildcard;"
    yield "      # =name: that name."
    yield f"      allow: {_list(given.many('policy.allow'))}"
    yield f"    challenges: {_list(given.many('policy.challenges'))}"

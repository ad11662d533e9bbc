"""What a configuration names on the disk, looked at before a node starts. Nothing is created or
changed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from certeasy.ca.adcs.identity import NotAuthenticated, read_secret
from certeasy.ca.adcs.programs import programs_of
from certeasy.cluster.mounts import network_file_system
from certeasy.config import Page
from certeasy.serve.contexts import TlsMaterial, UnusableCertificate, server_context
from certeasy.settings import (
    AuthoritySettings,
    DatabaseSettings,
    EmbeddedSettings,
    NoticesSettings,
    Settings,
    TlsBundle,
)
from certeasy.settings.adcs import AdcsCliSettings, AdcsSettings
from certeasy.store import DatabaseUnfit
from certeasy.store.databases import place_of

T = TypeVar("T")


def check(settings: Settings, page: Page) -> None:
    """Note on the page every directory that cannot be written, and every certificate that is
    none. What could not be read of the file is passed over."""
    _check_database(settings.database, page)
    if page.sound("workdir"):
        _check_folder(page, "workdir", settings.workdir)
        _check_files(settings, page)
    for key, authority in _entries(page, "authorities", settings.authorities):
        _check_authority(page, f"{key}.configuration", authority)
    if page.sound("notices"):
        _check_notices(settings.notices, page)
    acme = settings.tls_certificate_manager.acme
    if page.sound("tls-certificate-manager.acme"):
        key = "tls-certificate-manager.acme"
        if acme.eab is not None:
            _check_secret(page, f"{key}.eab.hmac-file", "hmac-file", acme.eab.hmac_file)
        _check_certificates(page, f"{key}.ca-file", acme.ca_file)
    bundles = settings.tls_certificate_manager.bundles if settings.server.tls else ()
    for key, bundle in _entries(page, "tls-certificate-manager.bundles", bundles):
        _check_bundle(page, key, bundle)


def _check_notices(notices: NoticesSettings, page: Page) -> None:
    """The secrets of who is told are private, and there are roots in the files of roots."""
    for key, file in notices.secret_files.items():
        _check_secret(page, f"notices.{key}", key.partition(".")[2], file)
    for key, file in notices.ca_files.items():
        _check_certificates(page, f"notices.{key}", file)


def _entries(page: Page, key: str, entries: tuple[T, ...]) -> Iterator[tuple[str, T]]:
    """Yield the entries of a list with their keys; none if some could not be read, for then the
    numbers of the others are not known."""
    if not page.has(f"{key}[{len(entries)}]"):
        for number, entry in enumerate(entries):
            yield f"{key}[{number}]", entry


def _check_database(database: DatabaseSettings, page: Page) -> None:
    """Its driver is installed, its address is one, its password can be read; a file is local."""
    if not page.sound("database"):
        return
    if database.driver == "sqlite":
        kind = network_file_system(database.path)
        if kind is not None:
            what = f"{database.path} is on a network file system ({kind}); use a local disk"
            page.add("database.path", what)
        return
    try:
        place_of(database)
    except (DatabaseUnfit, ImportError) as error:
        named = "database.password-file"
        page.add(named if str(error).startswith(named) else "database.dsn", str(error))


def _check_files(settings: Settings, page: Page) -> None:
    """Files are made in directories that can be written."""
    database = settings.database
    for key, path in (
        *([("database.path", database.path)] if database.driver == "sqlite" else []),
        ("audit.path", settings.audit.path),
        ("secrets.key-file", settings.secrets.key_file),
    ):
        if not page.sound(key):
            continue
        if path.is_dir():
            page.add(key, f"{path} is a directory")
        elif not path.is_relative_to(settings.workdir):
            _check_folder(page, key, path.parent, made=False)
    if settings.logs.output == "file" and settings.logs.file is not None:
        _check_folder(page, "logs.file", settings.logs.file.parent, made=False)


def _check_folder(page: Page, key: str, folder: Path, *, made: bool = True) -> None:
    """The directory can be written, or (`made`) made below one that can."""
    there = folder
    while made and not there.exists() and there != there.parent:
        there = there.parent
    if not there.exists():
        page.add(key, f"the directory {there} does not exist")
    elif not there.is_dir():
        page.add(key, f"{there} is no directory")
    elif not os.access(there, os.W_OK | os.X_OK):
        page.add(key, f"the directory {there} cannot be written by this user")


def _check_authority(page: Page, key: str, authority: AuthoritySettings) -> None:
    """What an enterprise CA is asked with is there: secrets that are private, programs."""
    match authority.configuration:
        case AdcsSettings() as adcs:
            # A credential cache is not looked at: something else makes it, perhaps later.
            for name, file in (("password-file", adcs.password_file), ("keytab", adcs.keytab)):
                if file is not None:
                    _check_secret(page, f"{key}.{name}", name, file)
            _check_certificates(page, f"{key}.ca-certificates", adcs.ca_certificates)
        case AdcsCliSettings() as cli:
            named = ("certreq-path", "certutil-path")
            for name, program in zip(named, programs_of(cli), strict=True):
                if not os.access(program, os.X_OK):
                    what = f"{program} is no program here; type adcs-cli is for Windows"
                    page.add(f"{key}.{name}", what)
            _check_certificates(page, f"{key}.ca-certificates", cli.ca_certificates)
        case EmbeddedSettings():
            pass  # its keys are in the database


def _check_secret(page: Page, key: str, name: str, file: Path) -> None:
    try:
        read_secret(file, name)
    except NotAuthenticated as error:
        page.add(key, f"{error.cause}; {error.remedy}")


def _check_certificates(page: Page, key: str, file: Path | None) -> None:
    data = None if file is None else _read(page, key, file)
    if data is not None:
        try:
            x509.load_pem_x509_certificates(data)
        except ValueError:
            page.add(key, f"{file} holds no certificates in PEM")


def _check_bundle(page: Page, key: str, bundle: TlsBundle) -> None:
    if bundle.certificate is None or bundle.key is None:
        return  # not of mode files
    chain = _read(page, f"{key}.certificate", bundle.certificate)
    secret = _read(page, f"{key}.key", bundle.key)
    if chain is None or secret is None:
        return
    try:
        server_context(TlsMaterial(chain, secret, bundle.hosts))
    except UnusableCertificate as error:
        page.add(key, str(error))


def _read(page: Page, key: str, path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        page.add(key, f"{path} cannot be read: {error.strerror}")
        return None

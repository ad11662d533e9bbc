"""What a configuration names on the disk, looked at before a node starts. Nothing is created or
changed."""

import os
from pathlib import Path

from cryptography import x509

from certeasy.ca.adcs.identity import NotAuthenticated, read_secret
from certeasy.config import Page
from certeasy.serve.contexts import TlsMaterial, UnusableCertificate, server_context
from certeasy.settings import AuthoritySettings, EmbeddedSettings, Settings, TlsBundle
from certeasy.settings.adcs import AdcsCliSettings, AdcsSettings
from certeasy.store import DatabaseUnfit
from certeasy.store.databases import place_of

SYSTEM = Path(r"C:\Windows\System32")


def check(settings: Settings, page: Page) -> None:
    """Note on the page every directory that cannot be written, and every certificate that is
    none."""
    _check_folder(page, "workdir", settings.workdir)
    database = settings.database
    if database.driver != "sqlite":
        try:
            place_of(database)
        except (DatabaseUnfit, ImportError) as error:
            page.add("database.dsn", str(error))
    for key, path in (
        *([("database.path", database.path)] if database.driver == "sqlite" else []),
        ("audit.path", settings.audit.path),
        ("secrets.key-file", settings.secrets.key_file),
    ):
        if path.is_dir():
            page.add(key, f"{path} is a directory")
        elif not path.is_relative_to(settings.workdir):
            _check_folder(page, key, path.parent, made=False)
    if settings.logs.output == "file" and settings.logs.file is not None:
        _check_folder(page, "logs.file", settings.logs.file.parent, made=False)
    for n, authority in enumerate(settings.authorities):
        _check_authority(page, f"authorities[{n}].configuration", authority)
    if settings.server.tls:
        for n, bundle in enumerate(settings.tls_certificate_manager.bundles):
            _check_bundle(page, f"tls-certificate-manager.bundles[{n}]", bundle)


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
            for name, program in (
                ("certreq-path", cli.certreq_path or SYSTEM / "certreq.exe"),
                ("certutil-path", cli.certutil_path or SYSTEM / "certutil.exe"),
            ):
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

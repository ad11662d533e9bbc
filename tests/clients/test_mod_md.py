"""Apache's mod_md, from Debian: the web server gets certificates for what it serves."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.make.acme_client import (
    QUIET_ENV,
    TXT_HOOK,
    assert_certificate,
    is_served,
    program,
)
from tests.make.acme_server import AcmeServer, free_port, running
from tests.make.client_matrix import version_of
from tests.make.waiting import soon

pytestmark = pytest.mark.interop

MODULES = "/usr/lib/apache2/modules"
CONFIG = """\
ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule md_module {modules}/mod_md.so
ErrorLog {folder}/error.log
LogLevel md:debug
Mutex file:{folder} default
DocumentRoot {folder}
Listen 127.0.0.1:{http}
Listen 127.0.0.1:{https}
Protocols acme-tls/1 http/1.1
MDStoreDir {folder}/md
MDCertificateAuthority {server.directory_url}
MDCACertificateFile {folder}/root.pem
MDCertificateAgreement accepted
MDContactEmail admin@corp.example
MDPortMap http:{http} https:{https}
MDCAChallenges {kind}
MDPrivateKeys secp256r1
MDRetryDelay 1s
{more}
MDomain {names}
<VirtualHost *:{https}>
  ServerName {name}
  ServerAlias {names}
  SSLEngine on
</VirtualHost>
"""
HOOK = """\
#!/bin/sh
TXT={txt} exec {hook} "$@"
"""


@pytest.fixture
def folder(acme_server: AcmeServer) -> Iterator[Path]:
    """A folder that another user may reach: root's server gives its rights away."""
    made = Path(tempfile.mkdtemp(prefix="mod_md-"))
    made.chmod(0o755)
    shutil.copyfile(acme_server.root_pem, made / "root.pem")
    (made / "hook.sh").write_text(HOOK.format(txt=acme_server.txt, hook=TXT_HOOK))
    (made / "hook.sh").chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize(
    ("kind", "feature"),
    [
        ("http-01", "order"),
        ("tls-alpn-01", "order"),
        ("dns-01", "wildcard and its zone"),
        ("http-01", "EAB"),
    ],
)
def test_mod_md_gets_a_certificate_and_serves_with_it(
    acme_server: AcmeServer,
    folder: Path,
    exercised: Callable[..., None],
    kind: str,
    feature: str,
):
    exercised("Apache mod_md", version_of(program("apache2"), "-v"), kind, "account", feature)
    name = acme_server.name(f"apache-{kind}-{feature.partition(' ')[0].lower()}")
    names = [name, f"*.{name}"] if kind == "dns-01" else [name]
    http, https = acme_server.http01_port, free_port()
    more = ""
    if kind == "tls-alpn-01":
        http, https = free_port(), acme_server.tls_alpn01_port
    elif kind == "dns-01":
        more = f"MDChallengeDns01 {folder}/hook.sh"
    elif feature == "EAB":
        more = "MDExternalAccountBinding {} {}".format(*acme_server.new_binding())
    filled = CONFIG.format(
        folder=folder,
        modules=MODULES,
        http=http,
        https=https,
        server=acme_server,
        kind=kind,
        more=more,
        name=name,
        names=" ".join(names),
    )
    (folder / "apache.conf").write_text(filled)
    command = [program("apache2"), "-f", folder / "apache.conf", "-DFOREGROUND"]
    log = folder / "error.log"
    with running(command, port=https, log=folder / "out.log", env=QUIET_ENV) as server:
        staged = folder / "md/staging" / name / "job.json"
        soon(lambda: '"finished": true' in read(staged), seconds=120, told=log)
        server.send_signal(signal.SIGUSR1)  # what is staged is taken at a graceful restart
        stored = folder / "md/domains" / name
        soon((stored / "pubcert.secp256r1.pem").exists, seconds=30, told=log)
        chain = (stored / "pubcert.secp256r1.pem").read_bytes()
        assert_certificate(chain, (stored / "privkey.secp256r1.pem").read_bytes(), names)
        soon(lambda: is_served(https, name, chain), seconds=30, told=log)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""

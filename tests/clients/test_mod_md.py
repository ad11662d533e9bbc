"""Apache's mod_md, from Debian: the web server gets certificates for what it serves."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.make.acme_client import TXT_HOOK, assert_certificate, program
from tests.make.acme_server import AcmeServer, free_port
from tests.make.apache import apache
from tests.make.client_matrix import version_of

pytestmark = pytest.mark.interop

SITES = """\
LogLevel md:debug
Protocols acme-tls/1 http/1.1
MDCertificateAuthority {server.directory_url}
MDCACertificateFile {folder}/root.pem
MDCertificateAgreement accepted
MDContactEmail admin@corp.example
MDCAChallenges {kind}
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
    sites = SITES.format(
        folder=folder,
        https=https,
        server=acme_server,
        kind=kind,
        more=more,
        name=name,
        names=" ".join(names),
    )
    with apache(folder, name, http=http, https=https, sites=sites) as stored:
        chain = (stored / "pubcert.secp256r1.pem").read_bytes()
        assert_certificate(chain, (stored / "privkey.secp256r1.pem").read_bytes(), names)

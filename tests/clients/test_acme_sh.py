"""acme.sh, where CERTEASY_ACME_SH says that a copy is: the client inside pfSense and many others.

Its file alone is enough: `CERTEASY_ACME_SH=/opt/acme.sh/acme.sh make interop`.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import (
    TXT_HOOK,
    assert_certificate,
    assert_short_lived,
    program,
    run,
    webroot,
)
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import version_of

pytestmark = pytest.mark.interop

ACME_SH = Path(os.environ.get("CERTEASY_ACME_SH", ""))  # noqa: TID251 - not the server's
DNS_HOOK = """\
#!/usr/bin/env sh
dns_txt_add() {{ TXT={txt} {hook} present "$1" "$2"; }}
dns_txt_rm() {{ TXT={txt} {hook} cleanup "$1" "$2"; }}
"""


class AcmeSh:
    """acme.sh with a home of its own."""

    def __init__(self, server: AcmeServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        (folder / "home/dnsapi").mkdir(parents=True)
        hook = DNS_HOOK.format(txt=server.txt, hook=TXT_HOOK)
        (folder / "home/dnsapi/dns_txt.sh").write_text(hook)

    def __call__(self, *words: str | Path) -> str:
        to = ["--server", self.server.directory_url, "--ca-bundle", self.server.root_pem]
        command = [program("sh"), ACME_SH, "--home", self.folder / "home", *words]
        return run([*command, *to, "--no-color"], cwd=self.folder)

    def stored(self, name: str) -> tuple[bytes, bytes]:
        """Return the chain and the key."""
        folder = self.folder / "home" / f"{name}_ecc"
        return (folder / "fullchain.cer").read_bytes(), (folder / f"{name}.key").read_bytes()


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    version = version_of(program("sh"), ACME_SH, "--version")
    return lambda challenge, *features: exercised("acme.sh", version, challenge, *features)


@pytest.fixture
def acme_sh(acme_server: AcmeServer, tmp_path: Path) -> AcmeSh:
    return AcmeSh(acme_server, tmp_path)


def test_acme_sh_goes_through_the_life_of_an_account(
    acme_sh: AcmeSh, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "account", "order", "renew", "revoke", "account update", "deactivate")
    name = acme_sh.server.name("acme-sh")
    acme_sh("--register-account", "-m", "admin@corp.example")
    with webroot(tmp_path / "www", acme_sh.server.http01_port):
        acme_sh("--issue", "-d", name, "-w", tmp_path / "www", "--keylength", "ec-256")
        first, key = acme_sh.stored(name)
        assert_certificate(first, key, [name])
        acme_sh("--renew", "-d", name, "--ecc", "--force")
    second, key = acme_sh.stored(name)
    assert second != first
    assert_certificate(second, key, [name])
    acme_sh("--revoke", "-d", name, "--ecc", "--revoke-reason", "4")
    acme_sh("--update-account", "-m", "other@corp.example")
    acme_sh("--deactivate-account")


def test_acme_sh_proves_a_zone_and_all_below_it_by_dns(acme_sh: AcmeSh, told: Callable[..., None]):
    told("dns-01", "order", "wildcard and its zone")
    names = [acme_sh.server.name("acme-sh-dns"), "*." + acme_sh.server.name("acme-sh-dns")]
    ordered = [word for name in names for word in ("-d", name)]
    how = ["--dns", "dns_txt", "--dnssleep", "1", "--keylength", "ec-256"]
    acme_sh("--issue", *ordered, *how)
    assert_certificate(*acme_sh.stored(names[0]), names)


def test_acme_sh_proves_by_tls_alpn(acme_sh: AcmeSh, told: Callable[..., None]):
    told("tls-alpn-01", "order")
    name = acme_sh.server.name("acme-sh-alpn")
    port = str(acme_sh.server.tls_alpn01_port)
    how = ["--alpn", "--tlsport", port, "--local-address", "127.0.0.1", "--keylength", "ec-256"]
    acme_sh("--issue", "-d", name, *how)
    assert_certificate(*acme_sh.stored(name), [name])


def test_acme_sh_binds_its_account(acme_sh: AcmeSh, tmp_path: Path, told: Callable[..., None]):
    told("http-01", "EAB")
    kid, key = acme_sh.server.new_binding()
    name = acme_sh.server.name("acme-sh-eab")
    acme_sh("--register-account", "--eab-kid", kid, "--eab-hmac-key", key)
    with webroot(tmp_path / "www", acme_sh.server.http01_port):
        acme_sh("--issue", "-d", name, "-w", tmp_path / "www", "--keylength", "ec-256")
    assert_certificate(*acme_sh.stored(name), [name])


def test_acme_sh_says_what_a_renewal_replaces(
    acme_sh: AcmeSh, tmp_path: Path, told: Callable[..., None]
):
    """RFC 9773 section 5: each renewal names its predecessor, which has one successor."""
    told("http-01", "renew", "ARI", "replaces")
    name = acme_sh.server.name("acme-sh-ari")
    acme_sh("--register-account", "-m", "admin@corp.example")
    with webroot(tmp_path / "www", acme_sh.server.http01_port):
        how = ["-w", tmp_path / "www", "--keylength", "ec-256"]
        assert "ARI suggestedWindow" in acme_sh("--issue", "-d", name, *how)
        chains = {acme_sh.stored(name)[0]}
        for _ in range(2):
            said = acme_sh("--renew", "-d", name, "--ecc", "--force", "--debug", "2")
            assert "Adding ARI replaces" in said
            assert "retrying newOrder without" not in said
            chains.add(acme_sh.stored(name)[0])
    assert len(chains) == 3


def test_acme_sh_asks_for_a_profile_and_for_an_address(
    acme_sh: AcmeSh, tmp_path: Path, told: Callable[..., None]
):
    """Its request for an address has `O=acme.sh` as its subject."""
    told("http-01", "profile", "IP address")
    acme_sh("--register-account", "-m", "admin@corp.example")
    with webroot(tmp_path / "www", acme_sh.server.http01_port):
        how = ["-w", tmp_path / "www", "--keylength", "ec-256"]
        acme_sh("--issue", "-d", "127.0.0.1", "--cert-profile", "short-lived", *how)
    assert_certificate(*acme_sh.stored("127.0.0.1"), ["127.0.0.1"])
    assert_short_lived(acme_sh.stored("127.0.0.1")[0])

"""certbot, from PyPI: the client most servers have."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import TXT_HOOK, assert_certificate, run
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import version_of

CERTBOT = Path(sys.executable).with_name("certbot")


class Certbot:
    """certbot with folders of its own."""

    def __init__(self, server: AcmeServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.live = folder / "etc/live/lab"
        """Where the certificate is that was asked for."""

    def __call__(self, *words: str) -> str:
        own = ["--config-dir", "etc", "--work-dir", "lib", "--logs-dir", "log"]
        command = [CERTBOT, *words, "--non-interactive", "--server", self.server.directory_url]
        env = {"REQUESTS_CA_BUNDLE": self.server.root_pem, "TXT": self.server.txt}
        return run([*command, *own], cwd=self.folder, **env)

    def certonly(self, *names: str, how: list[str] | None = None, more: list[str] | None = None):
        """Ask for a certificate, proven by http-01 unless it is said how."""
        web = ["--standalone", "--http-01-address", "127.0.0.1"]
        web += ["--http-01-port", str(self.server.http01_port)]
        terms = ["--agree-tos", "--email", "admin@corp.example", "--no-eff-email"]
        ordered = [word for name in names for word in ("--domain", name)]
        self("certonly", *(how or web), *terms, "--cert-name", "lab", *ordered, *(more or []))

    def stored(self) -> tuple[bytes, bytes]:
        """Return the chain and the key."""
        return (self.live / "fullchain.pem").read_bytes(), (self.live / "privkey.pem").read_bytes()


@pytest.fixture
def certbot(acme_server: AcmeServer, tmp_path: Path) -> Certbot:
    return Certbot(acme_server, tmp_path)


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    version = version_of(CERTBOT, "--version")
    return lambda challenge, *features: exercised("certbot", version, challenge, *features)


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_certbot_gets_a_certificate(certbot: Certbot, told: Callable[..., None], key_type: str):
    told("http-01", "account", "order")
    names = [certbot.server.name(f"{part}certbot-{key_type}") for part in ("", "www.")]
    certbot.certonly(*names, more=["--key-type", key_type])
    assert_certificate(*certbot.stored(), names)


def test_certbot_renews_updates_its_account_revokes_and_leaves(
    certbot: Certbot, told: Callable[..., None]
):
    told("http-01", "renew", "account update", "revoke", "deactivate")
    certbot.certonly(certbot.server.name("certbot-life"))
    first, _ = certbot.stored()
    certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")
    assert certbot.stored()[0] != first
    assert "updated" in certbot("update_account", "--email", "other@corp.example")
    chosen = ["--cert-path", str(certbot.live / "cert.pem"), "--no-delete-after-revoke"]
    assert "successfully revoked" in certbot("revoke", *chosen, "--reason", "superseded")
    assert "deactivated" in certbot("unregister")


def test_certbot_proves_a_zone_and_all_below_it_by_dns(certbot: Certbot, told: Callable[..., None]):
    told("dns-01", "order", "wildcard and its zone")
    names = [certbot.server.name("certbot-dns"), "*." + certbot.server.name("certbot-dns")]
    hooks = ["--manual-auth-hook", f"{TXT_HOOK} certbot-auth"]
    hooks += ["--manual-cleanup-hook", f"{TXT_HOOK} certbot-cleanup"]
    certbot.certonly(*names, how=["--manual", "--preferred-challenges", "dns", *hooks])
    assert_certificate(*certbot.stored(), names)


def test_certbot_renews_when_renewal_information_says_so(
    certbot: Certbot, told: Callable[..., None]
):
    """RFC 9773: certbot asks at each `renew`, and the window of what was revoked has come."""
    told("http-01", "renew", "ARI")
    certbot.certonly(certbot.server.name("certbot-ari"))
    first, _ = certbot.stored()
    revoked = ["--cert-path", str(certbot.live / "cert.pem"), "--no-delete-after-revoke"]
    certbot("revoke", *revoked, "--reason", "superseded")
    assert certbot.stored()[0] == first
    certbot("renew", "--no-random-sleep-on-renew")
    second, _ = certbot.stored()
    assert second != first
    certbot("renew", "--no-random-sleep-on-renew")  # its window is far away
    assert certbot.stored()[0] == second

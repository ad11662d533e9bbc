"""certbot, from PyPI: the client most servers have."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate, assert_short_lived
from tests.make.acme_server import AcmeServer
from tests.make.certbot import Certbot
from tests.make.client_matrix import version_of

# Each run of certbot is a new process, and some tests need five.
pytestmark = pytest.mark.timeout(180)

CERTBOT = Path(sys.executable).with_name("certbot")


@pytest.fixture
def certbot(acme_server: AcmeServer, tmp_path: Path) -> Certbot:
    return Certbot(CERTBOT, acme_server, tmp_path)


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
    certbot.by_dns(*names)
    assert_certificate(*certbot.stored(), names)


def test_certbot_binds_its_account(certbot: Certbot, told: Callable[..., None]):
    told("http-01", "EAB")
    kid, key = certbot.server.new_binding()
    name = certbot.server.name("certbot-eab")
    certbot.certonly(name, more=["--eab-kid", kid, "--eab-hmac-key", key])
    assert_certificate(*certbot.stored(), [name])


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


def test_certbot_asks_for_a_profile(certbot: Certbot, told: Callable[..., None]):
    told("http-01", "profile")
    name = certbot.server.name("certbot-profile")
    certbot.certonly(name, more=["--required-profile", "short-lived"])
    assert_certificate(*certbot.stored(), [name])
    assert_short_lived(certbot.stored()[0])


def test_certbot_gets_a_certificate_for_an_address(certbot: Certbot, told: Callable[..., None]):
    told("http-01", "IP address")
    name = certbot.server.name("certbot-ip")
    certbot.certonly(name, more=["--ip-address", "127.0.0.1"])
    assert_certificate(*certbot.stored(), [name, "127.0.0.1"])

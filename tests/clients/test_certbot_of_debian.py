"""certbot, from Debian: the one that stays on servers for years."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate
from tests.make.acme_server import AcmeServer
from tests.make.certbot import Certbot
from tests.make.client_matrix import version_of

pytestmark = pytest.mark.interop

CERTBOT = "/usr/bin/certbot"  # the path that an active environment does not hide


@pytest.fixture
def certbot(acme_server: AcmeServer, tmp_path: Path) -> Certbot:
    return Certbot(CERTBOT, acme_server, tmp_path)


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    version = version_of(CERTBOT, "--version")
    return lambda challenge, *features: exercised("certbot (Debian)", version, challenge, *features)


def test_an_old_certbot_goes_through_the_life_of_an_account(
    certbot: Certbot, told: Callable[..., None]
):
    told("http-01", "account", "order", "renew", "account update", "revoke", "deactivate")
    names = [certbot.server.name("old-certbot"), certbot.server.name("www.old-certbot")]
    certbot.certonly(*names)
    first, key = certbot.stored()
    assert_certificate(first, key, names)
    certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")
    assert certbot.stored()[0] != first
    certbot("update_account", "--email", "other@corp.example")
    chosen = ["--cert-path", str(certbot.live / "cert.pem"), "--no-delete-after-revoke"]
    certbot("revoke", *chosen, "--reason", "superseded")
    certbot("unregister")


def test_an_old_certbot_proves_a_zone_and_all_below_it_by_dns(
    certbot: Certbot, told: Callable[..., None]
):
    told("dns-01", "order", "wildcard and its zone")
    names = [certbot.server.name("old-certbot-dns"), "*." + certbot.server.name("old-certbot-dns")]
    certbot.by_dns(*names)
    assert_certificate(*certbot.stored(), names)


def test_an_old_certbot_binds_its_account(certbot: Certbot, told: Callable[..., None]):
    told("http-01", "EAB")
    kid, key = certbot.server.new_binding()
    name = certbot.server.name("old-certbot-eab")
    certbot.certonly(name, more=["--eab-kid", kid, "--eab-hmac-key", key])
    assert_certificate(*certbot.stored(), [name])

"""The `acme` library under certbot, used directly: every resource, both ways to revoke."""

from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.metadata import version

import josepy
import pytest
from acme import challenges, errors, messages
from cryptography import x509

from tests.make.acme_client import assert_certificate
from tests.make.acme_library import KEYS, connect, key_and_csr, obtain, register
from tests.make.acme_server import AcmeServer


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    return lambda challenge, *features: exercised(
        "acme (Python)", version("acme"), challenge, *features
    )


@pytest.mark.parametrize("kind", KEYS)
def test_each_kind_of_account_key_gets_a_certificate(
    acme_server: AcmeServer, monkeypatch: pytest.MonkeyPatch, told: Callable[..., None], kind: str
):
    told("http-01", "account", "order", kind)
    acme = connect(acme_server, monkeypatch, kind)
    register(acme)
    names = [acme_server.name(f"{part}-{kind.lower()}") for part in ("a", "b", "c")]
    order, key = obtain(acme, acme_server, *names)
    assert_certificate(order.fullchain_pem.encode(), key, names)


def test_an_account_is_found_again_changed_and_left(
    acme_server: AcmeServer, monkeypatch: pytest.MonkeyPatch, told: Callable[..., None]
):
    told("http-01", "account update", "deactivate")
    acme = connect(acme_server, monkeypatch)
    account = register(acme)
    acme.net.account = None  # the next request names the key, as a client does that lost the URL
    with pytest.raises(errors.ConflictError) as conflict:
        register(acme)
    assert conflict.value.location == account.uri
    acme.net.account = account
    assert acme.query_registration(account).body.status == "valid"
    changed = messages.UpdateRegistration(contact=("mailto:other@corp.example",))
    assert acme.update_registration(account, changed).body.contact == changed.contact
    assert acme.deactivate_registration(account).body.status == "deactivated"
    with pytest.raises(messages.Error) as refused:
        acme.new_order(key_and_csr(acme_server.name("gone"))[1])
    assert refused.value.code == "unauthorized"


@pytest.mark.parametrize("with_certificate_key", [False, True])
def test_a_certificate_is_revoked_once(
    acme_server: AcmeServer,
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[..., None],
    *,
    with_certificate_key: bool,
):
    told("http-01", "revoke by either key")
    acme = connect(acme_server, monkeypatch)
    register(acme)
    order, key = obtain(acme, acme_server, acme_server.name("revoked"))
    certificate = x509.load_pem_x509_certificate(order.fullchain_pem.encode())
    if with_certificate_key:
        acme.net.account = None
        acme.net.key = josepy.JWKEC.load(key)
    acme.revoke(certificate, 1)
    with pytest.raises(messages.Error) as refused:
        acme.revoke(certificate, 1)
    assert refused.value.code == "alreadyRevoked"


def test_a_wrong_answer_makes_the_order_invalid(
    acme_server: AcmeServer, monkeypatch: pytest.MonkeyPatch, told: Callable[..., None]
):
    told("http-01", "failed proof")
    acme = connect(acme_server, monkeypatch)
    register(acme)
    _, csr = key_and_csr(acme_server.name("nobody-listens"))
    order = acme.new_order(csr)
    (http01,) = (
        body
        for body in order.authorizations[0].body.challenges
        if isinstance(body.chall, challenges.HTTP01)
    )
    acme.answer_challenge(http01, http01.response(acme.net.key))
    with pytest.raises(errors.ValidationError) as refused:
        acme.poll_authorizations(order, datetime.now() + timedelta(seconds=30))  # noqa: DTZ005, TID251 - as the library wants it
    (failed,) = refused.value.failed_authzrs
    assert failed.body.status == messages.STATUS_INVALID


def test_renewal_information_says_when_to_renew(
    acme_server: AcmeServer, monkeypatch: pytest.MonkeyPatch, told: Callable[..., None]
):
    """RFC 9773 section 4.2: in the last third of its life, or at once if it was revoked."""
    told("http-01", "ARI")
    acme = connect(acme_server, monkeypatch)
    register(acme)
    order, _ = obtain(acme, acme_server, acme_server.name("when"))
    chain = order.fullchain_pem.encode()
    leaf = x509.load_pem_x509_certificate(chain)
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    when, _ = acme.renewal_time(chain)
    assert when is not None
    assert begins + (ends - begins) / 2 < when < ends
    acme.revoke(leaf, 4)
    at_once, _ = acme.renewal_time(chain)
    assert at_once is not None
    assert at_once < begins + (ends - begins) / 2

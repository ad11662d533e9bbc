"""The server's own certificate from Pebble, an ACME server by others that is strict on purpose."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from certeasy.settings import AcmeBinding
from tests.fakes.clocks import MovedClock
from tests.faults.test_own_by_acme import DAY, HOSTS, Bundle
from tests.make.pebble import BINDING, pebble

pytestmark = pytest.mark.interop


@dataclasses.dataclass
class Seen:
    """Pebble, as the tests of any ACME server see one."""

    directory: str
    root: Path
    http_addr: str


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Seen]:
    folder = tmp_path / "pebble"
    folder.mkdir()
    # Some nonces are refused for no reason; a client has to cope with that.
    with pebble(folder, nonces_refused=20) as server:
        yield Seen(server.directory_url, server.root_pem, f"127.0.0.1:{server.http01_port}")


def test_pebble_issues_and_renews(upstream: Seen):
    clock = MovedClock()
    bundle = Bundle(upstream, clock, terms_of_service_agreed=True, contact=("p@corp.example",))
    first = bundle.renewed()
    leaf = x509.load_pem_x509_certificate(first.chain_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(HOSTS)
    bundle.starts()
    assert bundle.held == first
    clock.pass_by((first.not_after - clock.now()).total_seconds() - 5 * DAY)
    assert bundle.renewed().key_pem != first.key_pem


def test_pebble_binds_an_account(upstream: Seen, tmp_path: Path):
    key_id, key = BINDING
    secret = tmp_path / "hmac"
    secret.write_text(key)
    secret.chmod(0o600)
    eab = AcmeBinding(key_id=key_id, hmac_file=secret)
    bundle = Bundle(upstream, MovedClock(), terms_of_service_agreed=True, eab=eab)
    assert not bundle.renewed().placeholder


def test_pebble_s_terms_are_agreed_to_by_the_operator_alone(upstream: Seen):
    assert "terms-of-service-agreed: true" in Bundle(upstream, MovedClock()).fails()

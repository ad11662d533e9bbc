"""The directory: what it says, by whichever way, and what is made of whatever goes wrong."""

import contextlib
import hashlib
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certeasy.ca.adcs import directory, sasl
from certeasy.ca.adcs.deadline import Deadline, Late
from certeasy.ca.adcs.directory import Directory, NotRead, open_directory
from certeasy.ca.adcs.identity import NtlmIdentity
from certeasy.ca.adcs.security import Tampered
from tests.fakes.directories import RecordedDirectory
from tests.fakes.ldap_server import an_ldap_server
from tests.make.adcs import DOMAIN, PASSWORD, USER
from tests.make.certificates import a_leaf
from tests.make.descriptors import ADMINS, a_sid
from tests.make.directory_contract import DirectoryContract
from tests.make.domains import CONFIGURATION, NAMING, NOW, a_domain, a_filetime
from tests.make.tls_files import make_server_certificate

OBJECTS = a_domain(
    certificate=b"one",
    account={"msDS-UserPasswordExpiryTimeComputed": (a_filetime(NOW + timedelta(days=3)),)},
)


@pytest.fixture
def identity(tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)
    return NtlmIdentity(USER, DOMAIN, file)


class TestRecorded(DirectoryContract):
    @pytest.fixture
    def domain(self) -> Directory:
        return RecordedDirectory(OBJECTS)


class TestLdap(DirectoryContract):
    @pytest.fixture
    def domain(self, identity) -> Iterator[Directory]:
        with an_ldap_server(OBJECTS) as server:
            found = open_directory(
                "127.0.0.1", identity, "ntlm", Deadline(10), ports=(server.port, 1)
            )
            yield found
            found.close()


def test_when_a_password_expires_is_told():
    found = RecordedDirectory(OBJECTS).account("svc-acme")
    assert found is not None
    assert found.password_expires == NOW + timedelta(days=3)


def opened(port: int, identity, seconds: float = 10) -> directory.LdapDirectory:
    return open_directory("127.0.0.1", identity, "ntlm", Deadline(seconds), ports=(port, 1))


def test_what_a_controller_says_of_itself_needs_no_login():
    with an_ldap_server(OBJECTS) as server:
        root = directory.glance("127.0.0.1", Deadline(10), server.port)
    assert (root.host, root.domain, root.configuration) == ("dc1.lab.test", NAMING, CONFIGURATION)
    assert root.time == datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wrong", "told", "remedy"),
    [
        ("password", "data 52e", "the password or key is wrong"),
        ("stronger", "sign or seal", "signed and sealed"),
        ("seal", "signature", ""),
        ("plain", "larger than", ""),
        ("hangs up", "closed the connection", ""),
        ("endless", "objects were found", ""),
        ("number", "not asked", ""),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(wrong: str, told: str, remedy: str, identity):
    def read(port: int) -> None:
        with contextlib.closing(opened(port, identity)) as found:
            found.services()

    with an_ldap_server(OBJECTS, wrong) as server, pytest.raises(NotRead) as error:
        read(server.port)
    assert told in error.value.cause
    assert remedy in error.value.remedy
    assert "\n" not in error.value.cause


def test_a_controller_that_says_nothing_is_waited_for_until_the_deadline(identity):
    with an_ldap_server(OBJECTS, "silent") as server, pytest.raises((NotRead, Late)):
        opened(server.port, identity, seconds=0.3)


def test_nobody_at_the_port_is_told(identity):
    with pytest.raises(NotRead, match="refused"):
        opened(1, identity)


def test_what_is_no_directory_is_told(identity):
    objects = {"": {}, f"CN=x,CN=Users,{NAMING}": {"sAMAccountName": (b"x",)}}
    with an_ldap_server(objects) as server:
        found = opened(server.port, identity)
        assert found.root.host == "127.0.0.1"
        assert found.root.time is None
        assert found.services() == ()
        found.close()


def test_an_account_with_a_broken_sid_is_told(identity):
    with an_ldap_server(a_domain(account={"objectSid": (b"\1",)})) as server:
        found = opened(server.port, identity)
        with pytest.raises(NotRead):
            found.account("svc-acme")
        found.close()


@pytest.mark.parametrize(
    ("value", "expires"),
    [
        (b"0", None),
        (b"9223372036854775807", None),
        (b"rubbish", None),
        (b"9223372036854775806", None),
        (a_filetime(NOW), NOW),
    ],
)
def test_when_a_password_expires(value: bytes, expires: datetime | None):
    changed = {
        "msDS-UserPasswordExpiryTimeComputed": (value,),
        "userAccountControl": (b"514",),
        "tokenGroups": (a_sid(ADMINS),),
    }
    found = RecordedDirectory(a_domain(account=changed)).account("svc-acme")
    assert found is not None
    assert found.password_expires == expires
    assert found.disabled
    assert ADMINS in found.sids


@pytest.fixture
def tls(tmp_path) -> tuple[ssl.SSLContext, Path]:
    root = make_server_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem", tmp_path / "tls.key")
    return context, root


def test_over_tls_a_certificate_that_nobody_vouches_for_is_not_taken(identity, tls):
    with an_ldap_server(OBJECTS, tls=tls[0]) as server, pytest.raises(NotRead) as error:
        directory._over_tls("127.0.0.1", identity, Deadline(10), None, server.port)
    assert "not trusted" in error.value.cause
    assert "trust store" in error.value.remedy


def test_over_tls_a_certificate_for_another_name_is_not_taken(identity, tls):
    with an_ldap_server(OBJECTS, tls=tls[0]) as server, pytest.raises(NotRead) as error:
        directory._over_tls("localhost", identity, Deadline(10), tls[1], server.port)
    assert "not trusted" in error.value.cause


def test_over_tls_a_directory_is_read(identity, tls):
    with an_ldap_server(OBJECTS, tls=tls[0]) as server:
        found = directory._over_tls("127.0.0.1", identity, Deadline(10), tls[1], server.port)
        assert found.services()[0].name == "LAB-CA"
        assert "TLS" in found.how
        found.close()


def test_a_ticket_is_bound_to_the_certificate_of_the_controller():
    """RFC 5929 section 4: its digest, by SHA-256 here; RFC 4121 section 4.1.1.2: MD5 of it all."""
    said = b"tls-server-end-point:" + hashlib.sha256(a_leaf()).digest()
    addresses = bytes(16)
    whole = addresses + len(said).to_bytes(4, "little") + said
    assert sasl.bindings(a_leaf()) == hashlib.md5(whole, usedforsecurity=False).digest()
    assert len(sasl.bindings(b"no certificate")) == 16


def test_a_frame_that_is_cut_off_or_too_large_is_no_frame(identity):
    layer = sasl.Layer(sasl.context(identity.credentials("ldap", "dc1", Deadline(5)), "dc1", None))
    with pytest.raises(Tampered):
        layer.unwrap(b"short")
    with pytest.raises(Tampered):
        sasl.length_of(b"\x7f\xff\xff\xff")
    assert sasl.length_of(b"\0\0\0") is None

"""The server's own certificate is renewed while clients come and go over TLS: nobody notices.

What cannot be renewed stays in use, and the server says so: for each mode, whatever goes wrong.
"""

import http.client
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from msgspec.structs import replace

from certeasy.serve.node import Node
from certeasy.serve.stopping import StopRequest
from certeasy.settings import (
    AcmeSettings,
    AdminSettings,
    AuthoritySettings,
    EmbeddedSettings,
    ServerSettings,
    Settings,
    TlsBundle,
    TlsSettings,
)
from certeasy.settings.limits import RateLimiting
from tests.fakes.authorities import TroubledAuthority
from tests.fakes.clocks import MovedClock
from tests.make.server import lab_settings
from tests.make.tls_files import make_server_certificate
from tests.make.upstream import Upstream, an_upstream, saying
from tests.make.waiting import soon

HOST = "acme.lab.test"
DAY = 86400
AT_ONCE = timedelta(milliseconds=50)
CLIENTS = 4


class Client(threading.Thread):
    """Comes again and again, with a new connection each time and two requests on it, and believes
    what it is to trust, for the host, and nothing else."""

    def __init__(self, port: int, trusted: str) -> None:
        super().__init__()
        self.context = ssl.create_default_context(cadata=trusted)
        self.port = port
        self.seen: list[bytes] = []
        """The certificates that were shown, one after the other."""
        self.failed: list[Exception] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.visit()
            except Exception as error:  # noqa: BLE001 - whatever it is, a client has noticed
                self.failed.append(error)

    def visit(self) -> None:
        connection = http.client.HTTPSConnection(HOST, self.port, context=self.context)
        connection._create_connection = _here
        try:
            for _ in range(2):
                connection.request("GET", "/acme/directory")
                answer = connection.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)
            shown = connection.sock.getpeercert(binary_form=True)
        finally:
            connection.close()
        if shown not in self.seen:
            self.seen.append(shown)


def _here(address: tuple[str, int], *rest: object) -> socket.socket:
    """Connect to 127.0.0.1, whatever the host is called."""
    return socket.create_connection(("127.0.0.1", address[1]), timeout=10)


class Served:
    """A node with its listeners, and clients that come again and again."""

    def __init__(self, node: Node, clock: MovedClock, trusted: Callable[[], str]) -> None:
        self.node = node
        self.application = node.application
        self.clock = clock
        self.trusted = trusted
        self.clients: list[Client] = []

    def begin(self) -> None:
        """Let the clients come."""
        assert self.node.acme is not None
        port = self.node.acme.address[1]
        self.clients = [Client(port, self.trusted()) for _ in range(CLIENTS)]
        for client in self.clients:
            client.start()
        self.meet(1)

    def meet(self, number: int) -> None:
        """Wait until each client has met so many certificates."""
        soon(
            lambda: all(len(client.seen) >= number or client.failed for client in self.clients), 30
        )

    def end(self) -> list[bytes]:
        """Let the clients go; return the certificates that all of them have met. None failed."""
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join(30)
        assert [error for client in self.clients for error in client.failed] == []
        first, *others = [client.seen for client in self.clients]
        assert all(seen == first for seen in others)
        return first

    def told(self) -> tuple[int, dict[str, str]]:
        """Return what /readyz says."""
        host, port = self.node.admin.address
        connection = http.client.HTTPConnection(host, port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status, msgspec.json.decode(answer.read())["checks"]
        finally:
            connection.close()

    def figure(self, name: str) -> float:
        value = self.application.metrics.registry.get_sample_value(name, {"bundle": "own"})
        assert value is not None
        return value

    def says_so(self, words: str) -> None:
        """Wait until it is told that the certificate is not renewed; clients still come."""
        soon(lambda: words in self.told()[1]["certificate own"], 30)
        assert self.figure("certeasy_tls_renewal_failing") == 1
        assert self.told()[0] == 200
        seen = [len(client.seen) for client in self.clients]
        assert seen == [1] * CLIENTS


@contextmanager
def served(
    folder: Path, own: TlsSettings, clock: MovedClock, trusted: Callable[[], str]
) -> Iterator[Served]:
    settings = _settings(folder, own)
    node = Node(settings)
    node.application.clock = clock
    try:
        assert node.open(StopRequest())
        made = Served(node, clock, trusted)
        try:
            yield made
        finally:
            for client in made.clients:
                client.stopping.set()
    finally:
        node.close()


def _settings(folder: Path, own: TlsSettings) -> Settings:
    settings = lab_settings(folder)
    embedded = EmbeddedSettings(validity=timedelta(days=200))
    return replace(
        settings,
        server=ServerSettings(url=(f"https://{HOST}",), listen="127.0.0.1:0"),
        admin=AdminSettings(listen="127.0.0.1:0"),
        authorities=(AuthoritySettings(name="lab-ca", type="embedded", configuration=embedded),),
        tls_certificate_manager=own,
        rate_limiting=RateLimiting(enabled=False),  # four clients, as fast as they can
    )


def a_bundle(mode: str, **more: object) -> TlsBundle:
    return TlsBundle(name="own", hosts=(HOST,), mode=mode, **more)


class LateClock(MovedClock):
    """Late at first: what is issued is still good when it has caught up."""

    def __init__(self, days: int = 65) -> None:
        super().__init__()
        self.late = timedelta(days=days)

    def now(self) -> datetime:
        return super().now() - self.late


@pytest.fixture
def clock() -> MovedClock:
    return LateClock()


# ---------------------------------------------------------------- files


def laid(folder: Path, source: Path) -> None:
    """Put other files in place, one after the other, as administrators do."""
    shutil.copyfile(source / "tls.pem", folder / "tls.pem")
    shutil.copyfile(source / "tls.key", folder / "tls.key")


def of_files(folder: Path) -> TlsSettings:
    bundle = a_bundle("files", certificate=folder / "tls.pem", key=folder / "tls.key")
    return TlsSettings(bundles=(bundle,), file_watch_interval=AT_ONCE)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two certificates and their roots; the first one is in place."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        make_server_certificate(tmp_path / name, HOST)
    laid(tmp_path, tmp_path / "first")
    return tmp_path


def roots(files: Path) -> str:
    return "".join((files / name / "root.pem").read_text() for name in ("first", "second"))


def test_files_are_swapped_under_load_and_no_request_fails(files: Path) -> None:
    (files / "work").mkdir()
    with served(files / "work", of_files(files), MovedClock(), lambda: roots(files)) as here:
        here.begin()
        laid(files, files / "second")
        here.meet(2)
        laid(files, files / "first")
        here.meet(2)
        assert len(here.end()) == 2
        soon(lambda: here.told()[1]["certificate own"] == "ok")


def no_certificate(at: Path) -> None:
    (at / "tls.pem").write_bytes(b"no PEM")


def away(at: Path) -> None:
    (at / "tls.key").unlink()


def directory(at: Path) -> None:
    (at / "tls.key").unlink()
    (at / "tls.key").mkdir()


def of_another(at: Path) -> None:
    shutil.copyfile(at / "second/tls.pem", at / "tls.pem")


def ended(at: Path) -> None:
    (at / "old").mkdir()
    make_server_certificate(at / "old", HOST, days=-3)
    laid(at, at / "old")


def not_begun(at: Path) -> None:
    (at / "early").mkdir()
    make_server_certificate(at / "early", HOST, days=3)
    laid(at, at / "early")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_certificate, "cannot be read"),
        (away, "No such file"),
        (directory, "directory"),
        (of_another, "the key is not that of the certificate"),
        (ended, "has ended"),
        (not_begun, "is not valid yet"),
    ],
)
def test_files_that_cannot_be_used_leave_the_old_one_and_are_told(
    files: Path, spoil: Callable[[Path], None], told: str
) -> None:
    (files / "work").mkdir()
    with served(files / "work", of_files(files), MovedClock(), lambda: roots(files)) as here:
        here.begin()
        spoil(files)
        here.says_so(told)
        if (files / "tls.key").is_dir():
            (files / "tls.key").rmdir()
        laid(files, files / "second")
        here.meet(2)
        assert len(here.end()) == 2
        assert here.told() == (200, here.told()[1] | {"certificate own": "ok"})


# ---------------------------------------------------------------- one of the authorities


def of_authority() -> TlsSettings:
    bundle = a_bundle("pki", authority="lab-ca")
    return TlsSettings(bundles=(bundle,), file_watch_interval=AT_ONCE)


def root_of(folder: Path) -> str:
    return (folder / "lab-ca.root.pem").read_text()


def test_what_an_authority_issues_is_swapped_under_load_and_no_request_fails(
    tmp_path: Path, clock: MovedClock
) -> None:
    with served(tmp_path, of_authority(), clock, lambda: root_of(tmp_path)) as here:
        here.begin()
        clock.pass_by(61 * DAY)
        here.meet(2)
        assert len(here.end()) == 2


def test_an_authority_that_is_away_leaves_the_old_one_and_is_told(
    tmp_path: Path, clock: MovedClock
) -> None:
    with served(tmp_path, of_authority(), clock, lambda: root_of(tmp_path)) as here:
        asking = here.application.own_certificates._asking["own"]
        asking._authority = TroubledAuthority(asking._authority, "away", "denied")
        here.begin()
        clock.pass_by(61 * DAY)
        here.says_so("the RPC server is unavailable")
        clock.pass_by(60)
        here.says_so("denied")
        clock.pass_by(120)
        here.meet(2)
        assert len(here.end()) == 2


def test_an_authority_that_has_ended_leaves_the_old_one_and_is_told(tmp_path: Path) -> None:
    """A CA certificate of 200 days: the last one it issued is good until the same moment."""
    clock = LateClock(300)
    with served(tmp_path, of_authority(), clock, lambda: root_of(tmp_path)) as here:
        own = here.application.own_certificates
        first = own.all()[0].chain_pem
        clock.pass_by(201 * DAY)
        soon(lambda: own.failing("own") and "has expired" in str(own.failing("own")))
        status, checks = here.told()
        assert status == 503
        assert "has ended" in checks["certificate"]
        assert "the embedded CA lab-ca has expired" in checks["certificate own"]
        assert own.all()[0].chain_pem == first


# ---------------------------------------------------------------- another ACME server


def of_acme(upstream: Upstream) -> TlsSettings:
    acme = AcmeSettings(
        directory=upstream.directory, ca_file=upstream.root, http_addr=upstream.http_addr
    )
    return TlsSettings(bundles=(a_bundle("acme"),), acme=acme, file_watch_interval=AT_ONCE)


@pytest.fixture
def upstream(tmp_path: Path, clock: MovedClock) -> Iterator[Upstream]:
    with an_upstream(tmp_path / "upstream", clock=clock) as upstream:
        yield upstream


def test_what_an_acme_server_issues_is_swapped_under_load_and_no_request_fails(
    tmp_path: Path, clock: MovedClock, upstream: Upstream
) -> None:
    """From the first start on, with nothing but a certificate that is signed by itself."""
    (tmp_path / "here").mkdir()
    upstream.instead.append(("directory", saying("503 Service Unavailable")))
    with served(
        tmp_path / "here", of_acme(upstream), clock, lambda: root_of(tmp_path / "upstream/work")
    ) as here:
        soon(lambda: "answered 503" in here.told()[1]["certificate own"])
        status, checks = here.told()
        assert status == 503
        assert "which no client trusts" in checks["certificate"]
        assert here.figure("certeasy_tls_renewal_failing") == 1
        clock.pass_by(60)
        soon(lambda: here.told()[0] == 200, 30)
        assert here.told()[1]["certificate own"] == "ok"
        here.begin()
        clock.pass_by(63 * DAY)
        here.meet(2)
        first, second = here.end()
        assert x509.load_der_x509_certificate(first) != x509.load_der_x509_certificate(second)
        assert here.application.node.secrets.get("tls/own")


def test_an_acme_server_that_is_away_or_has_ended_leaves_the_old_one_and_is_told(
    tmp_path: Path, clock: MovedClock, upstream: Upstream
) -> None:
    (tmp_path / "here").mkdir()
    with served(
        tmp_path / "here", of_acme(upstream), clock, lambda: root_of(tmp_path / "upstream/work")
    ) as here:
        soon(lambda: here.told()[0] == 200, 30)
        here.begin()
        (tmp_path / "ended").mkdir()
        ended = make_server_certificate(tmp_path / "ended", HOST, days=-3)
        upstream.root.write_bytes(ended.read_bytes())  # roots of before: its own is not believed
        clock.pass_by(63 * DAY)
        here.says_so("its certificate is not believed")
        upstream.listener.close()
        clock.pass_by(60)
        here.says_so("Connection refused")
        here.end()

"""The vendor is reached through a proxy that the configuration names, and is held against its own
certificate behind it."""

import select
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from certeasy.outward import Outward, Unreached
from certeasy.outward import license as vendor
from certeasy.outward.license import NotRefreshed, Question
from certeasy.settings import IpPolicy, LicenseSettings
from tests.fakes.tcp_server import TcpServer
from tests.fakes.web_server import WebServer, page
from tests.make.acme_server import free_port
from tests.make.tls_files import make_server_certificate

NAME = "license.vendor.test"  # nobody but the proxy resolves it
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
ASKED = Question("", "", "INST-1")
SOON = timedelta(seconds=20)


class Proxy(TcpServer):
    """Opens a way to one port of this machine, whatever name it is asked for."""

    def __init__(self, to: int, answer: bytes = OPENED) -> None:
        super().__init__("proxy")
        self._to = to
        self._answer = answer
        self.asked: list[bytes] = []

    def serve(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (data := connection.recv(4096)):
                return
            request += data
        self.asked.append(request)
        connection.sendall(self._answer)
        if self._answer != OPENED:
            return
        with socket.create_connection(("127.0.0.1", self._to)) as other:
            pairs = {connection: other, other: connection}
            while not self.closing.is_set():
                for each in select.select(list(pairs), [], [], 0.2)[0]:
                    if not (data := each.recv(65536)):
                        return
                    pairs[each].sendall(data)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tls")
    make_server_certificate(folder, NAME)
    return folder


@pytest.fixture
def web(files: Path) -> Iterator[WebServer]:
    """The vendor's server, under its name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "tls.pem", files / "tls.key")
    with WebServer(lambda _request: [page(b"a license")], tls=context) as server:
        yield server


def ask(proxy: int, files: Path, name: str = NAME, timeout: timedelta = SOON) -> bytes | None:
    settings = LicenseSettings(
        offline=False,
        refresh_url=f"https://{name}/v1",
        proxy_url=f"http://127.0.0.1:{proxy}",
        ca_file=files / "root.pem",
        timeout=timeout,
    )
    return vendor.ask(settings, ASKED)


def test_the_vendor_is_reached_through_a_proxy(files: Path, web: WebServer) -> None:
    with Proxy(web.port) as proxy:
        assert ask(proxy.port, files) == b"a license"
    [asked] = proxy.asked
    lines = asked.decode().split("\r\n")
    assert lines[:2] == [f"CONNECT {NAME}:443 HTTP/1.1", f"Host: {NAME}:443"]
    assert b"INST-1" not in asked, "what is asked is the vendor's alone"
    assert web.bodies == [b'{"license":"","license_key":"","installation_key":"INST-1"}']


def test_a_proxy_that_leads_elsewhere_is_found_out_by_the_certificate(
    files: Path, web: WebServer
) -> None:
    with (
        Proxy(web.port) as proxy,
        pytest.raises(NotRefreshed, match=r"other.vendor.test: its certificate is not believed"),
    ):
        ask(proxy.port, files, "other.vendor.test")
    assert web.requests == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", rf"opens no way to https://{NAME}: it answers 403$"),
        (
            b"HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nwho",
            "it answers 407, it wants a password, and none is sent",
        ),
        (OPENED + b"more", "sent something of its own into a way that it had opened"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 4, "sent 4 interim answers and no other"),
        (b"SSH-2.0\r\n", "does not answer in HTTP/1.1 but sends text"),
        (b"HTTP/1.1 200 Yes\r\n" + b"a: b\r\n" * 4000 + b"\r\n", "a header of more than 16384"),
        (b"", "closed the connection without an answer"),
    ],
)
def test_a_proxy_that_opens_no_way_is_told(files: Path, answer: bytes, why: str) -> None:
    with Proxy(1, answer) as proxy, pytest.raises(NotRefreshed, match=why) as caught:
        ask(proxy.port, files)
    assert str(caught.value).startswith(f"the proxy http://127.0.0.1:{proxy.port} ")


def test_a_proxy_that_is_not_there_or_says_nothing_is_told(files: Path) -> None:
    with pytest.raises(NotRefreshed, match=r"the proxy is not reached: .*Connection refused"):
        ask(free_port(), files)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(NotRefreshed) as caught:
        ask(silent.getsockname()[1], files, timeout=timedelta(milliseconds=300))
    assert "accepted the connection but did not answer in time" in str(caught.value)


def test_a_proxys_address_is_held_against_the_policy() -> None:
    """An address that is written is the operator's own word; a deny-cidr counts for it, too."""
    policy = IpPolicy(deny_cidrs=(ip_network("127.0.0.0/8"),))
    with Proxy(1) as proxy:
        way = Outward(policy, SOON, None, f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(
            Unreached, match=r"the proxy is not reached: .* leads to 127\.0\.0\.1, which"
        ):
            way.exchange("POST", f"https://{NAME}/v1")
    assert proxy.asked == []


def test_nothing_but_https_goes_through_a_proxy() -> None:
    with Proxy(1) as proxy:
        way = Outward(IpPolicy(), SOON, None, f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Unreached, match="is not reached through a proxy: it is no https"):
            way.exchange("GET", f"http://{NAME}/v1")
    assert proxy.asked == []


def test_no_proxy_of_the_environment_is_used(
    files: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(web.port) as proxy:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        settings = LicenseSettings(
            offline=False,
            refresh_url=f"https://127.0.0.1:{web.port}/v1",
            ca_file=files / "root.pem",
        )
        assert vendor.ask(settings, ASKED) == b"a license"
    assert proxy.asked == []

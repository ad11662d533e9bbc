"""A proxy that passes connections on says ahead of each whose it is, and is believed; nobody else
is."""

import logging
import socket
from ipaddress import ip_network

import pytest

from certeasy.serve.limits import Limits
from certeasy.serve.node import limits_of
from certeasy.settings import ServerSettings
from tests.make.served import (
    ask,
    dial,
    eventually,
    from_now_on,
    get,
    impatient,
    is_cut,
    serving,
    some_certificates,
    trusting,
)
from tests.unit.test_proxy_header import V1, V2, version_2

PROXY, CLIENT = "127.0.0.1", "198.51.100.22"
CLOSE = "Connection: close"


def who(environ, start_response):
    """Answer with the address and port that the request is from."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REMOTE_ADDR']} {environ['REMOTE_PORT']}".encode()]


def behind_a_proxy(*proxies: str, **more: int) -> Limits:
    trusted = tuple(map(ip_network, proxies or (PROXY,)))
    timeouts = {f"{name}_timeout": 90 for name in ("handshake", "read_header", "read", "idle")}
    limits = impatient(**timeouts)
    return Limits(
        **{name: getattr(limits, name) for name in ("threads", *timeouts)},
        trusted_proxies=trusted,
        proxy_protocol=True,
        **more,
    )


@pytest.mark.parametrize("header", [V1, V2])
def test_the_client_is_whom_the_proxy_names(header: bytes) -> None:
    with serving(who, behind_a_proxy()) as listener, dial(listener) as connection:
        for _ in range(2):  # it is said once for a connection
            assert ask(connection, header + get()).body.decode() == f"{CLIENT} 35646"
            header = b""


@pytest.mark.parametrize("header", [V1, V2])
def test_a_handshake_follows_where_tls_is_passed_through(header: bytes) -> None:
    with serving(who, behind_a_proxy(), some_certificates()) as listener:
        connection = dial(listener)
        for octet in header:
            connection.sendall(bytes([octet]))
        with trusting().wrap_socket(connection, server_hostname="acme.test") as secured:
            assert ask(secured, get()).body.decode().startswith(CLIENT)


@pytest.mark.parametrize("header", [version_2(b"\x20\x00"), b"PROXY UNKNOWN\r\n"])
def test_a_proxy_that_speaks_for_itself_is_the_client(header: bytes) -> None:
    with serving(who, behind_a_proxy()) as listener, dial(listener) as connection:
        assert ask(connection, header + get()).body.decode().startswith(PROXY)


@pytest.mark.parametrize("said", [get(), b"PROXY TCP4 1.2.3.4\r\n" + get(), b"\x16\x03\x01"])
@pytest.mark.parametrize("secured", [True, False])
def test_a_proxy_that_does_not_say_it_is_not_served(
    said: bytes, secured: bool, caplog: pytest.LogCaptureFixture
) -> None:
    tls = some_certificates() if secured else None
    with serving(who, behind_a_proxy(), tls) as listener, dial(listener) as connection:
        connection.sendall(said)
        assert is_cut(connection)
    (told,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert f"{PROXY} is a trusted proxy and sends no PROXY header" in told.getMessage()


@pytest.mark.parametrize("header", [V1, V2])
def test_nobody_else_is_believed(header: bytes) -> None:
    with serving(who, behind_a_proxy("192.0.2.1")) as listener:
        with dial(listener) as connection:
            assert ask(connection, get("/", CLOSE)).body.decode().startswith(PROXY)
        with dial(listener) as connection:
            assert ask(connection, header + get()).status == 400


def test_where_no_proxy_is_to_say_it_nobody_does() -> None:
    limits = Limits(trusted_proxies=(ip_network(PROXY),))
    with serving(who, limits) as listener, dial(listener) as connection:
        assert ask(connection, V1 + get()).status == 400


def test_a_proxy_that_says_half_of_it_is_not_waited_for() -> None:
    with serving(who, behind_a_proxy()) as listener, dial(listener) as connection:
        connection.sendall(V1[:20])
        assert eventually(lambda: len(listener._server.active_channels) == 1)
        from_now_on(listener, handshake_timeout=0.1)
        assert is_cut(connection)


def test_a_proxy_that_looks_whether_somebody_is_there_costs_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(who, behind_a_proxy()) as listener:
        for said in (b"", V1[:20]):
            with dial(listener) as connection:
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                assert is_cut(connection)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_a_client_behind_a_proxy_has_its_share_and_not_the_others_too() -> None:
    """A quarter of the places: at its share, it pays for a newcomer with its own."""
    with serving(who, behind_a_proxy(connection_limit=80)) as listener:
        connections = [dial(listener) for _ in range(25)]
        for connection in connections:
            connection.sendall(V1)
        assert eventually(lambda: len(listener._server.active_channels) == 20)
        other = dial(listener)
        assert ask(other, V1.replace(b".22", b".23") + get()).status == 200
        assert len(listener._server.active_channels) == 21
        for connection in (*connections, other):
            connection.close()


def test_the_settings_say_whether_proxies_say_it() -> None:
    settings = ServerSettings(
        url=("https://acme.test",), trusted_proxies=(ip_network(PROXY),), proxy_protocol=True
    )
    assert limits_of(settings).proxy_protocol

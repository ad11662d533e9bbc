"""TLS in the serving process: who gets which certificate, and who cannot hold the others up."""

import contextlib
import os
import socket
import ssl
import stat
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from certeasy.serve import contexts
from certeasy.serve.contexts import Certificates, TlsMaterial, UnusableCertificate
from tests.make.served import (
    Reply,
    a_certificate,
    ask,
    dial,
    dial_tls,
    echo,
    eventually,
    from_now_on,
    get,
    impatient,
    is_cut,
    name_shown,
    post,
    seconds_until_cut,
    serving,
    some_certificates,
    trusting,
)


@pytest.fixture
def listener():
    with serving(tls=some_certificates()) as listener:
        yield listener


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(listener, version):
    with dial_tls(listener, context=trusting(version)) as connection:
        assert connection.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        assert ask(connection, get("/directory")).body == b"GET /directory "


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(listener):
    old = trusting(ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        dial_tls(listener, context=old)


def test_http_1_1_is_chosen_from_what_a_client_offers(listener):
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with dial_tls(listener, context=context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_the_application_sees_https():
    def scheme(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.url_scheme"].encode()]

    with serving(scheme, tls=some_certificates()) as listener, dial_tls(listener) as connection:
        assert ask(connection, get()).body == b"https"


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("one.test", "one.test"),
        ("two.test", "two.test"),
        ("TWO.test", "two.test"),
        ("also-two.test", "two.test"),
        ("unknown.test", "one.test"),
        (None, "one.test"),
    ],
)
def test_the_host_asked_for_decides_the_certificate(asked, shown):
    certificates = Certificates(
        [a_certificate("one.test"), a_certificate("two.test", "also-two.test")]
    )
    with serving(tls=certificates) as listener, dial_tls(listener, asked) as connection:
        assert name_shown(connection) == shown
        assert ask(connection, get()).status == 200


def test_new_connections_get_the_new_certificate_and_open_ones_go_on():
    certificates = some_certificates("old.test")
    with serving(tls=certificates) as listener, dial_tls(listener, "old.test") as open_already:
        assert ask(open_already, get()).status == 200
        certificates.replace([a_certificate("new.test")])
        assert ask(open_already, get("/again")).body == b"GET /again "
        with dial_tls(listener, "old.test") as opened_later:
            assert name_shown(opened_later) == "new.test"
            assert ask(opened_later, get()).status == 200


def test_a_handshake_under_way_survives_a_replacement():
    certificates = some_certificates("old.test")
    with serving(tls=certificates) as listener, dial(listener) as connection:
        client, incoming, outgoing = half_a_handshake()
        connection.sendall(outgoing.read())
        incoming.write(connection.recv(65536))
        certificates.replace([a_certificate("new.test")])
        while not finished(client):
            incoming.write(connection.recv(65536))
        connection.sendall(outgoing.read())
        client.write(get())
        connection.sendall(outgoing.read())
        while not (said := decrypted(client)):
            incoming.write(connection.recv(65536))
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")


def half_a_handshake():
    """A client that has written its hello, and the memory it reads from and writes to."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting().wrap_bio(incoming, outgoing, server_hostname="acme.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return client, incoming, outgoing


def finished(client):
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def decrypted(client):
    try:
        return client.read()
    except ssl.SSLWantReadError:
        return b""


def test_a_bad_replacement_changes_nothing():
    certificates = some_certificates("good.test")
    good, bad = a_certificate("good.test"), a_certificate("bad.test")
    with serving(tls=certificates) as listener:
        with pytest.raises(UnusableCertificate, match=r"bad\.test"):
            certificates.replace([good, msgspec.structs.replace(bad, key_pem=good.key_pem)])
        with dial_tls(listener, "bad.test") as connection:
            assert name_shown(connection) == "good.test"


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it():
    plain = a_certificate("acme.test")
    key = serialization.load_pem_private_key(plain.key_pem, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(UnusableCertificate, match=r"acme\.test is protected by a password"):
        Certificates([msgspec.structs.replace(plain, key_pem=locked)])


def test_two_certificates_for_one_host_are_refused():
    with pytest.raises(UnusableCertificate, match=r"claim the host acme\.test"):
        Certificates([a_certificate("acme.test"), a_certificate("two.test", "acme.test")])


def test_a_tls_listener_needs_a_certificate():
    with pytest.raises(UnusableCertificate, match="at least one"):
        Certificates([])


def test_rubbish_is_no_certificate():
    with pytest.raises(UnusableCertificate, match=r"the certificate for acme\.test"):
        Certificates([TlsMaterial(b"no chain", b"no key", ("acme.test",))])


def test_a_key_is_not_shown_when_its_certificate_is():
    material = a_certificate("acme.test")
    assert repr(material) == "TlsMaterial(hosts=('acme.test',))"


@pytest.mark.parametrize("way", [contexts.path_in_memory, contexts.path_on_disk])
@pytest.mark.skipif(os.name != "posix", reason="files have other rights there")
def test_only_we_can_read_the_key_and_only_while_it_is_loaded(way, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with way(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        assert all(stat.S_IMODE(left.stat().st_mode) == 0o700 for left in tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", [contexts.path_in_memory, contexts.path_on_disk])
def test_both_ways_of_loading_a_key_lead_to_a_handshake(way, monkeypatch):
    monkeypatch.setattr(contexts, "readable_path", way)
    with serving(tls=some_certificates()) as listener, dial_tls(listener) as connection:
        assert ask(connection, get()).status == 200


def test_a_client_that_never_shakes_hands_is_cut_and_holds_nobody_up():
    with (
        serving(tls=some_certificates()) as listener,
        dial(listener) as silent,
        dial_tls(listener) as good,
    ):
        assert ask(good, get()).status == 200
        from_now_on(listener, handshake_timeout=0.4)
        assert is_cut(silent)
        assert ask(good, get("/still")).body == b"GET /still "


def test_a_handshake_cannot_be_drawn_out_by_sending_it_in_crumbs():
    _, _, outgoing = half_a_handshake()
    hello = outgoing.read()
    with (
        serving(limits=impatient(handshake_timeout=0.4), tls=some_certificates()) as listener,
        dial(listener) as slow,
    ):
        assert seconds_until_cut(slow, (hello[at : at + 1] for at in range(len(hello)))) < 3


def test_half_a_handshake_and_then_nothing_is_cut():
    _, _, outgoing = half_a_handshake()
    with (
        serving(limits=impatient(handshake_timeout=0.4), tls=some_certificates()) as listener,
        dial(listener) as half,
    ):
        half.sendall(outgoing.read())
        half.recv(65536)
        assert eventually(lambda: is_cut(half, 0.2))


def test_a_client_that_leaves_in_mid_handshake_harms_nobody(listener):
    _, _, outgoing = half_a_handshake()
    with dial(listener) as leaver:
        leaver.sendall(outgoing.read()[:100])
    with dial_tls(listener) as connection:
        assert ask(connection, get()).status == 200


def test_plain_http_to_the_tls_port_is_told_to_speak_tls(listener):
    with dial(listener) as connection:
        reply = ask(connection, get())
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert "HTTPS" in msgspec.json.decode(reply.body)["detail"]


def test_rubbish_on_the_tls_port_is_cut(listener):
    with dial(listener) as connection:
        connection.sendall(b"\x00\xff" * 500)
        assert eventually(lambda: is_cut(connection, 0.2))


def test_a_client_that_is_gone_before_we_look_does_not_close_the_listener(listener):
    for _ in range(30):
        gone = dial(listener)
        # Closing so sends a reset at once, often before the connection is accepted.
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
    with dial_tls(listener) as connection:
        assert ask(connection, get()).status == 200
    assert listener.running


def test_renegotiation_is_refused(listener):
    # Python's ssl cannot ask for one; that the option is set is what can be seen from here.
    assert some_certificates().context.options & ssl.OP_NO_RENEGOTIATION
    with dial_tls(listener, context=trusting(ssl.TLSVersion.TLSv1_2)) as connection:
        assert ask(connection, get()).status == 200


def test_the_server_says_goodbye_before_it_closes(listener):
    connection = dial_tls(listener)
    # Without close_notify this client raises instead of seeing the end (no truncation in silence).
    connection.suppress_ragged_eofs = False
    with connection:
        assert ask(connection, get("/", "Connection: close")).last
        assert connection.recv(1) == b""


def test_a_session_can_be_resumed(listener):
    context = trusting(ssl.TLSVersion.TLSv1_2)
    with dial_tls(listener, context=context) as connection:
        ask(connection, get())
        session = connection.session
    again = context.wrap_socket(
        dial(listener), server_hostname="acme.test", do_handshake_on_connect=False
    )
    with again:
        again.session = session
        again.do_handshake()
        assert again.session_reused
        assert ask(again, get()).status == 200


def test_a_large_answer_reaches_a_slow_reader_whole():
    large = bytes(range(256)) * 4096

    def app(_environ, start_response):
        start_response("200 OK", [])
        return [large]

    with serving(app, tls=some_certificates()) as listener, dial_tls(listener) as connection:
        connection.sendall(get())
        received = bytearray()
        while len(received.partition(b"\r\n\r\n")[2]) < len(large):
            received += connection.recv(65536)
            time.sleep(0.005)
        assert received.endswith(large)


def test_a_reader_that_stops_is_cut_after_the_write_timeout():
    def app(_environ, start_response):
        start_response("200 OK", [])
        return [bytes(8 * 1024 * 1024)]

    limits = impatient(write_timeout=0.4)
    with serving(app, limits, some_certificates()) as listener, dial_tls(listener) as connection:
        connection.sendall(get())
        assert connection.recv(1) == b"H"  # and no more
        assert eventually(lambda: not listener._server.active_channels)
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            read_whole(connection, 8 * 1024 * 1024)


def read_whole(connection, length):
    received = 0
    while received < length:
        some = len(connection.recv(65536))
        if not some:
            raise EOFError
        received += some


def test_a_body_larger_than_a_tls_record_arrives_whole(listener):
    body = os.urandom(200_000)
    with dial_tls(listener) as connection:
        assert ask(connection, post(body)).body == b"POST / " + body
        assert ask(connection, get("/next")).body == b"GET /next "


def test_fifty_clients_at_once_are_all_served(listener):
    together = threading.Barrier(50)

    def visit(number):
        together.wait(10)
        with dial_tls(listener) as connection:
            return [ask(connection, post(b"%d" % number)).body for _ in range(5)]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(visit, range(50)))
    assert answers == [[b"POST / %d" % number] * 5 for number in range(50)]


def test_a_client_that_vanishes_in_mid_body_harms_nobody(listener):
    with dial_tls(listener) as vanishing, dial_tls(listener) as good:
        vanishing.sendall(post(bytes(1000))[:-500])
        vanishing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        vanishing.close()
        assert ask(good, get()).status == 200


def test_a_body_that_is_too_large_is_refused_also_to_a_client_that_goes_on_sending():
    limits = msgspec.structs.replace(impatient(), max_body_bytes=1000)
    with serving(echo, limits, some_certificates()) as listener, dial_tls(listener) as connection:
        connection.sendall(post(bytes(4_000_000)))
        reply = Reply(connection)
    assert reply.status == 413
    assert msgspec.json.decode(reply.body)["type"] == "urn:ietf:params:acme:error:malformed"

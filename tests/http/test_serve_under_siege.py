"""A listener besieged: whoever comes in numbers and says little harms nobody but themselves."""

import contextlib
import itertools
import logging
import select
import socket
import ssl
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import NamedTuple

import msgspec
import pytest

from certeasy.decide.problems import RETRY_SOON
from certeasy.serve.contexts import Certificates
from certeasy.serve.descriptors import allow_descriptors
from certeasy.serve.limits import (
    LEAST_SHARE,
    PATIENCE,
    SMALL_BODY,
    Limits,
    Phase,
    share_of_one_address,
)
from certeasy.serve.node import limits_of
from certeasy.serve.places import Places
from certeasy.serve.server_names import undecodable_names_dropped
from certeasy.settings import ServerSettings
from tests.make import served
from tests.make.served import (
    Reply,
    a_certificate,
    ask,
    dial,
    dial_tls,
    echo,
    eventually,
    get,
    impatient,
    is_cut,
    name_shown,
    post,
    serving,
    some_certificates,
    trusting,
)

OURS = "127.0.0.1"
THEIRS = [f"127.0.1.{number}" for number in range(1, 9)]
"""Eight addresses of this host: enough to fill all places, a share each."""

PATIENT = 20.0
"""Seconds that good clients wait. A siege takes a second or two to break, more on a busy
machine; and what it would take if nobody broke it is far more than this."""

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="has one loopback address only, unless told otherwise"
)


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(served, "SOON", PATIENT)


def limited(**limits):
    """These limits, and timeouts far longer than anybody waits here."""
    names = ("handshake", "read_header", "read", "idle")
    return msgspec.structs.replace(impatient(**{f"{name}_timeout": 90 for name in names}), **limits)


def dial_from(listener, source):
    """A TCP connection to the listener, coming from this address."""
    return socket.create_connection(listener.address, PATIENT, source_address=(source, 0))


@contextlib.contextmanager
def crowd(listener, number, sources, saying=b""):
    """So many connections, open until the block ends, that say this and no more."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(newcomer(listener, source, saying))
            for source in itertools.islice(itertools.cycle(sources), number)
        ]


def newcomer(listener, source, saying=b""):
    """A connection from this address that has said this; it may have been refused already."""
    connection = dial_from(listener, source)
    with contextlib.suppress(ConnectionError):
        connection.sendall(saying)
    return connection


def vanish(connection):
    """Go without a word of good-bye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def places_taken(listener):
    """How many connections the listener keeps."""
    return len(listener._server.active_channels)


def have_said_something(listener):
    """How many of the connections that the listener keeps have said something, for all it knows."""
    return sum(channel.heard for channel in list(listener._server.active_channels.values()))


def still_open(connections):
    """Those that the server has not ended, as far as can be seen now."""
    return [connection for connection in connections if not is_cut(connection, 0.01)]


@pytest.fixture
def logged(caplog):
    """What the server logs."""
    caplog.set_level(logging.INFO, "certeasy")
    return caplog


# All places taken

SILENCE = {
    "nothing": b"",
    "half a header": b"GET / HTTP/1.1\r\nHost:",
    "half a body": post(bytes(100))[:-50],
}


@pytest.mark.parametrize("saying", SILENCE.values(), ids=list(SILENCE))
def test_who_says_nothing_or_half_of_it_keeps_nobody_out(saying, monkeypatch):
    monkeypatch.setitem(PATIENCE, Phase.BODY, 1.0)
    limits = limited(connection_limit=80)
    with serving(limits=limits) as listener, crowd(listener, 80, THEIRS, saying):
        assert eventually(lambda: places_taken(listener) == 80)
        with dial(listener) as good:
            assert ask(good, get()).status == 200


def test_handshakes_that_do_not_begin_keep_nobody_out():
    limits = limited(connection_limit=80)
    with serving(limits=limits, tls=some_certificates()) as listener, crowd(listener, 80, THEIRS):
        assert eventually(lambda: places_taken(listener) == 80)
        with dial_tls(listener) as good:
            assert ask(good, get()).status == 200


def test_who_has_been_served_gives_way_after_who_has_not():
    limits = limited(connection_limit=80)
    with serving(limits=limits) as listener, crowd(listener, 20, THEIRS) as good:
        for connection in good:
            assert ask(connection, get()).status == 200
        with crowd(listener, 60, THEIRS), dial(listener) as late:
            time.sleep(1.5)
            assert ask(late, get()).status == 200
            assert len(still_open(good)) == 20


def test_a_request_that_is_worked_on_never_gives_way():
    go_on = threading.Event()

    def app(environ, start_response):
        assert environ["PATH_INFO"] == "/quick" or go_on.wait(PATIENT)
        return echo(environ, start_response)

    limits = limited(connection_limit=80, threads=12)
    with serving(app, limits) as listener, crowd(listener, 10, THEIRS, get("/held")) as held:
        with crowd(listener, 70, THEIRS):
            assert eventually(lambda: places_taken(listener) == 80)
            with dial(listener) as good:
                assert ask(good, get("/quick")).status == 200
        go_on.set()
        for connection in held:
            assert Reply(connection).body == b"GET /held "


def test_good_clients_are_served_while_a_thousand_silent_ones_come_and_go():
    allow_descriptors(2500)
    limits = limited(connection_limit=500, threads=16)
    ready, over = threading.Barrier(33), threading.Event()

    def visit(listener):
        waits = []
        with dial_tls(listener) as connection:
            ready.wait(PATIENT)
            while not over.is_set():
                began = time.monotonic()
                reply = ask(connection, post(b"good"))
                waits.append(time.monotonic() - began)
                assert (reply.body, reply.last) == (b"POST / good", False)
                time.sleep(0.05)
        return waits

    with (
        serving(limits=limits, tls=some_certificates()) as listener,
        ThreadPoolExecutor(32) as pool,
    ):
        visits = pool.map(visit, [listener] * 32)
        try:
            ready.wait(PATIENT)
            with crowd(listener, 1000, THEIRS):
                began = time.monotonic()
                with dial_tls(listener) as late:
                    assert ask(late, get()).status == 200
                assert time.monotonic() - began < 10
        finally:
            over.set()
        waits = sorted(itertools.chain.from_iterable(visits))
    assert waits[len(waits) * 9 // 10] < 1


# The share of one address


def test_one_address_has_a_share_of_the_places():
    go_on = threading.Event()

    def app(environ, start_response):
        assert environ["PATH_INFO"] == "/quick" or go_on.wait(PATIENT)
        return echo(environ, start_response)

    limits = limited(connection_limit=80, threads=32)
    with serving(app, limits) as listener, crowd(listener, 80, THEIRS[:1], get("/held")) as held:
        assert eventually(lambda: len(still_open(held)) == share_of_one_address(limits) == 20)
        with dial_from(listener, THEIRS[1]) as good:
            assert ask(good, get("/quick")).status == 200
        go_on.set()


def test_at_its_share_an_address_pays_for_a_newcomer_with_its_quietest(logged):
    with (
        serving(limits=limited(connection_limit=80)) as listener,
        dial_from(listener, THEIRS[0]) as good,
        dial_from(listener, THEIRS[1]) as neighbour,
    ):
        assert ask(good, get()).status == 200
        with crowd(listener, 19, THEIRS[:1]) as silent:
            assert eventually(lambda: places_taken(listener) == 21)
            with dial_from(listener, THEIRS[0]) as late:
                assert ask(late, get()).status == 200
                assert is_cut(silent[0])
                assert len(still_open(silent)) == 18
        assert ask(good, get()).status == 200
        assert ask(neighbour, get()).status == 200
    assert logged.text.count(f"{THEIRS[0]} has 20 connections") == 1


def test_of_connections_that_have_been_quiet_for_long_the_unserved_give_way_first():
    limits = limited(connection_limit=80)
    with serving(limits=limits) as listener, crowd(listener, 19, THEIRS[:1]) as good:
        for connection in good:
            assert ask(connection, get()).status == 200
        with dial_from(listener, THEIRS[0]) as silent:
            time.sleep(1.5)
            with dial_from(listener, THEIRS[0]) as late:
                assert ask(late, get()).status == 200
                assert is_cut(silent)
                assert len(still_open(good)) == 19


def test_a_handshake_under_way_gives_way_after_a_connection_that_rests():
    limits = limited(connection_limit=80)
    with serving(limits=limits) as listener, dial_from(listener, THEIRS[0]) as resting:
        assert ask(resting, get()).status == 200
        time.sleep(1.5)
        with crowd(listener, 19, THEIRS[:1]) as young, dial_from(listener, THEIRS[0]) as late:
            assert ask(late, get()).status == 200
            assert is_cut(resting)
            assert len(still_open(young)) == 19


def test_of_connections_that_are_new_those_that_have_said_something_give_way_last():
    limits = limited(connection_limit=80)
    begin = a_hello(b"acme.test")[:100]
    with (
        serving(limits=limits, tls=some_certificates()) as listener,
        crowd(listener, 10, THEIRS[:1], begin) as begun,
    ):
        assert eventually(lambda: have_said_something(listener) == 10)
        with crowd(listener, 30, THEIRS[:1]) as silent:
            assert eventually(lambda: len(still_open(silent)) == 10)
            assert len(still_open(begun)) == 10


@pytest.mark.parametrize("saying", [SILENCE["half a header"], get()], ids=["begun", "served"])
def test_a_newcomer_of_a_busy_address_is_served_unless_all_its_requests_are_complete(saying):
    limits = limited(connection_limit=80)
    with serving(limits=limits) as listener, crowd(listener, 20, THEIRS[:1], saying) as others:
        assert eventually(lambda: places_taken(listener) == 20)
        if saying == get():
            assert all(Reply(connection).status == 200 for connection in others)
        with dial_from(listener, THEIRS[0]) as late:
            assert ask(late, get()).status == 200


def test_a_newcomer_does_not_inherit_the_end_of_the_one_whose_place_it_takes():
    blocked, go_on = threading.Event(), threading.Event()
    limits = limited(connection_limit=80)
    with serving(limits=limits) as listener, crowd(listener, 20, THEIRS[:1]) as silent:
        assert eventually(lambda: places_taken(listener) == 20)
        listener._server.call_soon(lambda: (blocked.set(), go_on.wait(PATIENT)))
        assert blocked.wait(PATIENT)
        vanish(silent[0])
        with crowd(listener, 5, THEIRS[:1]) as late:
            go_on.set()
            for connection in late:
                assert ask(connection, get()).status == 200


def test_a_place_given_up_can_be_taken_again():
    with serving(limits=limited(connection_limit=80)) as listener:
        for _ in range(3):
            with crowd(listener, 20, THEIRS[:1]) as connections:
                for connection in connections:
                    assert ask(connection, get()).status == 200
            assert eventually(lambda: places_taken(listener) == 0)


def test_trusted_proxies_have_no_share():
    limits = limited(connection_limit=80, trusted_proxies=(ip_network("127.0.1.1/32"),))
    with serving(limits=limits) as listener, crowd(listener, 60, THEIRS[:1]) as connections:
        for connection in connections:
            assert ask(connection, get()).status == 200


def test_the_settings_say_which_proxies_those_are():
    networks = (ip_network("192.0.2.0/24"),)
    settings = ServerSettings(url=("https://acme.test",), trusted_proxies=networks)
    assert limits_of(settings).trusted_proxies == networks


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("2001:db8:ffff::9", None),
    ],
)
def test_a_network_of_one_customer_counts_as_one_address(peer, origin):
    trusted = (ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48"))
    assert Places(20, trusted).origin(peer) == origin


def test_a_share_is_a_quarter_and_never_tiny():
    assert share_of_one_address(Limits(connection_limit=1000)) == 250
    assert share_of_one_address(Limits(connection_limit=3)) == LEAST_SHARE


# Unfinished bodies


ROOM = 1_000_000
LARGE = 400_000


def unfinished(length, sent):
    """The beginning of a request whose body has `length` bytes, of which so many are sent."""
    return post(bytes(length))[: sent - length]


def chunked(sent):
    """The beginning of a request in chunks, with so many bytes of its body."""
    return b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nf00000\r\n" + bytes(
        sent
    )


@pytest.fixture
def confined():
    """A listener with room for two large bodies and a bit."""
    limits = limited(max_body_bytes=LARGE, bodies_bytes=ROOM)
    with serving(limits=limits) as listener:
        yield listener


def held(listener):
    """How many bytes of bodies the listener holds."""
    return listener._server.bodies.held


@contextlib.contextmanager
def no_room_left(listener):
    """Clients who have sent almost as much as there is room for."""
    large = unfinished(LARGE, LARGE - 1)
    small = unfinished(SMALL_BODY, SMALL_BODY - 1)
    with crowd(listener, 2, THEIRS, large), crowd(listener, 3, THEIRS, small):
        assert eventually(lambda: held(listener) == 2 * (LARGE - 1) + 3 * (SMALL_BODY - 1))
        yield


def assert_refused_for_now(reply):
    document = msgspec.json.decode(reply.body)
    assert (reply.status, document["status"]) == (503, 503)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["retry-after"] == str(RETRY_SOON)
    assert document["type"] == "urn:ietf:params:acme:error:serverInternal"
    assert "room" in document["detail"]
    assert reply.last


def test_a_body_that_finds_no_room_is_refused_for_now(confined, logged):
    with no_room_left(confined), dial(confined) as late:
        assert_refused_for_now(ask(late, post(bytes(LARGE))))
    assert logged.text.count("no room") == 1


def test_a_body_that_would_find_no_room_is_refused_before_it_is_sent(confined):
    with no_room_left(confined), dial(confined) as polite:
        head = post(b"", "/", "Expect: 100-continue").replace(b": 0", b": %d" % LARGE)
        assert_refused_for_now(ask(polite, head))


def test_a_body_of_untold_length_is_refused_when_it_finds_no_more_room(confined):
    with no_room_left(confined), dial(confined) as late:
        assert_refused_for_now(ask(late, chunked(LARGE // 2)))


def test_small_requests_get_through_when_there_is_no_room_for_large_ones(confined):
    with no_room_left(confined), dial(confined) as good:
        for _ in range(3):
            assert len(ask(good, post(bytes(SMALL_BODY))).body) == len("POST / ") + SMALL_BODY


@pytest.mark.parametrize("announced", [unfinished(LARGE, LARGE - 1), chunked(LARGE - 8)])
def test_what_is_held_never_grows_past_the_room_and_the_small_bodies(confined, announced):
    with crowd(confined, 20, THEIRS, announced) as flood:
        assert eventually(lambda: select.select(flood, [], [], 0)[0])  # some are refused
        most = max(held(confined) for _ in range(50) if not time.sleep(0.01))
        assert LARGE < most <= ROOM + 20 * (SMALL_BODY + 16384)
        with dial(confined) as good:
            assert ask(good, get()).status == 200
    assert eventually(lambda: held(confined) == 0)


@pytest.mark.parametrize("end", ["answered", "refused", "given up", "late", "failed"])
def test_room_is_given_back_however_a_request_ends(end):
    def app(environ, start_response):
        if end == "failed":
            raise RuntimeError("a fault of ours")
        return echo(environ, start_response)

    limits = limited(max_body_bytes=LARGE, bodies_bytes=ROOM)
    limits = msgspec.structs.replace(limits, read_timeout=impatient(read_timeout=0.4).read_timeout)
    sent = {
        "answered": post(bytes(LARGE)),
        "failed": post(bytes(LARGE)),
        "refused": chunked(LARGE + 16384),
        "given up": unfinished(LARGE, LARGE - 1),
        "late": unfinished(LARGE, LARGE - 1),
    }
    with serving(app, limits) as listener:
        for _ in range(3):  # more than there is room for
            with dial(listener) as connection:
                connection.sendall(sent[end])
                if end != "given up":
                    connection.recv(1)
            assert eventually(lambda: held(listener) == 0)


def test_there_is_always_room_for_one_body():
    limits = limited(max_body_bytes=LARGE, bodies_bytes=1)
    with serving(limits=limits) as listener, dial(listener) as connection:
        for _ in range(3):
            assert ask(connection, post(bytes(LARGE))).status == 200


# Names that are no text


def a_hello(name):
    """A TLS ClientHello that asks for a host with this name, in bytes as they are."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting().wrap_bio(incoming, outgoing, server_hostname="x" * len(name))
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read().replace(b"x" * len(name), name)


NO_TEXT = b"\xff\xfe\x80" * 5
ALERT = 21
SERVER_HELLO = 22


def test_a_host_name_that_is_no_text_is_refused_quietly(logged, capfd):
    hosts = Certificates([a_certificate("one.test"), a_certificate("two.test")])
    before = sys.unraisablehook
    with serving(tls=hosts) as listener:
        for _ in range(20):
            with dial(listener) as connection:
                connection.sendall(a_hello(NO_TEXT))
                assert connection.recv(1) == bytes([ALERT])
        with dial_tls(listener, "two.test") as good:
            assert name_shown(good) == "two.test"
    assert sys.unraisablehook is before
    assert capfd.readouterr().err == ""
    assert len(logged.records) == 1
    assert OURS in logged.text


def test_with_one_certificate_the_name_asked_for_does_not_matter(logged, capfd):
    with serving(tls=some_certificates()) as listener, dial(listener) as connection:
        connection.sendall(a_hello(NO_TEXT))
        assert connection.recv(1) == bytes([SERVER_HELLO])
    assert capfd.readouterr().err == ""
    assert logged.records == []


class Unraisable(NamedTuple):
    """What Python hands to `sys.unraisablehook`, as far as it is looked at."""

    exc_value: BaseException
    err_msg: str | None
    object: object


NO_ASCII = UnicodeDecodeError("ascii", NO_TEXT, 0, 1, "ordinal not in range(128)")
IN_WORDS = "Exception ignored in ssl servername callback while decoding name"


@pytest.mark.parametrize(
    "dropped", [Unraisable(NO_ASCII, None, NO_TEXT), Unraisable(NO_ASCII, IN_WORDS, None)]
)
def test_no_other_error_is_dropped(dropped, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    others = [
        Unraisable(UnicodeDecodeError("utf-8", NO_TEXT, 0, 1, "no"), IN_WORDS, NO_TEXT),
        Unraisable(NO_ASCII, None, test_no_other_error_is_dropped),
        Unraisable(ValueError(), None, NO_TEXT),
    ]
    with undecodable_names_dropped():
        for each in (dropped, *others):
            sys.unraisablehook(each)
    assert seen == others


def test_a_hook_that_came_later_stays(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", print)
    with undecodable_names_dropped():
        sys.unraisablehook = repr
    assert sys.unraisablehook is repr

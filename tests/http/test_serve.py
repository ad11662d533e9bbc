"""A listener in clear: requests, refusals, time limits, and an end that loses no answer."""

import errno
import itertools
import logging
import os
import signal
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certeasy import config
from certeasy.serve import server
from certeasy.serve.channel import Channel
from certeasy.serve.descriptors import SPARE, allow_descriptors
from certeasy.serve.limits import SELECTABLE, Limits, connections_allowed
from certeasy.serve.listener import open_socket, start
from certeasy.serve.node import Node
from certeasy.serve.stopping import StopRequest, stop_on_signals
from certeasy.serve.workers import Workers
from tests.make.configs import a_config
from tests.make.served import (
    SOON,
    Reply,
    ask,
    dial,
    echo,
    eventually,
    from_now_on,
    get,
    impatient,
    is_cut,
    post,
    seconds_until_cut,
    serving,
)


@pytest.fixture
def listener():
    with serving() as listener:
        yield listener


@pytest.fixture
def connection(listener):
    with dial(listener) as connection:
        yield connection


def answers(body=b"", status="200 OK", headers=()):
    """An application that always says this."""

    def app(_environ, start_response):
        start_response(status, list(headers))
        return [body]

    return app


class Slow:
    """An application that tells when it has begun, and answers when it is let go."""

    def __init__(self):
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, environ, start_response):
        self.begun.set()
        assert self.go_on.wait(SOON)
        return echo(environ, start_response)


@pytest.fixture
def logged(caplog):
    """What the server logs."""
    caplog.set_level(logging.INFO, "certeasy")
    return caplog


# Requests and answers


def test_a_connection_is_kept_for_many_requests(connection):
    for number in range(20):
        reply = ask(connection, post(b"%d" % number))
        assert (reply.status, reply.body, reply.last) == (200, b"POST / %d" % number, False)


def test_requests_sent_ahead_are_answered_in_order(connection):
    connection.sendall(get("/1") + post(b"two", "/2") + get("/3", "Connection: close"))
    with connection.makefile("rb") as stream:
        everything = stream.read()
    places = [everything.index(said) for said in (b"GET /1 ", b"POST /2 two", b"GET /3 ")]
    assert places == sorted(places)
    assert everything.count(b"HTTP/1.1 200 OK") == 3


def test_an_answer_without_a_body_keeps_the_connection():
    with serving(answers(status="204 No Content")) as listener, dial(listener) as connection:
        for _ in range(3):
            reply = ask(connection, get())
            assert (reply.status, reply.last) == (204, False)
            assert "content-length" not in reply.headers
            assert "transfer-encoding" not in reply.headers


def test_head_gets_the_headers_and_keeps_the_connection():
    app = answers(b"seven..", headers=[("Content-Length", "7")])
    with serving(app) as listener, dial(listener) as connection:
        for _ in range(3):
            reply = ask(connection, get().replace(b"GET", b"HEAD"), "HEAD")
            assert (reply.status, reply.body, reply.last) == (200, b"", False)
            assert reply.headers["content-length"] == "7"


def test_an_answer_of_unknown_length_is_chunked_and_keeps_the_connection():
    def app(_environ, start_response):
        start_response("200 OK", [])
        return iter([b"one", b"", b"two"])

    with serving(app) as listener, dial(listener) as connection:
        for _ in range(2):
            reply = ask(connection, get())
            assert (reply.body, reply.last) == (b"onetwo", False)
            assert reply.headers["transfer-encoding"] == "chunked"


def test_an_answer_leaves_in_one_piece(connection):
    connection.sendall(get("/x"))
    assert connection.recv(65536).endswith(b"\r\n\r\nGET /x ")


def test_an_application_cannot_write_past_the_length_it_gave():
    app = answers(b"12345HTTP/1.1 200 OK", headers=[("Content-Length", "5")])
    with serving(app) as listener, dial(listener) as connection:
        assert ask(connection, get()).body == b"12345"
        assert ask(connection, get()).body == b"12345"


def test_an_answer_that_is_too_short_ends_the_connection():
    app = answers(b"123", headers=[("Content-Length", "5")])
    with serving(app) as listener, dial(listener) as connection:
        connection.sendall(get())
        with connection.makefile("rb") as stream:
            assert stream.read().endswith(b"\r\n\r\n123")


@pytest.mark.parametrize("wish", ["close", "Close", "foo, close"])
def test_a_client_that_wants_to_close_is_told_so(connection, wish):
    reply = ask(connection, get("/", f"Connection: {wish}"))
    assert reply.headers["connection"] == "close"
    assert is_cut(connection)


def test_http_1_0_is_answered_and_closed(connection):
    reply = ask(connection, b"GET /old HTTP/1.0\r\n\r\n")
    assert (reply.body, reply.headers["connection"]) == (b"GET /old ", "close")
    assert is_cut(connection)


def test_http_1_0_is_kept_if_it_asks(connection):
    request = b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert ask(connection, request).headers["connection"] == "keep-alive"
    assert ask(connection, request).status == 200


def test_nothing_tells_which_software_serves(connection):
    reply = ask(connection, get())
    refused = ask(connection, b"rubbish\r\n\r\n")
    for headers in (reply.headers, refused.headers):
        assert not {"server", "via", "x-powered-by"} & headers.keys()
    assert b"waitress" not in refused.body


def test_a_chunked_request_arrives_whole(connection):
    request = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert ask(connection, request + body).body == b"POST /c onetwo"


def test_a_body_is_asked_for_when_the_client_waits_for_that(connection):
    connection.sendall(post(b"", "/", "Expect: 100-continue").replace(b": 0", b": 4"))
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert ask(connection, b"body").body == b"POST / body"


def test_no_body_is_asked_for_that_does_not_exist(connection):
    assert ask(connection, post(b"", "/", "Expect: 100-continue")).body == b"POST / "


def test_the_header_with_the_clients_address_reaches_the_application():
    def app(environ, start_response):
        start_response("200 OK", [])
        return [f"{environ['REMOTE_ADDR']} {environ['HTTP_X_FORWARDED_FOR']}".encode()]

    with serving(app) as listener, dial(listener) as connection:
        reply = ask(connection, get("/", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.0.0.1"))
    assert reply.body == b"127.0.0.1 192.0.2.1, 10.0.0.1"


def test_one_slow_request_does_not_hold_up_the_others():
    slow = Slow()

    def app(environ, start_response):
        return (slow if environ["PATH_INFO"] == "/slow" else echo)(environ, start_response)

    with serving(app) as listener, dial(listener) as patient, dial(listener) as other:
        patient.sendall(get("/slow"))
        assert slow.begun.wait(SOON)
        assert ask(other, get("/fast")).body == b"GET /fast "
        slow.go_on.set()
        assert Reply(patient).body == b"GET /slow "


def test_fifty_clients_at_once_are_all_served(listener):
    def visit(number):
        with dial(listener) as connection:
            return [ask(connection, post(b"%d" % number)).body for _ in range(10)]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(visit, range(50)))
    assert answers == [[b"POST / %d" % number] * 10 for number in range(50)]


# Refusals


def raw(line, *headers, host=b"Host: acme.test"):
    """A request as it stands, up to the end of its headers."""
    return b"\r\n".join([line, host, *headers, b"\r\n"])


POST = b"POST / HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"
WRONG = {
    "no HTTP": (b"rubbish\r\n\r\n", 400, "Start line"),
    "no Host": (raw(b"GET / HTTP/1.1", host=b"A: b"), 400, "one Host"),
    "two Hosts": (raw(b"GET / HTTP/1.1", b"Host: other.test"), 400, "one Host"),
    "a NUL in a header's name": (raw(b"GET / HTTP/1.1", b"A\x00: b"), 400, "Invalid header"),
    "a NUL in a header": (raw(b"GET / HTTP/1.1", b"A: b\x00"), 400, "Invalid header"),
    "a lower-case method": (raw(b"get / HTTP/1.1"), 400, "method"),
    "an unclosed bracket": (raw(b"GET http://[::1/ HTTP/1.1"), 400, "request line"),
    "a bare line feed": (raw(b"GET / HTTP/1.1", b"A: b\nC: d"), 400, "Bare CR or LF"),
    "a header without a name": (raw(b"GET / HTTP/1.1", b": b"), 400, "Invalid header"),
    "a length that is no number": (raw(POST, b"Content-Length: x"), 400, "Content-Length"),
    "a negative length": (raw(POST, b"Content-Length: -1"), 400, "Content-Length"),
    "two lengths": (raw(POST, b"Content-Length: 1", b"Content-Length: 2"), 400, "Content-Length"),
    "a length of 5000 digits": (raw(POST, b"Content-Length: " + b"9" * 5000), 400, "a number"),
    "a length and chunks": (raw(POST, b"Content-Length: 3", CHUNKED), 400, "two ways"),
    "chunks in HTTP/1.0": (raw(b"POST / HTTP/1.0", CHUNKED), 400, "HTTP/1.0"),
    "a chunk without a size": (raw(POST, CHUNKED) + b"x\r\n", 400, "chunk size"),
    "an unknown coding": (raw(POST, b"Transfer-Encoding: gzip"), 501, "Transfer-Encoding"),
    "headers too large": (raw(POST, b"A: " + b"a" * 40_000), 431, "32768 bytes"),
    "a body too large": (raw(POST, b"Content-Length: 1001"), 413, "1000 bytes"),
    "a body too large, announced politely": (
        raw(POST, b"Expect: 100-continue", b"Content-Length: 1001"),
        413,
        "1000 bytes",
    ),
    "chunks too large": (raw(POST, CHUNKED) + b"7d0\r\n" + bytes(2000), 413, "1000 bytes"),
}


@pytest.mark.parametrize(("request_bytes", "status", "reason"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_refused_with_a_problem_document(request_bytes, status, reason):
    limits = msgspec.structs.replace(impatient(), max_body_bytes=1000)
    with serving(limits=limits) as listener:
        with dial(listener) as connection:
            reply = ask(connection, request_bytes)
            document = msgspec.json.decode(reply.body)
            assert (reply.status, document["status"]) == (status, status)
            assert reply.headers["content-type"] == "application/problem+json"
            assert document["type"] == "urn:ietf:params:acme:error:malformed"
            assert reason in document["detail"]
            assert len(document["detail"]) < 300
            assert reply.last
        with dial(listener) as healthy:
            assert ask(healthy, get()).status == 200


@pytest.fixture(scope="module")
def battered():
    """One listener for many wrong requests: what one leaves behind, the next would meet."""
    with serving() as listener:
        yield listener


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    *(POST, b"GET / HTTP/1.1", b"HTTP/1.0", b"Host: a", b"Connection: close"),
                    *(CHUNKED, b"5\r\nabcde\r\n", b"Content-Length: 5", b"Expect: 100-continue"),
                    *(b":", b"\r\n"),
                ]
            ),
        ),
        max_size=8,
    )
)
def test_whatever_is_sent_is_answered_in_http_or_not_at_all(battered, pieces):
    with dial(battered) as connection:
        connection.sendall(b"\r\n".join([*pieces, b"\r\n"]))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            said = stream.read()
    assert said == b"" or said.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
    assert b" 500 " not in said.partition(b"\r\n")[0]
    assert battered.running
    with dial(battered) as healthy:
        assert ask(healthy, get()).status == 200


def test_a_body_of_exactly_the_limit_is_taken():
    limits = msgspec.structs.replace(impatient(), max_body_bytes=1000)
    with serving(limits=limits) as listener, dial(listener) as connection:
        assert len(ask(connection, post(bytes(1000))).body) == len("POST / ") + 1000


def test_a_client_that_goes_on_sending_still_reads_why_it_was_refused():
    limits = msgspec.structs.replace(impatient(), max_body_bytes=1000)
    with serving(limits=limits) as listener, dial(listener) as connection:
        connection.sendall(post(bytes(8_000_000)))
        assert Reply(connection).status == 413


def test_an_application_that_fails_is_a_problem_document_too(logged):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/bad":
            raise RuntimeError("the secret reason")
        return echo(environ, start_response)

    with serving(app) as listener:
        with dial(listener) as connection:
            reply = ask(connection, get("/bad"))
        with dial(listener) as connection:
            assert ask(connection, get("/good")).status == 200
    assert reply.status == 500
    assert msgspec.json.decode(reply.body)["type"] == "urn:ietf:params:acme:error:serverInternal"
    assert b"secret" not in reply.body
    assert "the secret reason" in logged.text


def test_an_application_that_fails_in_mid_answer_ends_the_connection(logged):
    def app(_environ, start_response):
        start_response("200 OK", [("Content-Length", "10")])
        yield b"12345"
        raise RuntimeError

    with serving(app) as listener, dial(listener) as connection:
        connection.sendall(get())
        with connection.makefile("rb") as stream:
            assert stream.read().endswith(b"\r\n\r\n12345")
    assert "RuntimeError" in logged.text


# Time limits


def test_a_header_that_never_ends_is_cut():
    limits = impatient(read_header_timeout=0.4)
    header = itertools.chain([b"GET / HTTP/1.1\r\n"], itertools.repeat(b"A: b\r\n"))
    with serving(limits=limits) as listener, dial(listener) as slow, dial(listener) as idle:
        assert seconds_until_cut(slow, header) < 3
        # Who has not begun a request has the idle timeout, which is longer.
        assert ask(idle, get()).status == 200


def test_a_body_that_never_ends_is_cut():
    with serving(limits=impatient(read_timeout=0.4)) as listener, dial(listener) as slow:
        slow.sendall(post(bytes(100))[:-1])
        assert is_cut(slow)


def test_an_idle_connection_is_cut_and_a_busy_one_is_not(listener, monkeypatch):
    passed = [0]  # seconds that have passed for the server alone

    def noticed():
        """Whether the server has seen of each connection how long it has been as it is."""
        channels = list(listener._server.active_channels.values())
        return all(channel.seen == (channel.phase(), channel.answered) for channel in channels)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(passed))
    monkeypatch.setattr(server, "time", clock)
    with dial(listener) as idle, dial(listener) as busy:
        assert ask(idle, get()).status == 200
        for _ in range(4):
            assert ask(busy, get()).status == 200
            assert eventually(noticed)
            passed.append(25)  # of the sixty that a connection may be idle
        assert is_cut(idle)
        assert ask(busy, get()).status == 200


def test_empty_lines_do_not_keep_a_connection_from_being_idle():
    with serving(limits=impatient(idle_timeout=0.4)) as listener, dial(listener) as connection:
        assert seconds_until_cut(connection, itertools.repeat(b"\r\n")) < 3


def test_an_empty_line_after_a_body_begins_no_request():
    limits = impatient(read_header_timeout=0.3)
    with serving(limits=limits) as listener, dial(listener) as connection:
        assert ask(connection, post(b"body") + b"\r\n").status == 200
        time.sleep(1)
        assert ask(connection, get()).status == 200


def test_the_application_may_take_longer_than_any_of_our_limits():
    slow = Slow()
    with serving(slow) as listener, dial(listener) as connection:
        connection.sendall(get())
        assert slow.begun.wait(SOON)
        from_now_on(
            listener,
            read_header_timeout=0.2,
            read_timeout=0.2,
            write_timeout=0.2,
            idle_timeout=0.2,
        )
        time.sleep(1)
        slow.go_on.set()
        assert Reply(connection).status == 200


def test_a_reader_that_stops_is_cut():
    limits = impatient(write_timeout=0.4)
    with serving(answers(bytes(8_000_000)), limits) as listener, dial(listener) as connection:
        connection.sendall(get())
        assert connection.recv(1) == b"H"  # and no more
        assert eventually(lambda: not listener._server.active_channels)
        with connection.makefile("rb") as stream:
            assert len(stream.read()) < 8_000_000


def test_urgent_data_ends_a_connection_and_does_not_keep_the_loop_awake(listener):
    with dial(listener) as connection:
        connection.send(b"!", socket.MSG_OOB)
        assert is_cut(connection)


# Too many


def test_more_connections_than_allowed_wait_their_turn():
    limits = msgspec.structs.replace(impatient(), connection_limit=3)
    slow = Slow()
    with serving(slow, limits) as listener:
        busy = [dial(listener) for _ in range(3)]
        for connection in busy:
            connection.sendall(get())
        with dial(listener) as one_too_many:
            one_too_many.sendall(get("/late"))
            one_too_many.settimeout(0.5)
            with pytest.raises(TimeoutError):
                one_too_many.recv(1)
            one_too_many.settimeout(SOON)
            slow.go_on.set()
            for connection in busy:
                assert Reply(connection).status == 200
                connection.close()
            assert Reply(one_too_many).body == b"GET /late "


def test_connections_that_say_nothing_make_room_for_those_that_do(logged):
    limits = msgspec.structs.replace(impatient(), connection_limit=5)
    with serving(limits=limits) as listener:
        silent = [dial(listener) for _ in range(5)]
        with dial(listener) as connection:
            assert ask(connection, get()).status == 200
        for connection in silent:
            connection.close()
    assert logged.text.count("as many as may be") == 1


class Exhausted:
    """A listening socket of a process that may open no more descriptors, for a while."""

    def __init__(self, listening):
        self._listening = listening
        self.refused = 0
        self.freed = False

    def accept(self):
        if self.freed:
            return self._listening.accept()
        self.refused += 1
        raise OSError(errno.EMFILE, "Too many open files")

    def close(self):
        self._listening.close()


def test_without_descriptors_connections_wait_and_the_loop_does_not_spin(listener, logged):
    exhausted = listener._server.socket = Exhausted(listener._server.socket)
    with dial(listener) as connection:
        began = time.monotonic()
        connection.sendall(get())
        time.sleep(0.8)
        exhausted.freed = True
        turns = (time.monotonic() - began) / server.SWEEP
        assert Reply(connection).status == 200
    assert 1 <= exhausted.refused <= turns + 2
    assert logged.text.count("Too many open files") == 1


def test_the_loop_sleeps_while_a_worker_sends(listener, connection, monkeypatch):
    turns = itertools.count()
    turn, send = listener._server.turn, Channel.send
    sending, go_on = threading.Event(), threading.Event()

    def slow_send(channel, data, do_close=True):
        sending.set()
        assert go_on.wait(SOON)
        return send(channel, data, do_close)

    monkeypatch.setattr(Channel, "send", slow_send)
    monkeypatch.setattr(listener._server, "turn", lambda: (next(turns), turn()))
    connection.sendall(get())
    assert sending.wait(SOON)
    time.sleep(0.5)
    go_on.set()
    assert Reply(connection).status == 200
    assert next(turns) < 10


def test_windows_cannot_watch_more_than_select_can():
    assert connections_allowed(Limits(connection_limit=1000), "win32") == SELECTABLE
    assert connections_allowed(Limits(connection_limit=1000), "linux") == 1000


def test_descriptors_are_raised_to_what_the_connections_need():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        allow_descriptors(500)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500 + SPARE, hard)
        allow_descriptors(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500 + SPARE, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_client_that_vanishes_in_mid_body_harms_nobody(listener, connection):
    vanishing = dial(listener)
    vanishing.sendall(post(bytes(1000))[:-500])
    vanishing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    vanishing.close()
    assert ask(connection, get()).status == 200


def test_a_client_that_vanishes_before_its_answer_harms_nobody():
    slow = Slow()
    with serving(slow) as listener:
        with dial(listener) as vanishing:
            vanishing.sendall(get())
            assert slow.begun.wait(SOON)
        slow.go_on.set()
        with dial(listener) as connection:
            assert ask(connection, get()).status == 200
        assert listener.drain(SOON)


def test_an_unexpected_error_of_one_request_leaves_its_thread_to_the_next(logged):
    class Broken:
        def service(self):
            raise RuntimeError("broken")

        def cancel(self):
            pytest.fail("it was not waiting")

    done = threading.Event()

    class Good(Broken):
        def service(self):
            done.set()

    workers = Workers(1, "test")
    workers.add_task(Broken())
    workers.add_task(Good())
    assert done.wait(SOON)
    assert workers.shutdown(SOON)
    assert "broken" in logged.text


# The end


def test_a_request_in_flight_is_answered_before_the_end():
    slow = Slow()
    with serving(slow) as listener, dial(listener) as connection:
        connection.sendall(get("/finalize"))
        assert slow.begun.wait(SOON)
        listener.stop_accepting()
        assert not listener.drain(0.3)
        slow.go_on.set()
        assert listener.drain(SOON)
        reply = Reply(connection)
        assert reply.body == b"GET /finalize "
        assert reply.headers["connection"] == "close"


def test_a_request_half_sent_is_awaited_too(listener, connection):
    request = post(b"whole body")
    connection.sendall(request[:-5])
    assert eventually(lambda: not listener._server.is_quiet())
    assert not listener.drain(0.3)
    assert ask(connection, request[-5:]).body == b"POST / whole body"
    assert listener.drain(SOON)


def test_an_answer_not_yet_taken_is_awaited_too():
    with serving(answers(bytes(8_000_000))) as listener, dial(listener) as connection:
        connection.sendall(get())
        assert eventually(lambda: not listener._server.is_quiet())
        assert not listener.drain(0.3)
        assert len(Reply(connection).body) == 8_000_000
        assert listener.drain(SOON)


def test_a_kept_connection_does_not_hold_up_the_end(listener, connection):
    assert ask(connection, get()).status == 200
    assert listener.drain(SOON)


def test_a_kept_connection_is_told_to_close_with_its_next_answer(listener, connection):
    assert not ask(connection, get()).last
    listener.stop_accepting()
    reply = ask(connection, get())
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert is_cut(connection)


def test_nobody_is_accepted_any_more(listener, connection):
    assert ask(connection, get()).status == 200
    listener.stop_accepting()

    def refused():
        try:
            dial(listener).close()
        except ConnectionError:
            return True
        return False

    assert eventually(refused)


def test_closing_ends_the_threads_and_twice_is_no_harm():
    before = set(threading.enumerate())
    listener = start(echo, "127.0.0.1:0", impatient())
    with dial(listener) as connection:
        assert ask(connection, get()).status == 200
        listener.close()
        assert is_cut(connection)
    assert set(threading.enumerate()) == before
    listener.close()
    listener.stop_accepting()
    assert not listener.running
    assert not listener.drain(SOON)


def test_closing_does_not_wait_for_an_application_that_never_returns(monkeypatch, logged):
    monkeypatch.setattr("certeasy.serve.listener.CLOSING_TIME", 0.3)
    slow = Slow()
    with serving(slow) as listener, dial(listener) as connection:
        connection.sendall(get())
        assert slow.begun.wait(SOON)
        began = time.monotonic()
        listener.close()
        assert time.monotonic() - began < 2
        assert is_cut(connection)
        slow.go_on.set()
    assert "still run" in logged.text


def test_a_loop_that_dies_is_noticed(listener, connection, logged):
    def fault(*_):
        raise RuntimeError("a fault of ours")

    assert ask(connection, get()).status == 200
    listener._server.sweep = fault
    assert eventually(lambda: not listener.running)
    assert is_cut(connection)
    assert "has died" in logged.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_the_end_and_what_was_there_before_is_restored(number):
    before = signal.getsignal(number)
    request = StopRequest()
    with stop_on_signals(request):
        os.kill(os.getpid(), number)
        assert request.wait(alive=lambda: True)
        assert request.reason == number.name
        # The next one ends the process, as if we were not there.
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.getsignal(number) == before


def test_waiting_ends_when_the_server_is_dead():
    assert not StopRequest().wait(alive=lambda: False)


# Addresses


def test_a_taken_address_is_named(listener):
    with pytest.raises(OSError, match=str(listener.address[1])):
        start(echo, f"127.0.0.1:{listener.address[1]}", impatient())


def test_a_taken_address_is_told_with_its_key(listener, tmp_path):
    taken = f"127.0.0.1:{listener.address[1]}"
    server = f"{{url: [https://acme.corp.test], tls: false, listen: '{taken}'}}"
    path = a_config(tmp_path, admin=f"{{listen: '{taken}'}}")
    with pytest.raises(OSError, match=f"^admin.listen: {taken} cannot .* give admin.listen an"):
        Node(config.load(path))
    path = a_config(tmp_path, admin="{listen: '127.0.0.1:0'}", server=server)
    node = Node(config.load(path))
    try:
        with pytest.raises(OSError, match=f"^server.listen: {taken} cannot .* give server.listen"):
            node.open(StopRequest())
    finally:
        node.admin.close()


@pytest.mark.parametrize("text", ["", "8443", "localhost", "127.0.0.1:", "127.0.0.1:https"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="not host:port"):
        open_socket(text)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_all_of_ipv6_includes_ipv4():
    with start(echo, "[::]:0", impatient()) as listener:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, listener.address[1]), timeout=SOON) as connection:
                assert ask(connection, get()).status == 200


def test_refused_requests_do_not_fill_the_log(listener, logged):
    with dial(listener) as connection:
        ask(connection, b"rubbish\r\n\r\n")
    assert logged.records == []

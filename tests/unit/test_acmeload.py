"""The load generator's arithmetic: what a tally becomes, and what a client's key is called."""

import math
import os
import socket
import statistics
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tools.acmeload.client import thumbprint
from tools.acmeload.process import usage
from tools.acmeload.report import Tally, Usage, latencies, merged, percentile, report
from tools.acmeload.responder import Responder, name_of

SECONDS = st.lists(st.floats(0, 1000), min_size=1, max_size=200)


def a_tally(*seconds: float, began: float = 10.0, ended: float = 12.0, **counts) -> Tally:
    return Tally(latencies=list(seconds), began=began, ended=ended, **counts)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([7], 50, 7), ([1, 2], 50, 1), ([1, 2, 3, 4], 90, 4), (range(1, 101), 99, 99), ([3], 0, 3)],
)
def test_a_percentile_is_one_of_the_values(values, percent: float, expected: float):
    assert percentile(values, percent) == expected


def test_nothing_has_no_percentile():
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 50)
    assert latencies([]) == {}


@given(SECONDS, st.floats(0.01, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(seconds, percent: float):
    ordered = sorted(seconds)
    found = percentile(ordered, percent)
    below = sum(value <= found for value in ordered)
    strictly = sum(value < found for value in ordered)
    assert below * 100 >= len(ordered) * percent or math.isclose(
        below * 100, len(ordered) * percent
    )
    assert strictly * 100 < len(ordered) * percent or math.isclose(
        strictly * 100, len(ordered) * percent
    )


@given(SECONDS)
def test_the_median_and_the_longest_agree_with_the_textbook(seconds):
    found = latencies(seconds)
    assert found["p50"] == round(statistics.median_low(seconds) * 1000, 2)
    assert found["max"] == round(max(seconds) * 1000, 2)
    assert found["p50"] <= found["p90"] <= found["p99"] <= found["max"]


def test_the_report_counts_orders_per_second_of_good_ones_only():
    figures = report(a_tally(0.1, 0.2, 0.3, failures={"finalize: 500": 1}), None, None)
    assert figures["orders"] == 4
    assert figures["certificates"] == 3
    assert figures["orders_per_s"] == 1.5
    assert figures["failures"] == {"finalize: 500": 1}
    assert "server" not in figures


def test_requests_are_told_per_order_and_kind():
    tally = a_tally(0.1, 0.2, requests={"newOrder": 2, "poll order": 3})
    assert report(tally, None, None)["requests_per_order"] == {
        "newOrder": 1.0,
        "poll order": 1.5,
        "total": 2.5,
    }


def test_the_servers_cpu_is_shared_among_the_certificates():
    before, after = Usage(cpu=1.0, vm_hwm=100, vm_rss=90), Usage(cpu=1.5, vm_hwm=200, vm_rss=150)
    figures = report(a_tally(*[0.1] * 50), before, after)
    assert figures["server"] == {
        "cpu_s": 0.5,
        "cpu_ms_per_certificate": 10.0,
        "vm_hwm_kib": 200,
        "vm_rss_kib": 150,
        "vm_rss_kib_at_start": 90,
    }


def test_a_run_without_any_order_is_reported_without_dividing_by_nothing():
    usage_now = Usage(cpu=1.0, vm_hwm=1, vm_rss=1)
    figures = report(merged([Tally()]), usage_now, usage_now)
    assert figures["orders_per_s"] == 0.0
    assert figures["requests_per_order"] == {}
    assert figures["duration_s"] == 0.0


def test_merging_adds_up_and_spans_the_whole_time():
    one = a_tally(0.1, began=5, ended=9, requests={"newOrder": 1}, bad_nonces=1, cpu=0.5)
    two = a_tally(0.2, began=4, ended=7, requests={"newOrder": 2}, retries=2, failures={"x": 1})
    whole = merged([one, two])
    assert sorted(whole.latencies) == [0.1, 0.2]
    assert (whole.began, whole.ended) == (4, 9)
    assert whole.requests == {"newOrder": 3}
    assert whole.failures == {"x": 1}
    assert (whole.bad_nonces, whole.retries, whole.cpu) == (1, 2, 0.5)


def test_the_thumbprint_is_that_of_rfc_7638():
    # The P-256 key of RFC 7517 appendix A.2.
    x = 0x30A0424CD21C2944838A2D75C92B37E76EA20D9F00893A3B4EEE8A3C0AAFEC3E
    y = 0xE04B65E92456D9888B52B379BDFBD51EE869EF1F0FC65B6659695B6CCE081723
    d = 0xF3BD0C07A81FB932781ED52752F60CC89A6BE5E51934FE01938DDB55D8F77801
    key = ec.EllipticCurvePrivateNumbers(
        d, ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1())
    ).private_key()
    assert thumbprint(key) == "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"


def ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 2) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(4096):
            answer += data
    return answer


@pytest.mark.parametrize(("client", "thumb"), [(0, b"zero"), (1, b"one")])
def test_the_responder_knows_the_client_by_the_name(client: int, thumb: bytes):
    name = name_of(client, 17, 0, "lab.test")
    with Responder(0, ["zero", "one"]) as responder:
        answer = ask(
            responder.port,
            b"GET /.well-known/acme-challenge/to-ken HTTP/1.1\r\nHost: %s:5002\r\n\r\n"
            % name.encode(),
        )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\nto-ken." + thumb)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: c0-1-0.lab.test\r\n\r\n",
        b"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: c9-1-0.lab.test\r\n\r\n",
        b"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: other.test\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_the_responder_answers_nothing_else(request_: bytes):
    with Responder(0, ["zero"]) as responder:
        assert ask(responder.port, request_).startswith(b"HTTP/1.1 404 ")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc, so Linux only")
def test_usage_is_that_of_a_living_process():
    before = usage(os.getpid())
    sum(range(2_000_000))
    after = usage(os.getpid())
    assert after.cpu >= before.cpu
    assert 1024 < after.vm_rss <= after.vm_hwm

"""Whether a submission may have been executed is told exactly, wherever it fails."""

import socket
import threading
from itertools import accumulate

import pytest
from cryptography import x509

from certeasy.ca.adcs.crossing import Crossing
from certeasy.ca.adcs.deadline import Late
from certeasy.ca.adcs.errors import AnswerLost, HResult, NotReached
from tests.fakes.man_in_the_middle import cut_after, man_in_the_middle
from tests.make.adcs import a_ca
from tests.make.csrs import a_csr
from tests.make.enrolment import WEB_SERVER, enrolment, within
from tools.adcs_sim.behaviour import cuts, denies, faults, pends

CSR = a_csr("web.lab.test")
LONG = a_csr(*(f"host-{number:03}.lab.test" for number in range(200)))
"""Of several fragments, as is the answer."""


def test_a_certificate_is_for_the_key_that_asked_for_it():
    with a_ca() as ca, enrolment(ca) as client:
        reply = client.request(ca.name, CSR, WEB_SERVER | {"CerteasyOrder": "ord-1"}, within())
        assert (reply.disposition, reply.request_id, reply.message) == (3, 1, "Issued")
        asked = x509.load_der_x509_csr(CSR).public_key()
        assert x509.load_der_x509_certificate(reply.certificate).public_key() == asked
        assert ca.requests[0].attributes["certeasyorder"] == "ord-1"
        assert client.retrieve(ca.name, 1, within()) == reply


def test_a_request_may_wait_and_be_asked_for():
    with a_ca(templates={"ManualWeb": pends()}) as ca, enrolment(ca) as client:
        reply = client.request(ca.name, CSR, {"CertificateTemplate": "ManualWeb"}, within())
        assert reply.disposition == client.retrieve(ca.name, 1, within()).disposition == 5
        ca.approve(1)
        assert client.retrieve(ca.name, 1, within()).certificate == ca.issued[0]


def test_a_refusal_is_an_answer_and_the_connection_is_kept():
    with a_ca() as ca, man_in_the_middle(ca.port) as middle:
        with enrolment(ca, port=middle.port) as client:
            ca.once(denies(0x80094012), denies(0x80070057, result=True))
            refused = client.request(ca.name, CSR, WEB_SERVER, within())
            assert refused.disposition == 0x80094012
            with pytest.raises(HResult) as failed:
                client.request(ca.name, CSR, WEB_SERVER, within())
            assert failed.value.code == 0x80070057
            assert client.request(ca.name, CSR, WEB_SERVER, within()).disposition == 3
        assert middle.connections == 1


def test_a_probe_tells_what_the_ca_has_to_say():
    with a_ca() as ca, enrolment(ca) as client:
        assert client.probe(ca.name, within()) == 0x80094004  # there is no such request
        assert client.probe("OTHER-CA", within()) == 0x80070057
        assert not ca.requests


def conversation(csr):
    """Return where packets end, in bytes, each way: from the binding to a submission's answer."""
    answers = []

    def replies(_number, packet):
        answers.append(packet)
        return packet

    with a_ca() as ca, man_in_the_middle(ca.port, replies) as middle:
        with enrolment(ca, port=middle.port) as client:
            client.request(ca.name, csr, WEB_SERVER, within())
        sizes = [len(packet) for packet in middle.requests]
        return list(accumulate(sizes)), list(accumulate(len(packet) for packet in answers))


def around(ends):
    """Yield places in, at and around the ends of packets."""
    begun = 0
    for end in ends:
        yield from sorted({begun + 1, (begun + end) // 2, end - 1, end})
        begun = end


@pytest.mark.parametrize("csr", [CSR, LONG], ids=["short", "long"])
def test_a_cut_on_the_way_there_is_told_for_what_it_is(csr):
    """Cut before the submission: surely nothing. Cut in it: who knows, but nothing is lost."""
    ends, _ = conversation(csr)
    before_submission = ends[2]  # binding, proof of identity, and the first question
    with a_ca() as ca:
        for at in around(ends):
            known = len(ca.issued)
            with cut_after(ca.port, up=at) as line, enrolment(ca, port=line.port) as client:
                try:
                    reply = client.request(ca.name, csr, WEB_SERVER, within())
                except NotReached:
                    assert len(ca.issued) == known
                except AnswerLost:
                    assert at >= before_submission
                else:
                    assert reply.certificate == ca.issued[-1]
                    assert at == ends[-1]


@pytest.mark.parametrize("csr", [CSR, LONG], ids=["short", "long"])
def test_a_cut_on_the_way_back_is_told_for_what_it_is(csr):
    _, ends = conversation(csr)
    with a_ca() as ca:
        for at in around(ends):
            known = len(ca.issued)
            with cut_after(ca.port, down=at) as line, enrolment(ca, port=line.port) as client:
                with pytest.raises((NotReached, AnswerLost)) as raised:
                    client.request(ca.name, csr, WEB_SERVER, within())
                if raised.type is NotReached:
                    assert len(ca.issued) == known
                else:
                    assert len(ca.issued) == known + 1


@pytest.mark.parametrize("at", [0, 1, 20, 100])
def test_an_answer_that_is_cut_off_leaves_doubt(at):
    with a_ca() as ca, enrolment(ca) as client:
        ca.once(cuts(at=at), cuts(before=True), faults(0x1C010014))
        for _ in range(3):
            with pytest.raises(AnswerLost):
                client.request(ca.name, CSR, WEB_SERVER, within())
        assert len(ca.issued) == 1
        assert client.request(ca.name, CSR, WEB_SERVER, within()).certificate == ca.issued[1]


def test_what_a_fault_says_is_told_to_people():
    with a_ca() as ca, enrolment(ca) as client:
        ca.once(faults(0x1C010014))
        with pytest.raises(AnswerLost, match="0x1c010014") as lost:
            client.request(ca.name, CSR, WEB_SERVER, within())
        assert lost.value.code == 0x1C010014


def test_a_wrong_password_is_met_while_nothing_is_in_doubt():
    with a_ca() as ca, enrolment(ca, password="wrong") as client:
        with pytest.raises(NotReached) as refused:
            client.request(ca.name, CSR, WEB_SERVER, within())
        assert (refused.value.layer, refused.value.code) == ("rpc", 5)
        assert client._identity.forgotten == 1
        assert not ca.requests


def test_a_service_that_stopped_was_not_reached():
    with a_ca() as ca, enrolment(ca, port=0) as client:
        assert client.probe(ca.name, within()) == 0x80094004
        ca.down("not-registered")
        with pytest.raises(NotReached, match="not registered") as stopped:
            client.request(ca.name, CSR, WEB_SERVER, within())
        assert (stopped.value.layer, stopped.value.code) == ("mapper", 0x16C9A0D6)
        ca.down()
        with pytest.raises(NotReached, match="Connection refused") as gone:
            client.request(ca.name, CSR, WEB_SERVER, within())
        assert gone.value.layer == "connect"
        ca.up()
        assert client.request(ca.name, CSR, WEB_SERVER, within()).disposition == 3


def test_a_name_that_does_not_exist_was_not_reached():
    with a_ca() as ca, enrolment(ca, host="ca.does-not-exist.invalid") as client:
        with pytest.raises(NotReached) as unknown:
            client.probe(ca.name, within())
        assert unknown.value.layer == "dns"


def test_a_host_that_says_nothing_costs_its_time_and_no_more():
    with (
        a_ca() as ca,
        socket.create_server(("127.0.0.1", 0)) as mute,
        enrolment(ca, port=mute.getsockname()[1], connect_timeout=0.2) as client,
        pytest.raises(NotReached, match=r"no answer within 0\.2 s"),
    ):
        client.request(ca.name, CSR, WEB_SERVER, within())


def test_a_submission_that_the_network_does_not_take_was_not_executed():
    """The line stalls in the middle of it: the last packet never leaves."""
    stalled = threading.Event()

    def replies(_number, packet):
        stalled.set()
        return packet

    with a_ca() as ca, man_in_the_middle(ca.port, replies, stall=stalled) as middle:
        with (
            enrolment(ca, port=middle.port) as client,
            pytest.raises(NotReached),
        ):
            client.request(ca.name, bytes(32 << 20), WEB_SERVER, within(2))
        assert not ca.requests


def test_nothing_crosses_after_it_was_given_up():
    crossing = Crossing()
    assert not crossing.close()
    with pytest.raises(Late, match="nobody waits"):
        crossing.cross()
    assert not crossing.crossed


def test_what_has_crossed_is_known_to_whoever_gives_up():
    crossing = Crossing()
    crossing.cross()
    assert crossing.close()
    crossing = Crossing()
    crossing.cross()
    crossing.go_back()
    assert not crossing.close()

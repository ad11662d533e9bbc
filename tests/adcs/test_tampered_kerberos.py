"""By Kerberos as by NTLM: whoever sits on the line can keep an answer from coming, nothing else.

impacket took an answer that nobody had protected, and a connection that was recorded and played
again. These stay, for whatever it becomes.
"""

import contextlib
import socket
import struct
import threading

import pytest

from certeasy.ca.adcs.errors import AnswerLost, NotReached
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.transport import Target
from tests.adcs.test_tampered_replies import flipped, unprotected, with_field, without_verifier
from tests.fakes.kerberos_acceptor import Ticketed, a_ca_with_tickets, a_ticket, an_error
from tests.fakes.man_in_the_middle import man_in_the_middle
from tests.make.csrs import a_csr
from tests.make.enrolment import WEB_SERVER, within

CSR = a_csr("web.lab.test")
LONG = a_csr(*(f"host-{number:03}.lab.test" for number in range(300)))
VERIFIER, TRAILER = 60, 8

CHANGES = {
    "no protection": unprotected,
    "no verifier": without_verifier,
    "a bit of what is sealed": lambda packet: flipped(packet, 24),
    "the last bit of what is sealed": lambda packet: flipped(packet, -VERIFIER - TRAILER - 1),
    "the number in the seal": lambda packet: flipped(packet, -VERIFIER + 15),
    "the rotation": lambda packet: flipped(packet, -VERIFIER + 7),
    "a bit of the seal": lambda packet: flipped(packet, -1),
    "half of the seal": lambda packet: with_field(
        with_field(packet[:-30], 8, "<H", len(packet) - 30), 10, "<H", 30
    ),
    "more padding than there is answer": lambda packet: with_field(
        packet, len(packet) - VERIFIER - TRAILER + 2, "<B", 255
    ),
    "the level": lambda packet: with_field(packet, len(packet) - VERIFIER - 7, "<B", 5),
    "another call": lambda packet: with_field(packet, 12, "<I", 1),
    "a fault": lambda packet: unprotected(packet, struct.pack("<II", 5, 0), 3),
    "the line": lambda _: None,
}


def client_of(ca, who, port=None):
    target = Target("ca1.lab.test", address=ca.host, transport="tcp", port=port or ca.port)
    return contextlib.closing(Enrolment(target, who))


@pytest.mark.parametrize("csr", [CSR, LONG], ids=["short", "long"])
def test_certificates_are_issued_to_whoever_has_the_ticket(csr):
    with a_ca_with_tickets() as (ca, who), client_of(ca, who) as client:
        for number in (1, 2, 3):
            reply = client.request(ca.name, csr, WEB_SERVER, within())
            assert (reply.request_id, reply.certificate) == (number, ca.issued[-1])
        assert ca.requests[0].requester == "svc@LAB.TEST"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_answer_to_a_submission_is_no_answer(change):
    def replies(number, packet):
        return change(packet) if number == 2 else packet  # 1 is of the proof

    with (
        a_ca_with_tickets() as (ca, who),
        man_in_the_middle(ca.port, replies) as middle,
        client_of(ca, who, middle.port) as client,
    ):
        with pytest.raises(AnswerLost):
            client.request(ca.name, CSR, WEB_SERVER, within())
        assert len(ca.issued) == 1


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_nothing_is_submitted_where_the_first_answer_was_changed(change):
    with (
        a_ca_with_tickets() as (ca, who),
        man_in_the_middle(ca.port, lambda _, packet: change(packet)) as middle,
        client_of(ca, who, middle.port) as client,
    ):
        with pytest.raises(NotReached):
            client.request(ca.name, CSR, WEB_SERVER, within())
        assert who.forgotten == [("host", "ca1.lab.test")]
        assert not ca.requests


def test_an_answer_is_good_once():
    kept = []

    def replies(number, packet):
        kept.append(packet)
        if number < 3:
            return packet
        return with_field(kept[1], 12, "<I", struct.unpack_from("<I", packet, 12)[0])

    with (
        a_ca_with_tickets() as (ca, who),
        man_in_the_middle(ca.port, replies) as middle,
        client_of(ca, who, middle.port) as client,
    ):
        client.request(ca.name, CSR, WEB_SERVER, within())
        with pytest.raises(AnswerLost, match="next one"):
            client.request(ca.name, CSR, WEB_SERVER, within())


def test_a_recorded_connection_is_not_played_again():
    """With the same ticket, a server's whole side of a connection could be: keys and answers."""
    with a_ca_with_tickets() as (ca, who):
        with man_in_the_middle(ca.port) as middle, client_of(ca, who, middle.port) as client:
            client.request(ca.name, CSR, WEB_SERVER, within())
        with (
            played(middle.answers) as port,
            client_of(ca, who, port) as client,
            pytest.raises(NotReached, match="another connection"),
        ):
            client.request(ca.name, CSR, WEB_SERVER, within())


@contextlib.contextmanager
def played(packets):
    """Answer whatever comes with what was recorded."""
    server = socket.create_server(("127.0.0.1", 0))

    def play():
        with contextlib.suppress(OSError):
            client, _ = server.accept()
            with client:
                for packet in packets:
                    client.recv(1 << 16)
                    client.sendall(packet)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.close()
    thread.join(10)


def test_a_server_that_has_another_key_was_not_reached():
    with (
        a_ca_with_tickets() as (ca, _),
        client_of(ca, Ticketed(a_ticket())) as client,
        pytest.raises(NotReached),
    ):
        client.request(ca.name, CSR, WEB_SERVER, within())


def test_a_ticket_that_the_server_refuses_is_not_shown_again():
    """The reason is told; the next try has a new ticket."""

    def with_error(packet):
        refusal = an_error(37)
        head = packet[: packet.index(b"\xa1", 60) - 8]
        whole = bytearray(head + packet[len(head) : len(head) + 8] + refusal)
        struct.pack_into("<HH", whole, 8, len(whole), len(refusal))
        return bytes(whole)

    with (
        a_ca_with_tickets() as (ca, who),
        man_in_the_middle(ca.port, bindings=with_error) as middle,
        client_of(ca, who, middle.port) as client,
    ):
        with pytest.raises(NotAuthenticated, match="NTP") as refused:
            client.request(ca.name, CSR, WEB_SERVER, within())
        assert refused.value.code == "KRB_AP_ERR_SKEW"
        assert who.forgotten == [("host", "ca1.lab.test")]

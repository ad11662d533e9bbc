"""Connections are kept, and none of them is used twice at once, too long, or after a failure."""

import threading

import pytest
from cryptography import x509

from certeasy.ca.adcs.connections import MOST_AGE, MOST_IDLE
from certeasy.ca.adcs.errors import AnswerLost, NotReached
from certeasy.ca.adcs.icpr import STAYS_PROVEN
from tests.fakes.clocks import MovedClock
from tests.fakes.man_in_the_middle import man_in_the_middle
from tests.make.adcs import a_ca
from tests.make.csrs import a_csr
from tests.make.enrolment import WEB_SERVER, enrolment, within

CSR = a_csr("web.lab.test")


def test_one_connection_serves_many_orders():
    with a_ca() as ca, man_in_the_middle(ca.port) as middle:
        with enrolment(ca, port=middle.port) as client:
            for number in range(1, 6):
                assert client.request(ca.name, CSR, WEB_SERVER, within()).request_id == number
        assert middle.connections == 1


@pytest.mark.parametrize(("passes", "opened"), [(MOST_IDLE - 1, 1), (MOST_IDLE + 1, 2)])
def test_one_that_was_idle_for_a_minute_is_not_used_again(passes, opened):
    clock = MovedClock()
    with a_ca() as ca, man_in_the_middle(ca.port) as middle:
        with enrolment(ca, port=middle.port, clock=clock) as client:
            client.probe(ca.name, within())
            clock.pass_by(passes)
            client.probe(ca.name, within())
        assert middle.connections == opened


def test_one_that_is_ten_minutes_old_is_not_used_again():
    clock = MovedClock()
    with a_ca() as ca, man_in_the_middle(ca.port) as middle:
        with enrolment(ca, port=middle.port, clock=clock) as client:
            for _ in range(MOST_AGE // (MOST_IDLE - 10) + 1):
                client.probe(ca.name, within())
                clock.pass_by(MOST_IDLE - 10)
        assert middle.connections == 2


def test_one_that_the_ca_has_closed_is_not_used_again():
    """A certificate service that was restarted puts no order in doubt."""
    with a_ca() as ca, enrolment(ca) as client:
        client.request(ca.name, CSR, WEB_SERVER, within())
        ca.drop()
        client.request(ca.name, CSR, WEB_SERVER, within())
        assert len(ca.issued) == 2


def test_one_that_a_firewall_has_forgotten_carries_no_submission():
    """It is asked first, says nothing, and another one is opened."""
    clock, forgotten = MovedClock(), threading.Event()
    with a_ca() as ca, man_in_the_middle(ca.port, stall_first=forgotten) as middle:
        with enrolment(ca, port=middle.port, clock=clock, connect_timeout=2) as client:
            client.request(ca.name, CSR, WEB_SERVER, within())
            forgotten.set()
            clock.pass_by(STAYS_PROVEN + 1)
            client.request(ca.name, CSR, WEB_SERVER, within())
        assert len(ca.issued) == 2
        assert middle.connections == 2


def test_many_threads_have_as_many_connections_and_each_its_own_certificate():
    wrong, errors = [], []
    csrs = [a_csr(f"host-{number}.lab.test") for number in range(8)]

    def orders(client, ca, csr):
        asked = x509.load_der_x509_csr(csr).public_key()
        try:
            for _ in range(6):
                reply = client.request(ca.name, csr, WEB_SERVER, within())
                if x509.load_der_x509_certificate(reply.certificate).public_key() != asked:
                    wrong.append(reply.request_id)
        except (NotReached, AnswerLost) as error:
            errors.append(error)

    with a_ca() as ca, man_in_the_middle(ca.port) as middle:
        with enrolment(ca, port=middle.port, connections=3) as client:
            threads = [threading.Thread(target=orders, args=(client, ca, csr)) for csr in csrs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert (wrong, errors, len(ca.issued)) == ([], [], 48)
        assert middle.connections <= 3


def test_who_finds_none_free_was_not_served():
    begun, go_on = threading.Event(), threading.Event()

    def replies(number, packet):
        if number == 2:
            begun.set()
            go_on.wait()
        return packet

    with (
        a_ca() as ca,
        man_in_the_middle(ca.port, replies) as middle,
        enrolment(ca, port=middle.port, connections=1) as client,
    ):
        first = threading.Thread(target=client.request, args=(ca.name, CSR, WEB_SERVER, within()))
        first.start()
        begun.wait()
        with pytest.raises(NotReached):
            client.request(ca.name, CSR, WEB_SERVER, within(0.2))
        go_on.set()
        first.join()
        assert client.request(ca.name, CSR, WEB_SERVER, within()).disposition == 3


def test_after_the_end_nothing_is_opened():
    with a_ca() as ca:
        with enrolment(ca) as client:
            client.probe(ca.name, within())
        with pytest.raises(NotReached, match="shutting down"):
            client.probe(ca.name, within())


def test_nothing_of_an_order_stays_on_a_connection():
    """The template of the one before is not the template of the next."""
    with a_ca() as ca, enrolment(ca) as client:
        client.request(ca.name, CSR, WEB_SERVER | {"CerteasyOrder": "ord-1"}, within())
        assert client.request(ca.name, CSR, {}, within()).disposition == 0x80094801
        assert ca.requests[1].attributes == {}

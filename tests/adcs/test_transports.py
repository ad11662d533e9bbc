"""A CA is reached by TCP, or by its pipe where TCP leads nowhere."""

import socket

import pytest

from certeasy.ca.adcs import dialing
from certeasy.ca.adcs.errors import NotReached
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.transport import Target
from tests.fakes.clocks import MovedClock
from tests.fakes.man_in_the_middle import man_in_the_middle
from tests.fakes.pipe_server import pipe_server
from tests.make.adcs import a_ca
from tests.make.csrs import a_csr
from tests.make.enrolment import WEB_SERVER, known_to, within
from tools.adcs_sim.ntlm import nt_hash

CSR = a_csr("web.lab.test")


@pytest.fixture
def ca():
    with a_ca() as ca:
        yield ca


@pytest.fixture
def pipe(ca):
    with pipe_server(ca.port, ca.user, nt_hash(ca.password)) as pipe:
        yield pipe


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def client_of(ca, password="", clock=None, **target):
    return Enrolment(Target(ca.host, **target), known_to(ca, password), clock=clock)


def test_by_the_port_that_the_mapper_tells(ca):
    client = client_of(ca, transport="tcp", mapper_port=ca.mapper_port)
    assert client.request(ca.name, CSR, WEB_SERVER, within()).disposition == 3
    client.close()


def test_by_a_fixed_port_nobody_asks_the_mapper(ca, closed_port):
    client = client_of(ca, transport="tcp", port=ca.port, mapper_port=closed_port)
    assert client.request(ca.name, CSR, WEB_SERVER, within()).disposition == 3
    client.close()


def test_by_its_pipe_and_the_connection_is_kept(ca):
    with man_in_the_middle(ca.port) as middle:
        with pipe_server(middle.port, ca.user, nt_hash(ca.password)) as pipe:
            client = client_of(ca, transport="np", smb_port=pipe.port)
            for number in (1, 2, 3):
                assert client.request(ca.name, CSR, WEB_SERVER, within()).request_id == number
            client.close()
        assert middle.connections == 1


def test_what_is_sealed_is_sealed_in_the_pipe_too(ca):
    """Nothing of a request can be read by a file server that it passes through."""
    with man_in_the_middle(ca.port) as middle:
        with pipe_server(middle.port, ca.user, nt_hash(ca.password)) as pipe:
            client = client_of(ca, transport="np", smb_port=pipe.port)
            client.request(ca.name, CSR, WEB_SERVER, within())
            client.close()
        assert not any(CSR[:32] in packet for packet in middle.requests)


def test_a_pipe_that_is_not_there_and_a_password_that_is_wrong_are_told(ca, pipe):
    client = client_of(ca, "wrong", transport="np", smb_port=pipe.port)
    with pytest.raises(NotReached, match="LOGON_FAILURE") as refused:
        client.request(ca.name, CSR, WEB_SERVER, within())
    assert (refused.value.layer, refused.value.code) == ("smb", 0xC000006D)
    client.close()


def test_by_its_pipe_where_tcp_leads_nowhere(ca, pipe, closed_port):
    client = client_of(ca, mapper_port=closed_port, smb_port=pipe.port)
    assert client.request(ca.name, CSR, WEB_SERVER, within()).disposition == 3
    client.close()


def test_by_its_pipe_where_the_interface_is_not_registered(ca, pipe):
    ca.machine._ports.clear()
    client = client_of(ca, mapper_port=ca.mapper_port, smb_port=pipe.port)
    assert client.request(ca.name, CSR, WEB_SERVER, within()).disposition == 3
    client.close()


def test_who_was_refused_by_tcp_does_not_try_the_pipe(ca, closed_port):
    """Each try counts towards the lock-out of the account."""
    client = client_of(ca, "wrong", mapper_port=ca.mapper_port, smb_port=closed_port)
    with pytest.raises(NotReached) as refused:
        client.request(ca.name, CSR, WEB_SERVER, within())
    assert refused.value.layer == "rpc"
    client.close()


def test_where_neither_leads_anywhere_both_are_told(ca, closed_port):
    client = client_of(ca, mapper_port=closed_port, smb_port=closed_port)
    with pytest.raises(NotReached, match="by the other way") as nowhere:
        client.request(ca.name, CSR, WEB_SERVER, within())
    assert str(nowhere.value).count("Connection refused") == 2
    client.close()


def test_the_way_that_worked_is_tried_first_for_a_while(ca, pipe):
    """A firewall that swallows packets costs its time once in ten minutes."""
    clock = MovedClock()
    with man_in_the_middle(ca.mapper_port) as mapper:
        ca.machine._ports.clear()
        client = client_of(ca, clock=clock, mapper_port=mapper.port, smb_port=pipe.port)
        for _ in range(3):
            client.probe(ca.name, within())
            clock.pass_by(61)
        assert mapper.connections == 1
        clock.pass_by(dialing.REMEMBERED)
        client.probe(ca.name, within())
        assert mapper.connections == 2
        client.close()


def test_a_mapper_that_sends_elsewhere_leads_to_no_submission(ca):
    """Nobody protects what it says; whoever it leads to cannot prove to be the CA."""
    with a_ca(accounts={"svc-acme": "another"}) as other:
        client = client_of(ca, transport="tcp", mapper_port=other.mapper_port)
        with pytest.raises(NotReached):
            client.request(ca.name, CSR, WEB_SERVER, within())
        client.close()
        assert not other.requests

"""Whatever a client sends to the simulator, only that client notices."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.clock import SystemClock
from tests.fakes.clocks import HeldClock
from tests.make.adcs import a_ca
from tests.make.adcs_client import Client
from tests.make.csrs import a_csr
from tests.make.golden_bytes import golden
from tools.adcs_sim import dcom, icpr, mapper, pdu
from tools.adcs_sim.ca import Ca
from tools.adcs_sim.connection import Caller, Connection, Endpoint, Fault
from tools.adcs_sim.ndr import BadStub
from tools.adcs_sim.ntlm import NtlmAcceptor, Server, nt_hash
from tools.adcs_sim.security import NotAuthenticated
from tools.adcs_sim.spnego import SpnegoAcceptor

SOMEBODY = Caller("LAB\\svc-acme", 6, "tcp")
SERVER = Server("Domain", "Server", "domain.test", {"user": nt_hash("Password")})


def ntlm() -> NtlmAcceptor:
    return NtlmAcceptor(SERVER, SystemClock(), bytes)


def acceptor(kind):
    return SpnegoAcceptor(lambda _: ntlm()) if kind == 9 else ntlm()


@st.composite
def bent(draw, name):
    """Golden bytes, with a few of them changed, some cut off, or some put behind."""
    data = bytearray(golden(name))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=4))


@given(st.lists(st.one_of(st.binary(max_size=200), bent("bind")), max_size=4))
def test_any_messages_are_answered_or_hung_up_on(messages):
    passage = icpr.CertPassage(Ca("LAB-CA", HeldClock()))
    connection = Connection(Endpoint({icpr.ICERT_PASSAGE: passage}, acceptor, "135"), 1)
    for message in messages:
        try:
            connection.receive(message)
        except BadStub:
            return


@given(bent("bind"), st.sampled_from((9, 10)))
def test_any_token_is_taken_or_refused(message, kind):
    accepting = acceptor(kind)
    for token in (message, message[116:], golden("ntlm-authenticate")):
        try:
            accepting.step(token)
        except NotAuthenticated:
            return


@given(
    st.one_of(
        *(
            st.tuples(st.just(name), bent(name))
            for name in ("icpr-submission", "ept-map", "dcom-activation")
        )
    )
)
def test_any_stub_is_answered_or_faulted(call):
    name, stub = call
    objects = dcom.Objects(bytes, {})
    interface, opnum = {
        "icpr-submission": (icpr.CertPassage(Ca("LAB-CA", HeldClock())), 0),
        "ept-map": (mapper.EndpointMapper({}, "127.0.0.1"), 3),
        "dcom-activation": (dcom.Activator(objects), 4),
    }[name]
    try:
        interface.call(SOMEBODY, opnum, stub)
    except (BadStub, Fault):
        return


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\5\0\v\3\x10\0\0\0\x0f\0\0\0\1\0\0\0",
        b"\5\0\v\3\x10\0\0\0\xff\xff\0\0\1\0\0\0" + bytes(70000),
        b"\5\0\v\3\x10\0\0\0\x20\0\xff\xff\1\0\0\0",
        b"\5\0",
        pdu.message(pdu.REQUEST, 1, struct.pack("<IHH", 0, 0, 0)),
        pdu.message(pdu.AUTH3, 1, bytes(4)),
        pdu.message(pdu.BIND, 1, b"\0" * 8 + b"\xff" + bytes(200)),
    ],
    ids=lambda sent: repr(sent[:12]),
)
def test_a_bad_client_takes_nothing_down(sent):
    with a_ca() as ca:
        for port in (ca.mapper_port, ca.port, ca.machine.objects_port):
            with socket.create_connection((ca.host, port), 10) as bad:
                try:
                    bad.sendall(sent)
                    bad.shutdown(socket.SHUT_WR)
                    while bad.recv(65536):
                        pass
                except OSError:
                    pass
        with Client(ca) as client:
            csr = a_csr("web.lab.test")
            assert client.enrol(csr, "CertificateTemplate:WebServer").disposition == 3


def test_a_call_is_not_collected_without_end():
    passage = icpr.CertPassage(Ca("LAB-CA", HeldClock()), private=False)
    connection = Connection(Endpoint({icpr.ICERT_PASSAGE: passage}, acceptor, "135"), 1)
    connection.receive(golden("bind")[:8] + b"\x74\0\0\0" + golden("bind")[12:116])
    body = struct.pack("<IHH", 0, 0, 0) + bytes(60000)
    flags = pdu.FIRST

    def send_without_end() -> None:
        nonlocal flags
        while True:
            assert connection.receive(pdu.message(pdu.REQUEST, 2, body, flags=flags)) == []
            flags = 0

    with pytest.raises(BadStub, match="too long"):
        send_without_end()

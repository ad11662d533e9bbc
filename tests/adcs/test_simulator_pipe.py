r"""\pipe\cert as smbd hands it over, and SPNEGO as Windows frames what authenticates."""

import contextlib
import socket
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from certeasy.clock import SystemClock
from tests.make.adcs import a_ca
from tests.make.golden_bytes import golden
from tools.adcs_sim import pdu, spnego
from tools.adcs_sim.ntlm import NtlmAcceptor, Server, nt_hash
from tools.adcs_sim.pipe import greeting
from tools.adcs_sim.security import NotAuthenticated

SERVER = Server("Domain", "Server", "domain.test", {"user": nt_hash("Password")})


def framed(message: bytes) -> bytes:
    return struct.pack("<H", len(message)) + message


@pytest.fixture
def pipe():
    # A path of a Unix socket is short, and pytest's folders are not.
    with (
        TemporaryDirectory() as folder,
        a_ca(pipe=Path(folder, "cert")) as ca,
        socket.socket(socket.AF_UNIX) as smbd,
    ):
        smbd.settimeout(10)
        smbd.connect(str(ca.machine.plan.pipe))
        yield smbd


def test_smbd_is_answered_in_the_level_that_it_speaks():
    told = "4e50414d 07000000 07000000 0200ff05 00000000 0010000000000000 00000000"
    assert greeting(7) == bytes.fromhex("00000020" + told)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_message_passes_through_the_pipe_in_one_frame_or_two(pipe, parts):
    introduction = b"NPAM" + struct.pack("<I", 7) + bytes(100)
    pipe.sendall(struct.pack(">I", len(introduction)) + introduction)
    assert pipe.recv(len(greeting(7)), socket.MSG_WAITALL) == greeting(7)
    bind = golden("bind")
    middle = len(bind) // parts
    pieces = [bind[at : at + middle] for at in range(0, len(bind), middle)]
    pipe.sendall(b"".join(framed(piece) for piece in pieces))
    (length,) = struct.unpack("<H", pipe.recv(2, socket.MSG_WAITALL))
    answer = pdu.parse(pipe.recv(length, socket.MSG_WAITALL))
    assert answer.kind == pdu.BIND_ACK
    assert b"\\PIPE\\cert\0" in answer.body


@pytest.mark.parametrize("sent", [b"SMBX" * 4, struct.pack(">I", 8) + b"NOPE" + bytes(4), b"\0"])
def test_who_is_no_smbd_is_hung_up_on(pipe, sent):
    with contextlib.suppress(ConnectionResetError):
        pipe.sendall(sent)
        pipe.shutdown(socket.SHUT_WR)
        assert pipe.recv(1) == b""


def offer(*mechanisms: bytes, token: bytes = b"") -> bytes:
    offered = b"".join(spnego.der(0x06, one) for one in mechanisms)
    told = spnego.der(0xA0, spnego.der(0x30, offered))
    if token:
        told += spnego.der(0xA2, spnego.der(0x04, token))
    inner = spnego.der(0xA0, spnego.der(0x30, told))
    return spnego.der(0x60, spnego.der(0x06, spnego.SPNEGO) + inner)


def reply(token: bytes) -> bytes:
    return spnego.der(0xA1, spnego.der(0x30, spnego.der(0xA2, spnego.der(0x04, token))))


def negotiating() -> spnego.SpnegoAcceptor:
    challenge = bytes.fromhex("0123456789abcdef")

    def mechanism(name):
        ntlm = NtlmAcceptor(SERVER, SystemClock(), lambda _: challenge)
        return ntlm if name == spnego.NTLM else None

    return spnego.SpnegoAcceptor(mechanism)


@pytest.mark.parametrize("first", [True, False])
def test_ntlm_is_negotiated_whether_it_comes_first_or_not(first):
    accepting = negotiating()
    negotiate = pdu.parse(golden("bind")).token
    if first:
        answer = accepting.step(offer(spnego.NTLM, spnego.KERBEROS, token=negotiate))
    else:
        chosen = accepting.step(offer(spnego.KERBEROS, spnego.NTLM, token=b"of Kerberos"))
        assert spnego.NTLM in chosen
        answer = accepting.step(reply(negotiate))
    assert b"NTLMSSP\0\2" in answer
    done = accepting.step(reply(golden("ntlm-authenticate")))
    assert accepting.user == "Domain\\User"
    assert done == bytes.fromhex("a1073005a0030a0100")


def test_a_client_without_a_mechanism_of_ours_is_refused():
    with pytest.raises(NotAuthenticated, match="none of the mechanisms"):
        negotiating().step(offer(spnego.KERBEROS, token=b"token"))

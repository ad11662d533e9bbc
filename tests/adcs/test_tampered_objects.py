"""Whoever sits on the line to a CA's objects can keep an answer from coming, and nothing else."""

import struct

import pytest

from certeasy.ca.adcs import csra, dcom, wcce
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import AnswerLost, NotReached
from certeasy.ca.adcs.identity import NtlmIdentity
from certeasy.ca.adcs.transport import Target
from tests.fakes.man_in_the_middle import man_in_the_middle
from tests.make.acme_server import free_port
from tests.make.adcs import DOMAIN, PASSWORD, USER, a_ca


def flipped(packet, at):
    return packet[:at] + bytes((packet[at] ^ 1,)) + packet[at + 1 :]


ALL_IS_WELL = struct.pack("<3I", 0, 0, 0)
"""What a method without results returns when it has succeeded: no extensions, and 0."""


def unprotected(packet):
    head = bytearray(packet[:24])
    struct.pack_into("<HH", head, 8, 24 + len(ALL_IS_WELL), 0)
    head[3] = 3  # the first fragment, and the last
    return bytes(head) + ALL_IS_WELL


CHANGES = {
    "a bit of what is sealed": lambda packet: flipped(packet, 24),
    "a bit of the signature": lambda packet: flipped(packet, len(packet) - 12),
    "no protection": unprotected,
    "no answer": lambda _packet: None,
}


class Through(dcom.Objects):
    """Makes objects, and calls them through somebody on the line."""

    def __init__(self, ca, folder, *, mapper_port, objects_port):
        file = folder / "password"
        file.touch(mode=0o600)
        file.write_text(PASSWORD)
        target = Target(ca.host, mapper_port=mapper_port, connect_timeout=5)
        super().__init__(target, NtlmIdentity(USER, DOMAIN, file))
        self._redirected = (ca.machine.plan.objects_port, objects_port)

    def _wire(self, port, limit):
        told, instead = self._redirected
        return super()._wire(instead if port == told else port, limit)


@pytest.fixture
def ca():
    with a_ca(objects_port=free_port()) as running:
        yield running


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_else_can_answer_for_an_object(ca, tmp_path, change):
    with man_in_the_middle(
        ca.machine.plan.objects_port, lambda _number, packet: change(packet)
    ) as middle:
        objects = Through(ca, tmp_path, mapper_port=ca.mapper_port, objects_port=middle.port)
        with pytest.raises(NotReached):
            wcce.ping(objects, ca.name, Deadline(10))
        with pytest.raises(NotReached):
            wcce.certificates(objects, ca.name, Deadline(10))
        with pytest.raises(AnswerLost):
            csra.revoke(objects, ca.name, "01", 1, Deadline(10))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_else_can_say_where_an_object_is(ca, tmp_path, change):
    with man_in_the_middle(ca.mapper_port, lambda _number, packet: change(packet)) as middle:
        port = ca.machine.plan.objects_port
        objects = Through(ca, tmp_path, mapper_port=middle.port, objects_port=port)
        with pytest.raises(NotReached):
            csra.revoke(objects, ca.name, "01", 1, Deadline(10))


def test_through_somebody_who_changes_nothing_it_works(ca, tmp_path):
    with man_in_the_middle(ca.machine.plan.objects_port, lambda _number, packet: packet) as middle:
        objects = Through(ca, tmp_path, mapper_port=ca.mapper_port, objects_port=middle.port)
        wcce.ping(objects, ca.name, Deadline(10))
        assert len(middle.answers) == 2  # to the binding, and to the call

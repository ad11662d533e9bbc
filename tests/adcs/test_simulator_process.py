"""The simulator as a program: commands by a line, and nothing forgotten when it is killed."""

import subprocess
import sys

import msgspec
import pytest

from tests.make.adcs import a_ca, a_ca_process
from tests.make.adcs_client import Client
from tests.make.csrs import a_csr
from tools.adcs_sim import control
from tools.adcs_sim.behaviour import cuts, denies, pends
from tools.adcs_sim.ca import Template

CSR = a_csr("web.lab.test")
WEB_SERVER = "CertificateTemplate:WebServer"


def test_what_was_issued_is_known_after_a_kill(tmp_path):
    with a_ca_process(tmp_path / "ca") as ca:
        ca.once(cuts(at=0))
        with Client(ca) as client, pytest.raises(Exception):  # noqa: B017, PT011 - of impacket
            client.enrol(CSR, WEB_SERVER)
        (issued,) = ca.issued
        roots = ca.roots
        ca.kill()
        ca.start()
        assert (ca.issued, ca.roots) == ([issued], roots)
        with Client(ca) as client:
            assert client.retrieve(1).certificate == issued


def test_a_process_is_told_what_to_do_by_a_line(tmp_path):
    with a_ca_process(tmp_path / "ca") as ca, Client(ca) as client:
        ca.behaves("WebServer", denies(0x80094012))
        assert client.enrol(CSR, WEB_SERVER).disposition == 0x80094012
        ca.ask(control.Offer(template=Template(name="Manual", behaviour=pends())))
        numbers = [client.enrol(CSR, "CertificateTemplate:Manual").request_id for _ in range(2)]
        ca.approve(numbers[0])
        ca.deny(numbers[1])
        assert [client.retrieve(number).disposition for number in numbers] == [3, 2]
        assert [one.state for one in ca.requests] == ["denied", "issued", "denied"]
        with pytest.raises(control.ControlFailed, match="0x80094004"):
            ca.approve(99)
        ca.ask(control.Away())
        with pytest.raises(Exception, match="Could not connect"):
            Client(ca)
        ca.ask(control.Back())
        with Client(ca) as again:
            assert again.retrieve(numbers[0]).disposition == 3


def test_what_it_was_told_of_the_next_requests_is_forgotten_on_request(tmp_path):
    with a_ca_process(tmp_path / "ca") as ca, Client(ca) as client:
        ca.once(denies(0x80094012), denies(0x80094012))
        assert client.enrol(CSR, WEB_SERVER).disposition == 0x80094012
        ca.ask(control.Forget())
        assert client.enrol(CSR, WEB_SERVER).disposition == 3


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"nonsense", b'{"do": "fly"}', b'{"do": "once", "ca": "X"}'], ids=repr
)
def test_a_line_that_is_no_command_is_told_so(line):
    with a_ca() as ca:
        listening = control.Control([ca.machine])
        answer = msgspec.json.decode(listening.answer(line))
        listening.close()
        assert answer["error"]


def test_several_cas_run_in_one_process():
    command = [sys.executable, "-m", "tools.adcs_sim", "--json", "--control", "0"]
    command += ["--name", "One", "--name", "Other"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout:
        told = msgspec.json.decode(process.stdout.readline())
    assert [one["name"] for one in told["cas"]] == ["One", "Other"]
    assert len({one["mapper_port"] for one in told["cas"]}) == 2
    with pytest.raises(control.ControlFailed, match="which CA: One, Other"):
        control.ask(told["control"], control.Requests())
    assert control.ask(told["control"], control.Requests("Other")) == []
    control.ask(told["control"], control.Stop())
    assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--address", "0.0.0.0"], "--anywhere"),  # noqa: S104 - it is refused
        (["--user", "somebody"], "NAME:PASSWORD"),
        (["--template", "A=fly:1"], "unknown field `fly`"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_told(arguments, why):
    command = [sys.executable, "-m", "tools.adcs_sim", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, why in ended.stderr) == (2, True)

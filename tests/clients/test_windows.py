r"""Windows, as far as Debian's wine is it: official Windows binaries of Python and of every package
that has some, wine's own DLLs below them. What of it is Windows' own was not run: docs/adcs.md.
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate
from tests.make.acme_library import connect, obtain, register
from tests.make.acme_server import AcmeServer, free_port
from tests.make.adcs import LabCa
from tests.make.certeasy_server import configured
from tests.make.csrs import a_csr
from tests.make.samba import CA_AT, SambaDomain, samba_domain
from tests.make.waiting import soon
from tests.make.wine import Windows, windows
from tools.adcs_sim.machine import Machine, Plan

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    with windows(tmp_path_factory.mktemp("windows")) as machine:
        yield machine


EVERY_MODULE = """\
import importlib, pkgutil, sys, certeasy
unix = {"certeasy.admin.unix_socket"}
extra = {"certeasy.cli.demo_client", "certeasy.cli.demo_story"}
names = [each.name for each in pkgutil.walk_packages(certeasy.__path__, "certeasy.")]
for name in set(names) - unix - extra - {"certeasy.__main__"}:
    importlib.import_module(name)
print("certeasy.ca.adcs.sspi" in sys.modules, "certeasy.admin.named_pipe" in sys.modules)
"""


def test_every_part_of_the_server_is_imported_there(machine: Windows):
    assert machine.python("-c", EVERY_MODULE) == "True True\n"


def test_a_server_serves_there_and_its_journal_is_proven_here_and_there(
    machine: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with configured(tmp_path, free_port(), seen=machine.path) as server:
        where = machine.path(tmp_path / "config.yml")
        for _ in range(2):  # the second time it goes on with what the first has left
            with machine.running("serve", "-f", where) as program:
                soon(lambda: "serves https" in program.said, 120)
                a_certificate_from(server, monkeypatch)
                refused = machine.certeasy("serve", "-f", where, ends_with=(1,))
                assert "another process is using the workdir" in refused
                assert "kid" in machine.certeasy("eab", "create", "-f", where, "--json")
            assert "stopping: SIGBREAK" in program.said
        machine.certeasy("audit", "verify", "-f", where)
        machine.certeasy("projections", "check", "-f", where)


def test_a_service_is_installed_issues_a_certificate_and_is_removed(
    machine: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with configured(tmp_path, free_port(), seen=machine.path) as server:
        file = tmp_path / "config.yml"
        where = machine.path(file)

        def service(*words: str, ends_with: int = 0) -> str:
            return machine.certeasy("service", *words, ends_with=(ends_with,))

        assert "it is not installed" in service("status", ends_with=1)
        gmsa = service("install", "-f", where, "--account", r"CORP\gmsa-acme$", ends_with=1)
        assert r"there is no account CORP\gmsa-acme$" in gmsa  # here; and no password was asked for
        told = service("install", "-f", where)
        assert "installed: Certeasy ACME server, as NT SERVICE\\certeasy" in told
        assert f"to read {machine.path(tmp_path / 'tls.key')}" in told
        assert "it is installed already" in service("install", "-f", where, ends_with=1)
        assert service("status", ends_with=1) == "stopped\n"
        right = file.read_text()
        file.write_text(right + "colour: red\n")
        assert "ended with code 1" in service("start", ends_with=1)
        file.write_text(right)
        assert service("start") == "running\n"
        assert service("status") == "running\n"
        a_certificate_from(server, monkeypatch)
        assert "kid" in machine.certeasy("eab", "create", "-f", where, "--json")
        doctor = machine.certeasy("doctor", "-f", where)
        assert "work and what is secret are the server's alone" in doctor
        service("reload")
        log = tmp_path / "work/certeasy.log"
        soon(lambda: "the settings were read again" in log.read_text(), 60, told=log)
        assert service("stop") == "stopped\n"
        assert "stopping: the service manager's stop" in log.read_text()
        assert "stopped after" in log.read_text()
        assert service("remove") == "removed\n"
        assert "it is not installed" in service("status", ends_with=1)
        service("install", "-f", where)  # once more, on what the former one has left
        assert service("remove") == "removed\n"
        machine.certeasy("audit", "verify", "-f", where)


LISTS = """\
import sys
from pathlib import Path
from certeasy.cluster.files import openness, private_folder, writable_by_others
for each in map(Path, sys.argv[1:]):
    print(openness(each), writable_by_others(each), sep="; ")
made = Path(sys.argv[1]).with_name("made")
private_folder(made)
print(openness(made))
"""


def test_who_else_can_use_a_file_is_read_from_its_access_list(machine: Windows, tmp_path: Path):
    """Wine makes a list of a file's mode, and the other way about."""
    files = {mode: tmp_path / f"{mode:o}" for mode in (0o600, 0o644, 0o666)}
    for mode, file in files.items():
        file.touch()
        file.chmod(mode)
    told = machine.python("-c", LISTS, *map(machine.path, files.values())).splitlines()
    of = {mode: machine.path(file) for mode, file in files.items()}
    assert told == [
        "None; None",
        f"{of[0o644]} can be used by Everyone; None",
        f"{of[0o666]} can be used by Everyone; {of[0o666]} can be changed by Everyone",
        "None",
    ]


EVENTS = """\
import winreg
from certeasy import eventlog, log
log.set_up("info", "json", "eventlog", tags={"site": "north"})
log.logger("tls").info("no entry")
log.logger("main").info("a start")
log.logger("tls").error("a fault at fe80::1%1")
eventlog.register()
with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, eventlog.PLACE) as key:
    print(winreg.QueryValueEx(key, "EventMessageFile")[0])
eventlog.unregister()
eventlog.unregister()
try:
    winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, eventlog.PLACE)
except FileNotFoundError:
    print("gone")
"""


def test_the_event_log_takes_entries_and_knows_their_source(machine: Windows):
    """Wine shows entries as they come, and keeps none."""
    told = machine.python("-c", EVENTS, WINEDEBUG="-all,+eventlog")
    shown = [line for line in told.splitlines() if "site=north" in line]
    assert len(shown) == 2
    assert "main: a start site=north" in shown[0]
    assert "tls: a fault at fe80::1% 1 site=north" in shown[1]
    assert r"%SystemRoot%\System32\EventCreate.exe" in told.splitlines()
    assert "gone" in told.splitlines()


def a_certificate_from(server: AcmeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a client by others obtain one."""
    acme = connect(server, monkeypatch)
    register(acme)
    order, key = obtain(acme, server, server.name("windows"))
    assert_certificate(order.fullchain_pem.encode(), key, [server.name("windows")])


@pytest.fixture(scope="module")
def lab() -> Iterator[SambaDomain]:
    with samba_domain() as lab:
        yield lab


@pytest.fixture
def ca(lab: SambaDomain) -> Iterator[LabCa]:
    plan = Plan(
        name="LAB-CA", address=CA_AT, mapper_port=135, port=49200, objects_port=49201,
        keytab=lab.machine_keytab, pipe=lab.pipe, accounts={},
    )  # fmt: skip
    with lab.inside(lambda: Machine(plan)) as machine:
        yield LabCa(machine)


def member(lab: SambaDomain, cache: Path) -> AbstractContextManager[Windows]:
    """Return a machine in the domain's network, whose user has this ticket."""
    known = {"KRB5_CONFIG": str(lab.krb5_conf), "KRB5CCNAME": f"FILE:{cache}"}
    return windows(lab.folder / "member", lab.command, **known)


SEAM = """\
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.sspi import SspiIdentity
try:
    SspiIdentity().security_context("host", "ca1.lab.test", Deadline(30)).step(b"")
except NotAuthenticated as refused:
    print(refused.cause, refused.remedy, sep="; ")
"""


def test_a_user_without_a_ticket_is_told_by_sspi_what_to_do(machine: Windows):
    told = machine.python("-c", SEAM)
    assert "no way to prove to host/ca1.lab.test" in told
    assert "0x8009030e" in told  # SEC_E_NO_CREDENTIALS
    assert "gMSA" in told


def test_who_the_system_knows_enrols_by_sspi_without_a_secret_of_ours(
    lab: SambaDomain, ca: LabCa, tmp_path: Path
):
    csr = tmp_path / "request"
    csr.write_bytes(a_csr("a.lab.test"))
    with member(lab, lab.ccache()) as windows:
        wanted = ["ca1.lab.test", "LAB-CA", windows.path(csr), "3"]
        told = windows.python("-m", "tests.make.sspi_of_wine", *wanted)
    assert told.split() == [hashlib.sha256(each).hexdigest() for each in ca.issued]
    assert {each.requester for each in ca.requests} == {"svc-acme@LAB.TEST"}
    assert len(ca.issued) == 3

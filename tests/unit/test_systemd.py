"""What systemd is told, on a real socket of its kind. sd_notify(3)."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from certeasy.cluster.files import private_folder
from certeasy.serve.systemd import Systemd
from tests.make.configs import a_config

SECONDS = 30.0


@pytest.fixture
def manager():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(SECONDS)
        yield manager


def test_each_word_is_a_datagram_and_the_watchdog_hears_of_a_committer_that_goes_on(
    manager: socket.socket, tmp_path: Path
):
    manager.bind(str(tmp_path / "notify"))
    systemd = Systemd(str(tmp_path / "notify"))
    systemd.ready()
    for turns in (4, 4, 4, 5, 5):
        systemd.alive(turns)
    systemd.stopping()
    told = [manager.recv(100).decode() for _ in range(4)]
    assert told == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_name_behind_an_at_sign_is_an_abstract_one(manager: socket.socket, tmp_path: Path):
    name = f"certeasy-{os.getpid()}-{tmp_path.name}"
    manager.bind(f"\0{name}")
    Systemd(f"@{name}").ready()
    assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@certeasy-nobody", "/dev/null"])
def test_where_nobody_listens_the_server_goes_on(address: str):
    systemd = Systemd(address)
    systemd.ready()
    systemd.alive(1)
    systemd.stopping()


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket, tmp_path: Path):
    manager.bind(str(tmp_path / "notify"))
    systemd = Systemd(str(tmp_path / "notify"))
    for turns in range(10_000):
        systemd.alive(turns)


def test_a_server_is_ready_lives_and_stops_to_systemd_in_this_order(
    manager: socket.socket, tmp_path: Path
):
    manager.bind(str(tmp_path / "notify"))
    server = '{url: [https://acme.corp.test], tls: false, listen: "127.0.0.1:0"}'
    config = a_config(tmp_path, server=server, admin='{listen: "127.0.0.1:0"}')
    command = [str(Path(sys.executable).with_name("certeasy")), "serve", "-f", str(config)]
    env = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}  # noqa: TID251 - not the server's
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE) as process:
        told = [manager.recv(100).decode() for _ in range(3)]
        process.terminate()
        while told[-1] != "STOPPING=1":
            told.append(manager.recv(100).decode())
        _, logged = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, logged
    assert told[0] == "READY=1"
    assert set(told[1:-1]) == {"WATCHDOG=1"}


def test_a_private_folder_is_its_owners_alone(tmp_path: Path):
    private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700

"""Administrators' commands reach the running server through the local socket; without one they do
the same by themselves.
"""

import os
import pwd
import select
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from certeasy.admin import client, local, unix_socket, wire
from certeasy.admin.desk import Desk, InstructionRefused
from certeasy.admin.journal import RotateJournal
from certeasy.admin.nodes import EndorseNode, InviteNode
from certeasy.admin.server import AT_ONCE, FAILED, LocalDoor
from certeasy.cli import group
from certeasy.cluster.boot import BootRefused
from certeasy.store import Store
from events.envelope import parse
from events.sealing import Subject
from tests.fakes.clocks import HeldClock
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.lab import a_lab

SERVER_ID = "11111111-1111-4111-8111-111111111111"
KID = "A" * 43
ME = pwd.getpwuid(os.geteuid()).pw_name


class Place:
    """A workdir, whose server runs or not, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.workdir = folder / "node"
        self.config = a_config(folder, workdir=f'"{self.workdir}"')

    def types(self) -> list[str]:
        """The type of each line of the journal, closed segments first."""
        files = [*sorted(self.workdir.glob("audit.*-*.log")), self.workdir / "audit.log"]
        lines = [line for file in files for line in file.read_bytes().splitlines()]
        return [parse(line).envelope.type for line in lines]

    def administrators(self) -> list[str]:
        """Who gave instructions, by what is sealed in the lines."""
        store = Store.sqlite(self.workdir / "db.sqlite")
        try:
            said = []
            for line in store.lines(0):
                actor = parse(line).actor
                if actor.kind == "administrator" and actor.sealed is not None:
                    key = store.subject_key(actor.sealed.subject)
                    assert key is not None
                    said.append(Subject(actor.sealed.subject, key).open(actor.sealed).decode())
            return said
        finally:
            store.close()

    def run(self, *words: str, code: int = 0) -> str:
        """Type a command; return what it prints, or says on stderr where it is to fail."""
        result = CliRunner().invoke(group, [*words, "-f", str(self.config)])
        assert result.exit_code == code, result.output
        return result.stderr if code else result.stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextmanager
def standing(place: Place, how: str) -> Iterator[None]:
    """The server runs, or has run."""
    if how == "running":
        with a_lab(place.workdir):
            yield
    else:
        with a_lab(place.workdir):
            pass
        yield


COMMANDS = {
    "node endorse": (("node", "endorse", SERVER_ID, KID), "is endorsed with key", "node.endorsed"),
    "node invite": (("node", "invite", "--valid", "2h"), "certeasy-join-", "node.invited"),
    "journal rotate": (("journal", "rotate"), "are closed", "journal.segment-closed"),
}


@pytest.mark.parametrize("how", ["running", "stopped"])
@pytest.mark.parametrize(("words", "says", "recorded"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_does_the_same_with_the_server_running_and_stopped(
    place: Place, how: str, words: tuple[str, ...], says: str, recorded: str
) -> None:
    with standing(place, how):
        assert says in place.run(*words)
        assert place.types().count(recorded) == 1
        assert place.administrators() == [ME]
    check_node(place.workdir)


@pytest.mark.parametrize("how", ["running", "stopped"])
def test_what_is_refused_is_told_in_the_same_words(place: Place, how: str) -> None:
    with standing(place, how):
        own = (place.workdir / "server_id").read_text().strip()
        said = place.run("node", "endorse", own, KID, code=1)
        assert said.startswith(f"certeasy: node {own} signs with key ")
        assert place.administrators() == []


def test_what_was_done_before_is_told_and_recorded_once(place: Place) -> None:
    with standing(place, "running"):
        place.run("node", "endorse", SERVER_ID, KID)
        assert "already" in place.run("node", "endorse", SERVER_ID, KID)
        assert place.types().count("node.endorsed") == 1


@pytest.mark.parametrize("how", ["running", "stopped"])
def test_a_node_is_retired_and_its_journal_written_beside_the_server(
    place: Place, tmp_path: Path, how: str
) -> None:
    with a_lab(place.workdir):
        token = place.run("node", "invite").strip()
    other = tmp_path / "other"
    other.mkdir()
    config = a_config(
        other,
        database=f'{{path: "{place.workdir / "db.sqlite"}"}}',
        secrets=f'{{key-file: "{place.workdir / "secret.key"}"}}',
    )
    joined = CliRunner().invoke(group, ["node", "join", "-f", str(config)], input=token)
    assert joined.exit_code == 0, joined.output
    gone = (other / "work" / "server_id").read_text().strip()
    with standing(place, how):
        kept = tmp_path / "gone.log"
        said = place.run("node", "retire", gone, "--export", str(kept))
        assert f"seq 1 to 1 of node {gone}" in said
        assert f"node {gone} is retired: its last line is seq 1" in said
        assert kept.read_bytes() == (other / "work" / "audit.log").read_bytes()
        assert "was retired already at" in place.run("node", "retire", gone)
        own = (place.workdir / "server_id").read_text().strip()
        refused = tmp_path / "refused.log"
        said = place.run("node", "retire", own, "--export", str(refused), code=1)
        assert "cannot retire itself" in said
        assert not refused.exists()
        assert place.types().count("node.retired") == 1


def test_a_key_s_id_that_begins_with_a_hyphen_is_no_option(place: Place) -> None:
    kid = "-f" + "A" * 41
    with standing(place, "running"):
        assert f"with key {kid}" in place.run("node", "endorse", SERVER_ID, kid)
        words = ["node", "endorse", "-f", str(place.config), SERVER_ID, kid]
        again = CliRunner().invoke(group, words)
        assert "already" in again.output
        assert "No such option" in place.run("node", "endorse", SERVER_ID, "-x", code=2)


def test_a_journal_without_a_line_is_not_closed_beside_the_server(place: Place) -> None:
    with standing(place, "running"):
        place.run("journal", "rotate")
        assert "nothing to close" in place.run("journal", "rotate")


def test_a_clock_is_accepted_while_the_server_runs_and_it_goes_on(place: Place) -> None:
    clock = HeldClock()
    with a_lab(place.workdir, clock=clock) as lab:
        lab.client().register()
        assert "not needed" in place.run("clock", "accept")
        clock.set_to(clock.now() - timedelta(minutes=1))
        refused = lab.client()
        payload = {"termsOfServiceAgreed": True}
        url = "https://acme.lab.test/acme/new-account"
        assert refused.post(url, payload).status_code == 503
        assert "accepted" in place.run("clock", "accept")
        lab.client().register()
        assert place.types().count("clock.set-back") == 1


def test_who_comes_before_the_server_is_ready_waits_for_it(place: Place) -> None:
    place.workdir.mkdir()
    doorway = unix_socket.open_doorway(place.workdir, 10.0)
    said: list[object] = []
    asking = threading.Thread(
        target=lambda: said.append(client.ask(place.workdir, EndorseNode(SERVER_ID, KID)))
    )
    asking.start()
    assert select.select([doorway._listening], [], [], 10.0)[0]  # it is in the doorway
    connection = doorway.accept()
    assert connection is not None
    asked = wire.take(connection)
    assert asked is not None
    assert wire.understood(asked) == EndorseNode(SERVER_ID, KID)
    wire.put(connection, b'{"answer":"done","result":{"anew":true}}')
    asking.join(10.0)
    connection.close()
    doorway.close()
    doorway.release()
    [answer] = said
    assert answer.anew is True


# -- the file ------------------------------------------------------------------------------------


def test_the_socket_is_for_its_owner_alone_and_gone_after_a_stop(place: Place) -> None:
    path = place.workdir / "admin.sock"
    with a_lab(place.workdir):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.workdir.stat().st_mode) == 0o700
    assert not path.exists()


def left_behind(workdir: Path) -> Path:
    """What a server that was killed leaves: a socket that nobody listens at."""
    path = workdir / "admin.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    return path


def test_a_socket_left_by_a_killed_server_is_in_nobodys_way(place: Place) -> None:
    with standing(place, "stopped"):
        left_behind(place.workdir)
        place.run("node", "endorse", SERVER_ID, KID)
        with a_lab(place.workdir):
            assert "already" in place.run("node", "endorse", SERVER_ID, KID)


def test_what_is_no_socket_of_a_killed_server_is_left_alone(place: Place) -> None:
    place.workdir.mkdir()
    path = place.workdir / "admin.sock"
    path.write_text("mine")
    with pytest.raises(BootRefused, match="is no socket"):
        local.open_doorway(place.workdir)
    assert path.read_text() == "mine"
    path.unlink()
    path.symlink_to(place.workdir / "elsewhere")
    with pytest.raises(BootRefused, match="symbolic link"):
        local.open_doorway(place.workdir)


def test_a_socket_that_somebody_answers_at_is_not_taken_away(place: Place) -> None:
    with a_lab(place.workdir):
        with pytest.raises(BootRefused, match="another process answers"):
            local.open_doorway(place.workdir)
        place.run("node", "endorse", SERVER_ID, KID)


def test_a_start_that_is_refused_lets_nobody_wait_at_a_socket(place: Place) -> None:
    with a_lab(place.workdir):
        pass
    (place.workdir / "admin.sock").write_text("mine")
    with pytest.raises(BootRefused, match="is no socket"), a_lab(place.workdir):
        pass
    (place.workdir / "admin.sock").unlink()
    with a_lab(place.workdir):  # every lock was given back
        pass


@pytest.mark.parametrize("bytes_", [106, 107, 108, 109, 180])
def test_the_workdirs_path_may_be_longer_than_a_sockets_address(
    tmp_path_factory: pytest.TempPathFactory, bytes_: int
) -> None:
    folder = tmp_path_factory.mktemp("d")
    workdir = folder / ("n" * (bytes_ - len(str(folder / "admin.sock")) - 1))
    assert len(str(workdir / "admin.sock")) == bytes_
    workdir.mkdir()
    doorway = local.open_doorway(workdir)
    connection = local.connect(workdir)
    assert connection is not None
    assert connection.user() == ME
    connection.close()
    doorway.close()
    doorway.release()


# -- who -----------------------------------------------------------------------------------------

ASK = """
import os, sys
from pathlib import Path
from certeasy.admin.client import ask
from certeasy.admin.desk import InstructionRefused
from certeasy.admin.nodes import EndorseNode
if os.geteuid() == 0:
    os.setuid(65534)
try:
    print(ask(Path(sys.argv[1]), EndorseNode(*sys.argv[2:])))
except InstructionRefused as refused:
    print(f"refused: {refused}")
"""


def test_another_user_gives_no_instructions_even_where_the_modes_let_him() -> None:
    """The kernel tells who it is. (Root may be anybody; whoever is not is himself.)"""
    folder = tempfile.TemporaryDirectory()  # that others may enter, unlike pytest's own
    place = Place(Path(folder.name))
    with a_lab(place.workdir):
        place.workdir.parent.chmod(0o755)
        place.workdir.chmod(0o755)
        (place.workdir / "admin.sock").chmod(0o666)
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(place.workdir), SERVER_ID, KID],
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        if os.geteuid() == 0:
            assert "refused: user nobody may give no instructions" in done.stdout
            assert place.types().count("node.endorsed") == 0
        else:
            assert done.stdout == "Endorsed(anew=True)\n"
    folder.cleanup()


IMPOSTOR = """
import os, socket, sys
if os.geteuid() == 0:
    os.setuid(65534)
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(sys.argv[1])
    os.chmod(sys.argv[1], 0o666)
    listening.listen()
    print("listening", flush=True)
    connected, _ = listening.accept()
    connected.settimeout(10.0)
    print(f"heard {connected.recv(1)}", flush=True)
"""


@contextmanager
def impostor(place: Place, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Somebody else's socket in a workdir where everybody may write."""
    place.workdir.parent.chmod(0o755)
    place.workdir.mkdir()
    place.workdir.chmod(0o1777)
    (place.workdir / "server_id").write_text(SERVER_ID)  # a node's workdir
    with subprocess.Popen(
        [sys.executable, "-c", IMPOSTOR, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process
        process.kill()


@pytest.mark.parametrize("owner", ["his", "ours"])
def test_nothing_is_told_to_a_socket_that_somebody_else_has_put_there(owner: str) -> None:
    """By its file, or, where that looks right, by who listens. (Root's tests can be two users.)"""
    with tempfile.TemporaryDirectory() as folder:  # that others may enter, unlike pytest's own
        place = Place(Path(folder))
        path = place.workdir / "admin.sock"
        with impostor(place, path) as process:
            if os.geteuid() != 0:
                return  # nobody else is there
            if owner == "ours":
                os.chown(path, 0, 0)
            said = place.run("node", "endorse", SERVER_ID, KID, code=1)
            assert said.count("\n") == 1
            assert "mode 0700" in said
            if owner == "ours":
                assert said.startswith(f"certeasy: user nobody listens at {path}, and not root")
                assert process.stdout is not None
                assert process.stdout.readline() == "heard b''\n"
            else:
                assert said.startswith(f"certeasy: {path} belongs to user nobody, and not to root")
                with pytest.raises(PermissionError, match="belongs to user nobody"):
                    local.open_doorway(place.workdir)


def test_a_link_to_a_socket_is_not_followed(place: Place) -> None:
    path = place.workdir / "admin.sock"
    place.workdir.mkdir()
    (place.workdir / "server_id").write_text(SERVER_ID)
    elsewhere = place.workdir.parent / "elsewhere"
    elsewhere.mkdir()
    with a_door(elsewhere):
        path.symlink_to(elsewhere / "admin.sock")
        said = place.run("node", "endorse", SERVER_ID, KID, code=1)
        assert said.startswith(f"certeasy: {path} is a symbolic link (of user {ME}), and not the")
        path.unlink()
        path.write_text("")
        assert "is no socket" in place.run("node", "endorse", SERVER_ID, KID, code=1)


# -- the wire ------------------------------------------------------------------------------------


@contextmanager
def a_door(workdir: Path, seconds: float = 10.0, receive=None) -> Iterator[None]:
    """A door without a server behind it."""

    def nobody(_user: str) -> Desk:
        raise InstructionRefused("there is nobody here")

    workdir.mkdir(exist_ok=True)
    door = LocalDoor(local.open_doorway(workdir, seconds), receive or nobody)
    try:
        yield
    finally:
        assert door.close(10.0)


@contextmanager
def raw(workdir: Path) -> Iterator[socket.socket]:
    """A client that says what it likes."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(10.0)
        connected.connect(str(workdir / "admin.sock"))
        yield connected


def answer(connected: socket.socket) -> str:
    """The reason in the answer, or nothing where there is none."""
    told = connected.makefile("rb").read()
    assert len(told) == 4 + int.from_bytes(told[:4], "big")
    return str(msgspec.json.decode(told[4:])["reason"])


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def asked(v: int, instruction: str) -> bytes:
    return framed(f'{{"v":{v},"version":"9.9","instruction":{instruction}}}'.encode())


ENDORSE = f'{{"do":"node-endorse","server_id":"{SERVER_ID}","kid":"{KID}"}}'
RUBBISH = {
    "no JSON": (framed(b"\xff\xfe"), "is no instruction"),
    "no object": (framed(b"[]"), "is no instruction"),
    "nested without end": (framed(b"[" * 100_000), "is no instruction"),
    "another protocol": (
        asked(2, ENDORSE),
        "does not understand this command, which is of version",
    ),
    "unknown": (asked(1, '{"do":"format-disk"}'), "'9.9'"),
    "a member too many": (asked(1, ENDORSE.replace("}", ',"x":1}')), "does not understand"),
    "too long": ((wire.MOST_BYTES + 1).to_bytes(4, "big"), "did not come through whole"),
    "as long as it gets": (b"\xff\xff\xff\xff", "did not come through whole"),
    "a good one": (asked(1, ENDORSE), "there is nobody here"),
}


@pytest.mark.parametrize(("sent", "said"), RUBBISH.values(), ids=RUBBISH)
def test_what_is_no_instruction_is_told_so(tmp_path: Path, sent: bytes, said: str) -> None:
    with a_door(tmp_path / "w"), raw(tmp_path / "w") as connected:
        connected.sendall(sent)
        assert said in answer(connected)


@pytest.mark.parametrize("sent", [b"", b"\0\0", asked(1, ENDORSE)[:-5]])
def test_who_hangs_up_in_the_middle_is_not_waited_for(tmp_path: Path, sent: bytes) -> None:
    with a_door(tmp_path / "w"):
        with raw(tmp_path / "w") as connected:
            connected.sendall(sent)
            connected.shutdown(socket.SHUT_WR)
            assert "did not come through whole" in answer(connected)
        with pytest.raises(InstructionRefused, match="nobody here"):
            client.ask(tmp_path / "w", RotateJournal())


def test_who_says_nothing_is_hung_up_on_and_holds_up_nobody_for_long(tmp_path: Path) -> None:
    with a_door(tmp_path / "w", seconds=0.2):
        silent = [raw(tmp_path / "w") for _ in range(2 * AT_ONCE)]
        connected = [each.__enter__() for each in silent]
        connected[0].sendall(b"\0")
        with pytest.raises(InstructionRefused, match="nobody here"):
            client.ask(tmp_path / "w", RotateJournal())
        for each in connected:
            assert "timed out" in answer(each)
            each.close()


def test_an_instruction_that_fails_harms_nobody_and_tells_nothing_of_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_user: str) -> Desk:
        raise RuntimeError("a fault")

    with a_door(tmp_path / "w", receive=broken):
        for _ in range(2 * AT_ONCE):
            with pytest.raises(InstructionRefused) as refused:
                client.ask(tmp_path / "w", InviteNode("kid", "the-key", timedelta(hours=1)))
            assert str(refused.value) == FAILED
    assert "a fault" in caplog.text
    assert "the-key" not in caplog.text


def test_no_server_is_no_answer_and_nothing_is_done(tmp_path: Path) -> None:
    assert client.ask(tmp_path, RotateJournal()) is None
    left_behind(tmp_path)
    assert client.ask(tmp_path, RotateJournal()) is None


class Server(threading.Thread):
    """Something at the other end that takes an instruction and answers as it likes."""

    def __init__(self, workdir: Path, said: bytes | None) -> None:
        super().__init__()
        self.doorway = local.open_doorway(workdir)
        self.said = said
        self.start()

    def run(self) -> None:
        connection = self.doorway.accept()
        assert connection is not None
        wire.take(connection)
        if self.said is not None:
            connection.send(self.said)
        connection.close()
        self.doorway.close()
        self.doorway.release()


STRANGE = {
    "nothing": (b"", "hung up"),
    "half": (framed(b"{}")[:5], "hung up"),
    "no JSON": (framed(b"{"), "is not understood"),
    "another result": (framed(b'{"answer":"done","result":{}}'), "is not understood"),
    "another answer": (framed(b'{"answer":"maybe"}'), "is not understood"),
}


@pytest.mark.parametrize(("said", "told"), STRANGE.values(), ids=STRANGE)
def test_an_answer_that_is_none_says_that_it_is_not_known_what_happened(
    tmp_path: Path, said: bytes, told: str
) -> None:
    server = Server(tmp_path, said)
    with pytest.raises(InstructionRefused, match=told) as refused:
        client.ask(tmp_path, EndorseNode(SERVER_ID, KID))
    assert "the log tells" in str(refused.value)
    server.join()


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    class Hurried(RotateJournal, frozen=True, tag="hurried"):
        patience = 0.1

    doorway = local.open_doorway(tmp_path)
    with pytest.raises(InstructionRefused, match="has not answered within"):
        client.ask(tmp_path, Hurried())
    doorway.close()
    doorway.release()


def test_a_message_that_is_too_long_is_not_sent(tmp_path: Path) -> None:
    doorway = local.open_doorway(tmp_path)
    connection = local.connect(tmp_path)
    assert connection is not None
    with pytest.raises(ValueError, match="too long"):
        wire.put(connection, b" " * (wire.MOST_BYTES + 1))
    connection.close()
    doorway.close()
    doorway.release()


def test_a_stop_waits_for_who_is_inside_and_no_longer_than_told(tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(_user: str) -> Desk:
        inside.set()
        assert go_on.wait(10.0)
        raise InstructionRefused("at last")

    door = LocalDoor(local.open_doorway(tmp_path), slow)
    said: list[str] = []

    def ask() -> None:
        try:
            client.ask(tmp_path, RotateJournal())
        except InstructionRefused as refused:
            said.append(str(refused))

    asking = threading.Thread(target=ask)
    asking.start()
    assert inside.wait(10.0)
    begun = time.monotonic()
    assert door.close(0.05) is False
    assert time.monotonic() - begun < 10.0
    go_on.set()
    asking.join(10.0)
    assert said == ["at last"]


def test_the_servers_own_words_about_an_instruction_name_it_and_nothing_else(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with a_lab(place.workdir):
        place.run("node", "endorse", SERVER_ID, KID)
    [line] = [each for each in caplog.messages if "administrator" in each]
    assert line == "an administrator's instruction was carried out: node-endorse"


def test_an_account_whose_key_was_destroyed_beside_the_server_seals_with_the_new_one(
    place: Place,
) -> None:
    """The running server had the old key at hand, and forgets it."""
    with a_lab(place.workdir) as lab:
        someone = lab.client()
        someone.register(contact=["mailto:ops@lab.test"])
        assert someone.kid is not None
        account = someone.kid.rpartition("/")[2]
        assert someone.see(someone.kid)["contact"] == ["mailto:ops@lab.test"]
        place.run("privacy", "erase", account, "--yes")
        assert someone.see(someone.kid)["contact"] == []
        someone.post(someone.kid, {"contact": ["mailto:new@lab.test"]})
        assert someone.see(someone.kid)["contact"] == ["mailto:new@lab.test"]
        assert "new@lab.test" in place.run("privacy", "show", account)
    check_node(place.workdir)

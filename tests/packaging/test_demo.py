"""`certeasy demo`, started as a newcomer starts it: what it leaves, what it prints, how it ends."""

import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from certeasy import config
from certeasy.cli import demo_folder
from certeasy.cli.demo_folder import LISTEN, DemoFailed
from certeasy.cli.demo_screen import short
from certeasy.clock import SystemClock
from certeasy.ids import RandomIds
from tests.make.acme_client import assert_certificate
from tests.make.acme_server import free_port

CERTEASY = Path(sys.executable).with_name("certeasy")
SECONDS = 30
IDS = RandomIds(SystemClock())


def certeasy(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [CERTEASY, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


@contextmanager
def running(*words: str | Path, until: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command that goes on; enter with what it printed up to the line with these words."""
    command = [CERTEASY, *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        try:
            seen = ""
            while until not in seen:
                line = process.stdout.readline()
                assert line, seen
                seen += line
            yield process, seen
        finally:
            process.kill()


def stopped(process: subprocess.Popen[str], by: signal.Signals) -> str:
    """Send a signal; return the rest of the output of a program that ends with 0."""
    process.send_signal(by)
    rest, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, rest
    return rest


def a_demo(folder: Path, *words: str) -> str:
    """Run a demo that ends with its certificate, and return what it printed."""
    done = certeasy("demo", "--once", "--workdir", folder, *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def positions(printed: str) -> list[int]:
    return [int(found) for found in re.findall(r"^ +(\d+)  [a-z.-]+  ", printed, re.MULTILINE)]


def found(printed: str, what: str) -> str:
    """Return a value that a demo has printed."""
    [value] = re.findall(rf"^  {what} +(\S.*)$", printed, re.MULTILINE)
    return str(value)


def pasted(printed: str, words: str) -> str:
    """Return the line to be pasted that has these words."""
    [line] = [
        line for line in printed.splitlines() if words in line and line[:1] not in " 0123456789"
    ]
    return line


def paste(line: str) -> str:
    """Run a line in a shell that knows the programs of this environment; return its output."""
    known = f"PATH={shlex.quote(str(CERTEASY.parent))}:$PATH; {line}"
    done = subprocess.run(
        ["sh", "-c", known], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


def assert_obtained(folder: Path, name: str) -> x509.Certificate:
    """Assert that a client has a certificate for a name, under the demo's root; return it."""
    stored = folder / "clients" / name
    chain = stored.with_name(f"{name}.pem").read_bytes()
    assert_certificate(chain, stored.with_name(f"{name}.key").read_bytes(), [name])
    leaf, *_, last = x509.load_pem_x509_certificates(chain)
    root = x509.load_pem_x509_certificate((folder / "ca-root.pem").read_bytes())
    last.verify_directly_issued_by(root)
    return leaf


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demo that is over, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "it's new"
    return folder, a_demo(folder, "--listen", f"127.0.0.1:{free_port()}")


def test_a_demo_leaves_a_certificate_that_its_root_vouches_for(first: tuple[Path, str]):
    folder, printed = first
    assert_obtained(folder, "web.demo.test")
    assert str(folder / "clients/web.demo.test.pem") in printed


def test_each_event_of_the_log_is_shown_once_and_in_order(first: tuple[Path, str]):
    folder, printed = first
    shown = positions(printed)
    assert shown == list(range(1, len(shown) + 1))
    journal = (folder / "audit.log").read_text().splitlines()[: len(shown)]
    kinds = [found for line in journal for found in re.findall(r'"type":"([a-z.-]+)"', line)[:1]]
    assert re.findall(r"^ +\d+  ([a-z.-]+)  ", printed, re.MULTILINE) == kinds
    assert {"installation.created", "order.created", "certificate.issued"} <= set(kinds)
    assert kinds[-1] == "node.stopped"


def test_a_demo_writes_no_error_and_no_traceback_to_its_log(first: tuple[Path, str]):
    text = (first[0] / "demo.log").read_text()
    assert "stopped after" in text
    assert not re.search(r" (error|critical) |Traceback", text)


def test_the_configuration_is_in_order_absolute_and_private(first: tuple[Path, str]):
    file = first[0] / "config.yml"
    done = certeasy("validate", "-f", file)
    assert done.returncode == 0, done.stderr
    assert config.load(file).workdir == first[0]
    assert "%" not in file.read_text()
    assert sys.platform == "win32" or file.stat().st_mode & 0o777 == 0o600


def test_the_same_name_is_issued_as_often_as_somebody_tries_the_demo_in_a_week(
    first: tuple[Path, str],
):
    settings = config.load(first[0] / "config.yml")
    assert settings.rate_limiting.of().duplicate_certificate.limit == 100


def test_the_lines_that_are_to_be_pasted_run_as_they_stand(first: tuple[Path, str]):
    assert "verified" in paste(pasted(first[1], "audit verify"))
    assert "certificate.issued" in paste(pasted(first[1], "audit show"))


def test_a_second_demo_and_a_server_go_on_where_the_first_one_stopped(first: tuple[Path, str]):
    folder, _ = first
    root = (folder / "ca-root.pem").read_bytes()
    before = len((folder / "audit.log").read_text().splitlines())
    printed = a_demo(folder, "--name", "second.demo.test")
    assert positions(printed)[0] == before + 1
    assert (folder / "ca-root.pem").read_bytes() == root
    assert_obtained(folder, "second.demo.test")
    trusting = ssl.create_default_context(cafile=folder / "ca-root.pem")
    with running("serve", "-f", folder / "config.yml", until="readyz") as (process, _):
        url = found(printed, "directory")
        web = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusting))
        with web.open(url, timeout=SECONDS) as answer:
            assert b"newOrder" in answer.read()
        stopped(process, signal.SIGTERM)
    done = certeasy("audit", "verify", "-f", folder / "config.yml")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="the lines are for a shell")
@pytest.mark.parametrize(
    ("client", "stored"),
    [
        ("certbot", "certbot/live/certbot.demo.test/cert.pem"),
        pytest.param("lego", "lego/certificates/lego.demo.test.crt", marks=pytest.mark.interop),
    ],
)
def test_it_serves_other_clients_as_told_until_ctrl_c(tmp_path: Path, client: str, stored: str):
    where = ["--workdir", tmp_path / "demo", "--listen", f"127.0.0.1:{free_port()}"]
    with running("demo", *where, until="until Ctrl-C") as (process, printed):
        paste(pasted(printed, f" {client} "))
        assert process.stdout
        meanwhile = ""
        while "certificate.issued" not in meanwhile:
            meanwhile += process.stdout.readline()
        rest = stopped(process, signal.SIGINT)
    assert x509.load_pem_x509_certificate((tmp_path / "demo/clients" / stored).read_bytes())
    shown = positions(printed + meanwhile + rest)
    assert shown == list(range(1, len(shown) + 1))
    assert not re.search(r" (error|critical) |Traceback", (tmp_path / "demo/demo.log").read_text())


# -- what goes wrong is told in one line ---------------------------------------------------------


def refused(*words: str | Path, code: int = 1) -> str:
    """Run a demo that fails, and return the one line that tells why."""
    done = certeasy("demo", "--once", *words)
    assert done.returncode == code, done
    [line] = done.stderr.splitlines() if code == 1 else done.stderr.splitlines()[-1:]
    return line


def test_what_the_server_refuses_is_told_in_its_words(first: tuple[Path, str], tmp_path: Path):
    listen = f"127.0.0.1:{free_port()}"
    where = ["--workdir", tmp_path / "demo", "--listen", listen]
    line = refused(*where, "--name", "a.b.c.d.demo.test")
    assert "rejectedIdentifier" in line
    assert str(tmp_path / "demo/demo.log") in line


def test_a_start_that_the_server_refuses_is_told_in_its_words(tmp_path: Path):
    folder = demo_folder.prepare(tmp_path / "demo", f"127.0.0.1:{free_port()}", IDS)
    (tmp_path / "demo/audit.log").write_bytes(b"not ours\n")
    assert "audit.log" in refused("--workdir", folder.path)


def test_a_name_outside_the_zone_is_a_wrong_command_line():
    assert "not below demo.test" in refused("--name", "web.corp.example", code=2)


@pytest.mark.parametrize(
    ("text", "listen"),
    [("127.0.0.2:443", "127.0.0.2:443"), ("localhost:1", "127.0.0.1:1"), ("[::1]:0", "[::1]:0")],
)
def test_a_demo_listens_on_loopback(text: str, listen: str):
    assert demo_folder.canonical_listen(text) == listen


@pytest.mark.parametrize("text", ["0.0.0.0:1", "10.0.0.1:443", "127.0.0.1", "[::]:1", "x:1"])
def test_a_demo_listens_nowhere_else(text: str):
    with pytest.raises(ValueError, match=r"loopback|host:port|no IP address"):
        demo_folder.canonical_listen(text)


def test_where_the_usual_port_is_taken_another_one_is_found(tmp_path: Path):
    host, _, port = LISTEN.rpartition(":")
    with maybe_taken(host, int(port)):
        listen = demo_folder.prepare(tmp_path / "demo", None, IDS).settings.server.listen
    assert listen.startswith("127.0.0.1:")
    assert listen != LISTEN


@contextmanager
def maybe_taken(host: str, port: int) -> Iterator[None]:
    """See to it that somebody listens on a port: we, if nobody does."""
    try:
        listener = socket.create_server((host, port))
    except OSError:
        yield
        return
    with listener:
        yield


def test_an_address_that_was_asked_for_and_is_taken_is_refused(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listen = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(DemoFailed, match=f"{listen} cannot be used"):
            demo_folder.prepare(tmp_path / "demo", listen, IDS)
    assert not (tmp_path / "demo").exists()


def test_the_addresses_of_an_earlier_demo_must_be_free(tmp_path: Path):
    folder = demo_folder.prepare(tmp_path / "demo", f"127.0.0.1:{free_port()}", IDS)
    with (
        socket.create_server(("127.0.0.1", folder.http_01_port)),
        pytest.raises(DemoFailed, match="http-01-port"),
    ):
        demo_folder.prepare(folder.path, None, IDS)
    with pytest.raises(DemoFailed, match="leave --listen out"):
        demo_folder.prepare(folder.path, "127.0.0.1:1", IDS)
    assert demo_folder.prepare(folder.path, None, IDS).kept_from_before


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DemoFailed, match="not an empty folder"):
        demo_folder.prepare(tmp_path, None, IDS)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("before", "after", "times", "told"),
    [
        ("demo-ca", "corp-ca", 2, "is not a demo's"),
        ('listen: "127.0.0.1', 'listen: "0.0.0.0', 1, "is not a demo's"),
        ("logs:", "log:", 1, "did you mean logs"),
    ],
)
def test_a_configuration_that_is_not_a_demos_is_left_alone(
    tmp_path: Path, before: str, after: str, times: int, told: str
):
    folder = demo_folder.prepare(tmp_path / "demo", f"127.0.0.1:{free_port()}", IDS)
    changed = folder.config_file.read_text().replace(before, after, times)
    folder.config_file.write_text(changed)
    with pytest.raises(DemoFailed, match=told):
        demo_folder.prepare(folder.path, None, IDS)


def test_ids_are_shown_by_their_ends():
    assert short("order/01k85aa62vr2u68k7l2a6isphf") == "order/..6isphf"
    assert short("node/24ea1e6e-d46c-481a-b0cf-0faaccb372a4") == "node/..b372a4"
    assert short("authority/demo-ca") == "authority/demo-ca"

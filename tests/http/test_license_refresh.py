"""The vendor's server is asked for a newer license where the configuration says so, and nowhere
else; what it says is believed by its signature alone."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace
from waitress import create_server

from certeasy.admin.desk import InstructionRefused
from certeasy.admin.license import RefreshLicense
from certeasy.app import Application
from certeasy.config import reloading
from certeasy.decide.license import LicenseRefused
from certeasy.settings import LicenseSettings, Settings
from projections.license import LICENSE
from tests.fakes.clocks import MovedClock
from tests.fakes.web_server import WebServer
from tests.make.licenses import (
    a_license_file,
    a_revocation_file,
    carry_out,
    install,
    license_for,
    trusting,
    with_ad_cs,
)
from tests.make.server import a_server, lab_settings
from tests.make.waiting import soon
from tools.license_server import PATH, LicenseServer

DAY = 86400.0


@pytest.fixture(autouse=True)
def _vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with trusting(tmp_path_factory.mktemp("build")):
        yield


@pytest.fixture
def offers(tmp_path: Path) -> Path:
    folder = tmp_path / "offers"
    folder.mkdir()
    return folder


@pytest.fixture
def url(offers: Path) -> Iterator[str]:
    """The vendor's server, on loopback."""
    with serving(LicenseServer(offers)) as place:
        yield f"http://{place}{PATH}"


@contextmanager
def serving(app: Any) -> Iterator[str]:
    server = create_server(app, listen="127.0.0.1:0", threads=2)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"127.0.0.1:{server.effective_port}"
    finally:
        server.trigger.pull_trigger(server.close)
        server.task_dispatcher.shutdown()
        thread.join()


@contextmanager
def asking(folder: Path, url: str, clock: MovedClock | None = None) -> Iterator[Application]:
    settings = online(with_ad_cs(lab_settings(folder / "node")), url)
    with a_server(folder / "node", clock=clock, settings=settings) as server:
        soon(lambda: server.license._next is not None)  # it asks when it was started
        yield server


def online(settings: Settings, url: str) -> Settings:
    return replace(settings, license=LicenseSettings(offline=False, refresh_url=url))


def offer(offers: Path, server: Application, block: str) -> None:
    (offers / f"{server.license.terms.installation}.lic").write_text(block)


def test_nobody_is_asked_by_default(tmp_path: Path) -> None:
    with a_server(tmp_path, settings=with_ad_cs(lab_settings(tmp_path))) as server:
        server.license.refresh()
        with pytest.raises(InstructionRefused, match="the vendor is not asked"):
            carry_out(server, RefreshLicense())


def test_a_newer_license_is_fetched_and_one_that_is_known_is_not(
    tmp_path: Path, offers: Path, url: str
) -> None:
    with asking(tmp_path, url) as server:
        offer(offers, server, license_for(server, managed_servers=3))
        done = carry_out(server, RefreshLicense())
        assert (done.anew, done.state) == (True, "valid")
        assert server.license.standing().seats == 3
        done = carry_out(server, RefreshLicense())
        assert (done.anew, done.state) == (False, "valid")
        offer(offers, server, a_revocation_file(1, server.clock.now()))
        assert carry_out(server, RefreshLicense()).state == "revoked"


def test_only_the_three_members_are_sent(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def answer(request: bytes) -> list[bytes | float]:
        seen.append(request)
        return [b"HTTP/1.1 204 No Content\r\n\r\n"]

    with WebServer(answer) as web, asking(tmp_path, f"http://127.0.0.1:{web.port}/v1") as server:
        install(server)
        seen.clear()
        assert carry_out(server, RefreshLicense()).anew is False
        head, _, body = seen[0].partition(b"\r\n\r\n")
        row = server.committer.get(LICENSE, "license")
        assert row is not None
        assert row.installed is not None
        here = server.license.terms.installation
        assert body.decode() == (
            f'{{"license":"{row.installed.id}","license_key":"{row.installed.key}",'
            f'"installation_key":"{here}"}}'
        )
        names = {line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
        assert names == {
            b"host",
            b"user-agent",
            b"accept-encoding",
            b"connection",
            b"content-type",
            b"content-length",
        }


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"", 404, "answered 404"),
        (b"rubbish", 200, "the license is not taken: it is not one block"),
        (b"x" * (17 << 10), 200, "sent an answer of more than 16384 bytes"),
        (
            a_license_file(Ed25519PrivateKey.generate()).encode(),
            200,
            "its signature is not the vendor's",
        ),
    ],
)
def test_what_comes_back_is_believed_by_its_signature_alone(
    tmp_path: Path, body: bytes, status: int, why: str
) -> None:
    def answer(_request: bytes) -> list[bytes | float]:
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n\r\n"
        return [head.encode() + body]

    with WebServer(answer) as web, asking(tmp_path, f"http://127.0.0.1:{web.port}/v1") as server:
        with pytest.raises(InstructionRefused, match=why):
            carry_out(server, RefreshLicense())
        assert server.license.standing().state == "evaluation"


def test_a_license_for_another_installation_is_refused_as_from_a_file(
    tmp_path: Path, offers: Path, url: str
) -> None:
    with asking(tmp_path, url) as server:
        offer(offers, server, a_license_file(begins=server.clock.now()))
        with pytest.raises(LicenseRefused, match="is for the installation"):
            carry_out(server, RefreshLicense())


def test_a_running_server_asks_once_a_day_and_sooner_after_a_failure(
    tmp_path: Path, offers: Path, url: str
) -> None:
    clock = MovedClock()
    with asking(tmp_path, url, clock) as server:
        offer(offers, server, license_for(server))
        server.license.refresh()
        assert server.license.standing().state == "evaluation"
        clock.pass_by(DAY / 4)
        server.license.refresh()
        assert server.license.standing().state == "valid"
        offer(offers, server, license_for(server, number=2, managed_servers=1))
        clock.pass_by(DAY - 3600)
        server.license.refresh()
        assert server.license.standing().seats == 25
        clock.pass_by(3600)
        server.license.refresh()
        assert server.license.standing().seats == 1


def test_a_running_server_can_be_told_to_ask(tmp_path: Path, offers: Path, url: str) -> None:
    settings = with_ad_cs(lab_settings(tmp_path / "node"))
    with a_server(tmp_path / "node", settings=settings) as server:
        assert "license" in reloading.RELOADED
        server.reload(online(settings, url))
        offer(offers, server, license_for(server, lasts=timedelta(days=3)))
        server.license.refresh()
        assert server.license.standing().state == "valid"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", PATH, b"", "405"),
        ("POST", "/other", b"{}", "404"),
        ("POST", PATH, b"\xff", "400"),
        ("POST", PATH, b'{"license":"","license_key":"","installation_key":"INST-1"}', "400"),
    ],
)
def test_the_reference_server_refuses_what_is_no_question(
    offers: Path, method: str, path: str, body: bytes, status: str
) -> None:
    told: list[str] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(body)}
    list(LicenseServer(offers)(environ, lambda said, _headers: told.append(said)))
    assert told[0].startswith(status)

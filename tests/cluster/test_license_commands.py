"""`certeasy license` and `certeasy cold-start`, typed beside a running server and without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from certeasy import config
from certeasy.app import Application
from certeasy.cli import group
from tests.fakes.clocks import HeldClock
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.license_session import held
from tests.make.licenses import NOW, a_license_file, license_for, trusting

CA = (
    "{name: ad, type: adcs, configuration: {ca-name: 'nobody.corp.test\\Nobody',"
    " certificate-template: Web, auth: ntlm, domain: corp.test, user: svc,"
    " password-file: '%CONFIGDIR%/password', address: 127.0.0.1, endpoint-mapper-port: 1}}"
)


class Place:
    """A workdir with its configuration, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "password").write_text("a password\n")
        (folder / "password").chmod(0o600)
        self.config = a_config(
            folder,
            authorities=f"[{CA}]",
            policy_bindings="[{policy: p, authorities: [ad]}]",
            admin="{listen: 127.0.0.1:0}",
        )

    def run(self, *words: str | Path, code: int = 0) -> str:
        """Type a command; return what it prints."""
        result = CliRunner().invoke(group, [*map(str, words), "-f", str(self.config)])
        assert result.exit_code == code, result.output
        return result.output

    def status(self, what: str = "license") -> dict[str, Any]:
        """Return what a status says, as programs read it."""
        told: dict[str, Any] = msgspec.json.decode(self.run(what, "status", "--json"))
        return told

    @contextmanager
    def served(self) -> Iterator[Application]:
        """Have the server run."""
        server = Application(config.load(self.config))
        server.open()
        try:
            yield server
        finally:
            server.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with trusting(tmp_path):
        yield Place(tmp_path)
    check_node(tmp_path / "work")


def test_everything_is_told_to_programs_too(place: Place) -> None:
    with place.served() as server:
        here = server.license.terms.installation
        told = place.status()
        assert (told["state"], told["license"], told["installation_key"]) == (
            "evaluation",
            "",
            here,
        )
        assert told["limits"]["managed_servers"] == -1
        cold = place.status("cold-start")
        assert (cold["state"], cold["plan"]) == ("evaluation", "")
        assert "there was no cold start" in place.run("cold-start", "status")


def test_a_license_is_installed_through_the_running_server_and_beside_none(place: Place) -> None:
    with place.served() as server:
        first = place.folder / "first.lic"
        first.write_text(license_for(server, managed_servers=7, authorities="unlimited"))
        assert "recorded: the license is valid until" in place.run("license", "install", first)
        assert server.license.standing().seats == 7
        second = place.folder / "second.lic"
        second.write_text(license_for(server, number=2, databases=(), managed_servers=0))
        assert "that is known already" in place.run("license", "install", first)
    assert "AD CS authorities  unlimited allowed" in place.run("license", "status")
    assert "the license is degraded" in place.run("license", "install", second)
    shown = place.run("license", "status")
    assert "managed servers    0 of none" in shown
    assert "databases          none" in shown
    assert "acknowledged" in place.run("license", "acknowledge-degraded")
    assert "it was acknowledged already" in place.run("license", "acknowledge-degraded")
    with place.served() as server:
        assert server.license.standing().state == "acknowledged"


def test_a_cold_start_is_begun_changed_and_told(place: Place) -> None:
    clock = HeldClock(NOW)
    with held(clock), place.served():
        told = place.run("cold-start", "init", "--plan", "starter", code=1)
        assert "the evaluation lasts until 2026-12-02T09:00:00Z, and allows everything" in told
        assert place.status()["state"] == "evaluation"
        clock.set_to(NOW + timedelta(days=30))
        told = place.run("cold-start", "init", "--plan", "starter")
        assert told.startswith("done: cold-start, plan starter until 2026-12-09T09:00:00Z")
        assert "as under the plan starter already" in place.run(
            "cold-start", "switch", "--plan", "starter", code=1
        )
        assert "plan free" in place.run("cold-start", "switch", "--plan", "free")
    with held(clock):
        assert place.status("cold-start")["plan"] == "free"
        assert "plan               free" in place.run("license", "status")
        before = place.status("cold-start")["until"]
        assert "nothing was changed" in place.run("cold-start", "extend")
        assert place.status("cold-start")["until"] == before
        place.run("cold-start", "extend", "--confirm")
        assert place.status("cold-start")["until"] > before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("install", "none.lic"), "cannot be read: No such file or directory"),
        (("install", "large.lic"), "is larger than 16384 bytes, which no license is"),
        (("install", "bytes.lic"), "it has bytes that are no ASCII"),
        (("install", "other.lic"), "is for the installation"),
        (("force-grace",), "it is evaluation"),
        (("force-grace", "--confirm"), "it is evaluation"),
        (("acknowledge-degraded",), "it is evaluation"),
        (("refresh",), "the vendor is not asked"),
    ],
)
def test_what_is_refused_is_told_in_one_line(
    place: Place, words: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    (place.folder / "large.lic").write_bytes(b"x" * (17 << 10))
    (place.folder / "bytes.lic").write_bytes(b"\xff" * 100)
    (place.folder / "other.lic").write_text(a_license_file())
    with place.served():
        told = place.run("license", *words, code=1)
    assert why in told
    assert told.count("\n") == 1


def test_the_doctor_looks_at_the_license(place: Place) -> None:
    def found() -> tuple[str, str]:
        result = CliRunner().invoke(group, ["doctor", "--json", "-f", str(place.config)])
        findings = msgspec.json.decode(result.stdout)["findings"]
        [seen] = [each for each in findings if each["step"] == "license"]
        return seen["status"], seen["text"]

    with place.served() as server:
        long = license_for(server, lasts=timedelta(days=90))
        none = license_for(server, number=2, managed_servers=0, lasts=timedelta(days=90))
        small = license_for(server, number=3, authorities=0)
    assert found()[0] == "warn"  # the evaluation ends within 30 days
    for text, status, said in (
        (long, "ok", "0 managed servers of 25"),
        (none, "warn", "0 managed servers of 0"),
        (small, "fail", "1 AD CS authority configured, allowed: 0"),
    ):
        file = place.folder / "next.lic"
        file.write_text(text)
        place.run("license", "install", file)
        assert found()[0] == status
        assert said in found()[1]


def test_a_log_without_a_node_has_no_license_to_tell_of(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    assert "is no node's workdir yet" in place.run("cold-start", "init", "--plan", "free", code=1)
    assert "there is no database" in place.run("license", "status", code=1)

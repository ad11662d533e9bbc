"""`certeasy license` and `certeasy cold-start`, typed beside a running server and without one."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from certeasy import config
from certeasy.app import Application
from certeasy.cli import group
from certeasy.cli.at_rest import tables_of
from certeasy.jobs.license import NotLicensed
from certeasy.licensing import vendor
from certeasy.licensing.ahead import ahead
from events.envelope import parse
from tests.fakes.clocks import HeldClock
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.license_session import held
from tests.make.licenses import (
    NOW,
    a_license_file,
    a_revocation_file,
    license_for,
    trusting,
)

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


# -- a clock that was ahead ------------------------------------------------------------------------


YEARS = timedelta(days=1600)


def was_ahead(place: Place, clock: HeldClock) -> None:
    """Install a license, start once with a clock that is years ahead, and set that right."""
    with place.served() as server:
        file = place.folder / "year.lic"
        file.write_text(license_for(server, lasts=timedelta(days=365)))
        place.run("license", "install", file)
    shutil.copytree(place.folder / "work", place.folder / "saved")
    clock.set_to(NOW + YEARS)
    with pytest.raises(NotLicensed):
        place.served().__enter__()
    clock.set_to(NOW + timedelta(days=1))


def findings(place: Place, step: str) -> tuple[str, str, str]:
    result = CliRunner().invoke(group, ["doctor", "--json", "-f", str(place.config)])
    told = msgspec.json.decode(result.stdout)["findings"]
    [seen] = [each for each in told if each["step"] == step and "database's" not in each["text"]]
    return seen["status"], seen["text"], seen.get("remedy", "")


def test_a_license_that_expired_by_the_logs_time_alone_is_told_as_that(place: Place) -> None:
    clock = HeldClock(NOW)
    with held(clock):
        was_ahead(place, clock)
        told = place.run("license", "status")
        assert "2031-03-21T09:00:00Z, 1599 days ahead of 2026-11-03T09:00:00Z:" in told
        assert re.search(r"event \d+, license.state-changed, of node \S+ at 2031-03-21T09:", told)
        assert "license that lasts longer than the log's time; docs/license.md tells how" in told
        shown = place.status()
        assert (shown["at"], shown["clock"]) == ("2031-03-21T09:00:00Z", "2026-11-03T09:00:00Z")
        assert shown["ahead"]["seconds"] == 1599 * 86400
        assert shown["ahead"]["type"] == "license.state-changed"
        status, text, remedy = findings(place, "license")
        assert status == "fail"
        assert "by the log's latest time, 1599 days ahead of this clock since event " in text
        assert f"from before event {shown['ahead']['event']}, or a longer license" in remedy
        assert findings(place, "clock")[0] == "fail"
        place.run("clock", "accept")
        status, text, _ = findings(place, "clock")
        assert status == "warn"
        assert ", which was accepted: its time stands until" in text
        with pytest.raises(NotLicensed, match="1599 days; ahead of this clock"):
            place.served().__enter__()


def test_a_longer_license_counts_at_once_after_a_clock_was_ahead(place: Place) -> None:
    clock = HeldClock(NOW)
    with held(clock):
        was_ahead(place, clock)
        place.run("clock", "accept")
        longer = a_license_file(
            number=2,
            installation=place.status()["installation_key"],
            begins=clock.now(),
            lasts=YEARS + timedelta(days=30),
        )
        (place.folder / "longer.lic").write_text(longer)
        told = place.run("license", "install", place.folder / "longer.lic")
        assert "recorded: the license is valid until 2031-04-21T09:00:00Z" in told
        with place.served() as server:
            assert server.license.standing().state == "valid"
            assert server.license.banner() is None
        told = place.run("license", "status")
        assert "1599 days ahead of" in told
        assert "lasts longer than the log's time" not in told


def test_what_was_saved_before_a_clock_was_ahead_brings_the_license_back(place: Place) -> None:
    clock = HeldClock(NOW)
    with held(clock):
        was_ahead(place, clock)
        shutil.rmtree(place.folder / "work")
        shutil.move(place.folder / "saved", place.folder / "work")
        with place.served() as server:
            assert server.license.standing().state == "valid"
        shown = place.status()
        assert (shown["state"], shown["ahead"]["event"]) == ("valid", 0)


def test_the_first_event_ahead_of_a_clock_is_found_whichever_it_is(place: Place) -> None:
    clock = HeldClock(NOW)
    with held(clock):
        for hours in (0, 5, 5, 9):
            clock.set_to(NOW + timedelta(hours=hours))
            with place.served():
                pass
        settings = config.load(place.config)
        with tables_of(settings.database) as store:
            lines = [parse(line).envelope for line in store.lines(0)]
            for hours in (-1, 0, 4, 5, 8):
                here = NOW + timedelta(hours=hours)
                first = next(e for e in lines if datetime.fromisoformat(e.at) > here)
                found = ahead(store, here)
                assert found is not None
                assert found.position == first.position
                assert found.event.endswith(f" of node {first.server_id} at {first.at[:19]}Z")
            assert ahead(store, NOW + timedelta(hours=9)) is None
            assert ahead(store, NOW + timedelta(hours=9, seconds=-5)) is None
            for seconds, span in (
                (6, "6 seconds"),
                (119, "119 seconds"),
                (120, "2 minutes"),
                (7199, "119 minutes"),
                (7200, "2 hours"),
            ):
                found = ahead(store, NOW + timedelta(hours=9, seconds=-seconds))
                assert found is not None
                assert found.span == span


class Advised:
    """The license's step of `doctor`, as time passes."""

    def __init__(self, place: Place, clock: HeldClock) -> None:
        self.place, self.clock = place, clock

    def at(self, days: float, status: str, state: str) -> list[str]:
        """Look so many days after the evaluation began; return the commands that are advised."""
        self.clock.set_to(NOW + timedelta(days=days))
        result = CliRunner().invoke(group, ["doctor", "--json", "-f", str(self.place.config)])
        findings = msgspec.json.decode(result.stdout)["findings"]
        [seen] = [each for each in findings if each["step"] == "license"]
        assert (seen["status"], seen["text"].split()[0].rstrip(",")) == (status, state)
        remedy = seen.get("remedy", "")
        assert "license status" not in remedy
        assert f"send the installation key {self.key}" in remedy or "vendor" not in remedy
        lines = re.findall(r"'certeasy ([^']+)'", remedy)
        assert all(line.endswith(f" -f {self.place.config}") for line in lines)
        return [line.removesuffix(f" -f {self.place.config}") for line in lines]

    @property
    def key(self) -> str:
        return str(self.place.status()["installation_key"])

    def install(self, text: str) -> None:
        file = self.place.folder / "next.lic"
        file.write_text(text)
        self.place.run("license", "install", file)


INSTALL, COLD = "license install FILE", "cold-start init --plan PLAN"
EXTEND, FORCE = "cold-start extend --confirm", "license force-grace --confirm"
ACKNOWLEDGE, REVOKE = "license acknowledge-degraded", "certs revoke CERTIFICATE --yes"


def test_the_doctor_says_what_to_type_in_each_state_of_a_cold_start(place: Place) -> None:
    clock = HeldClock(NOW)
    with held(clock), place.served():
        advised = Advised(place, clock)
        assert advised.at(1, "warn", "evaluation") == [INSTALL]
        assert advised.at(30, "fail", "no-license") == [INSTALL, COLD]
        place.run("cold-start", "init", "--plan", "free")
        assert advised.at(31, "warn", "cold-start") == [INSTALL, EXTEND]
        assert advised.at(37, "fail", "no-license") == [INSTALL, EXTEND]
        place.run(*EXTEND.split())
        assert advised.at(44, "fail", "no-license") == [INSTALL, EXTEND]
        place.run(*EXTEND.split())
        # It lasts until its cap: it can be extended no more.
        assert advised.at(45, "warn", "cold-start") == [INSTALL]
        assert "lasts longer than three weeks" in place.run(*EXTEND.split(), code=1)
        assert advised.at(51, "fail", "no-license") == [INSTALL]


def test_the_doctor_says_what_to_type_in_each_state_of_a_license(place: Place) -> None:
    clock = HeldClock(NOW)
    ninety = timedelta(days=90)
    with held(clock), place.served() as server:
        advised = Advised(place, clock)
        advised.install(license_for(server, lasts=ninety))
        assert advised.at(1, "ok", "valid") == []
        assert advised.at(61, "warn", "valid") == [INSTALL]
        assert advised.at(90, "warn", "grace") == [INSTALL]
        assert advised.at(97, "fail", "expired") == [INSTALL, FORCE]
        place.run(*FORCE.split())
        assert advised.at(98, "warn", "force-grace") == [INSTALL]
        assert advised.at(104, "fail", "expired") == [INSTALL, FORCE]
        # Three weeks after it expired nothing but another license helps.
        assert advised.at(111, "fail", "expired") == [INSTALL]
        assert "this could be done until" in place.run(*FORCE.split(), code=1)
        clock.set_to(NOW + timedelta(days=112))
        advised.install(
            license_for(server, number=2, begins=clock.now(), lasts=ninety, managed_servers=0)
        )
        assert advised.at(113, "warn", "valid") == [INSTALL, REVOKE]
        advised.install(
            license_for(server, number=3, begins=clock.now(), lasts=ninety, authorities=0)
        )
        assert advised.at(114, "fail", "degraded") == [INSTALL, ACKNOWLEDGE]
        place.run(*ACKNOWLEDGE.split())
        assert advised.at(115, "warn", "acknowledged") == [INSTALL]
        advised.install(a_revocation_file(3, clock.now()))
        assert advised.at(116, "fail", "revoked") == [INSTALL]


def test_a_log_without_a_node_has_no_license_to_tell_of(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    assert "is no node's workdir yet" in place.run("cold-start", "init", "--plan", "free", code=1)
    assert "there is no database" in place.run("license", "status", code=1)


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"a page of another kind", "is no public key (PEM)"),
    ],
)
def test_a_program_without_its_vendor_s_key_says_so_in_one_line(
    place: Place, monkeypatch: pytest.MonkeyPatch, kept: bytes | None, why: str
) -> None:
    """As while an upgrade replaces its files: no command, and no reload, ends in a traceback."""
    with place.served() as server:
        missing = place.folder / "missing.pem"
        if kept is not None:
            missing.write_bytes(kept)
        monkeypatch.setattr(vendor, "KEY_FILE", missing)
        told = f"certeasy: {missing}, which came with the program, {why}: install the program again"
        assert place.run("license", "status", code=1).splitlines() == [told]
        assert place.run("license", "force-grace", code=1).splitlines() == [told]
        with pytest.raises(OSError, match="which came with the program"):
            server.reload(server.settings)
    assert place.run("serve", code=1).splitlines()[-1] == told

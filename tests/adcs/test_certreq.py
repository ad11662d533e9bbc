"""A CA by the programs of Windows, which are stood in for: see `tests.make.windows_programs`."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from certeasy.ca import (
    Authority,
    Denied,
    InDoubt,
    Issued,
    Pending,
    Revocation,
    RevocationRefused,
    Trace,
    Unavailable,
)
from certeasy.ca.adcs.certreq import CertreqAuthority
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import AnswerLost, NotReached
from certeasy.ca.adcs.programs import Ended, Programs, word
from certeasy.settings.adcs import AdcsCliSettings
from tests.contracts.test_authorities import Far, FarContract, Fate, a_submission
from tests.make.adcs import LabCa, a_ca
from tests.make.windows_programs import WindowsPrograms, programs_for
from tools.adcs_sim.behaviour import cuts, denies, issues, pends

FATES = {
    "lost": cuts(at=20),
    "cut before": cuts(before=True),
    "pending": pends(),
    "denied": denies(0x80094811, "Kurt sagt nein"),
}


def an_authority(programs: WindowsPrograms, folder: Path, **how) -> CertreqAuthority:
    settings = AdcsCliSettings(
        ca_name=f"ca1.lab.test\\{programs.ca.name}",
        certificate_template="WebServer",
        certreq_path=programs.certreq,
        certutil_path=programs.certutil,
        **how,
    )
    return CertreqAuthority("corp", settings, folder / "work" / "adcs")


class Windows:
    """The CA and its connector, as the contract has it."""

    def __init__(self, ca: LabCa, programs: WindowsPrograms, authority: Authority) -> None:
        self.authority = authority
        self._ca, self._programs = ca, programs

    def next(self, fate: Fate) -> None:
        self._ca.once(FATES[fate])

    def away(self, *, away: bool) -> None:
        self._programs.away = away

    def approve(self) -> None:
        self._ca.approve(self._ca.requests[-1].id)

    def deny(self) -> None:
        self._ca.deny(self._ca.requests[-1].id)

    def issued(self) -> list[bytes]:
        return self._ca.issued

    def revoked(self) -> dict[str, int]:
        return {one.zfill(len(one) + len(one) % 2): why for one, why in self._ca.revoked.items()}


@pytest.fixture
def ca() -> Iterator[LabCa]:
    with a_ca() as running:
        yield running


@pytest.fixture
def programs(ca: LabCa, tmp_path: Path) -> Iterator[WindowsPrograms]:
    with programs_for(ca, tmp_path) as made:
        yield made


class TestCertreq(FarContract):
    """It keeps what every authority promises."""

    @pytest.fixture
    def far(self, ca: LabCa, programs: WindowsPrograms, tmp_path: Path) -> Far:
        return Windows(ca, programs, an_authority(programs, tmp_path))


@pytest.fixture
def corp(programs: WindowsPrograms, tmp_path: Path) -> CertreqAuthority:
    return an_authority(programs, tmp_path)


def test_the_template_and_the_order_are_told_in_one_argument(ca, programs, corp):
    corp.submit(a_submission())
    [called] = programs.called
    told = called[called.index("-attrib") + 1]
    assert told.startswith("CertificateTemplate:WebServer\\nCerteasyOrder:")
    assert ca.requests[0].attributes["certeasyorder"] == a_submission().order_id


def test_nobody_else_reads_what_a_program_is_given_and_nothing_of_it_stays(
    ca, programs, corp, tmp_path
):
    corp.submit(a_submission())
    ca.once(cuts(before=True))
    with pytest.raises(InDoubt):
        corp.submit(a_submission(2))
    assert programs.modes == {0o700, 0o600}
    assert list((tmp_path / "work/adcs").iterdir()) == []


def test_what_a_crash_left_behind_is_cleared_at_the_start(programs, tmp_path):
    left = tmp_path / "work/adcs/run-abc"
    left.mkdir(parents=True)
    (left / "request.der").write_bytes(b"x")
    an_authority(programs, tmp_path)
    assert not left.exists()


def test_a_program_that_does_not_end_is_ended_and_the_request_in_doubt(programs, tmp_path):
    corp = an_authority(programs, tmp_path, default_timeout=timedelta(seconds=1))
    programs.hangs = True
    with pytest.raises(InDoubt, match="did not end within 1 s"):
        corp.submit(a_submission())
    with pytest.raises(Unavailable, match="did not end within 1 s"):
        corp.probe()


def test_a_program_that_is_not_there_has_surely_asked_for_nothing(programs, tmp_path):
    corp = an_authority(programs, tmp_path)
    programs.certreq.unlink()
    with pytest.raises(Unavailable, match="cannot be run"):
        corp.submit(a_submission())


@pytest.mark.parametrize("seconds", [0, 1e-6, 1e-4, 1e-3, 1e-2])
def test_however_short_the_time_it_is_told_whether_a_program_was_begun(tmp_path, seconds):
    """The moment may pass while it is being started: that is no error of another kind."""
    programs, mark = Programs(tmp_path / "runs"), tmp_path / "mark"
    words = ["-IS", "-c", f"open({str(mark)!r}, 'w'); import time; time.sleep(60)"]
    with programs.files() as place, pytest.raises((NotReached, AnswerLost)) as told:
        programs.run(Path(sys.executable), words, place, Deadline(seconds))
    assert not (mark.exists() and told.type is NotReached)
    if not seconds:
        assert told.type is NotReached


def test_a_time_too_short_for_anything_is_unavailable_or_in_doubt(ca, programs, tmp_path):
    corp = an_authority(programs, tmp_path, default_timeout=timedelta(microseconds=1))
    with pytest.raises((Unavailable, InDoubt)):
        corp.submit(a_submission())
    for ask in (
        lambda: corp.poll(a_submission(), "1"),
        corp.probe,
        corp.issuers,
        lambda: corp.revoke(Revocation(b"", "01", 0, datetime(2030, 1, 1, tzinfo=UTC))),
    ):
        with pytest.raises(Unavailable):
            ask()
    assert not ca.ca.issued


def test_without_room_for_its_files_nothing_is_asked(programs, tmp_path):
    """A full disk is an authority that cannot be used, and nothing is in doubt."""
    corp = an_authority(programs, tmp_path)
    (tmp_path / "work").write_bytes(b"no folder")
    with pytest.raises(Unavailable, match=r"cannot be written: .*nothing was run"):
        corp.submit(a_submission())
    with pytest.raises(Unavailable, match="cannot be written"):
        corp.probe()
    assert programs.called == []


def test_a_pending_request_is_known_by_its_number_alone(ca, corp):
    ca.behaves("WebServer", pends())
    outcome = corp.submit(a_submission())
    assert isinstance(outcome, Pending)
    assert isinstance(corp.recover(a_submission(), Trace(outcome.request_id)), Pending)
    ca.approve(int(outcome.request_id))
    assert isinstance(corp.recover(a_submission(), Trace(outcome.request_id)), Issued)


def test_a_template_that_the_ca_does_not_offer_is_told_by_its_code(corp, ca):
    ca.behaves("WebServer", denies(0x80094800))
    with pytest.raises(Unavailable) as told:
        corp.submit(a_submission())
    assert (told.value.code, told.value.sick) == ("0x80094800", False)
    ca.behaves("WebServer", issues())
    ca.once(denies(0x80094811))
    denied = corp.submit(a_submission())
    assert isinstance(denied, Denied)
    assert denied.problem == "badPublicKey"


def test_the_cas_certificates_may_come_from_a_file(programs, tmp_path, ca):
    corp = an_authority(programs, tmp_path, ca_certificates=ca.roots_file(tmp_path))
    assert len(corp.issuers()) == 1
    assert programs.called == []
    missing = an_authority(programs, tmp_path, ca_certificates=tmp_path / "nothing.pem")
    with pytest.raises(Unavailable, match="cannot be read"):
        missing.issuers()


def test_reasons_that_a_ca_does_not_know_become_unspecified(programs, corp):
    issued = corp.submit(a_submission())
    with pytest.raises(RevocationRefused, match="0x80094004"):
        corp.revoke(Revocation(issued.certificate, "00ff", 9, datetime(2030, 1, 1, tzinfo=UTC)))
    assert programs.called[-1][-3:] == ["-revoke", "ff", "0"]


@pytest.mark.parametrize("value", ["-f", "/f", "a\nb", "a\0b"])
def test_nothing_from_outside_is_taken_for_an_option(value):
    with pytest.raises(ValueError, match="would be an option"):
        word(value)


@pytest.mark.parametrize("template", ["Web\\nSAN:dns=evil.test", "Web\nSAN"])
def test_a_template_is_no_second_attribute(corp, programs, template):
    with pytest.raises(ValueError, match="more than one attribute"):
        corp.submit(replace(a_submission(), template=template))
    assert programs.called == []


@pytest.mark.parametrize(
    ("exit_code", "printed", "code", "number"),
    [
        (0, 'RequestId: 12\nRequestId: "12"\n', None, 12),
        (0, 'Anforderungs-ID: "7"\r\n', None, 7),
        (0x80094811, "RequestId: 3\nnein", 0x80094811, 3),
        (1, "nein 0x80094800 (-2146875392) und 0x80094811", 0x80094811, 0),
        (1, "0x5 (WIN32: 5)", None, 0),
        (0, "Version 10.0.1: 5 und mehr", None, 0),
    ],
)
def test_only_codes_and_numbers_count(exit_code, printed, code, number):
    ended = Ended(exit_code, printed)
    assert (ended.code, ended.request_id) == (code, number)


def test_a_flood_of_output_is_cut_off(tmp_path):
    programs = Programs(tmp_path / "runs")
    with programs.files() as place:
        words = ["-c", "print('x' * 10_000_000)"]
        ended = programs.run(Path(sys.executable), words, place, Deadline(30))
    assert len(ended.printed) == 1 << 16
    with programs.files() as place, pytest.raises(NotReached):
        programs.run(tmp_path / "nothing", [], place, Deadline(30))

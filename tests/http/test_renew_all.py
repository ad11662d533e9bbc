"""`certeasy renew-all`: certificates are asked to be renewed, and clients that ask are told so."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.admin import client as local_client
from certeasy.admin.desk import InstructionRefused
from certeasy.admin.renewal import MOST, RequestRenewal
from certeasy.cli import group
from certeasy.clock import SystemClock
from certeasy.commit import Command
from certeasy.decide.decision import Decision
from certeasy.settings import RenewalInfoSettings
from events.envelope import Actor, parse
from events.recovery import CertificateRecovered
from projections.certificates import CERTIFICATES
from projections.renewals import RENEWALS
from tests.make.certificates import a_leaf, cert_id_of, plant
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.csrs import a_csr
from tests.make.lab import Lab, a_lab
from tests.make.signers import b64

EXPLAINED = "https://www.lab.test/why"
NOW = SystemClock().now().replace(microsecond=0)
DAY = timedelta(days=1)
CAMPAIGN = "0" * 26
START, END = "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"


class Place:
    """A workdir with a server, and the command on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workdir = folder / "node"
        self.config = a_config(folder, workdir=f'"{self.workdir}"')

    @contextmanager
    def server(self) -> Iterator[Lab]:
        info = RenewalInfoSettings(explanation_url=EXPLAINED)
        with a_lab(self.workdir, sections={"renewal_info": info}) as lab:
            yield lab

    def command(self, *words: str) -> Result:
        return CliRunner().invoke(group, ["renew-all", *words, "-f", str(self.config)])

    def run(self, *words: str) -> str:
        result = self.command(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fails(self, *words: str, code: int = 1) -> str:
        result = self.command(*words)
        assert result.exit_code == code, result.output
        return result.stderr

    def campaigns(self) -> list[dict[str, object]]:
        """What the log has of campaigns."""
        lines = map(parse, (self.workdir / "audit.log").read_bytes().splitlines())
        asked = [line.envelope for line in lines if line.envelope.type == "renewal.requested"]
        return [msgspec.json.decode(line.data) for line in asked]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def planted(lab: Lab, serial: int, *, begins: datetime = NOW - DAY, days: int = 90) -> str:
    """Have a certificate in the log; return its id."""
    return plant(lab.server, a_leaf(serial=serial, begins=begins, life=days * DAY))


def told(decision: Decision) -> Command:
    return Command(lambda _rows, _now: decision, Actor("system", "test"))


def shown(lab: Lab, serial: int) -> tuple[datetime, datetime, str | None]:
    """Return the window of a certificate that was planted, and the page that explains it."""
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    result = lab.wire.simulate_get(f"/acme/renewal-info/{b64(bytes([1]) * 20)}.{b64(number)}")
    assert result.status_code == 200, result.text
    window = result.json["suggestedWindow"]
    start, end = (datetime.fromisoformat(window[key]) for key in ("start", "end"))
    return start, end, result.json.get("explanationURL")


@pytest.mark.parametrize("how", ["running", "stopped"])
def test_a_campaign_does_the_same_with_the_server_running_and_stopped(
    place: Place, how: str
) -> None:
    with place.server() as lab:
        certificate = planted(lab, 0x11)
        assert shown(lab, 0x11)[0] > NOW + 50 * DAY
        if how == "running":
            assert "1 certificate asked to be renewed" in place.run("--authority", "lab-ca")
    if how == "stopped":
        assert "1 certificate asked to be renewed" in place.run("--authority", "lab-ca")
    with place.server() as lab:
        start, end, page = shown(lab, 0x11)
        assert start < end <= SystemClock().now()
        assert page == EXPLAINED
        assert planted(lab, 0x12)
        assert shown(lab, 0x12)[0] > NOW + 50 * DAY, "what comes later is not covered"
    [asked] = place.campaigns()
    assert (asked["certificates"], asked["authority"]) == ([certificate], "lab-ca")
    check_node(place.workdir)


def test_a_campaign_may_be_spread_over_a_window(place: Place) -> None:
    with place.server() as lab:
        planted(lab, 0x21, begins=NOW - 10 * DAY)
        planted(lab, 0x22, begins=NOW - 1 * DAY)
        before = f"{NOW - 5 * DAY:%Y-%m-%dT%H:%M:%S}"
        said = place.run("--before", before, "--window", "3d")
        start, end, _ = shown(lab, 0x21)
        assert end - start == 3 * DAY
        assert abs(start - SystemClock().now()) < timedelta(minutes=5)
        assert f"{start:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ}" in said
        assert shown(lab, 0x22)[2] is None
    [asked] = place.campaigns()
    assert asked["before"] == f"{before}Z"


def test_what_is_asked_for_twice_is_covered_by_both(place: Place) -> None:
    with place.server() as lab:
        planted(lab, 0x23, begins=NOW - 10 * DAY)
        planted(lab, 0x24, begins=NOW - 1 * DAY)
        assert "2 certificates" in place.run("--authority", "lab-ca")
        before = f"{NOW - 5 * DAY:%Y-%m-%d}"
        assert "1 certificate " in place.run("--authority", "lab-ca", "--before", before)
        assert len({str(asked["campaign"]) for asked in place.campaigns()}) == 2


def test_a_list_of_serials_is_read_however_they_are_spelled(place: Place) -> None:
    with place.server() as lab:
        ids = [planted(lab, serial) for serial in (0x31, 0xABCDEF, 0x0133, 0x34)]
        listed = place.folder / "serials.txt"
        listed.write_text("# stolen\n31\n\n  AB:CD:EF  \n00:01:33\nab:cd:ef\nfff1\n")
        result = place.command("--serials", str(listed))
        assert result.exit_code == 0, result.output
        assert "3 certificates asked to be renewed" in result.stdout
        assert result.stderr == "certeasy: no certificate has the serial fff1\n"
        assert shown(lab, 0xABCDEF)[2] == EXPLAINED
        assert shown(lab, 0x34)[2] is None
    [asked] = place.campaigns()
    assert asked["certificates"] == ids[:3]
    assert "authority" not in asked
    assert "before" not in asked


def test_many_unknown_serials_are_told_in_short(place: Place) -> None:
    with place.server() as lab:
        planted(lab, 0x35)
        listed = place.folder / "serials.txt"
        listed.write_text("35\n" + "".join(f"{n:04x}\n" for n in range(0x1000, 0x1020)))
        said = place.command("--serials", str(listed)).stderr.splitlines()
    assert len(said) == 21
    assert said[-1] == "certeasy: 12 more serials are unknown"


def test_what_cannot_or_need_not_be_renewed_is_not_covered(place: Place) -> None:
    with place.server() as lab:
        client = lab.client()
        client.register()
        first = client.issued("web.lab.test")
        name = client.post(client.see(first)["certificate"]).content
        leaf = x509.load_pem_x509_certificate(name)
        planted(lab, 0x41, begins=NOW - 20 * DAY, days=10)
        second = client.issued("www.lab.test")
        revoked = x509.load_pem_x509_certificate(
            client.post(client.see(second)["certificate"]).content
        )
        der = b64(revoked.public_bytes(Encoding.DER))
        client.post("https://acme.lab.test/acme/revoke-cert", {"certificate": der})
        answer = msgspec.json.decode(place.run("--authority", "lab-ca", "--json", "--dry-run"))
        assert [int(serial, 16) for serial in answer["serials"]] == [leaf.serial_number]
        listed = place.folder / "serials.txt"
        listed.write_text(f"41\n{revoked.serial_number:x}\n")
        said = place.fails("--serials", str(listed))
        assert "no certificate that is in force" in said


def test_a_dry_run_tells_which_they_are_and_changes_nothing(place: Place) -> None:
    with place.server() as lab:
        planted(lab, 0x51)
        said = place.run("--authority", "lab-ca", "--dry-run").splitlines()
        assert said[0].startswith("51  lab-ca  to ")
        assert said[0].endswith("  web.lab.test")
        assert said[1:] == ["1 certificate would be asked to be renewed; nothing was changed"]
        assert shown(lab, 0x51)[2] is None
    assert place.campaigns() == []


def test_what_was_done_is_told_as_json(place: Place) -> None:
    with place.server() as lab:
        certificate = planted(lab, 0x61)
        answer = msgspec.json.decode(place.run("--authority", "lab-ca", "--window", "1d", "--json"))
        renewal = lab.server.committer.get(RENEWALS, certificate)
        assert renewal is not None
        assert answer == {
            "campaign": renewal.campaign,
            "certificates": 1,
            "start": renewal.start,
            "end": renewal.end,
            "unknown_serials": [],
            "serials": ["61"],
        }


def test_a_large_campaign_is_recorded_in_parts(place: Place) -> None:
    with place.server() as lab:
        ids = [lab.server.ids.new() for _ in range(MOST + 100)]
        certificate = lab.server.committer.get(CERTIFICATES, planted(lab, 0x71))
        assert certificate is not None
        members = {
            name: getattr(certificate, name)
            for name in CertificateRecovered.__struct_fields__
            if name not in ("id", "position", "order_id")
        }
        facts = [
            (f"certificate/{one}", CertificateRecovered(1, one, "0" * 26, **members)) for one in ids
        ]
        for some in (facts[:700], facts[700:1400], facts[1400:]):
            lab.server.committer.submit(told(Decision(tuple(some))))
        assert f"{len(ids) + 1} certificates" in place.run("--authority", "lab-ca")
        for one in (ids[0], ids[-1]):
            assert lab.server.committer.get(RENEWALS, one) is not None
    asked = place.campaigns()
    assert [len(msgspec.convert(each["certificates"], list[str])) for each in asked] == [
        1000,
        1000,
        101,
    ]
    assert len({str(each["campaign"]) for each in asked}) == 1


def test_how_far_a_campaign_is_can_be_asked_for(place: Place) -> None:
    with place.server() as lab:
        client = lab.client()
        client.register()
        kept, linked, alike = (client.issued(f"{n}.lab.test") for n in ("a", "b", "c"))
        planted(lab, 0x91)
        leaves = {
            order: x509.load_pem_x509_certificate(
                client.post(client.see(order)["certificate"]).content
            )
            for order in (kept, linked)
        }
        told = msgspec.json.decode(place.run("--authority", "lab-ca", "--json"))
        campaign = told["campaign"]
        assert place.run("--campaign", campaign).splitlines()[-1] == (
            "4 certificates: 0 renewed, 0 revoked, 0 expired, 4 left"
        )
        renewed = client.order("b.lab.test", replaces=cert_id_of(leaves[linked]))
        order = renewed.headers["location"]
        client.prove(order)
        assert client.finalize(order, a_csr("b.lab.test")).status_code == 200
        client.issued("c.lab.test")
        client.issued("a.lab.test", "b.lab.test")
        der = b64(leaves[kept].public_bytes(Encoding.DER))
        client.post("https://acme.lab.test/acme/revoke-cert", {"certificate": der})
        [left, sentence] = place.run("--campaign", campaign).splitlines()
        assert sentence == "4 certificates: 2 renewed, 1 revoked, 0 expired, 1 left"
        assert left.startswith("91  lab-ca  to ")
        assert msgspec.json.decode(place.run("--campaign", campaign, "--json")) == {
            "campaign": campaign,
            "renewed": 2,
            "revoked": 1,
            "expired": 0,
            "left": 1,
            "serials_left": ["91"],
        }
        assert alike != kept
        assert "there is no campaign 0000" in place.fails("--campaign", CAMPAIGN)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--campaign", "x", "--dry-run"), "--campaign stands alone"),
        (("--campaign", "x", "--authority", "y"), "--campaign stands alone"),
        ((), "say which: --authority, --before, or --serials"),
        (("--authority", "a", "--window", "0s"), "'0s' is no time at all"),
        (("--authority", "a", "--window", "soon"), "'soon' is not a duration"),
        (("--before", "yesterday"), "'yesterday' is no time such as 2026-11-01"),
        (("--before", "0001-01-01T00:00:00+14:00"), "is no time such as"),
        (("--serials", "/nowhere"), "does not exist"),
    ],
)
def test_a_wrong_command_line_is_told(place: Place, words: tuple[str, ...], says: str) -> None:
    assert says in place.fails(*words, code=2)


def test_a_list_stands_alone(place: Place) -> None:
    listed = place.folder / "serials.txt"
    listed.write_text("31\n")
    said = place.fails("--serials", str(listed), "--authority", "a", code=2)
    assert "--serials stands alone" in said


def test_a_list_with_something_else_in_it_is_refused_with_its_line(place: Place) -> None:
    listed = place.folder / "serials.txt"
    listed.write_text("31\nweb.corp.test\n")
    assert f"{listed}:2: 'web.corp.test' is no serial number" in place.fails(
        "--serials", str(listed)
    )


def test_nothing_covered_is_told_and_recorded_by_nobody(place: Place) -> None:
    with place.server() as lab:
        planted(lab, 0x81)
        for words in (
            ("--authority", "lab-ca", "--before", "0001-01-01"),
            ("--before", "0001-01-01"),
        ):
            assert "no certificate that is in force" in place.fails(*words)
    assert place.campaigns() == []


def test_an_authority_that_nobody_knows_is_told_with_those_that_are_known(place: Place) -> None:
    with place.server() as lab:
        planted(lab, 0x82)
    said = place.fails("--authority", "nosuch", code=2)
    assert said == "certeasy: there is no authority 'nosuch'; known: ca, lab-ca\n"
    # The one by the log alone, the other by the configuration alone.
    assert "1 certificate would be" in place.run("--authority", "lab-ca", "--dry-run")
    assert "no certificate that is in force" in place.fails("--authority", "ca")
    assert place.campaigns() == []


WRONG = {
    "an unknown certificate": (RequestRenewal(CAMPAIGN, ("1" * 26,), START, END), "no certificate"),
    "no id": (RequestRenewal("x", (), START, END), "a campaign has an id"),
    "too many": (RequestRenewal(CAMPAIGN, ("1" * 26,) * (MOST + 1), START, END), "at most"),
    "no time": (RequestRenewal(CAMPAIGN, (), "soon", END), "the window is none"),
    "no zone": (RequestRenewal(CAMPAIGN, (), "2026-12-01", END), "must have a beginning"),
    "an end before the start": (RequestRenewal(CAMPAIGN, (), END, START), "after it, an end"),
}


@pytest.mark.parametrize(("asked", "says"), WRONG.values(), ids=WRONG)
def test_the_server_records_no_campaign_that_could_not_be_explained(
    place: Place, asked: RequestRenewal, says: str
) -> None:
    with place.server(), pytest.raises(InstructionRefused, match=says):
        local_client.ask(place.workdir, asked)
    assert place.campaigns() == []

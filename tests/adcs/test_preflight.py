"""`certeasy adcs check`: what is made of what the world says."""

from datetime import timedelta

import pytest

from certeasy.ca.adcs.deadline import Late
from certeasy.ca.adcs.directory import NotRead
from certeasy.ca.adcs.errors import NotReached
from certeasy.ca.adcs.findings import Finding
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.preflight import Preflight
from certeasy.ca.adcs.templates import KeyRules
from certeasy.ca.adcs.world import Subject, Unread, Wanted
from tests.fakes.directories import RecordedDirectory
from tests.fakes.worlds import RecordedWorld
from tests.make.certificates import BEGIN, a_leaf
from tests.make.descriptors import (
    ADMINS,
    AUTHENTICATED,
    FULL,
    SERVICE,
    a_descriptor,
    a_template,
    an_entry,
)
from tests.make.domains import NOW, a_domain, a_filetime

WANTED = Wanted("AcmeServer", (KeyRules("web", True, 2048, ()),), (), timedelta(days=90))
SUBJECT = Subject("LAB-CA", "ca1.lab.test", user="svc-acme", wanted=(WANTED,))
SUBJECT_SSPI = Subject("LAB-CA", "ca1.lab.test", auth="sspi", wanted=(WANTED,))
OFFICER = a_descriptor(an_entry(SERVICE, 0x202))
CERTIFICATE = a_leaf(begins=BEGIN, life=timedelta(days=3650))


def a_world(**answers) -> RecordedWorld:
    answers.setdefault("domain", RecordedDirectory(a_domain(certificate=CERTIFICATE)))
    answers.setdefault("security", OFFICER)
    return RecordedWorld(**answers)


def found(world: RecordedWorld, **changed) -> dict[str, Finding]:
    fields = {name: getattr(SUBJECT, name) for name in SUBJECT.__struct_fields__}
    return {each.step: each for each in Preflight(Subject(**fields | changed), world).run()}


def test_a_ca_that_is_set_up_as_the_guide_says_is_ok_throughout():
    findings = list(Preflight(SUBJECT, a_world()).run())
    assert [each.step for each in findings if each.status != "ok"] == []
    assert [each.step for each in findings] == (
        "identity ca-dns controllers ca-ports dc-ports clock ticket directory account ca-object"
        " bind ca-name ca-certificate issuers ntauth template published subject eku key approval"
        " ra-signatures private-key validity enroll-right others request-right revoke-right"
        " edit-flags interface-flags"
    ).split()
    assert {each.about for each in findings} == {"", "AcmeServer"}


@pytest.mark.parametrize(
    ("answers", "step", "status", "told", "remedy"),
    [
        (
            {"identity": NotAuthenticated("", "no keytab", "make it")},
            "identity",
            "fail",
            "no k",
            "m",
        ),
        ({"addresses": NotReached("dns", "unknown")}, "ca-dns", "fail", "dns: unknown", "DNS"),
        ({"controllers": NotAuthenticated("", "none")}, "controllers", "fail", "none", ""),
        ({"closed": {("ca1.lab.test", 135)}}, "ca-ports", "ok", "135 is closed", ""),
        ({"closed": {("ca1.lab.test", 135), ("ca1.lab.test", 445)}}, "ca-ports", "fail", "", "135"),
        ({"closed": {("dc1.lab.test", 88)}}, "dc-ports", "warn", "dc1.lab.test: 389, 636 open", ""),
        (
            {"closed": {(f"dc{n}.lab.test", p) for n in (1, 2) for p in (88, 389, 636)}},
            "dc-ports",
            "fail",
            "dc1.lab.test: 88, 389, 636 closed",
            "88, 389, 636",
        ),
        ({"time": NOW + timedelta(minutes=2)}, "clock", "warn", "120 s behind", "NTP"),
        ({"time": NOW - timedelta(minutes=10)}, "clock", "fail", "600 s ahead of", "NTP"),
        ({"time": None}, "clock", "skipped", "does not tell", ""),
        ({"time": Late("no answer")}, "clock", "fail", "no answer", ""),
        (
            {"ticket": NotAuthenticated("KDC_ERR_PREAUTH_FAILED", "wrong", "new keytab")},
            "ticket",
            "fail",
            "wrong",
            "new keytab",
        ),
        ({"domain": NotRead("no", "why", "x")}, "directory", "fail", "no", "why"),
        (
            {"probe": NotReached("mapper", "not registered", 0x16C9A0D6)},
            "bind",
            "fail",
            "mapper: not registered",
            "CertSvc",
        ),
        ({"probe": NotReached("rpc", "no", 5)}, "bind", "fail", "rpc: no", "password or keytab"),
        ({"probe": NotReached("smb", "no", 0xC0000072)}, "bind", "fail", "smb", "disabled"),
        ({"probe": NotReached("mars", "no", 7)}, "bind", "fail", "mars: no", ""),
        ({"probe": 0x80094011}, "request-right", "fail", "no requests", "Request Certificates"),
        ({"probe": 0x80070057}, "ca-name", "ok", "says the directory", ""),
        ({"security": Unread("not readable")}, "request-right", "skipped", "not readable", "cert"),
        ({"security": Unread("not readable")}, "revoke-right", "skipped", "not readable", "cert"),
        ({"security": NotReached("rpc", "closed")}, "revoke-right", "skipped", "closed", ""),
        ({"security": b"\0"}, "revoke-right", "skipped", "descriptor", ""),
        ({"security": a_descriptor()}, "request-right", "fail", "may not request", "certsrv"),
        ({"security": a_descriptor()}, "revoke-right", "warn", "may not revoke", "Manage"),
        ({"offered": ("WebServer",)}, "published", "warn", "has not read it", "-pulse"),
        ({"offered": Unread("no")}, "published", "ok", "offers AcmeServer", ""),
        ({"offered": NotReached("dcom", "no")}, "published", "ok", "offers AcmeServer", ""),
        ({"issuers": (b"other",)}, "issuers", "fail", "not among them", "add it"),
        ({"issuers": (b"other", CERTIFICATE)}, "issuers", "ok", "the CA tells", ""),
        ({"issuers": Unread("no PEM")}, "issuers", "fail", "no PEM", "set ca-certificates"),
        ({"issuers": NotReached("dcom", "no")}, "issuers", "fail", "not known: no", "RPC ports"),
        ({"EditFlags": 0x0015_014E}, "edit-flags", "warn", "ESC6", "-setreg"),
        ({"EditFlags": Unread("not for us")}, "edit-flags", "skipped", "not for us", "-getreg"),
        ({"EditFlags": Late("slow")}, "edit-flags", "skipped", "slow", ""),
        ({"InterfaceFlags": 0x41}, "interface-flags", "warn", "ESC11", "+IF_ENFORCE"),
        ({"InterfaceFlags": 0x208}, "interface-flags", "fail", "no requests", "-setreg"),
        ({"InterfaceFlags": Unread("no")}, "interface-flags", "skipped", "no", "-getreg"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(answers, step, status, told, remedy):
    finding = found(a_world(**answers))[step]
    assert finding.status == status
    assert told in finding.text
    assert remedy in finding.remedy


def test_what_needs_a_step_that_failed_is_skipped_and_names_it():
    seen = found(a_world(controllers=NotAuthenticated("", "none")))
    assert seen["ticket"] == Finding("ticket", "skipped", "not looked at: dc-ports comes first")
    assert "controllers" in seen["dc-ports"].text
    assert "directory" in seen["template"].text
    assert seen["bind"].status == "ok", "the CA is looked at all the same"

    seen = found(a_world(addresses=NotReached("dns", "unknown")))
    for step in ("request-right", "revoke-right", "edit-flags", "interface-flags"):
        assert seen[step].text == "not looked at: bind comes first"
    assert seen["ca-object"].status == "ok"


def test_with_ntlm_a_domain_without_controllers_here_is_no_failure():
    """The CA asks them; what only the directory knows is left out, and the CA is asked itself."""
    nobody = a_world(controllers=NotAuthenticated("", "DNS names none"), offered=("acmeserver",))
    seen = found(nobody, auth="ntlm")
    assert [step for step, each in seen.items() if each.status == "fail"] == []
    assert seen["controllers"].status == "warn"
    assert "DNS names none" in seen["controllers"].text
    assert seen["template"].status == "skipped"
    assert seen["published"] == Finding(
        "published", "ok", "the CA offers AcmeServer", about="AcmeServer"
    )


@pytest.mark.parametrize(
    ("offered", "status", "told"),
    [
        (("WebServer", "User"), "fail", "the CA does not offer AcmeServer, but User, WebServer"),
        ((), "fail", "but none"),
        (Unread("no"), "skipped", "does not tell"),
    ],
)
def test_a_template_that_is_not_offered_is_told_by_the_ca_where_the_directory_is_away(
    offered, status, told
):
    seen = found(a_world(controllers=NotAuthenticated("", "none"), offered=offered), auth="ntlm")
    assert seen["published"].status == status
    assert told in seen["published"].text


def test_with_ntlm_no_ticket_is_wanted_and_ntlm_is_warned_of():
    closed = {(f"dc{n}.lab.test", 88) for n in (1, 2)}
    seen = found(a_world(closed=closed, time=NOW - timedelta(hours=1)), auth="ntlm")
    assert seen["identity"].status == "warn"
    assert seen["ticket"].status == "ok"
    assert seen["dc-ports"].status == "ok"
    assert seen["clock"].status == "warn"


@pytest.mark.parametrize(
    ("transport", "closed", "status", "remedy"),
    [
        ("tcp", 135, "fail", "135"),
        ("tcp", 445, "ok", ""),
        ("np", 445, "fail", "TCP 445"),
        ("np", 135, "ok", ""),
    ],
)
def test_the_ports_that_count_are_those_of_the_transport(transport, closed, status, remedy):
    finding = found(a_world(closed={("ca1.lab.test", closed)}), transport=transport)["ca-ports"]
    assert finding.status == status
    assert remedy in finding.remedy


def test_over_the_pipe_a_ticket_for_its_service_is_wanted_as_well():
    assert "cifs/ca1.lab.test" in found(a_world(), transport="np")["ticket"].text
    assert "cifs" not in found(a_world())["ticket"].text


def test_a_fixed_port_is_looked_at_in_the_place_of_the_mappers():
    finding = found(a_world(closed={("ca1.lab.test", 135)}), port=50000, transport="tcp")
    assert "50000 is open" in finding["ca-ports"].text


def test_the_next_controller_is_asked_where_one_does_not_answer():
    world = a_world(closed={("dc1.lab.test", 88), ("dc1.lab.test", 389)})
    assert found(world)["directory"].status == "ok"
    assert "dc1.lab.test" not in world.asked


@pytest.mark.parametrize(
    ("domain", "step", "status", "told"),
    [
        ({"ca_name": "OTHER-CA"}, "ca-object", "fail", "OTHER-CA"),
        ({"host": "ca2.lab.test"}, "ca-object", "warn", "ca2.lab.test"),
        ({"published": ()}, "published", "fail", "but none"),
        ({"published": ("WebServer",)}, "published", "fail", "but WebServer"),
        ({"published": ("ACMESERVER",)}, "published", "ok", ""),
        ({"templates": ()}, "template", "fail", "no template called AcmeServer"),
        ({"templates": (a_template(ra_signature=b"x"),)}, "template", "fail", "no number"),
        ({"certificate": b""}, "ca-certificate", "warn", "no certificate"),
        ({"certificate": b"rubbish"}, "ca-certificate", "warn", "no certificate"),
        ({"trusted": (b"other",)}, "ntauth", "ok", "log nobody on"),
        ({"account": {"userAccountControl": (b"514",)}}, "account", "fail", "disabled"),
        ({"account": {"sAMAccountName": (b"other",)}}, "account", "skipped", "not of this domain"),
        ({"account": {"sAMAccountName": (b"other",)}}, "enroll-right", "skipped", "account"),
        ({"account": {"sAMAccountName": (b"other",)}}, "revoke-right", "skipped", "account"),
        (
            {"account": {"msDS-UserPasswordExpiryTimeComputed": (a_filetime(NOW),)}},
            "account",
            "warn",
            "expires in 0 hours",
        ),
        (
            {
                "account": {
                    "msDS-UserPasswordExpiryTimeComputed": (a_filetime(NOW + timedelta(days=40)),)
                }
            },
            "account",
            "ok",
            "expires in 40 days",
        ),
        (
            {"templates": (a_template(securitydescriptor=a_descriptor(an_entry(ADMINS, FULL))),)},
            "enroll-right",
            "fail",
            "no entry",
        ),
    ],
)
def test_what_the_directory_has_is_judged(domain, step, status, told):
    objects = a_domain(**{"certificate": CERTIFICATE} | domain)
    finding = found(a_world(domain=RecordedDirectory(objects)))[step]
    assert finding.status == status
    assert told in finding.text


@pytest.mark.parametrize(("days", "status"), [(-1, "fail"), (10, "warn"), (80, "warn"), (91, "ok")])
def test_a_ca_whose_certificate_ends_is_told_in_time(days: int, status: str):
    certificate = a_leaf(begins=BEGIN - timedelta(days=400), life=timedelta(days=400 + days))
    world = a_world(domain=RecordedDirectory(a_domain(certificate=certificate)))
    assert found(world)["ca-certificate"].status == status


def test_an_unknown_ca_name_is_suspected_where_the_directory_cannot_tell():
    seen = found(a_world(domain=NotRead("closed"), probe=0x80070057))
    assert (seen["ca-name"].status, seen["ca-name"].code) == ("warn", "0x80070057")


def test_a_template_that_cannot_be_read_is_told():
    class Failing(RecordedDirectory):
        def template(self, name):
            raise NotRead(f"{name}: closed")

    world = a_world(domain=Failing(a_domain(certificate=CERTIFICATE)))
    assert found(world)["template"].text == "AcmeServer: closed"


def test_what_everybody_may_at_the_ca_an_unknown_account_may():
    security = a_descriptor(an_entry(AUTHENTICATED, 0x200))
    seen = found(a_world(domain=NotRead("closed"), security=security))
    assert seen["request-right"].status == "ok"
    assert seen["revoke-right"].status == "skipped"


def test_what_was_not_looked_at_is_not_to_be_mended():
    """Only where a right cannot be read from here it is told where to look."""
    elsewhere = a_domain(account={"sAMAccountName": (b"other",)}, certificate=CERTIFICATE)
    unknown = found(a_world(domain=RecordedDirectory(elsewhere)))["revoke-right"]
    assert (unknown.text, unknown.remedy) == ("not looked at: account comes first", "")
    unread = found(a_world(security=Unread("not readable")))["revoke-right"]
    assert unread.remedy == "look there: certsrv.msc, the CA's properties, tab Security"


def test_where_a_file_has_the_cas_certificates_the_ca_need_not_tell_them():
    away = {"probe": NotReached("mapper", "no")}
    assert found(a_world(**away))["issuers"].status == "skipped"
    told = found(a_world(**away), issuers_in_file=True)["issuers"]
    assert told.status == "ok"
    assert "the file ca-certificates has" in told.text


def test_where_revocations_stay_here_no_right_is_wanted():
    assert found(a_world(security=a_descriptor()), revokes=False)["revoke-right"].status == "ok"


def test_every_step_but_one_can_be_about_several_templates():
    other = Wanted("Other")
    subject = Subject("LAB-CA", "ca1.lab.test", wanted=(WANTED, other))
    findings = list(Preflight(subject, a_world()).run())
    assert found(a_world(), user="")["account"].status == "skipped"
    assert [each.about for each in findings if each.step == "template"] == ["AcmeServer", "Other"]


def test_with_sspi_the_directory_is_a_warning_that_tells_how_to_look():
    """It is no failure: there is nothing to mend, and the rest is looked at."""
    findings = list(Preflight(SUBJECT_SSPI, a_world()).run())
    seen = {each.step: each for each in findings}
    assert seen["directory"].status == "warn"
    assert "neither the template nor the rights" in seen["directory"].text
    assert "certtmpl.msc" in seen["directory"].remedy
    assert seen["account"].text == "not looked at: directory comes first"
    assert seen["template"].status == "skipped"
    assert seen["bind"].status == "ok"
    assert [each.step for each in findings if each.status == "fail"] == []

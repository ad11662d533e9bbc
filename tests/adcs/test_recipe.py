"""docs/adcs.md: every point of the recipe for template, rights and flags is one that `adcs check`
looks at, in the step that the page names, and whose neglect it tells with the same remedy."""

import re
import struct
from datetime import timedelta
from pathlib import Path

import pytest

from certeasy.ca.adcs.findings import Finding
from certeasy.ca.adcs.preflight import Preflight
from certeasy.ca.adcs.templates import READ, KeyRules, PendingRule
from certeasy.ca.adcs.world import Subject, Wanted
from tests.fakes.directories import RecordedDirectory
from tests.fakes.worlds import RecordedWorld
from tests.make.certificates import BEGIN, a_leaf
from tests.make.descriptors import (
    AUTHENTICATED,
    ENROLL,
    SERVICE,
    a_descriptor,
    a_template,
    an_entry,
)
from tests.make.domains import a_domain

PAGE = (Path(__file__).resolve().parents[2] / "docs/adcs.md").read_text(encoding="utf-8")
STEP = re.compile(r"`([a-z-]+)`")
FLAG = re.compile(r"`msPKI-(Enrollment|Private-Key|Certificate-Name)-Flag` (with|without) 0x(\w+)")
OFFICER = a_descriptor(an_entry(SERVICE, 0x202))
CERTIFICATE = a_leaf(begins=BEGIN, life=timedelta(days=3650))
SUBJECT = Subject(
    "LAB-CA",
    "ca1.lab.test",
    user="svc-acme",
    wanted=(
        Wanted(
            "AcmeServer",
            (KeyRules("web", True, 2048, ()),),
            (PendingRule("web", False, timedelta(days=1)),),
            timedelta(days=90),
        ),
    ),
)


def rows(title: str) -> list[list[str]]:
    """Return the cells of the first table below a title."""
    section = PAGE.partition(f"\n{title}\n")[2].partition("\n#")[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"][2:]


def seen(template=None, **answers) -> dict[str, Finding]:
    """Return what is found of a domain as the page has it, with this template or these answers."""
    objects = a_domain(
        certificate=CERTIFICATE, templates=(a_template() if template is None else template,)
    )
    answers = {"domain": RecordedDirectory(objects), "security": OFFICER} | answers
    return {each.step: each for each in Preflight(SUBJECT, RecordedWorld(**answers)).run()}


TEMPLATE = rows("## The template")
NEGLECTED = {
    "Compatibility": a_template(schema_version=b"1"),
    "General: Template": a_template("Acme Server"),
    "General: Validity": a_template(expirationperiod=struct.pack("<q", -91 * 86400 * 10**7)),
    "Cryptography: Algorithm": a_template(minimal_key_size=b"4096"),
    "Issuance Requirements: This": a_template(ra_signature=b"1"),
    "Extensions": a_template(keyusage=(b"1.3.6.1.5.5.7.3.1", b"1.3.6.1.5.5.7.3.2")),
    "Security: the": a_template(securitydescriptor=a_descriptor(an_entry(SERVICE, 0x10))),
    "Security: Domain": a_template(
        securitydescriptor=a_descriptor(
            an_entry(SERVICE, 0x100, ENROLL), an_entry(AUTHENTICATED, 0x100, ENROLL)
        )
    ),
}
"""Templates that are as the recipe says, but for one point; flags are taken from the page."""
ATTRIBUTES = {
    "Enrollment": "enrollment_flag",
    "Private-Key": "private_key_flag",
    "Certificate-Name": "name_flag",
}


def neglected(tab: str, setting: str, directory: str):
    """Return a template that is as the recipe says, but for this line."""
    flag = FLAG.search(directory)
    if flag is None:
        [found] = [
            template for key, template in NEGLECTED.items() if f"{tab}: {setting}".startswith(key)
        ]
        return found
    value = int(flag[3], 16) if flag[2] == "without" else 0
    return a_template(**{ATTRIBUTES[flag[1]]: str(value).encode()})


def test_what_is_set_up_as_the_recipe_says_is_ok_throughout():
    assert [step for step, each in seen().items() if each.status != "ok"] == []


@pytest.mark.parametrize("row", TEMPLATE, ids=lambda row: f"{row[0]}: {row[1][:30]}")
def test_each_line_of_the_template_is_looked_at_by_the_step_beside_it(row: list[str]):
    tab, setting, directory, step, _ = row
    finding = seen(neglected(tab, setting, directory))[step.strip("`")]
    assert finding.status in {"warn", "fail"}, finding
    named = re.findall(r"tab ((?:[A-Z]\w+ ?)+)", finding.remedy)
    assert not named or tab in [each.strip() for each in named], finding.remedy
    for attribute in re.findall(r"`(\w[\w-]+)`", directory):
        assert attribute in READ or attribute.startswith("pending")


def test_each_step_about_a_template_has_a_line():
    templates = {step for step, each in seen().items() if each.about}
    told = {step.strip("`") for _, _, _, step, _ in TEMPLATE} | {"published"}
    assert told == templates
    assert "(step `published`)" in PAGE
    assert seen(template=a_template("Other"))["template"].status == "fail"


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("Read, Enroll", {}),
        ("Request Certificates", {"security": a_descriptor()}),
        ("Issue and Manage Certificates", {"security": a_descriptor(an_entry(SERVICE, 0x200))}),
    ],
)
def test_each_right_is_looked_at_by_the_step_beside_it(name: str, answers):
    [step] = [row[2].strip("`") for row in rows("## Rights") if row[0] == name]
    template = None if answers else NEGLECTED["Security: the"]
    finding = seen(template, **answers)[step]
    assert finding.status in {"warn", "fail"}
    assert name.rpartition(", ")[2] in finding.remedy


def test_a_right_that_no_step_looks_at_says_so():
    assert [row[0] for row in rows("## Rights") if not STEP.match(row[2])] == ["Manage CA"]
    assert {row[2] for row in rows("## Rights") if row[0] == "Manage CA"} == {"not looked at"}


FLAGS = {
    "EDITF_ATTRIBUTESUBJECTALTNAME2": {"EditFlags": 0x0015_014E},
    "IF_NOREMOTEICERTREQUEST, IF_NORPCICERTREQUEST": {"InterfaceFlags": 0x208},
    "IF_ENFORCEENCRYPTICERTREQUEST": {"InterfaceFlags": 0x41},
}


def test_each_flag_is_looked_at_and_its_command_is_that_of_the_step():
    table = rows("### The CA's flags")
    assert [row[0] for row in table] == list(FLAGS)
    for name, _, step, command in table:
        finding = seen(**FLAGS[name])[step.strip("`")]
        assert finding.status in {"warn", "fail"}
        assert command.strip("`") in finding.remedy


def test_the_page_has_each_step_that_the_check_has():
    told = [step for row in rows("### The steps") for step in STEP.findall(row[0])]
    assert sorted(told) == sorted(seen())

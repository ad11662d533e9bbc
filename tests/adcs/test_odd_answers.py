"""What a CA of a domain answers may be odd, and is no reason to ask it for another certificate."""

from pathlib import Path

import pytest

from certeasy.ca import Denied, Issued, Trace, Untraceable
from certeasy.ca.adcs import answers
from certeasy.ca.adcs.chain import issuers_of
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.ndr import Reply
from tests.adcs.test_authority import a_submission, an_authority
from tests.fakes.clocks import MovedClock
from tests.fakes.far_authority import serial_of
from tests.make.adcs import LabCa, a_ca
from tests.make.adcs_lab import an_adcs_lab
from tests.make.csrs import a_csr
from tests.make.enrolment import WEB_SERVER, enrolment, within
from tools.adcs_sim.behaviour import cuts

VERSION_3, VERSION_8 = bytes.fromhex("a003020102"), bytes.fromhex("a003020107")
NO_TEXT = b"\xff\xfe"


def an_answer(ca: LabCa, client: Enrolment) -> Reply:
    return client.request(ca.name, a_submission().csr, WEB_SERVER, within())


def test_a_certificate_that_cannot_be_read_hides_no_number() -> None:
    """What was issued is asked for by that; a second one is not."""
    with a_ca() as ca, enrolment(ca) as client:
        whole = an_answer(ca, client)
        name = ca.name.encode()
    leaf, chain = whole.certificate, whole.chain
    assert issuers_of(leaf, chain) == ()  # the root is left out
    odd = NO_TEXT + name[len(NO_TEXT) :]
    assert name in leaf
    assert name in chain
    for certificate, pkcs7 in (
        (leaf.replace(VERSION_3, VERSION_8), chain),
        (leaf.replace(name, odd), chain),
        (leaf, chain.replace(VERSION_3, VERSION_8)),
        (leaf, chain.replace(name, odd)),
    ):
        told = answers.outcome(Reply(3, 7, pkcs7, certificate, ""))
        assert told == Issued(certificate, (), "7")


@pytest.mark.parametrize("after", ["4294967295", "99999999999999999999", "lab\\3", "-1", "٣"])
def test_numbers_that_no_request_has_lead_nowhere(tmp_path: Path, after: str) -> None:
    """A CA may have told them, or another kind of CA that had the authority's name before."""
    with a_ca() as ca, an_authority(ca, tmp_path, lost_answers="probe") as corp:
        submission = a_submission()
        corp.submit(submission)
        assert corp.twins(submission, Trace(after=after), "") == ()
        with pytest.raises(Untraceable):
            corp.recover(submission, Trace(after=after))
        assert len(corp.twins(submission, Trace(after="0"), after)) == 1
        assert isinstance(corp.poll(submission, after), Denied)
        assert len(ca.requests) == 1


def test_a_twin_is_found_though_another_ca_has_the_same_number(tmp_path: Path) -> None:
    """Each of them begins at 1: the number of the certificate that the client got says nothing."""
    clock = MovedClock()
    with (
        a_ca(clock=clock, name="First CA") as first,
        a_ca(clock=clock, name="Second CA") as second,
        an_adcs_lab(tmp_path, first, second, clock=clock) as lab,
    ):
        client = lab.a_client()
        lab.ends(lab.finalized(client, "before.lab.test"), "valid")
        second.ca.submit(a_csr("other.lab.test"), {"certificatetemplate": "WebServer"}, "somebody")
        first.once(cuts(at=20))
        order_id = lab.finalized(client, key=2)
        lab.ends(order_id, "valid")
        assert [len(first.issued), len(second.issued)] == [2, 2]
        assert lab.given(order_id) == second.issued[1]
        lab.tells(order_id, "revocation.published", seconds=15)
        assert set(first.revoked) == {serial_of(first.issued[1]).lstrip("0")}
        assert second.revoked == {}


def test_one_absurd_number_does_not_end_all_looking(tmp_path: Path) -> None:
    """Who looks for the request of a lost answer begins behind the highest number that is known."""
    clock = MovedClock()
    with (
        a_ca(clock=clock) as ca,
        an_adcs_lab(tmp_path, ca, clock=clock, lost_answers="probe") as lab,
    ):
        client, database = lab.a_client(), ca.ca.database
        for number, name in ((7, "one"), (4_294_967_290, "two"), (8, "three")):
            database._next = number
            lab.ends(lab.finalized(client, f"{name}.lab.test"), "valid")
        ca.once(cuts(at=20))
        order_id = lab.finalized(client, "lost.lab.test", key=2)
        lab.ends(order_id, "valid")
        assert lab.given(order_id) == ca.issued[3]
        assert len(ca.issued) == 4

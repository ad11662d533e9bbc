"""A CA of a domain is an authority: asked over a real network, with a real simulated CA."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certeasy.ca import (
    Authority,
    Denied,
    InDoubt,
    Issued,
    Pending,
    Submission,
    Trace,
    Unavailable,
    Untraceable,
)
from certeasy.ca.adcs.authority import AdcsAuthority, adcs_authority
from certeasy.clock import SystemClock
from certeasy.settings import AuthoritySettings
from certeasy.settings.adcs import AdcsSettings
from tests.make.adcs import LabCa, a_ca
from tests.make.csrs import a_csr
from tools.adcs_sim.behaviour import cuts, denies, issues, pends

NAME = "web.lab.test"
TEMPLATE = "WebServer"


@contextmanager
def an_authority(ca: LabCa, folder: Path, **how: Any) -> Iterator[AdcsAuthority]:
    password = folder / "password"
    password.write_text(ca.password)
    password.chmod(0o600)
    settings = AdcsSettings(
        certificate_template=TEMPLATE,
        host="ca1.lab.test",
        address=ca.host,
        endpoint_mapper_port=ca.mapper_port,
        transport="tcp",
        auth="ntlm",
        domain=ca.domain,
        user=ca.user,
        password_file=password,
        **{"ca_name": ca.name, "ca_certificates": ca.roots_file(folder)} | how,
    )
    chosen = AuthoritySettings(name="corp", type="adcs", configuration=settings)
    authority = adcs_authority(chosen, settings, SystemClock(), workers=4)
    yield authority
    authority.close()


def a_submission(*names: str, order: str = "order-1", template: str = "") -> Submission:
    names = names or (NAME,)
    return Submission(order, 1, a_csr(*names), names, "node-1", template=template)


def names_of(certificate: bytes) -> list[str]:
    leaf = x509.load_der_x509_certificate(certificate)
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def test_a_certificate_is_issued_and_the_ca_s_database_knows_for_which_order(tmp_path) -> None:
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        authority: Authority = corp
        answer = authority.submit(a_submission())
        assert isinstance(answer, Issued)
        assert names_of(answer.certificate) == [NAME]
        (request,) = ca.requests
        assert answer.request_id == str(request.id)
        assert request.attributes["certeasyorder"] == "order-1"
        assert request.attributes["certeasynode"] == "node-1"
        assert request.attributes["certificatetemplate"] == TEMPLATE
        assert b"".join(authority.issuers())
        assert (authority.in_process, authority.copies_request) == (False, True)
        assert corp.described == (
            f"ca1.lab.test\\{ca.name} (tcp), template WebServer, asked as"
            f" {ca.domain}\\{ca.user} by NTLM, password-file {tmp_path / 'password'}"
        )


def test_an_order_s_template_is_its_own_and_not_the_next_one_s(tmp_path) -> None:
    with (
        a_ca(templates={TEMPLATE: issues(), "Short": issues()}) as ca,
        an_authority(ca, tmp_path, request_attributes=False) as corp,
    ):
        corp.submit(a_submission(template="Short"))
        corp.submit(a_submission())
        assert [each.attributes for each in ca.requests] == [
            {"certificatetemplate": "Short"},
            {"certificatetemplate": TEMPLATE},
        ]


def test_a_request_that_waits_for_an_officer_is_polled_by_its_number(tmp_path) -> None:
    with a_ca(templates={TEMPLATE: pends()}) as ca, an_authority(ca, tmp_path) as corp:
        submission = a_submission()
        answer = corp.submit(submission)
        assert isinstance(answer, Pending)
        assert isinstance(corp.poll(submission, answer.request_id), Pending)
        ca.approve(int(answer.request_id))
        issued = corp.poll(submission, answer.request_id)
        assert isinstance(issued, Issued)
        assert names_of(issued.certificate) == [NAME]
        denied = corp.submit(submission)
        assert isinstance(denied, Pending)
        ca.deny(int(denied.request_id))
        assert isinstance(corp.poll(submission, denied.request_id), Denied)


def test_what_the_ca_refuses_is_told_by_its_code(tmp_path) -> None:
    with a_ca(templates={TEMPLATE: denies(0x80094811)}) as ca, an_authority(ca, tmp_path) as corp:
        answer = corp.submit(a_submission())
        assert isinstance(answer, Denied)
        assert (answer.code, answer.problem) == ("0x80094811", "badPublicKey")
        ca.behaves(TEMPLATE, denies(0x80094012))
        with pytest.raises(Unavailable, match="CERTSRV_E_TEMPLATE_DENIED") as caught:
            corp.submit(a_submission())
        assert not caught.value.sick
        with pytest.raises(Unavailable, match="does not offer the template"):
            corp.submit(a_submission(template="Nowhere"))


def test_a_name_that_is_no_ca_s_is_told_as_such(tmp_path) -> None:
    with a_ca() as ca, an_authority(ca, tmp_path, ca_name="Another CA") as corp:
        with pytest.raises(Unavailable, match="no CA of this name") as caught:
            corp.submit(a_submission())
        assert caught.value.sick


def test_a_ca_that_is_not_there_was_surely_not_asked(tmp_path) -> None:
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        corp.probe()
        corp.submit(a_submission())
        ca.down()
        with pytest.raises(Unavailable):
            corp.probe()
        with pytest.raises(Unavailable):
            corp.submit(a_submission())
        ca.up()
        corp.probe()
        assert isinstance(corp.submit(a_submission()), Issued)


def test_a_wrong_password_is_told_as_such(tmp_path) -> None:
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        (tmp_path / "password").write_text("wrong")
        with pytest.raises(Unavailable):
            corp.submit(a_submission())
        assert ca.requests == []


def test_a_lost_answer_is_in_doubt_and_cannot_be_traced_unless_probing_is_allowed(
    tmp_path,
) -> None:
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        ca.once(cuts(at=20))
        submission = a_submission()
        with pytest.raises(InDoubt):
            corp.submit(submission)
        with pytest.raises(Untraceable, match="lost-answers is resubmit"):
            corp.recover(submission, Trace(after="1"))


def test_a_lost_certificate_is_found_by_its_key_behind_what_was_known(tmp_path) -> None:
    with a_ca() as ca, an_authority(ca, tmp_path, lost_answers="probe") as corp:
        first = corp.submit(a_submission(order="order-0"))
        assert isinstance(first, Issued)
        assert first.request_id is not None
        lost = a_submission("lost.lab.test")
        ca.once(cuts(at=20))
        with pytest.raises(InDoubt):
            corp.submit(lost)
        corp.submit(a_submission(order="order-2"))
        found = corp.recover(lost, Trace(after=first.request_id))
        assert isinstance(found, Issued)
        assert names_of(found.certificate) == ["lost.lab.test"]
        with pytest.raises(Untraceable, match="none of the CA's requests"):
            corp.recover(a_submission("never.lab.test"), Trace(after=first.request_id))
        with pytest.raises(Untraceable, match="no request number"):
            corp.recover(lost, Trace())
        assert isinstance(corp.recover(lost, Trace(request_id=str(ca.requests[1].id))), Issued)


def test_a_twin_is_found_beside_the_certificate_that_is_known(tmp_path) -> None:
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        first = corp.submit(a_submission(order="order-0"))
        assert isinstance(first, Issued)
        trace = Trace(after=first.request_id or "")
        lost = a_submission("lost.lab.test")
        ca.once(cuts(at=20))
        with pytest.raises(InDoubt):
            corp.submit(lost)
        again = corp.submit(lost)
        assert isinstance(again, Issued)
        (twin,) = corp.twins(lost, trace, again.request_id or "")
        assert twin.certificate != again.certificate
        assert names_of(twin.certificate) == ["lost.lab.test"]
        assert corp.twins(lost, Trace(), "") == ()


def test_the_ca_s_certificates_come_from_the_file_and_are_read_anew_when_it_changes(
    tmp_path,
) -> None:
    with a_ca() as ca, a_ca() as other, an_authority(ca, tmp_path) as corp:
        before = corp.issuers()
        assert before == corp.issuers()
        file = tmp_path / f"{ca.name}.pem"
        file.write_bytes(file.read_bytes() + other.roots)
        assert len(corp.issuers()) == len(before) + 1
        file.write_text("rubbish")
        with pytest.raises(Unavailable, match="cannot be read"):
            corp.issuers()

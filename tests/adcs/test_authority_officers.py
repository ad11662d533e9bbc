"""What a CA of a domain is asked beside certificates: its own, and to revoke."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.ca import Issued, Revocation, RevocationRefused, Unavailable
from tests.adcs.test_authority import a_submission, an_authority
from tests.make.adcs import a_ca
from tools.adcs_sim.behaviour import cuts, denies

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def issued_by(corp):
    answer = corp.submit(a_submission())
    assert isinstance(answer, Issued)
    serial = f"{x509.load_der_x509_certificate(answer.certificate).serial_number:x}"
    return Revocation(answer.certificate, serial.zfill(len(serial) + len(serial) % 2), 4, NOW)


def test_a_ca_tells_its_certificates_where_no_file_has_them(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path, ca_certificates=None) as corp:
        assert set(corp.issuers()) == {
            one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(ca.roots)
        }
        ca.down()
        assert corp.issuers()  # what it has said is still good


def test_a_ca_that_cannot_be_asked_for_them_is_unavailable(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path, ca_certificates=None) as corp:
        ca.down()
        with pytest.raises(Unavailable, match="set ca-certificates"):
            corp.issuers()
        ca.up()
        assert corp.issuers()


def test_a_revocation_reaches_the_ca_and_once_more_is_no_error(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        assert corp.revokes
        revocation = issued_by(corp)
        corp.revoke(revocation)
        corp.revoke(revocation)
        assert {int(one, 16): reason for one, reason in ca.revoked.items()} == {
            int(revocation.serial, 16): 4
        }
        assert ca.ca.published_crls == []


def test_a_revocation_list_is_published_where_the_settings_say_so(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path, publish_crl=True) as corp:
        corp.revoke(issued_by(corp))
        assert ca.ca.published_crls == ["base"]


def test_a_list_that_cannot_be_published_does_not_undo_the_revocation(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path, publish_crl=True) as corp:
        revocation = issued_by(corp)
        ca.ca.officers_meet(cuts(before=True))
        with pytest.raises(Unavailable):
            corp.revoke(revocation)
        assert not ca.revoked
        corp.revoke(revocation)
        assert len(ca.revoked) == 1


def test_what_a_ca_never_issued_is_not_asked_for_again(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        stranger = Revocation(b"", "00ff", 0, NOW)
        with pytest.raises(RevocationRefused) as refused:
            corp.revoke(stranger)
        assert refused.value.code == "0x80094004"


def test_who_may_not_revoke_is_told_the_right_and_may_later(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        revocation = issued_by(corp)
        ca.ca.officers_meet(denies(0x80070005))
        with pytest.raises(Unavailable) as refused:
            corp.revoke(revocation)
        assert (refused.value.code, refused.value.sick) == ("0x80070005", False)
        corp.revoke(revocation)
        assert ca.revoked

"""What every directory does: recorded answers, a stand-in, a domain controller."""

import pytest

from certeasy.ca.adcs.directory import Directory
from tests.make.descriptors import SERVICE

CERTIFICATE = b"one"


class DirectoryContract:
    """What every directory does. `domain` has the objects of `tests.make.domains.a_domain`."""

    @pytest.fixture
    def sid(self) -> str:
        """The SID of svc-acme."""
        return SERVICE

    def test_enterprise_cas_are_told_with_what_they_publish(self, domain: Directory):
        [found] = domain.services()
        assert (found.name, found.host) == ("LAB-CA", "ca1.lab.test")
        assert found.certificates == (CERTIFICATE,)
        assert "AcmeServer" in found.templates

    def test_a_template_is_found_by_its_name_with_its_security(self, domain: Directory):
        found = domain.template("AcmeServer")
        assert found is not None
        assert found["mspki-minimal-key-size"][0] == b"2048"
        assert found["ntsecuritydescriptor"]
        assert domain.template("NoSuchTemplate") is None
        assert domain.template("*") is None

    def test_an_account_has_its_groups_and_those_of_every_logon(self, domain: Directory, sid: str):
        found = domain.account("svc-acme")
        assert found is not None
        assert found.sid == sid
        of_the_domain = sid.rpartition("-")[0]
        assert {sid, f"{of_the_domain}-513", "S-1-5-11", "S-1-1-0"} <= found.sids
        assert f"{of_the_domain}-512" not in found.sids
        assert not found.disabled
        assert domain.account("nobody") is None

    def test_the_cas_for_logging_on_are_told(self, domain: Directory):
        assert domain.trusted_for_logon() == (CERTIFICATE,)

    def test_who_is_asked_is_told(self, domain: Directory):
        assert "dc1.lab.test" in domain.how or "127.0.0.1" in domain.how

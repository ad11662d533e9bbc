"""`certeasy adcs check` and the directory, against Debian's Samba as domain controller."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.ca.adcs import descriptors, templates
from certeasy.ca.adcs.controllers import Controllers
from certeasy.ca.adcs.deadline import Bounded, Deadline
from certeasy.ca.adcs.directory import Directory, NotRead, open_directory
from certeasy.ca.adcs.identity import Identity, NtlmIdentity
from certeasy.ca.adcs.kdc import Kdc
from certeasy.ca.adcs.kerberos import KerberosIdentity
from certeasy.ca.adcs.logins import by_keytab
from certeasy.clock import SystemClock
from tests.make.adcs import Plan
from tests.make.descriptors import a_descriptor, a_template, an_entry
from tests.make.directory_contract import CERTIFICATE, DirectoryContract
from tests.make.domains import PUBLIC_KEYS, a_domain
from tests.make.samba import CA_AT, DC, DC_AT, SambaDomain, samba_domain
from tools.adcs_sim.ca import Template
from tools.adcs_sim.machine import Machine

pytestmark = pytest.mark.interop

TEMPLATE = f"CN=AcmeServer,CN=Certificate Templates,{PUBLIC_KEYS}"
NT_AUTH = f"CN=NTAuthCertificates,{PUBLIC_KEYS}"
OTHER = f"CN=OpenServer,CN=Certificate Templates,{PUBLIC_KEYS}"
ENROLL = "0e10c968-78fb-11d2-90d4-00c04f79dc55"
ADMINS = "O:DAG:DAD:(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(A;;LCRPLORC;;;AU)"
RIGHTS = {
    TEMPLATE: f"{ADMINS}(OA;;CR;{ENROLL};;{{svc-acme}})",
    OTHER: f"{ADMINS}(OD;;CR;{ENROLL};;{{svc-acme}})(OA;;CR;{ENROLL};;DU)",
}


class Lab:
    """The domain, with the objects that an enterprise CA leaves in it."""

    def __init__(self, samba: SambaDomain) -> None:
        self.samba = samba
        objects = a_domain(
            certificate=CERTIFICATE,
            published=("AcmeServer", "OpenServer"),
            templates=(
                a_template(securitydescriptor=()),
                a_template("OpenServer", securitydescriptor=()),
            ),
        )
        classes = {
            "Enrollment Services": b"pKIEnrollmentService",
            "Certificate Templates": b"pKICertificateTemplate",
            "Public Key Services": b"certificationAuthority",
        }
        mine = {
            dn: {
                "objectClass": (b"top", kind),
                **{name: values for name, values in attributes.items() if name != "objectClass"},
            }
            for dn, attributes in objects.items()
            for parent, kind in classes.items()
            if dn.partition(",")[2].startswith(f"CN={parent},")
        }
        for attributes in mine.values():
            if attributes["objectClass"][1] == b"certificationAuthority":
                attributes |= {
                    "authorityRevocationList": (b"\0",),
                    "certificateRevocationList": (b"\0",),
                }
        self.sid = samba.put(mine, RIGHTS)["svc-acme"]

    def publish(self, certificate: bytes) -> None:
        """Register the CA with this certificate (DER)."""
        for dn in (f"CN=LAB-CA,CN=Enrollment Services,{PUBLIC_KEYS}", NT_AUTH):
            self.samba.put({dn: {"cACertificate": (certificate,)}}, {})

    def identity(self, auth: str) -> Identity:
        clock = SystemClock()
        if auth == "ntlm":
            return NtlmIdentity("svc-acme", "LAB", self.samba.password_file())
        kdc = Kdc(Controllers("lab.test", (DC,), clock=clock), clock, Bounded())
        login = by_keytab("svc-acme", "LAB.TEST", self.samba.keytab)
        return KerberosIdentity("svc-acme", "LAB.TEST", login, kdc, clock)

    @property
    def trusted(self) -> Path:
        """The CA certificate that the controller's own is of."""
        return self.samba.at / "private" / "tls" / "ca.pem"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with samba_domain() as samba:
        yield Lab(samba)


class SambaContract(DirectoryContract):
    auth: str
    is_trusted = False

    @pytest.fixture
    def sid(self, lab: Lab) -> str:
        return lab.sid

    @pytest.fixture
    def domain(self, lab: Lab) -> Iterator[Directory]:
        identity = lab.identity(self.auth)
        trusted = lab.trusted if self.is_trusted else None
        found = lab.samba.inside(
            lambda: open_directory(DC, identity, self.auth, Deadline(20), trusted=trusted)
        )
        yield found
        found.close()

    def test_the_effective_right_is_what_samba_made_of_it(self, domain: Directory):
        account = domain.account("svc-acme")
        assert account is not None
        status = {}
        for name in ("AcmeServer", "OpenServer"):
            attributes = domain.template(name)
            assert attributes is not None
            template = templates.read(attributes)
            assert template.descriptor is not None
            status[name] = (
                templates.enroll_right(template, "svc-acme", account.sids).status,
                templates.others(template).status,
            )
            assert descriptors.may_enroll(template.descriptor, {f"{account.sid[:-4]}9999"})
        assert status == {"AcmeServer": ("ok", "ok"), "OpenServer": ("fail", "warn")}


class TestSealedByNtlm(SambaContract):
    auth = "ntlm"

    def test_it_is_sealed_by_ntlm(self, domain: Directory):
        assert domain.how == f"{DC} by LDAP, sealed by NTLM"


class TestSealedByKerberos(SambaContract):
    auth = "kerberos"

    def test_it_is_sealed_by_kerberos_where_the_certificate_is_not_trusted(self, domain: Directory):
        assert domain.how == f"{DC} by LDAP, sealed by Kerberos"
        [before] = domain.before
        assert "not trusted" in before


class TestOverTls(SambaContract):
    auth = "kerberos"
    is_trusted = True

    def test_it_is_by_tls_where_the_certificate_is_trusted(self, domain: Directory):
        assert domain.how == f"{DC} by LDAP over TLS, by Kerberos"
        assert domain.before == ()


def test_a_wrong_password_is_told_in_windows_words(lab: Lab):
    identity = NtlmIdentity("svc-acme", "LAB", lab.samba.password_file(password="wrong"))
    with pytest.raises(NotRead) as error:
        lab.samba.inside(lambda: open_directory(DC, identity, "ntlm", Deadline(20)))
    assert error.value.code == "invalidCredentials"
    assert "password or key is wrong" in error.value.remedy


CONFIG = """\
workdir: "%CONFIGDIR%/work"
server: {{url: [https://acme.lab.test], tls: false}}
dns-validation-profiles: [{{name: d, resolved-ip-policy: {{allow-cidrs: [10.0.0.0/8]}}}}]
authorities:
  - name: ca
    type: adcs
    configuration:
      ca-name: ca1.lab.test\\LAB-CA
      certificate-template: AcmeServer
      domain: lab.test
      user: svc-acme
      keytab: {keytab}
      domain-controllers: [dc1.lab.test]
issuance-policies:
  - name: p
    dns: {{allow: [.corp.test/2]}}
    signature: {{allowed-algorithms: [RSA-SHA256]}}
"""


def checked(
    lab: Lab, folder: Path, *arguments: str, controller: str = DC
) -> tuple[int, dict[str, dict[str, str]]]:
    path = folder / "config.yml"
    text = CONFIG.format(keytab=lab.samba.keytab)
    path.write_text(text.replace("[dc1.lab.test]", f"[{controller}]"))
    command = [sys.executable, "-m", "certeasy", "adcs", "check", "-f", str(path), "--json"]
    done = subprocess.run(
        lab.samba.command(*command, *arguments), capture_output=True, timeout=60, check=False
    )
    found = msgspec.json.decode(done.stdout)
    [authority] = found["authorities"]
    return done.returncode, {each["step"]: each for each in authority["findings"]}


@pytest.fixture
def ca(lab: Lab) -> Iterator[Machine]:
    """The CA, on the ports that a real one has."""
    plan = Plan(
        address=CA_AT,
        mapper_port=135,
        templates=(Template(name="AcmeServer"), Template(name="OpenServer")),
        keytab=lab.samba.machine_keytab,
    )
    with lab.samba.inside(lambda: Machine(plan)) as machine:
        machine.ca.security = a_descriptor(an_entry(lab.sid, 0x202))
        [root] = x509.load_pem_x509_certificates(machine.ca.roots)
        lab.publish(root.public_bytes(Encoding.DER))
        yield machine
        lab.publish(CERTIFICATE)


def test_a_ca_as_the_guide_has_it_set_up_is_in_order(lab: Lab, ca: Machine, tmp_path: Path):
    code, steps = checked(lab, tmp_path)
    assert [each for each in steps.values() if each["status"] != "ok"] == []
    assert code == 0
    assert steps["ticket"]["text"] == "the domain vouches for us to host/ca1.lab.test"
    assert steps["enroll-right"]["status"] == "ok"
    assert steps["revoke-right"]["status"] == "ok"
    assert ca.ca.requests == []


def test_a_controller_whose_address_alone_is_known_is_asked_for_its_name(lab: Lab, tmp_path: Path):
    _, steps = checked(lab, tmp_path, controller=DC_AT)
    assert steps["directory"]["text"].startswith(f"{DC} by LDAP, sealed by Kerberos")
    assert steps["enroll-right"]["status"] == "ok"


def test_an_account_that_may_not_revoke_is_told(lab: Lab, ca: Machine, tmp_path: Path):
    ca.ca.security = a_descriptor(an_entry("S-1-5-11", 0x200))
    code, steps = checked(lab, tmp_path)
    assert code == 0
    assert steps["request-right"]["status"] == "ok"
    assert steps["revoke-right"]["status"] == "warn"


def test_a_template_that_anybody_may_enrol_with_but_we_is_told(
    lab: Lab, ca: Machine, tmp_path: Path
):
    code, steps = checked(lab, tmp_path, "--template", "OpenServer")
    assert code == 1
    assert steps["enroll-right"]["status"] == "fail"
    assert "denies it" in steps["enroll-right"]["text"]
    assert "Domain Users" in steps["others"]["text"]


def test_a_ca_that_is_away_is_told_and_the_directory_is_read_all_the_same(lab: Lab, tmp_path: Path):
    code, steps = checked(lab, tmp_path)
    assert code == 1
    assert steps["ca-ports"]["status"] == "fail"
    assert steps["bind"]["status"] == "skipped"
    assert steps["enroll-right"]["status"] == "ok"

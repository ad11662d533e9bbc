"""A real domain: Debian's Samba as its controller, its smbd before the CA's pipe, MIT's Kerberos at
the CA. Who we are is proven there by every way the settings have, and refused in every way that a
domain refuses.

The CA is the simulator; `make interop` installs the rest. Root.
"""

import socket
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import msgspec
import pytest
import spnego

from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import NotReached
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.identities import identity_of
from certeasy.ca.adcs.identity import Identity, NotAuthenticated
from certeasy.ca.adcs.kerberos import KerberosIdentity
from certeasy.ca.adcs.sspi import KINDS, SspiIdentity
from certeasy.ca.adcs.transport import Target
from certeasy.clock import Clock, SystemClock
from certeasy.settings.adcs import AdcsSettings
from tests.make.adcs import LabCa
from tests.make.csrs import a_csr
from tests.make.samba import CA, CA_AT, DC, SambaDomain, samba_domain
from tools.adcs_sim.machine import Machine, Plan

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(180),
    pytest.mark.allow_hosts(["127.0.0.1", "127.0.0.2", "127.0.0.9", "::1"]),
]

NAME = "LAB-CA"
TEMPLATE = {"CertificateTemplate": "WebServer"}
MUTE_AT = "127.0.0.9"


class ShiftedClock:
    """The system's clock, some time off."""

    def __init__(self, off: timedelta = timedelta()) -> None:
        self._own = SystemClock()
        self.off = off

    def now(self) -> datetime:
        """Return the time of day, shifted."""
        return self._own.now() + self.off

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._own.monotonic() + self.off.total_seconds()


@pytest.fixture(scope="module")
def lab() -> Iterator[SambaDomain]:
    with samba_domain() as lab:
        yield lab


@pytest.fixture
def ca(lab: SambaDomain) -> Iterator[LabCa]:
    """A CA that knows nobody but by Kerberos, at ca1.lab.test and behind the pipe of dc1's smbd."""
    plan = Plan(
        name=NAME, address=CA_AT, mapper_port=135, port=49200, objects_port=49201,
        keytab=lab.machine_keytab, pipe=lab.pipe, accounts={},
    )  # fmt: skip
    with lab.inside(lambda: Machine(plan)) as machine:
        yield LabCa(machine)


def settings(lab: SambaDomain, **more: object) -> AdcsSettings:
    """Return settings of svc-acme, by its keytab unless it is said how."""
    if not {"keytab", "password_file", "ccache"} & set(more):
        more["keytab"] = lab.keytab
    plain = AdcsSettings(ca_name=NAME, certificate_template="WebServer", domain="lab.test")
    return msgspec.structs.replace(plain, **({"user": "svc-acme"} | more))


def identity(lab: SambaDomain, clock: Clock | None = None, **more: object) -> Identity:
    return identity_of(settings(lab, **more), clock or SystemClock())


def refusal(lab: SambaDomain, who: Identity, host: str = CA, seconds: float = 20):
    """Return why a ticket for a host is refused."""
    with pytest.raises(NotAuthenticated) as refused:
        lab.inside(lambda: who.credentials("host", host, Deadline(seconds)))
    assert refused.value.cause
    assert refused.value.remedy
    return refused.value


def enrolled(lab: SambaDomain, ca: LabCa, who: Identity, target: Target, times: int = 1) -> None:
    """Ask for certificates, on one connection."""

    def ask() -> None:
        asking = Enrolment(target, who, connections=1)
        for _ in range(times):
            reply = asking.request(NAME, a_csr("a.lab.test"), TEMPLATE, Deadline(30))
            assert reply.certificate in ca.issued
        asking.close()

    lab.inside(ask)


BY: dict[str, Callable[[SambaDomain], dict[str, object]]] = {
    "keytab": lambda lab: {"keytab": lab.keytab},
    "password": lambda lab: {"password_file": lab.password_file()},
    "ccache": lambda lab: {"ccache": lab.ccache()},
    "ccache of whoever it is": lambda lab: {"ccache": lab.ccache(), "user": None},
}


@pytest.mark.parametrize("how", BY)
@pytest.mark.parametrize("target", [Target(CA), Target(DC, transport="np")], ids=["tcp", "pipe"])
def test_certificates_are_asked_for_with_kerberos(
    lab: SambaDomain, ca: LabCa, how: str, target: Target
):
    enrolled(lab, ca, identity(lab, **BY[how](lab)), target, times=3)
    assert ca.requests[-1].requester.lower().startswith("svc-acme@")


def test_domain_controllers_are_found_by_the_domains_own_dns(lab: SambaDomain, ca: LabCa):
    enrolled(lab, ca, identity(lab, domain_controllers=()), Target(CA))


def test_where_rpc_is_not_to_be_had_the_pipe_is(lab: SambaDomain, ca: LabCa):
    nowhere = Target(DC, transport="auto", mapper_port=1)
    enrolled(lab, ca, identity(lab), nowhere)


def test_ntlm_goes_through_smbd_and_is_proven_again_to_the_ca(lab: SambaDomain):
    plan = Plan(name=NAME, pipe=lab.pipe, address=CA_AT)
    who = identity(lab, auth="ntlm", domain="LAB", password_file=lab.password_file())
    with lab.inside(lambda: Machine(plan)) as machine:
        enrolled(lab, LabCa(machine), who, Target(DC, transport="np"), times=2)


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        ("svc-acme", "wrong", "KDC_ERR_PREAUTH_FAILED"),
        ("svc-disabled", "", "KDC_ERR_CLIENT_REVOKED"),
        ("svc-expired", "", "KDC_ERR_CLIENT_REVOKED"),
        ("svc-must-change", "", "KDC_ERR_KEY_EXPIRED"),
        ("nobody", "whatever", "KDC_ERR_C_PRINCIPAL_UNKNOWN"),
    ],
)
def test_a_domain_refuses_by_kerberos_with_code_cause_and_remedy(
    lab: SambaDomain, user: str, password: str, code: str
):
    secret = lab.password_file(user, password)
    refused = refusal(lab, identity(lab, user=user, password_file=secret))
    assert refused.code == code
    assert user in refused.cause


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        ("svc-acme", "wrong", 0xC000006D),
        ("svc-disabled", "", 0xC0000072),
        ("svc-expired", "", 0xC0000193),
        ("svc-must-change", "", 0xC0000224),
        ("nobody", "whatever", 0xC000006D),
    ],
)
def test_a_domain_refuses_by_ntlm_with_a_code(
    lab: SambaDomain, user: str, password: str, code: int
):
    secret = lab.password_file(user, password)
    who = identity(lab, auth="ntlm", domain="LAB", user=user, password_file=secret)
    asking = Enrolment(Target(DC, transport="np"), who)
    with pytest.raises(NotReached) as refused:
        lab.inside(lambda: asking.probe(NAME, Deadline(20)))
    assert (refused.value.layer, refused.value.code) == ("smb", code)


def test_a_pipe_that_nobody_serves_is_told(lab: SambaDomain):
    assert not lab.pipe.exists()
    asking = Enrolment(Target(DC, transport="np"), identity(lab))
    with pytest.raises(NotReached) as refused:
        lab.inside(lambda: asking.probe(NAME, Deadline(20)))
    assert (refused.value.layer, refused.value.code) == ("smb", 0xC0000034)


@pytest.mark.parametrize("minutes", [10, -10])
def test_clocks_that_are_ten_minutes_apart_are_told_by_how_much(lab: SambaDomain, minutes: int):
    who = identity(lab, ShiftedClock(timedelta(minutes=minutes)))
    assert isinstance(who, KerberosIdentity)
    refused = refusal(lab, who)
    assert refused.code == "KRB_AP_ERR_SKEW"
    assert ("behind" if minutes > 0 else "ahead") in refused.cause
    assert who.skew is not None
    assert abs(who.skew + timedelta(minutes=minutes)) < timedelta(seconds=5)


@pytest.mark.parametrize("host", [CA_AT, "alias.lab.test"])
def test_a_name_that_no_account_has_is_told(lab: SambaDomain, host: str):
    refused = refusal(lab, identity(lab), host)
    assert refused.code == "KDC_ERR_S_PRINCIPAL_UNKNOWN"
    assert f"host/{host}" in refused.cause


def test_a_kdc_that_says_nothing_neither_hangs_nor_hinders(lab: SambaDomain, ca: LabCa):
    with lab.inside(lambda: socket.create_server((MUTE_AT, 88))):
        alone = identity(lab, domain_controllers=(MUTE_AT,))
        refused = refusal(lab, alone, seconds=1)
        assert refused.transient
        assert "no answer in time" in refused.cause
        both = identity(lab, domain_controllers=(MUTE_AT, DC))
        enrolled(lab, ca, both, Target(CA))


def test_a_ticket_is_renewed_while_certificates_are_asked_for(lab: SambaDomain, ca: LabCa):
    clock = ShiftedClock()
    file = lab.ccache(seconds=240)
    who = identity(lab, clock, ccache=file)
    enrolled(lab, ca, who, Target(CA))
    first = lab.inside(lambda: who.credentials("host", CA, Deadline(5)))
    clock.off = timedelta(seconds=200)  # 80 % of its life are over, the domain still bears with us
    second = lab.inside(lambda: who.credentials("host", CA, Deadline(5)))
    assert first.tgs != second.tgs
    enrolled(lab, ca, who, Target(CA))


def test_the_systems_own_kerberos_serves_the_seam_that_windows_has(
    lab: SambaDomain, ca: LabCa, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KRB5_CONFIG", str(lab.krb5_conf))
    cache = lab.ccache()

    def of_the_system(service: str, host: str) -> spnego.ContextProxy:
        return spnego.client(
            spnego.KerberosCCache(f"FILE:{cache}"),
            hostname=host,
            service=service,
            protocol="kerberos",
            context_req=spnego.ContextReq.default | spnego.ContextReq.dce_style,
            options=spnego.NegotiateOptions.use_gssapi,
        )

    who = SspiIdentity(of_the_system, kind=KINDS["kerberos"])
    enrolled(lab, ca, who, Target(CA, transport="tcp"), times=3)
    assert ca.requests[-1].requester.lower().startswith("svc-acme@")

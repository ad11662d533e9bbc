"""The system's own account: the seam that SSPI has on Windows, filled here by pyspnego's own NTLM.

What Windows does behind it was not run: see docs/adcs.md.
"""

import pytest
import spnego

from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import NotReached
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.security import Tampered
from certeasy.ca.adcs.sspi import KINDS, SspiContext, SspiIdentity
from certeasy.ca.adcs.transport import Target
from tests.make.adcs import DOMAIN, PASSWORD, USER, a_ca
from tests.make.csrs import a_csr

TEMPLATE = {"CertificateTemplate": "WebServer"}


def by_ntlm(service: str, host: str, password: str = PASSWORD):
    return spnego.client(
        f"{DOMAIN}\\{USER}",
        password,
        hostname=host,
        service=service,
        protocol="ntlm",
        context_req=spnego.ContextReq.default | spnego.ContextReq.dce_style,
        options=spnego.NegotiateOptions.use_ntlm,
    )


def an_identity(made=by_ntlm, *, ntlm_allowed=True) -> SspiIdentity:
    return SspiIdentity(made, kind=KINDS["ntlm"], ntlm_allowed=ntlm_allowed)


@pytest.fixture
def ca():
    with a_ca() as ca:
        yield ca


def enrolment(ca, identity) -> Enrolment:
    target = Target("ca1.lab.test", address=ca.host, transport="tcp", mapper_port=ca.mapper_port)
    return Enrolment(target, identity)


def test_a_certificate_is_asked_for_with_the_systems_own_contexts(ca):
    asked = enrolment(ca, an_identity())
    csr = a_csr("a.lab.test")
    for _ in range(3):
        reply = asked.request(ca.name, csr, TEMPLATE, Deadline(20))
        assert reply.certificate in ca.issued
    asked.close()


def test_who_the_system_cannot_vouch_for_is_refused_before_anything_is_asked(ca):
    wrong = an_identity(lambda service, host: by_ntlm(service, host, "wrong"))
    with pytest.raises(NotReached):
        enrolment(ca, wrong).request(ca.name, a_csr("a.lab.test"), TEMPLATE, Deadline(20))
    assert ca.issued == []


def test_ntlm_is_not_agreed_on_where_kerberos_was_wanted(ca):
    identity = an_identity(ntlm_allowed=False)
    with pytest.raises(NotReached, match="Kerberos is needed"):
        enrolment(ca, identity).request(ca.name, a_csr("a.lab.test"), TEMPLATE, Deadline(20))
    assert ca.issued == []


def test_where_windows_is_not_the_system_says_so_with_a_remedy():
    with pytest.raises(NotAuthenticated, match="no SSPI") as refused:
        SspiIdentity().security_context("host", "ca1.lab.test", Deadline(5))
    assert "keytab" in refused.value.remedy


def test_an_account_the_system_knows_nothing_of_is_told_with_a_remedy():
    def nobody(service: str, host: str):
        raise spnego.exceptions.NoCredentialError

    with pytest.raises(NotAuthenticated, match="no way to prove to host/ca1") as refused:
        SspiIdentity(nobody).security_context("host", "ca1.lab.test", Deadline(5))
    assert "gMSA" in refused.value.remedy


def test_the_system_hands_out_no_tickets_for_the_pipe(ca):
    target = Target("ca1.lab.test", address=ca.host, transport="np")
    with pytest.raises(NotAuthenticated, match="transport: tcp"):
        Enrolment(target, an_identity()).probe(ca.name, Deadline(5))


class Pair:
    """Two ends that have agreed on keys."""

    def __init__(self, identity: SspiIdentity) -> None:
        self.client = identity.security_context("host", "ca1.lab.test", Deadline(5))
        self.server = spnego.server(
            protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm,
            context_req=spnego.ContextReq.default,
        )  # fmt: skip
        token = self.server.step(self.client.step(b""))
        assert token is not None
        self.server.step(self.client.step(token))

    def sealed_by_server(self, header: bytes, body: bytes, trailer: bytes) -> tuple[bytes, bytes]:
        kind = spnego.iov.BufferType
        done = self.server.wrap_iov(
            [
                (kind.sign_only, header),
                (kind.data, body),
                (kind.sign_only, trailer),
                (kind.header, True),
            ]
        )
        return bytes(done.buffers[1].data or b""), bytes(done.buffers[3].data or b"")


@pytest.fixture
def pair(tmp_path, monkeypatch):
    known = tmp_path / "ntlm"
    known.write_text(f"{DOMAIN}:{USER}:{PASSWORD}\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(known))
    return Pair(an_identity())


def test_what_was_sealed_is_read_by_the_other_end_alone(pair):
    context: SspiContext = pair.client
    assert context.complete
    sealed, verifier = context.seal(b"header", b"the body of a request", b"trailer")
    assert len(sealed) == len(b"the body of a request")
    assert len(verifier) == context.overhead(len(sealed))
    assert b"request" not in sealed
    answered, seal = pair.sealed_by_server(b"head", b"the answer", b"tail")
    assert context.unseal(b"head", answered, b"tail", seal) == b"the answer"


@pytest.mark.parametrize("changed", ["head", "body", "tail", "verifier", "late"])
def test_a_reply_that_was_changed_is_refused(pair, changed):
    body, verifier = pair.sealed_by_server(b"head", b"the answer", b"tail")
    parts = {"head": b"head", "body": body, "tail": b"tail", "verifier": verifier}
    if changed == "late":
        pair.client.unseal(*parts.values())
    else:
        parts[changed] = bytes([parts[changed][0] ^ 1]) + parts[changed][1:]
    with pytest.raises(Tampered):
        pair.client.unseal(*parts.values())

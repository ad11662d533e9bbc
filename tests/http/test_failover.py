"""Several authorities serve a policy: who is asked, who is asked next, and who never is."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from certeasy.settings import AuthoritySettings, PolicyBinding, WorkerSettings
from tests.fakes.authorities import Trouble, TroubledAuthority
from tests.make.csrs import a_csr
from tests.make.lab import Client, Lab, a_lab

FIRST, SECOND = "first-ca", "second-ca"


@contextmanager
def a_lab_of_two(
    folder: Path,
    *troubles: Trouble,
    strategy: Any = "first_available",
    max_attempts: int = 8,
    others: tuple[Trouble, ...] = (),
) -> Iterator[Lab]:
    """Open a lab with two authorities; the first has troubles, the second the others."""
    sections = {
        "authorities": tuple(
            AuthoritySettings(name=name, type="embedded") for name in (FIRST, SECOND)
        ),
        "policy_bindings": (
            PolicyBinding(policy="lab", authorities=(FIRST, SECOND), strategy=strategy),
        ),
        "workers": WorkerSettings(
            workers=2, base_backoff=timedelta(milliseconds=5), max_attempts=max_attempts
        ),
    }
    with a_lab(folder, sections=sections) as lab:
        authorities = lab.server.authorities
        authorities[FIRST] = TroubledAuthority(authorities[FIRST], *troubles)
        authorities[SECOND] = TroubledAuthority(authorities[SECOND], *others)
        yield lab


def a_client(lab: Lab) -> Client:
    client = lab.client()
    client.register()
    return client


def signed(lab: Lab) -> dict[str, int]:
    """How many certificates each authority has signed."""
    found = {}
    for name, authority in lab.server.authorities.items():
        assert isinstance(authority, TroubledAuthority)
        found[name] = len(authority.signed)
    return found


def story(lab: Lab, order: str) -> list[tuple[str, str]]:
    """What the journal says of an order's way to the authorities: type and authority."""
    order_id = order.rpartition("/")[2]
    lines = map(msgspec.json.decode, lab.journal())
    return [
        (line["type"], line["data"]["authority"])
        for line in lines
        if line["stream"].endswith(f"/{order_id}") and "authority" in line["data"]
        if line["type"].startswith(("issuance.", "certificate."))
    ]


def issuer_of(client: Client, order: str) -> str:
    chain = client.post(client.see(order)["certificate"]).content
    issuer = x509.load_pem_x509_certificates(chain)[1]
    for name, authority in client.lab.server.authorities.items():
        if x509.load_der_x509_certificate(authority.issuers()[0]) == issuer:
            return name
    raise AssertionError(issuer)


def test_the_next_authority_is_asked_when_the_first_cannot_be_used(tmp_path: Path) -> None:
    with a_lab_of_two(tmp_path, "away") as lab:
        client = a_client(lab)
        order = client.ready("web.lab.test")
        result = client.finalize(order, a_csr("web.lab.test"))
        assert result.json["status"] == "valid"
        assert story(lab, order) == [
            ("issuance.submitted", FIRST),
            ("issuance.failed", FIRST),
            ("issuance.submitted", SECOND),
            ("certificate.issued", SECOND),
        ]
        # It is left alone for a while: the next order goes to the other one straight away.
        following = client.issued("www.lab.test")
        assert story(lab, following) == [
            ("issuance.submitted", SECOND),
            ("certificate.issued", SECOND),
        ]
        assert signed(lab) == {FIRST: 0, SECOND: 2}


def test_an_order_whose_authority_failed_before_it_was_submitted_goes_elsewhere(
    tmp_path: Path,
) -> None:
    with a_lab_of_two(tmp_path, "away") as lab:
        client = a_client(lab)
        waiting = client.ready("www.lab.test")
        client.issued("web.lab.test")
        client.finalize(waiting, a_csr("www.lab.test"))
        assert story(lab, waiting)[0] == ("issuance.submitted", SECOND)


def test_a_lost_answer_is_never_followed_by_another_authority(tmp_path: Path) -> None:
    """One signing request never becomes two certificates."""
    with a_lab_of_two(tmp_path, "lost") as lab:
        first = lab.server.authorities[FIRST]
        assert isinstance(first, TroubledAuthority)
        first.recovering_fails = 2
        client = a_client(lab)
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        assert client.wait(order, "valid", "invalid")["status"] == "valid"
        assert story(lab, order) == [
            ("issuance.submitted", FIRST),
            ("certificate.issued", FIRST),
        ]
        assert signed(lab) == {FIRST: 1, SECOND: 0}


def test_a_certificate_that_cannot_be_checked_yet_is_not_ordered_again(tmp_path: Path) -> None:
    with a_lab_of_two(tmp_path, "no issuers") as lab:
        client = a_client(lab)
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        assert client.wait(order, "valid", "invalid")["status"] == "valid"
        assert signed(lab) == {FIRST: 1, SECOND: 0}


def test_what_one_authority_denies_is_not_asked_of_another(tmp_path: Path) -> None:
    with a_lab_of_two(tmp_path, "denied") as lab:
        client = a_client(lab)
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        over = client.wait(order, "valid", "invalid")
        assert (over["status"], over["error"]["status"]) == ("invalid", 403)
        assert signed(lab) == {FIRST: 0, SECOND: 0}


def test_an_order_ends_when_nobody_could_be_used_often_enough(tmp_path: Path) -> None:
    away: list[Trouble] = ["away"] * 9
    with a_lab_of_two(tmp_path, *away, max_attempts=3, others=tuple(away)) as lab:
        client = a_client(lab)
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        over = client.wait(order, "valid", "invalid")
        assert over["error"]["detail"] == "the authority cannot be reached"
        assert [name for kind, name in story(lab, order) if kind == "issuance.submitted"] == [
            FIRST,
            SECOND,
            FIRST,
        ]


def test_in_turn_every_authority_signs(tmp_path: Path) -> None:
    with a_lab_of_two(tmp_path, strategy="round_robin") as lab:
        client = a_client(lab)
        for number in range(40):
            order = client.issued(f"web{number}.lab.test")
            assert story(lab, order)[-1] == ("certificate.issued", issuer_of(client, order))
            if min(signed(lab).values()):
                break
        assert min(signed(lab).values())


@pytest.mark.parametrize("strategy", ["first_available", "round_robin"])
def test_whatever_happens_one_request_becomes_one_certificate(
    tmp_path: Path, strategy: str
) -> None:
    troubles: list[Trouble] = ["lost", "away", "no issuers", "away", "lost", "away"]
    with a_lab_of_two(
        tmp_path, *troubles, strategy=strategy, others=tuple(reversed(troubles))
    ) as lab:
        client = a_client(lab)
        placed = [client.ready(f"web{number}.lab.test") for number in range(8)]
        for number, order in enumerate(placed):
            client.finalize(order, a_csr(f"web{number}.lab.test"))
        assert {client.wait(order, "valid", "invalid")["status"] for order in placed} == {"valid"}
        everything = [
            order
            for authority in lab.server.authorities.values()
            for order, _ in getattr(authority, "signed", [])
        ]
        assert sorted(everything) == sorted(order.rpartition("/")[2] for order in placed)

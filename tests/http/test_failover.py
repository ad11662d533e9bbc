"""Several authorities serve a policy: who is asked, who is asked next, and who never is."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import falcon.testing
import msgspec
import pytest
from cryptography import x509

from certeasy.ca.breaker import FIRST_REST
from certeasy.clock import Clock
from certeasy.commit import Unavailable
from certeasy.settings import AuthoritySettings, PolicyBinding, WorkerSettings
from projections.orders import ORDERS
from tests.fakes.authorities import Trouble, TroubledAuthority
from tests.fakes.clocks import MovedClock
from tests.make.csrs import a_csr
from tests.make.lab import Client, Lab, a_lab
from tests.make.waiting import soon

FIRST, SECOND = "first-ca", "second-ca"
AT_ONCE = {"finalize_wait": timedelta(milliseconds=1)}
"""Finalize is answered without waiting for the certificate."""


@contextmanager
def a_lab_of_two(
    folder: Path,
    *troubles: Trouble,
    strategy: Any = "first_available",
    wait: timedelta = timedelta(hours=1),
    clock: Clock | None = None,
    others: tuple[Trouble, ...] = (),
    **server: Any,
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
            workers=2, base_backoff=timedelta(milliseconds=5), authority_wait=wait
        ),
    }
    with a_lab(folder, clock=clock, sections=sections, **server) as lab:
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


def status_of(lab: Lab, order: str) -> str:
    found = lab.server.committer.get(ORDERS, order.rpartition("/")[2])
    assert found is not None
    return found.status


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
            ("issuance.in-doubt", FIRST),
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


def test_an_order_ends_when_nobody_could_be_used_for_long_enough(tmp_path: Path) -> None:
    away: list[Trouble] = ["away"] * 9
    clock = MovedClock()
    with a_lab_of_two(tmp_path, *away, others=tuple(away), clock=clock, **AT_ONCE) as lab:
        client = a_client(lab)
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        asked = [("issuance.submitted", name) for name in (FIRST, SECOND)]
        soon(lambda: [each for each in story(lab, order) if each in asked] == asked)
        # Both rest; nobody is asked meanwhile, and nothing is written.
        lab.server.workers.look_around()
        assert client.see(order)["status"] == "processing"
        clock.pass_by(3600)
        lab.server.workers.look_around()
        soon(lambda: status_of(lab, order) == "invalid")
        client.drop_nonce()
        over = client.see(order)
        assert over["error"]["detail"] == "the authority cannot be reached"
        assert over["error"]["type"].endswith(":serverInternal")


def test_an_order_that_waits_goes_on_soon_after_an_authority_has_answered_a_probe(
    tmp_path: Path,
) -> None:
    """Its rest may have been a long one by then."""
    clock = MovedClock()
    with a_lab_of_two(tmp_path, "away", others=("away",), clock=clock, **AT_ONCE) as lab:
        client, breakers = a_client(lab), lab.server.breakers
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        asked = [("issuance.submitted", name) for name in (FIRST, SECOND)]
        soon(lambda: [each for each in story(lab, order) if each in asked] == asked)
        for name in (FIRST, SECOND) * 5:
            breakers.failed(name, breakers.asking(name), "away", of_probe=True)
        assert breakers.rest([FIRST, SECOND]) > FIRST_REST * 10
        clock.pass_by(FIRST_REST.total_seconds())
        workers = lab.server.workers
        workers.look_around()
        soon(lambda: workers._due and workers._due[0][0] > clock.monotonic())  # it waits again
        lab.server.health.look(FIRST)
        assert breakers.available(FIRST)
        clock.pass_by(FIRST_REST.total_seconds())
        workers.look_around()
        soon(lambda: status_of(lab, order) == "valid")


def test_an_order_whose_account_was_closed_is_not_handed_over_any_more(tmp_path: Path) -> None:
    """RFC 8555 section 7.3.6: what the account's key has begun is not gone on with."""
    clock = MovedClock()
    with a_lab_of_two(tmp_path, "away", others=("away",), clock=clock, **AT_ONCE) as lab:
        client = a_client(lab)
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        asked = [("issuance.submitted", name) for name in (FIRST, SECOND)]
        soon(lambda: [each for each in story(lab, order) if each in asked] == asked)
        client.drop_nonce()
        assert client.post(str(client.kid), {"status": "deactivated"}).status_code == 200
        clock.pass_by(300)
        lab.server.workers.look_around()
        soon(lambda: status_of(lab, order) == "invalid")
        assert signed(lab) == {FIRST: 0, SECOND: 0}
        assert [each for each in story(lab, order) if each in asked] == asked
        ((_, told),) = told_of(lab, "order.invalidated")
        assert (told["source"], told["error"]["detail"]) == ("client", "The account was closed")


def test_what_is_not_the_authority_s_trouble_leaves_it_in_use_for_others(tmp_path: Path) -> None:
    """A template that is not offered, say: that order goes elsewhere, others as before."""
    with a_lab_of_two(tmp_path, "no template") as lab:
        client = a_client(lab)
        order = client.issued("web.lab.test")
        assert story(lab, order)[-1] == ("certificate.issued", SECOND)
        following = client.issued("www.lab.test")
        assert story(lab, following)[-1] == ("certificate.issued", FIRST)
        assert told_of(lab, "authority.failed") == []


def test_whom_all_refuse_is_not_asked_of_them_in_a_hurry(tmp_path: Path) -> None:
    nowhere: list[Trouble] = ["no template"] * 50
    with a_lab_of_two(tmp_path, *nowhere, others=tuple(nowhere), wait=timedelta()) as lab:
        client = a_client(lab)
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        over = client.wait(order, "valid", "invalid")
        assert over["error"]["detail"].startswith("the authority cannot serve this order")


def told_of(lab: Lab, *types: str) -> list[tuple[str, dict[str, Any]]]:
    """What the journal has of some types: type and data."""
    lines = map(msgspec.json.decode, lab.journal())
    return [(line["type"], line["data"]) for line in lines if line["type"] in types]


def test_the_log_has_when_an_authority_fails_and_when_it_answers_again(tmp_path: Path) -> None:
    with a_lab_of_two(tmp_path, "away") as lab:
        admin = falcon.testing.TestClient(lab.server.admin)
        health = lab.server.health
        client = a_client(lab)
        client.issued("web.lab.test")
        (failed,) = told_of(lab, "authority.failed", "authority.recovered")
        reason = "the RPC server is unavailable"
        assert failed == (
            "authority.failed",
            {"authority": FIRST, "reason": reason},
        )
        health.look(FIRST)  # it answers, but it was a request that failed: the next one tells
        health.look(SECOND)
        ready = admin.simulate_get("/readyz")
        assert (ready.status_code, ready.json["status"]) == (200, "ready")
        assert ready.json["checks"][f"authority {FIRST}"] == f"cannot be used: {reason}"
        assert ready.json["checks"][f"authority {SECOND}"] == "ok"
        client.issued("www.lab.test")
        _, recovered = told_of(lab, "authority.failed", "authority.recovered")
        assert (recovered[0], recovered[1]["authority"]) == ("authority.recovered", FIRST)
        assert admin.simulate_get("/readyz").json["checks"][f"authority {FIRST}"] == "ok"


def test_an_authority_that_does_not_answer_a_probe_is_left_alone_until_it_does(
    tmp_path: Path,
) -> None:
    with a_lab_of_two(tmp_path) as lab:
        first, health = lab.server.authorities[FIRST], lab.server.health
        assert isinstance(first, TroubledAuthority)
        first.sick = "no route to host"
        for _ in range(3):
            health.look(FIRST)
        client = a_client(lab)
        assert story(lab, client.issued("web.lab.test"))[-1] == ("certificate.issued", SECOND)
        first.sick = ""
        health.look(FIRST)
        health.look(FIRST)
        assert story(lab, client.issued("www.lab.test"))[-1] == ("certificate.issued", FIRST)
        events = told_of(lab, "authority.failed", "authority.recovered")
        assert [kind for kind, _ in events] == ["authority.failed", "authority.recovered"]
        samples = {sample.authority: sample.reason for sample in lab.server.samples.all()}
        assert samples == {FIRST: ""}


def test_what_could_not_be_recorded_is_recorded_with_the_next_look(tmp_path: Path) -> None:
    with a_lab_of_two(tmp_path) as lab:
        submit, health = lab.server.committer.submit, lab.server.health

        def unavailable(_command: object) -> None:
            raise Unavailable("the disk is full")

        lab.server.committer.submit = unavailable  # type: ignore[method-assign,assignment]
        lab.server.breakers.failed(FIRST, lab.server.breakers.asking(FIRST), "away")
        assert told_of(lab, "authority.failed") == []
        lab.server.committer.submit = submit  # type: ignore[method-assign]
        lab.server.breakers.answered(FIRST, lab.server.breakers.asking(FIRST))
        lab.server.breakers.failed(FIRST, lab.server.breakers.asking(FIRST), "away")
        health.record(FIRST)
        assert len(told_of(lab, "authority.failed")) == 1


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
    clock = MovedClock()
    with a_lab_of_two(
        tmp_path,
        *troubles,
        strategy=strategy,
        others=tuple(reversed(troubles)),
        clock=clock,
        **AT_ONCE,
    ) as lab:
        client = a_client(lab)
        placed = [client.ready(f"web{number}.lab.test") for number in range(8)]
        for number, order in enumerate(placed):
            client.finalize(order, a_csr(f"web{number}.lab.test"))

        def over() -> bool:
            clock.pass_by(15)  # those that rest are asked again
            lab.server.workers.look_around()
            return all(status_of(lab, order) in ("valid", "invalid") for order in placed)

        soon(over)
        assert {status_of(lab, order) for order in placed} == {"valid"}
        everything = [
            order
            for authority in lab.server.authorities.values()
            for order, _ in getattr(authority, "signed", [])
        ]
        assert sorted(everything) == sorted(order.rpartition("/")[2] for order in placed)

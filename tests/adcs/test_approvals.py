"""A CA of a domain whose officers take their time, over a restart of the server."""

from pathlib import Path

from cryptography import x509

from tests.fakes.clocks import MovedClock
from tests.make.adcs import a_ca
from tests.make.adcs_lab import AdcsLab, an_adcs_lab, served
from tests.make.csrs import p256
from tests.make.lab import URL
from tests.make.waiting import soon
from tools.adcs_sim.behaviour import pends

NAMES = [f"host{number}.lab.test" for number in range(3)]


def half_an_hour(lab: AdcsLab) -> None:
    """Let it pass as it does, and nobody approve anything."""
    for _ in range(30):
        lab.pass_by(minutes=1)
        lab.look()


def test_orders_wait_an_hour_for_an_officer_and_over_a_restart(tmp_path: Path) -> None:
    """One is approved while nobody serves, one after an hour, one is denied; none is asked for
    twice."""
    clock = MovedClock()
    with a_ca(clock=clock, templates={"WebServer": pends()}) as ca:
        with an_adcs_lab(tmp_path, ca, clock=clock) as lab:
            client = lab.a_client()
            orders = [lab.finalized(client, name, key=at) for at, name in enumerate(NAMES)]
            for order_id in orders:
                lab.tells(order_id, "issuance.pending")
            half_an_hour(lab)
            assert lab.statuses(orders) == {"processing"}
            assert lab.readyz()[1][f"authority {ca.name}"] == "ok"
        numbers = {each.attributes["certeasyorder"]: each.id for each in ca.requests}
        ca.approve(numbers[orders[0]])
        with an_adcs_lab(tmp_path, ca, clock=clock) as lab:
            client.lab = lab
            soon(lambda: lab.statuses(orders[:1]) == {"valid"})
            half_an_hour(lab)
            assert lab.statuses(orders[1:]) == {"processing"}
            ca.approve(numbers[orders[1]])
            ca.deny(numbers[orders[2]])
            lab.ends(orders[1], "valid")
            lab.ends(orders[2], "invalid")
            assert len(ca.requests) == len(orders)
            for at, order_id in enumerate(orders[:2]):
                leaf = x509.load_pem_x509_certificates(served(client, order_id))[0]
                assert leaf.public_key() == p256(at).public_key()
            error = client.see(f"{URL}/acme/order/{orders[2]}")["error"]
            assert error["detail"].startswith("the authority")
            assert "officer" not in error["detail"]
            (failed,) = lab.said("issuance.failed")
            assert failed["request_id"] == str(numbers[orders[2]])
            assert "Denied by an officer" in failed["reason"]
            lab.check()


def test_a_ca_that_is_away_for_a_day_has_what_was_approved_fetched_when_it_is_back(
    tmp_path: Path,
) -> None:
    clock = MovedClock()
    with a_ca(clock=clock, templates={"WebServer": pends()}) as ca:
        with an_adcs_lab(tmp_path, ca, clock=clock) as lab:
            order_id = lab.finalized(lab.a_client())
            lab.tells(order_id, "issuance.pending")
            ca.down()
            lab.pass_by(hours=1)
            lab.look()
            soon(lambda: lab.said("authority.failed"))
        with an_adcs_lab(tmp_path, ca, clock=clock) as lab:
            lab.pass_by(days=1)
            assert lab.statuses([order_id]) == {"processing"}
            ca.approve(1)
            ca.up()
            lab.ends(order_id, "valid")
            lab.check()

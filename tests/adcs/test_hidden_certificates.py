"""A CA of a domain says that it has issued a certificate, and does not show it."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes.clocks import MovedClock
from tests.fakes.far_authority import serial_of
from tests.make.adcs import a_ca
from tests.make.adcs_lab import an_adcs_lab
from tools.adcs_sim.behaviour import hides, issues

ISSUED, OUT_OF_BAND = 3, 4


@pytest.mark.parametrize("disposition", [ISSUED, OUT_OF_BAND])
def test_a_certificate_that_was_not_shown_is_asked_for_by_its_number(
    tmp_path: Path, disposition: int
) -> None:
    """It is no refusal: the order would end, and nobody would ever look for the certificate."""
    clock = MovedClock()
    with a_ca(clock=clock) as ca, an_adcs_lab(tmp_path, ca, clock=clock) as lab:
        ca.once(hides(disposition))
        order_id = lab.finalized(lab.a_client())
        lab.ends(order_id, "valid")
        (doubt,) = lab.said("issuance.in-doubt")
        assert doubt["request_id"] == "1"
        assert lab.given(order_id) == ca.issued[0]
        assert len(ca.issued) == 1


@pytest.mark.parametrize("disposition", [ISSUED, OUT_OF_BAND])
def test_a_certificate_that_is_never_shown_is_a_possible_twin_for_good(
    tmp_path: Path, disposition: int
) -> None:
    """The order ends when it has waited enough; what comes to light later is revoked."""
    clock = MovedClock()
    wait = timedelta(minutes=5)
    with a_ca(clock=clock) as ca, an_adcs_lab(tmp_path, ca, clock=clock, wait=wait) as lab:
        ca.behaves("WebServer", hides(disposition))
        order_id = lab.finalized(lab.a_client())
        lab.ends(order_id, "invalid")
        (given_up,) = lab.said("issuance.abandoned")
        assert given_up["request_id"] == "1"
        assert len(ca.issued) == 1
        lab.check()
        ca.behaves("WebServer", issues())
        lab.tells(order_id, "revocation.published", seconds=600)
        assert set(ca.revoked) == {serial_of(ca.issued[0]).lstrip("0")}
        lab.check()

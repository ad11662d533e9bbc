"""Whatever is wrong with what a CA of a domain issues, nobody is handed it."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tests.fakes.clocks import MovedClock
from tests.fakes.far_authority import serial_of
from tests.make.adcs import LabCa, a_ca
from tests.make.adcs_lab import an_adcs_lab
from tests.make.csrs import a_csr, p256
from tests.make.lab import URL
from tools.adcs_sim.behaviour import Wrong, issues, pends

WRONG = tuple(kind for kind in get_args(Wrong) if kind)
REASONS = {
    "other-key": "has another key",
    "other-order": "has another key",
    "extra-name": "is for ",
    "missing-name": "is for ",
    "expired": "not today",
    "not-yet-valid": "not today",
    "other-issuer": "was signed by nobody",
    "no-server-auth": "(codeSigning), which the policy does not allow",
    "garbage": "cannot be read",
}
NAMES = ("web.lab.test", "www.lab.test")


def at_once(ca: LabCa, wrong: Wrong) -> None:
    ca.once(issues(wrong))


def once_approved(ca: LabCa, wrong: Wrong) -> None:
    ca.behaves("WebServer", pends(polls=1, then=wrong))


WAYS = [(at_once, wrong) for wrong in WRONG]
WAYS += [(once_approved, wrong) for wrong in WRONG if wrong != "garbage"]
UNREVOKED = "other-order"
"""What somebody else has is his."""
NOT_OURS = (once_approved, "other-key")
"""What stands under a number that was kept for days may be of somebody who is not known here."""


@pytest.mark.parametrize(("how", "wrong"), WAYS)
def test_a_wrong_certificate_is_handed_to_nobody(
    tmp_path: Path, how: Callable[[LabCa, Wrong], None], wrong: Wrong
) -> None:
    """Neither of a CA that answers at once, nor of one that waits for an officer."""
    clock = MovedClock()
    with a_ca(clock=clock) as ca, an_adcs_lab(tmp_path, ca, clock=clock) as lab:
        client = lab.a_client()
        first = lab.finalized(lab.a_client(), "other.lab.test", key=1)
        lab.ends(first, "valid")
        how(ca, wrong)
        order = client.ready(*NAMES)
        client.finalize(order, a_csr(*NAMES, key=p256(2)))
        order_id = order.rpartition("/")[2]
        lab.ends(order_id, "invalid")
        (told,) = lab.said("certificate.mismatched")
        assert (told["order_id"], told["authority"]) == (order_id, ca.name)
        assert REASONS[wrong] in told["reason"]
        over = client.see(order)
        assert over["error"]["type"].endswith(":serverInternal")
        assert "certificate" not in over
        assert client.post(f"{URL}/acme/cert/{order_id}").status_code == 404
        assert lab.given(order_id) is None
        assert lab.statuses([first]) == {"valid"}
        if wrong == UNREVOKED or (how, wrong) == NOT_OURS:
            assert ca.revoked == {}
        else:
            # One that cannot be read has no serial number: it is found by that of its request.
            reason = 4 if wrong == "garbage" else 0
            lab.tells(order_id, "revocation.published", seconds=15)
            assert ca.revoked == {serial_of(ca.issued[-1]).lstrip("0"): reason}

"""Why an order may come to nothing in the crash lab of a domain's CA, and why it may not."""

import pytest

from certeasy.ca.breaker import LONGEST_REST
from certeasy.jobs.issuance import MOST_IN_DOUBT
from tools.crashlab.books import MOST_LOST, Ends
from tools.crashlab.client import ORDER_PATIENCE

LOST = "client 1, order 2: OrderFailed order: invalid (serverInternal)"
FIVE = {1, 2, 4, 5, 6}


def test_orders_that_were_sent_something_wrong_or_lost_five_answers_may_fail() -> None:
    ends = Ends({"a", "b"}, mismatched={"a"}, abandoned={"b": FIVE, "c": FIVE | {7}})
    assert ends.given_up == {"b"}
    assert ends.unexplained([LOST, LOST], wrong=1) == []


@pytest.mark.parametrize(
    ("ends", "lost", "wrong", "said"),
    [
        (Ends({"a"}), 1, 1, "order a has failed, and was sent nothing wrong"),
        (Ends({"a"}, abandoned={"a": {1, 2, 3, 4}}), 1, 0, "was sent nothing wrong"),
        (Ends({"a"}, mismatched={"a"}), 2, 1, "clients lost 2 orders, 1 failed: client 1"),
        (Ends({"a"}, mismatched={"a"}), 1, 0, "1 certificates were wrong, and 0 had to be"),
        (Ends({"a"}, mismatched={"a"}), 0, 1, "clients lost 0 orders, 1 failed"),
    ],
)
def test_nothing_else_may_come_to_nothing(ends: Ends, lost: int, wrong: int, said: str) -> None:
    (one,) = ends.unexplained([LOST] * lost, wrong)
    assert said in one


def test_the_lab_forgives_what_the_server_does() -> None:
    assert MOST_LOST == MOST_IN_DOUBT


def test_a_client_waits_for_its_order_longer_than_an_authority_is_ever_left_alone() -> None:
    """Else it gives up an order that becomes valid in a moment, and the lab calls it lost."""
    assert LONGEST_REST.total_seconds() < ORDER_PATIENCE

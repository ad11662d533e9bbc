"""What was decided outside the lock counts for the second it was decided in."""

from datetime import datetime
from pathlib import Path

import pytest

from certeasy.commit import Command
from certeasy.decide.decision import Decision, Reader
from projections.orders import ORDERS
from tests.fakes.clocks import HeldClock
from tests.make.node import SYSTEM, a_node, order_fact


@pytest.mark.parametrize(
    ("waits", "times"), [(0.0, 1), (0.4, 1), (1.0, 2), (3600.0, 2)], ids="{}".format
)
def test_a_decision_that_waits_beyond_its_second_is_made_again(
    tmp_path: Path, waits: float, times: int
) -> None:
    clock = HeldClock()
    with a_node(tmp_path / "node", clock=clock) as node:
        order, decided = node.ids.new(), list[datetime]()

        def decide(_rows: Reader, now: datetime) -> Decision:
            decided.append(now)
            return Decision(((f"order/{order}", order_fact(order, node.ids.token())),))

        with node.together(lambda: clock.pass_by(waits)) as waiting:
            waiting.append(Command(decide, SYSTEM))
        assert len(decided) == times
        assert decided[-1].replace(microsecond=0) == clock.now().replace(microsecond=0)
        assert node.committer.get(ORDERS, order) is not None

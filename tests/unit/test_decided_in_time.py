"""What was decided outside the lock counts for the second it was decided in."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from certeasy.commit import Command
from certeasy.decide import orders
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Refused
from projections.orders import ORDERS
from projections.renewals import RENEWALS
from projections.tables import Table
from tests.fakes.clocks import HeldClock
from tests.make.decided import World
from tests.make.node import SYSTEM, a_node, command, order_command, order_fact

S = TypeVar("S", bound=msgspec.Struct)


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


def test_a_decision_sees_each_row_in_one_state(tmp_path: Path) -> None:
    """Else one of its rules goes by the row of before another's change, one by that of after it,
    and under the lock the row is as it was seen last."""
    with a_node(tmp_path / "node") as node:
        order, seen = node.ids.new(), list[list[bool]]()

        def decide(rows: Reader, _now: datetime) -> Decision:
            there = [rows.get(ORDERS, order) is not None]
            if not seen:
                node.submit(order_command(order))
            there.append(rows.get(ORDERS, order) is not None)
            seen.append(there)
            return Decision(())

        node.committer.submit(Command(decide, SYSTEM))
        assert seen == [[False, False], [True, True]]


def test_of_two_orders_that_replace_one_certificate_at_once_one_is_refused(tmp_path: Path) -> None:
    """The first is finalized while the second is decided, between two looks at the same row."""
    clock = HeldClock()
    with a_node(tmp_path / "node", clock=clock) as node:
        world = World()
        world.now = clock.now()
        account = world.account()
        before = world.issued("a.corp.test", account=account)
        first, second = (
            world.ready("a.corp.test", account=account, replaces=before) for _ in range(2)
        )
        node.submit(command(*world.facts))

        def finalize(order: str, rows: Reader, now: datetime) -> Decision:
            return orders.finalize(
                rows,
                now,
                account_id=account.id,
                thumbprint=account.thumbprint,
                order_id=order,
                csr=order.encode(),
                held=node.order(order),
                submit_to="ca",
            )

        def looked(table: object) -> None:
            if table is RENEWALS and node.order(first).status == "ready":
                node.submit(Command(partial(finalize, first), SYSTEM))

        def decide(rows: Reader, now: datetime) -> Decision:
            return finalize(second, Watched(rows, looked), now)

        with pytest.raises(Refused, match="has its successor already"):
            node.submit(Command(decide, SYSTEM))
        assert [node.order(order).status for order in (first, second)] == ["processing", "ready"]


class Watched:
    """Rows of which somebody hears that they were looked at."""

    def __init__(self, rows: Reader, looked: Callable[[object], None]) -> None:
        self._rows = rows
        self._looked = looked

    def get(self, table: Table[S], *key: str) -> S | None:
        state = self._rows.get(table, *key)
        self._looked(table)
        return state

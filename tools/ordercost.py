"""What an order costs on a long log, against a short one: two nodes in one process, in turns, order
by order.

    python -m tools.ordercost --small small/config.yml --large large/config.yml

The workdirs are filled beforehand (`python -m tools.history`). Prints JSON: statements per order
and CPU per order of each, and the median of the ratios of the pairs. The machine may be busy: both
of a pair are.
"""

import statistics
import time
from pathlib import Path

import click
import msgspec

from certeasy import config
from certeasy.clock import SystemClock
from certeasy.cluster import boot
from certeasy.commit import Committer
from certeasy.ids import RandomIds
from certeasy.store.statements import Prepared
from tools.history import Historian


class Node:
    """A node that writes orders, one after the other."""

    def __init__(self, config_file: Path) -> None:
        settings = config.load(config_file)
        clock = SystemClock()
        ids = RandomIds(clock)
        self._node = boot.open_node(settings, ids)
        standing = boot.level(self._node)
        self._committer = Committer(self._node.store, self._node.journal, clock)
        self._committer.start(boot.take_place(self._node, clock, ids), standing)
        self._historian = Historian(self._committer, ids)
        self._account = ("", "")

    @property
    def position(self) -> int:
        """The end of its log."""
        return self._node.store.head().position

    def begin(self) -> None:
        """Have a new account made, whose the next orders are."""
        self._account = self._historian.account()

    def order(self) -> float:
        """Write an order; return the CPU of this process in seconds."""
        begun = time.process_time()
        self._historian.order(self._account)
        return time.process_time() - begun

    def close(self) -> None:
        """Stop."""
        self._committer.stop()
        self._node.close()


class Counter:
    """Counts the statements that reach the database's driver."""

    def __init__(self) -> None:
        self.count = 0
        run, run_many = Prepared.run, Prepared.run_many

        def counted(prepared: Prepared, cursor: object, given: object) -> object:
            self.count += 1
            return run(prepared, cursor, given)  # type: ignore[arg-type]

        def counted_many(prepared: Prepared, cursor: object, rows: object) -> None:
            self.count += 1
            run_many(prepared, cursor, rows)  # type: ignore[arg-type]

        Prepared.run = counted  # type: ignore[method-assign,assignment]
        Prepared.run_many = counted_many  # type: ignore[method-assign,assignment]

    def taken(self) -> int:
        """Return the count, and begin anew."""
        count, self.count = self.count, 0
        return count


def compare(small: Path, large: Path, *, pairs: int, orders: int) -> dict[str, object]:
    """Return the figures; the first pair only warms up."""
    counter = Counter()
    nodes = {"small": Node(small), "large": Node(large)}
    cpu: dict[str, list[float]] = {name: [] for name in nodes}
    statements: dict[str, set[float]] = {name: set() for name in nodes}
    positions = {name: node.position for name, node in nodes.items()}
    try:
        for pair in range(pairs + 1):
            spent = dict.fromkeys(nodes, 0.0)
            counted = dict.fromkeys(nodes, 0)
            for node in nodes.values():
                node.begin()
            for turn in range(orders):
                for name in sorted(nodes, reverse=bool(turn % 2)):
                    counter.taken()
                    spent[name] += nodes[name].order()
                    counted[name] += counter.taken()
            if pair:
                for name in nodes:
                    cpu[name].append(spent[name] / orders * 1000)
                    statements[name].add(round(counted[name] / orders, 2))
    finally:
        for node in nodes.values():
            node.close()
    ratios = [b / a for a, b in zip(cpu["small"], cpu["large"], strict=True)]
    return {
        "positions": positions,
        "pairs": pairs,
        "orders": orders,
        "statements_per_order": {name: sorted(found) for name, found in statements.items()},
        "cpu_ms_per_order": {name: round(statistics.median(each), 3) for name, each in cpu.items()},
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_lowest": round(min(ratios), 3),
        "ratio_highest": round(max(ratios), 3),
    }


@click.command()
@click.option("--small", required=True, type=click.Path(path_type=Path))
@click.option("--large", required=True, type=click.Path(path_type=Path))
@click.option("--pairs", default=10, show_default=True, type=click.IntRange(1))
@click.option("--orders", default=200, show_default=True, type=click.IntRange(1))
def main(small: Path, large: Path, pairs: int, orders: int) -> None:
    """Compare what an order costs on two logs."""
    figures = compare(small, large, pairs=pairs, orders=orders)
    click.echo(msgspec.json.format(msgspec.json.encode(figures), indent=2))


if __name__ == "__main__":
    main()

"""Waiting for an order to end: woken by the commit that ends it, and by no other."""

from pathlib import Path

from certeasy.commit.watch import Watch
from events.orders import OrderInvalidated, Problem
from tests.make.node import a_node, command

ENDED = OrderInvalidated("challenge", Problem("urn:ietf:params:acme:error:dns", "no such name"))


def test_who_waits_is_woken_when_the_order_is_no_longer_processing(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as node:
        watch = node.committer.watch
        order, other = node.an_order(), node.an_order()
        events = [watch.register(order), watch.register(order), watch.register(other)]
        node.submit(command((f"order/{order}", ENDED)))
        assert [event.wait(wait) for event, wait in zip(events, (1, 1, 0), strict=True)] == [
            True,
            True,
            False,
        ]
        node.submit(command((f"order/{other}", ENDED)))
        assert events[2].wait(1)
        watch.forget(order, events[0])


def test_who_waits_no_longer_is_forgotten() -> None:
    watch = Watch()
    first, second = watch.register("order"), watch.register("order")
    watch.forget("order", first)
    watch.forget("order", first)
    assert list(watch._waiting) == ["order"]
    watch.forget("order", second)
    assert watch._waiting == {}

"""What is counted, and what is said about it at the end."""

import math
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct, field

PERCENTILES = (50, 90, 99)


class Tally(Struct):
    """What some clients did: durations of good orders in seconds, and counts by kind."""

    latencies: list[float] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    bad_nonces: int = 0
    retries: int = 0
    reconnects: int = 0
    began: float = math.inf
    ended: float = 0.0
    cpu: float = 0.0

    def asked(self, kind: str) -> None:
        """Count a request."""
        self.requests[kind] = self.requests.get(kind, 0) + 1

    def failed(self, kind: str) -> None:
        """Count an order that led to no certificate."""
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def took(self, began: float, ended: float) -> None:
        """Keep when an order, good or bad, was under way; monotonic seconds."""
        self.began = min(self.began, began)
        self.ended = max(self.ended, ended)


class Usage(Struct, frozen=True):
    """What a process has used so far: seconds of CPU with its children's, memory in KiB."""

    cpu: float
    vm_hwm: int
    vm_rss: int


def merged(tallies: Sequence[Tally]) -> Tally:
    """Return one tally of several."""
    whole = Tally()
    requests: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for tally in tallies:
        whole.latencies += tally.latencies
        requests.update(tally.requests)
        failures.update(tally.failures)
        whole.bad_nonces += tally.bad_nonces
        whole.retries += tally.retries
        whole.reconnects += tally.reconnects
        whole.cpu += tally.cpu
        whole.took(tally.began, tally.ended)
    whole.requests, whole.failures = dict(requests), dict(failures)
    return whole


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest of the ascending values that `percent` of them do not exceed.

    Raises ValueError if there are no values.
    """
    if not ordered:
        raise ValueError("no values, no percentile")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Return the percentiles and the longest of some durations in milliseconds; {} of none."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    found = {f"p{percent}": _ms(percentile(ordered, percent)) for percent in PERCENTILES}
    return found | {"max": _ms(ordered[-1])}


def report(tally: Tally, before: Usage | None, after: Usage | None) -> dict[str, object]:
    """Return the figures of a run. `before` and `after` are the server's usage, if it is known."""
    done = len(tally.latencies)
    orders = done + sum(tally.failures.values())
    duration = max(0.0, tally.ended - tally.began) if orders else 0.0
    figures: dict[str, object] = {
        "orders": orders,
        "certificates": done,
        "duration_s": round(duration, 3),
        "orders_per_s": round(done / duration, 1) if duration else 0.0,
        "order_ms": latencies(tally.latencies),
        "requests_per_order": _per_order(tally.requests, orders),
        "failures": dict(sorted(tally.failures.items())),
        "bad_nonces": tally.bad_nonces,
        "retries": tally.retries,
        "reconnects": tally.reconnects,
        "client_cpu_ms_per_order": _ms(tally.cpu / orders) if orders else 0.0,
    }
    if before is not None and after is not None:
        figures["server"] = _server(before, after, done)
    return figures


def _per_order(requests: dict[str, int], orders: int) -> dict[str, float]:
    if not orders:
        return {}
    shares = {kind: round(count / orders, 3) for kind, count in sorted(requests.items())}
    return shares | {"total": round(sum(requests.values()) / orders, 3)}


def _server(before: Usage, after: Usage, certificates: int) -> dict[str, object]:
    cpu = after.cpu - before.cpu
    return {
        "cpu_s": round(cpu, 2),
        "cpu_ms_per_certificate": _ms(cpu / certificates) if certificates else None,
        "vm_hwm_kib": after.vm_hwm,
        "vm_rss_kib": after.vm_rss,
        "vm_rss_kib_at_start": before.vm_rss,
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)

"""CAA records, looked at again before a certificate is issued on a proof that is not fresh.

What a domain says about its CAs may change; a proof may be as old as an order lives. So where a DNS
profile looks at CAA records, those of names that were proven more than `FRESH` ago are looked up
again when the order is finalized, and those of names that were known before there was an order.
What counts is what they say when the certificate is issued (RFC 8659 section 3).
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta

import msgspec

from certeasy.clock import Clock
from certeasy.decide.orders import proven_by
from certeasy.decide.problems import Problem, Refused, Subproblem
from certeasy.validate import CaaSeen
from certeasy.validate.caa import FORBIDS, UNKNOWN, Caa, told
from events.orders import CaaCheck
from projections.orders import VALID, Authorization, Order

FRESH = timedelta(hours=8)
AT_ONCE = 4
"""Names of one order that are looked up at the same time."""
MOST_HELD = 4
"""One of so many threads may wait for records, and half of these for records of one account: whose
DNS is slow keeps nobody else waiting."""
SHOWN = 20
RETRY_AFTER = 30
LATE = CaaSeen(UNKNOWN, "the records could not be looked up in time", transient=True)


class Obeyed(msgspec.Struct, frozen=True):
    """How a policy's DNS profile asks, and whether what it hears is obeyed or only written down."""

    caa: Caa
    strict: bool


class CaaAgain:
    """Looks for orders of the policies whose DNS profile looks at CAA records."""

    def __init__(
        self,
        by_policy: Mapping[str, Obeyed],
        account_urls: Callable[[str], tuple[str, ...]],
        clock: Clock,
        patience: timedelta,
        threads: int,
    ) -> None:
        """Take who is asked for which policy, for how long a request may wait, and how many are
        worked on at once."""
        self._by_policy = by_policy
        self._account_urls = account_urls
        self._clock = clock
        self._patience = patience.total_seconds()
        self._most = max(1, threads // MOST_HELD)
        self._share = max(1, self._most // 2)
        self._lock = threading.Lock()
        self._at_work: Counter[str] = Counter()  # orders that are looked at, by account
        self._pool = ThreadPoolExecutor(self._most * AT_ONCE, thread_name_prefix="caa")

    def check(self, order: Order) -> tuple[CaaCheck, ...]:
        """Return what was seen of the names whose records were looked at again.

        Raises Refused where they are obeyed: caa, with one subproblem for each name whose records
        forbid it, or (503) that they cannot be looked up now.
        """
        obeyed = self._by_policy.get(order.policy)
        if obeyed is None:
            return ()
        now = self._clock.now()
        stale = [
            (n, each)
            for n, each in enumerate(order.authorizations)
            if each.identifier.type == "dns" and _is_stale(each, now)
        ]
        if not stale:
            return ()
        seen = self._seen(obeyed.caa, [each for _, each in stale], order.account_id)
        if obeyed.strict:
            _obey([each.identifier.value for _, each in stale], seen)
        return tuple(
            CaaCheck(n, each.verdict, each.reason, each.at)
            for (n, _), each in zip(stale, seen, strict=True)
        )

    def _seen(self, caa: Caa, stale: list[Authorization], account_id: str) -> list[CaaSeen]:
        """Return what the records of each name mean, in a bounded time."""
        urls = self._account_urls(account_id)
        seen, left = [LATE] * len(stale), deque(enumerate(stale))

        def look() -> None:
            while left:
                try:
                    n, one = left.popleft()
                except IndexError:  # somebody else has taken the last one
                    return
                seen[n] = caa.check(
                    one.identifier.value,
                    wildcard=one.wildcard,
                    method=proven_by(one),
                    account_urls=urls,
                )

        if not self._begin(account_id):
            return seen
        looks = [self._pool.submit(look) for _ in stale[:AT_ONCE]]
        self._watch(account_id, looks)
        for each in wait(looks, self._patience).done:
            each.result()
        left.clear()
        return list(seen)

    def _begin(self, account_id: str) -> bool:
        """Take a place for an order of the account; whether there was one, of all and of its own.

        It is given back once nobody looks any more, which may be after the request was answered.
        """
        with self._lock:
            free = self._at_work.total() < self._most and self._at_work[account_id] < self._share
            self._at_work[account_id] += free
            return free

    def _watch(self, account_id: str, looks: list[Future[None]]) -> None:
        """Give the place back when the last of these has ended."""
        running = set(looks)

        def ended(look: Future[None]) -> None:
            with self._lock:
                running.remove(look)
                if not running:
                    self._at_work[account_id] -= 1
                    self._at_work += Counter()  # forget who has none

        for each in looks:
            each.add_done_callback(ended)


def _is_stale(one: Authorization, now: datetime) -> bool:
    """Tell whether a name's records were looked at too long ago, or never: what was valid from the
    beginning of its order was not validated under it."""
    if one.rule:
        return True
    validated = next(each.validated for each in one.challenges if each.status == VALID)
    return now - datetime.fromisoformat(validated) > FRESH


def _obey(names: list[str], seen: list[CaaSeen]) -> None:
    """Raise Refused if records forbid it, or are not known."""
    pairs = list(zip(names, seen, strict=True))
    forbidden = [(name, each) for name, each in pairs if each.verdict == FORBIDS]
    if forbidden:
        raise _refused(forbidden)
    for name, each in pairs:
        if each.verdict == UNKNOWN:
            raise Refused(Problem.SERVICE_UNAVAILABLE, told(name, each), retry_after=RETRY_AFTER)


def _refused(forbidden: list[tuple[str, CaaSeen]]) -> Refused:
    name, first = forbidden[0]
    if len(forbidden) == 1:
        return Refused(Problem.CAA, told(name, first), identifier=name)
    bad = [Subproblem.of(Problem.CAA, told(name, each), name) for name, each in forbidden[:SHOWN]]
    detail = f"{len(forbidden)} names may not be issued for; the first: {told(name, first)}"
    return Refused(Problem.CAA, detail, subproblems=bad)

"""CAA records, looked at again before a certificate is issued on a proof that is not fresh.

What a domain says about its CAs may change; a proof may be as old as an order lives. So where a DNS
profile obeys CAA records, those of names that were proven more than `FRESH` ago are looked up again
when the order is finalized, and those of names that were known before there was an order. RFC 8659
section 3: at the time of issuance.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from datetime import datetime, timedelta

from certeasy.clock import Clock
from certeasy.decide.problems import Problem, Refused, Subproblem
from certeasy.validate import CaaSeen
from certeasy.validate.caa import FORBIDS, Caa, problem_of, told
from projections.orders import VALID, Authorization, Order

FRESH = timedelta(hours=8)
AT_ONCE = 8
"""Names that are looked up at the same time."""
SHOWN = 20
RETRY_AFTER = 30


class CaaAgain:
    """Looks for orders of the policies whose DNS profile obeys CAA records."""

    def __init__(
        self,
        by_policy: Mapping[str, Caa],
        account_urls: Callable[[str], tuple[str, ...]],
        clock: Clock,
        wait: timedelta,
    ) -> None:
        self._by_policy = by_policy
        self._account_urls = account_urls
        self._clock = clock
        self._wait = wait.total_seconds()

    def check(self, order: Order) -> None:
        """Return if the order's names may be issued for.

        Raises Refused: caa, with one subproblem for each name whose records forbid it, or (503)
        that they cannot be looked up now.
        """
        caa = self._by_policy.get(order.policy)
        if caa is None:
            return
        now = self._clock.now()
        stale = [each for each in order.authorizations if _is_stale(each, order, now)]
        dns = [each for each in stale if each.identifier.type == "dns"]
        if not dns:
            return
        seen = self._seen(caa, dns, self._account_urls(order.account_id))
        forbidden = [(name, each) for name, each in seen if each.verdict == FORBIDS]
        if forbidden:
            raise _refused(forbidden)
        for name, each in seen:
            if problem_of(each) is not None:
                raise Refused(
                    Problem.SERVICE_UNAVAILABLE, told(name, each), retry_after=RETRY_AFTER
                )

    def _seen(
        self, caa: Caa, stale: list[Authorization], urls: tuple[str, ...]
    ) -> list[tuple[str, CaaSeen]]:
        """Return what the records of each name mean; all of them in a bounded time."""

        def look(one: Authorization) -> CaaSeen:
            return caa.check(
                one.identifier.value,
                wildcard=one.wildcard,
                method=_method(one),
                account_urls=urls,
            )

        executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="caa")
        try:
            found = list(executor.map(look, stale, timeout=self._wait))
        except Late:
            detail = "CAA records could not be looked up in time; finalize the order again"
            raise Refused(Problem.SERVICE_UNAVAILABLE, detail, retry_after=RETRY_AFTER) from None
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        return list(zip([one.identifier.value for one in stale], found, strict=True))


def _is_stale(one: Authorization, order: Order, now: datetime) -> bool:
    """Tell whether a name's records were looked at too long ago, or never: what was valid from the
    beginning of its order was not validated under it."""
    validated = next((each.validated for each in one.challenges if each.status == VALID), "")
    if validated <= order.created:
        return True
    return now - datetime.fromisoformat(validated) > FRESH


def _method(one: Authorization) -> str:
    return next((each.type for each in one.challenges if each.status == VALID), "")


def _refused(forbidden: list[tuple[str, CaaSeen]]) -> Refused:
    name, first = forbidden[0]
    if len(forbidden) == 1:
        return Refused(Problem.CAA, told(name, first), identifier=name)
    bad = [Subproblem.of(Problem.CAA, told(name, each), name) for name, each in forbidden[:SHOWN]]
    detail = f"{len(forbidden)} names may not be issued for; the first: {told(name, first)}"
    return Refused(Problem.CAA, detail, subproblems=bad)

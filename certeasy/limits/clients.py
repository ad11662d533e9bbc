"""What clients may do, and how often: addresses and accounts held against the settings in use.

Per address, before anything else is looked at: requests, and marks for what looks like an attack.
Per address again: accounts created. Per account: orders, the names in them, and what it changes of
itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from msgspec import Struct

from certeasy.clock import Clock
from certeasy.config.forms import duration_text
from certeasy.decide import limits
from certeasy.decide.limits import Rate, Spending
from certeasy.decide.problems import Refused, Weight
from certeasy.limits.buckets import Buckets
from certeasy.settings.limits import (
    AccountChanges,
    AccountCreation,
    AccountLimits,
    GlobalLimit,
    OrderCreation,
    RateLimit,
    RateLimiting,
)
from events.counting import counted

GLOBAL, ABUSE, ACCOUNTS = "global", "abuse", "account-creation"
ORDERS, NAMES, CHANGES = "order-creation", "san-budget", "account-changes"
OF_ADDRESSES = (GLOBAL, ABUSE, ACCOUNTS)
OF_ACCOUNTS = (ORDERS, NAMES, CHANGES)
_SPENT = {
    GlobalLimit: "request",
    AccountCreation: "account",
    AccountChanges: "change",
    OrderCreation: "order",
}

_QUARTERS = 4
"""A mark has so many; `Weight` counts them."""
_MICROSECOND = timedelta(microseconds=1)
_KNOWN_ADDRESSES = 8192
_KNOWN_BINDINGS = 256


class Renewed(NamedTuple):
    """What an order renews, by an id of that certificate or of its names; "": nothing. And how many
    names it has that the certificate does not have."""

    what: str = ""
    added: int = 0


Renews = Callable[[], Renewed]
"""Says what an order renews. It is asked only where that matters."""
RENEWALS = "renewals"
RENEWAL_RATE = Rate.of(20, timedelta(hours=1), 20)
"""So often one and the same is renewed without being counted as an order."""
_ENOUGH = 32  # characters of an id that tell it from all others; a subject has 80 in the database


def never() -> Renewed:
    """Say that nothing is renewed."""
    return Renewed()


class _Client(NamedTuple):
    """An address as limits count it."""

    subject: str
    is_free: bool
    """Whether it is on the whitelist."""


class _Of(NamedTuple):
    """The limits of an account, and its rates; None: there is no such limit."""

    every: AccountLimits
    orders: OrderCreation
    order_rate: Rate | None
    names: int
    name_rate: Rate | None
    name_window: timedelta


class Told(Struct, frozen=True):
    """How a subject stands with the limit of that name: so many are left of a `burst`, and they
    come back as the `rule` says.

    `next` and `full` are when (RFC 3339) there will be one, and all of them; empty where there are.
    `names` are those that it is about, where it is about some.
    """

    limit: str
    rule: str
    left: float
    burst: float
    next: str = ""
    full: str = ""
    names: tuple[str, ...] = ()


class Limits:
    """What is counted of clients, held against settings. Safe to use from any thread.

    Where something is too much it raises Refused (rateLimited), and nothing was spent.
    """

    def __init__(self, settings: RateLimiting, buckets: Buckets, clock: Clock) -> None:
        self._settings = settings
        self._buckets = buckets
        self._clock = clock
        on = settings.enabled
        every, abuse, accounts = settings.global_, settings.abuse, settings.account_creation
        changes = settings.account_changes
        self._requests = _rate(every) if on and every.enabled else None
        self._accounts = _rate(accounts) if on and accounts.enabled else None
        self._changes = _rate(changes) if on and changes.enabled else None
        self._marks: Rate | None = None
        if on and abuse.enabled:
            self._marks = Rate.of(abuse.recovery, abuse.window, abuse.marks, parts=_QUARTERS)
        # Addresses and bindings come again and again; both memories are bounded.
        self._client: Callable[[str], _Client] = lru_cache(_KNOWN_ADDRESSES)(self._counted_as)
        self._of: Callable[[str, str], _Of] = lru_cache(_KNOWN_BINDINGS)(self._rates_of)

    # -- addresses -------------------------------------------------------------------------------

    def admit(self, address: str) -> None:
        """Count a request of an address, before anything of it is looked at."""
        client = self._client(address)
        if client.is_free:
            return
        at = self._buckets.now()
        if self._marks is not None:
            # Enough for the worst that this one can be.
            worst = Spending(ABUSE, client.subject, self._marks, Weight.HOSTILE)
            if wait := self._buckets.wait(worst, at):
                raise self._over(ABUSE, self._has_marks(client.subject), wait)
        if self._requests is not None:
            spending = Spending(GLOBAL, client.subject, self._requests)
            [wait] = self._buckets.spend((spending,), at)
            if wait:
                raise self._over(GLOBAL, self._has_asked(client.subject), wait)

    def mark(self, address: str, weight: Weight) -> None:
        """Note that an address did what looks like an attack."""
        client = self._client(address)
        if weight and self._marks is not None and not client.is_free:
            spending = Spending(ABUSE, client.subject, self._marks, weight)
            self._buckets.charge(spending, self._buckets.now())

    def creating_account(self, address: str) -> AbstractContextManager[None]:
        """Count an account that the block creates; none where it raises."""
        subject = self._client(address).subject
        rule = _rule(self._settings.account_creation)
        what = f"{subject} may create {rule}, and has created them"
        return self._counting(address, ACCOUNTS, subject, self._accounts, what)

    # -- accounts --------------------------------------------------------------------------------

    def changing_account(self, account_id: str, address: str) -> AbstractContextManager[None]:
        """Count what the block changes of an account itself; nothing where it raises.

        Each is a line in the log, for ever.
        """
        rule = _rule(self._settings.account_changes)
        what = f"this account may make {rule}, and has made them"
        return self._counting(address, CHANGES, account_id, self._changes, what)

    @contextmanager
    def placing_order(
        self,
        account_id: str,
        address: str,
        binding: tuple[str, str],
        names: int,
        *,
        order: bool = True,
        renews: Renews = never,
    ) -> Iterator[None]:
        """Count an order of so many names that the block places; none where it raises. Of one that
        renews, only the names that it adds are counted.

        `binding` are id and comment of the key that the account was bound with, or empty. `order`
        False: it is names alone that are asked for, an authorization ahead of any order. Who renews
        the same again and again is counted in the end, too.
        """
        of = self._of(*binding)
        spendings = []
        if order and of.order_rate is not None and not self._client(address).is_free:
            spendings.append(Spending(ORDERS, account_id, of.order_rate))
        if of.name_rate is not None:
            spendings.append(Spending(NAMES, account_id, of.name_rate, names))
        at = self._buckets.now()
        renewed = renews() if spendings else Renewed()
        if self._may_renew(account_id, renewed.what, at):
            spendings = []
            if of.name_rate is not None and renewed.added:
                spendings.append(Spending(NAMES, account_id, of.name_rate, renewed.added))
        if not spendings:
            yield
            return
        waits = self._buckets.spend(spendings, at)
        if any(waits):
            # That which is free again last, so that a retry then succeeds.
            wait, spending = max(zip(waits, spendings, strict=True), key=lambda pair: pair[0])
            what = self._has_ordered(spending, of, at)
            raise self._over(spending.limit, what, wait)
        with self._given_back(spendings):
            yield

    def _may_renew(self, account_id: str, what: str, now: int) -> bool:
        """Whether this is a renewal, and not one too many of the same."""
        if not what:
            return False
        whose = f"{account_id} {what[:_ENOUGH]}"
        spending = Spending(RENEWALS, whose, RENEWAL_RATE)
        return self._buckets.spend((spending,), now) == [0]

    def holding_for(self, kid: str = "", comment: str = "") -> AccountLimits:
        """Return the limits of an account that was bound with this key; "": with none."""
        return self._of(kid, comment).every

    # -- administration --------------------------------------------------------------------------

    def of_address(self, address: str) -> tuple[Told, ...]:
        """Return how an address stands; an address that limits do not count stands nowhere."""
        client = self._client(address)
        if client.is_free:
            return ()
        every, abuse = self._settings.global_, self._settings.abuse
        accounts = self._settings.account_creation
        marks = f"{abuse.recovery} in {duration_text(abuse.window)}, {abuse.marks} at once"
        return (
            *self._told(GLOBAL, client.subject, self._requests, _rule(every)),
            *self._told(ABUSE, client.subject, self._marks, marks, _QUARTERS),
            *self._told(ACCOUNTS, client.subject, self._accounts, _rule(accounts)),
        )

    def of_account(self, account_id: str, kid: str = "", comment: str = "") -> tuple[Told, ...]:
        """Return how an account stands, which was bound with this key."""
        of = self._of(kid, comment)
        names = f"{of.names} in {duration_text(of.name_window)}, {of.names} at once"
        return (
            *self._told(ORDERS, account_id, of.order_rate, _rule(of.orders)),
            *self._told(NAMES, account_id, of.name_rate, names),
            *self._told(CHANGES, account_id, self._changes, _rule(self._settings.account_changes)),
        )

    def off(self, kid: str = "", comment: str = "") -> tuple[str, ...]:
        """Return the limits that are switched off, for an account that was bound with this key."""
        return self._settings.off(kid, comment)

    def counted_as(self, address: str) -> str:
        """Return what an address counts as: itself, or the network it is in."""
        return self._client(address).subject

    def standings(self, limit: str, most: int) -> tuple[int, list[tuple[str, str]]]:
        """Return how many have spent anything of a limit, and those for whom it takes longest until
        all of it has come back, with when that is (RFC 3339)."""
        at, now = self._buckets.now(), self._clock.now()
        count, longest = self._buckets.standings(limit, at, most)
        return count, [(each.subject, _moment(now, each.full_at - at)) for each in longest]

    def reset(self, names: Sequence[str], subject: str) -> tuple[str, ...]:
        """Give a subject all that there is of these limits; return those it had spent from."""
        return tuple(name for name in names if self._buckets.reset(name, subject))

    # -- the parts -------------------------------------------------------------------------------

    def _counted_as(self, text: str) -> _Client:
        try:
            address = ip_address(text)
        except ValueError:  # no address, as of a socket without one: everybody there is one client
            return _Client(text, is_free=False)
        is_free = any(address in network for network in self._settings.whitelist)
        prefix = self._settings.ipv6_prefix
        if address.version == 6 and prefix < address.max_prefixlen:  # noqa: PLR2004 - IP's own
            return _Client(str(ip_network((address, prefix), strict=False)), is_free)
        return _Client(str(address), is_free)

    def _rates_of(self, kid: str, comment: str) -> _Of:
        found = self._settings.of(kid, comment)
        orders, names = found.order_creation, found.san_budget
        return _Of(
            found,
            orders,
            _rate(orders) if orders.enabled else None,
            names.limit,
            Rate.of(names.limit, names.window, names.limit) if names.enabled else None,
            names.window,
        )

    @contextmanager
    def _counting(
        self, address: str, limit: str, subject: str, rate: Rate | None, what: str
    ) -> Iterator[None]:
        """Count what the block does, unless it raises or its client is on the whitelist; `what` is
        told where it is too much."""
        if rate is None or self._client(address).is_free:
            yield
            return
        spending = Spending(limit, subject, rate)
        [wait] = self._buckets.spend((spending,), self._buckets.now())
        if wait:
            raise self._over(limit, what, wait)
        with self._given_back((spending,)):
            yield

    @contextmanager
    def _given_back(self, spendings: Sequence[Spending]) -> Iterator[None]:
        try:
            yield
        except BaseException:  # whatever ended the request, it was not what they pay for
            self._buckets.give_back(spendings, self._buckets.now())
            raise

    def _over(self, limit: str, what: str, wait: int) -> Refused:
        now = self._clock.now()
        return limits.over(limit, what, now=now, free_at=now + wait * _MICROSECOND)

    def _has_asked(self, subject: str) -> str:
        return f"{subject} may send {_rule(self._settings.global_)}, and has sent them"

    def _has_marks(self, subject: str) -> str:
        return (
            f"{subject} has {self._settings.abuse.marks} marks for wrong signatures, other"
            " accounts' objects or unknown ids, and one has to come off"
        )

    def _has_ordered(self, spending: Spending, of: _Of, now: int) -> str:
        if spending.limit == ORDERS:
            return f"this account may place {_rule(of.orders)}, and has placed them"
        left = self._buckets.left(NAMES, spending.subject, spending.rate, now)
        return (
            f"this account may order {of.names} names in {duration_text(of.name_window)}; this"
            f" order has {spending.cost}, and {max(left, 0)} are left"
        )

    def _told(
        self, limit: str, subject: str, rate: Rate | None, rule: str, parts: int = 1
    ) -> tuple[Told, ...]:
        if rate is None:
            return ()
        now, at = self._clock.now(), self._buckets.now()
        left = self._buckets.left(limit, subject, rate, at)
        one = self._buckets.wait(Spending(limit, subject, rate, parts), at)
        every = self._buckets.wait(Spending(limit, subject, rate, rate.burst), at)
        return (
            Told(
                limit,
                rule,
                _plain(left, parts),
                _plain(rate.burst, parts),
                _moment(now, one),
                _moment(now, every),
            ),
        )


def _rate(limit: RateLimit) -> Rate:
    return Rate.of(limit.limit, limit.window, limit.burst)


def _rule(limit: RateLimit) -> str:
    many = counted(limit.limit, _SPENT[type(limit)])
    return f"{many} in {duration_text(limit.window)}, {limit.burst} at once"


def _plain(tokens: int, parts: int) -> float:
    whole, rest = divmod(tokens, parts)
    return tokens / parts if rest else whole


def _moment(now: datetime, wait: int) -> str:
    return limits.whole_second(now + wait * _MICROSECOND) if wait else ""

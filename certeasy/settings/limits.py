"""How often something may be done, by whom: the section `rate-limiting` of config.yml.

`RateLimiting.of` tells what holds for one account: what holds for all, or what the override of its
external account binding has in its place. Whatever is switched off, one by one or all together, is
`enabled: false` there, so nobody has to ask twice.
"""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import fields, replace

Tokens = Annotated[int, Meta(ge=1, le=1_000_000)]
# What is counted in the log is kept up to a bound: projections.name_sets, .failures, .unproven.
InTheLog = Annotated[int, Meta(ge=1, le=100)]
Open = Annotated[int, Meta(ge=1, le=1000)]

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What comes back evenly."""

    enabled: bool = True
    limit: Tokens = 10
    """So many in each window, evenly."""
    window: timedelta = _HOUR
    burst: Tokens = 10
    """So many at once, after a rest."""


class GlobalLimit(RateLimit, frozen=True):
    """Requests of one client address, whatever they are for."""

    limit: Tokens = 1200
    window: timedelta = _MINUTE
    burst: Tokens = 100


class AbuseLimit(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What no client does by mistake often: bad signatures, other accounts' objects, guessed
    ids."""

    enabled: bool = True
    marks: Tokens = 10
    """An address that has so many is refused."""
    recovery: Tokens = 20
    """So many are taken back in each window, evenly."""
    window: timedelta = _MINUTE


class AccountCreation(RateLimit, frozen=True):
    """Accounts registered from one client address; looking one up is none."""


class AccountChanges(RateLimit, frozen=True):
    """Changes of one account's contacts or key; an update that changes nothing is none."""


class OrderCreation(RateLimit, frozen=True):
    """Orders of one account; renewals are none."""

    limit: Tokens = 20
    burst: Tokens = 5


class SanBudget(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Names in the orders of one account; those of renewals do not count."""

    enabled: bool = True
    limit: Tokens = 100
    """So many in each window, evenly, and so many at once, after a rest."""
    window: timedelta = _HOUR


class WindowLimit(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What is counted in the log: so many within any window."""

    enabled: bool = True
    limit: InTheLog = 5
    window: timedelta = _HOUR


class DuplicateCertificate(WindowLimit, frozen=True):
    """Certificates for exactly the same names, those revoked left out."""

    window: timedelta = timedelta(hours=168)


class FailedValidation(WindowLimit, frozen=True):
    """Failed validations of one name by one account."""


class PendingAuthorizations(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Authorizations of one account that wait to be proven."""

    enabled: bool = True
    limit: Open = 30
    """So many at a time."""


class WindowChange(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What is otherwise for some accounts; None: as for all."""

    enabled: bool | None = None
    limit: Tokens | None = None
    window: timedelta | None = None


class RateChange(WindowChange, frozen=True):
    """What is otherwise for some accounts; None: as for all."""

    burst: Tokens | None = None


class LogChange(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What is otherwise for some accounts; None: as for all."""

    enabled: bool | None = None
    limit: InTheLog | None = None
    window: timedelta | None = None


class CountChange(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What is otherwise for some accounts; None: as for all."""

    enabled: bool | None = None
    limit: Open | None = None


class LimitOverride(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Other limits for the accounts that were bound with certain keys (`certeasy eab create`)."""

    binding: Annotated[str, Meta(min_length=1, max_length=200)]
    """The id of a key, or the comment it was made with: then of every key with this comment."""
    order_creation: RateChange = RateChange()
    san_budget: WindowChange = WindowChange()
    duplicate_certificate: LogChange = LogChange()
    failed_validation: LogChange = LogChange()
    pending_authorizations: CountChange = CountChange()


class AccountLimits(Struct, frozen=True, rename="kebab"):
    """What holds for one account."""

    order_creation: OrderCreation = OrderCreation()
    san_budget: SanBudget = SanBudget()
    duplicate_certificate: DuplicateCertificate = DuplicateCertificate()
    failed_validation: FailedValidation = FailedValidation()
    pending_authorizations: PendingAuthorizations = PendingAuthorizations()


PER_ACCOUNT = tuple(each.name for each in fields(AccountLimits))
FOR_ALL = ("global_", "abuse", "account_creation", "account_changes")
"""No override has another one in its place."""


class RateLimiting(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """How often something may be done, by whom."""

    enabled: bool = True
    """False: there is no limit at all."""
    whitelist: tuple[IPv4Network | IPv6Network, ...] = ()
    """Clients with these addresses are not held to what counts requests, accounts and orders."""
    ipv6_prefix: Annotated[int, Meta(ge=32, le=128)] = 64
    """IPv6 addresses that have so many bits in common count as one client."""
    help_url: str | None = None
    """The page that refused clients are shown; None: one that this server has."""
    global_: GlobalLimit = field(default=GlobalLimit(), name="global")
    abuse: AbuseLimit = AbuseLimit()
    account_creation: AccountCreation = AccountCreation()
    account_changes: AccountChanges = AccountChanges()
    order_creation: OrderCreation = OrderCreation()
    san_budget: SanBudget = SanBudget()
    duplicate_certificate: DuplicateCertificate = DuplicateCertificate()
    failed_validation: FailedValidation = FailedValidation()
    pending_authorizations: PendingAuthorizations = PendingAuthorizations()
    overrides: tuple[LimitOverride, ...] = ()

    def of(self, kid: str = "", comment: str = "") -> AccountLimits:
        """Return what holds for an account that was bound with this key; "": with none.

        An override that names the key itself goes before one that names its comment.
        """
        override = self._override(kid) or self._override(comment)
        changes: dict[str, Struct] = {}
        for name in PER_ACCOUNT:
            limit = getattr(self, name)
            if not self.enabled:
                limit = replace(limit, enabled=False)
            elif override is not None:
                limit = replace(limit, **_said(getattr(override, name)))
            changes[name] = limit
        return AccountLimits(**changes)  # type: ignore[arg-type] # each is what its name says

    def off(self, kid: str = "", comment: str = "") -> tuple[str, ...]:
        """Return the limits that are switched off, for an account that was bound with this key."""
        account = self.of(kid, comment)
        return tuple(
            each.encode_name
            for each in fields(self)
            if (each.name in FOR_ALL and not (self.enabled and getattr(self, each.name).enabled))
            or (each.name in PER_ACCOUNT and not getattr(account, each.name).enabled)
        )

    def _override(self, word: str) -> LimitOverride | None:
        if not word:
            return None
        return next((each for each in self.overrides if each.binding == word), None)


def _said(change: Struct) -> dict[str, object]:
    """Return what an override says of a limit."""
    said = {each.name: getattr(change, each.name) for each in fields(change)}
    return {name: value for name, value in said.items() if value is not None}

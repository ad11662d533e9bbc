"""Instructions about limits: to see what was spent of them, and to have that forgotten."""

import ipaddress
from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from certeasy.admin.desk import Desk, InstructionRefused
from certeasy.admin.instructions import Instruction
from certeasy.config.forms import duration_text
from certeasy.decide import identifiers, log_limits
from certeasy.decide.challenges import WILDCARD
from certeasy.decide.client_address import client_address
from certeasy.decide.decision import Decision
from certeasy.decide.limits import whole_second
from certeasy.decide.log_limits import DUPLICATE_CERTIFICATE, FAILED_VALIDATION, PENDING
from certeasy.decide.problems import Refused
from certeasy.limits.clients import OF_ACCOUNTS, OF_ADDRESSES, Limits, Told
from certeasy.settings.limits import (
    DuplicateCertificate,
    FailedValidation,
    PendingAuthorizations,
)
from certeasy.settings.names import a_labels
from events.limits import LimitsReset
from events.sealing import NONCE_LENGTH, Sealed, Subject
from projections.accounts import ACCOUNTS
from projections.eab import EAB_KEYS
from projections.unproven import PENDING_AUTHORIZATIONS

MOST_LISTED = 100
OF_NAMES = (DUPLICATE_CERTIFICATE, FAILED_VALIDATION)
_Word = Annotated[str, Meta(max_length=4096)]  # what is wrong with one is told, as long as it is


class Spender(msgspec.Struct, frozen=True):
    """Somebody who has spent something of a limit, and when all of it will have come back."""

    subject: str
    full: str


class Counted(msgspec.Struct, frozen=True):
    """How many have spent something of a limit, and those for whom it takes longest."""

    limit: str
    subjects: int
    longest: tuple[Spender, ...]


class LimitsShown(msgspec.Struct, frozen=True):
    """How one subject stands, or who has spent what. `running`: a server that counts runs.

    `counted_as` is the network that an address counts as, or the address or account itself. `off`
    are those of the limits in question that are switched off: nobody is held to them.
    """

    running: bool
    counted_as: str = ""
    standing: tuple[Told, ...] = ()
    counted: tuple[Counted, ...] = ()
    off: tuple[str, ...] = ()


class ShowLimits(Instruction[LimitsShown], frozen=True, tag="limits-show"):
    """Tell how an account or an address stands; without either, who has spent what.

    With `names`, also what counts of an order of exactly these: for anybody, or for the account.
    """

    result: ClassVar = LimitsShown

    account: _Word = ""
    address: _Word = ""
    names: Annotated[tuple[_Word, ...], Meta(max_length=MOST_LISTED)] = ()
    most: Annotated[int, Meta(ge=0, le=MOST_LISTED)] = 10

    def carry_out(self, desk: Desk) -> LimitsShown:
        """Look it up; nothing is changed."""
        limits = desk.office.limits
        if self.account and self.address:
            raise InstructionRefused("say one: an account, or an address")
        who = ""
        told: tuple[Told, ...] = ()
        if self.names:
            who, told = _of_names(desk, self.account, self.names)
        elif self.account or self.address:
            who, told = _standing(desk, self.account, self.address)
        if limits is None:
            return LimitsShown(running=False, counted_as=who)
        binding = _binding(desk, self.account) if self.account else ("", "")
        asked, off = self._asked(), limits.off(*binding)
        return LimitsShown(
            running=True,
            counted_as=who,
            standing=told,
            counted=() if who else tuple(self._counted(limits, name) for name in asked),
            off=tuple(name for name in asked if name in off),
        )

    def _asked(self) -> tuple[str, ...]:
        """Return the limits that this is about."""
        if self.names:
            return OF_NAMES if self.account else OF_NAMES[:1]
        if self.address:
            return OF_ADDRESSES
        return (*OF_ACCOUNTS, PENDING) if self.account else (*OF_ADDRESSES, *OF_ACCOUNTS)

    def _counted(self, limits: Limits, name: str) -> Counted:
        count, longest = limits.standings(name, self.most)
        return Counted(name, count, tuple(Spender(*each) for each in longest))


class LimitsForgotten(msgspec.Struct, frozen=True):
    """The limits of which something had been spent, and is not any more.

    `running`: a server that counts runs. `counted_as` is whom it is about, as limits count that
    one. `unspent` are the limits of which nothing had been spent, `off` those that are switched
    off.
    """

    limits: tuple[str, ...]
    running: bool = True
    counted_as: str = ""
    unspent: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


class ResetLimits(Instruction[LimitsForgotten], frozen=True, tag="limits-reset"):
    """Have it forgotten what an account or an address has spent."""

    result: ClassVar = LimitsForgotten

    account: _Word = ""
    address: _Word = ""

    def carry_out(self, desk: Desk) -> LimitsForgotten:
        """Record it, and do it; where nothing was spent there is nothing to record."""
        if bool(self.account) == bool(self.address):
            raise InstructionRefused("say whose: an account, or an address")
        subject, standing = _standing(desk, self.account, self.address)
        spent = tuple(told.limit for told in standing if told.full)
        limits = desk.office.limits
        if limits is None:
            return LimitsForgotten((), running=False, counted_as=subject)
        asked = OF_ACCOUNTS if self.account else OF_ADDRESSES
        binding = _binding(desk, self.account) if self.account else ("", "")
        off = limits.off(*binding)
        forgotten = LimitsForgotten(
            spent,
            counted_as=subject,
            unspent=tuple(told.limit for told in standing if told.limit in asked and not told.full),
            off=tuple(name for name in asked if name in off),
        )
        if not spent:
            return forgotten
        sealed = None if self.account else _sealed(desk, subject)
        fact = LimitsReset(spent, self.account, sealed)
        stream = f"limits/{self.account or 'addresses'}"
        desk.commit(lambda _rows, _now: Decision(((stream, fact),)))
        limits.reset(spent, subject)
        return forgotten


def _standing(desk: Desk, account_id: str, address: str) -> tuple[str, tuple[Told, ...]]:
    """Return whom limits count, and how that one stands. Refuses what is no account, or address."""
    limits = desk.office.limits
    if not account_id:
        known = _an_address(address)
        if limits is None:
            return known, ()
        return limits.counted_as(known), limits.of_address(known)
    binding = _binding(desk, account_id)
    if limits is None:
        return account_id, ()
    pending = _pending(desk, account_id, limits.holding_for(*binding).pending_authorizations)
    return account_id, (*limits.of_account(account_id, *binding), *pending)


def _pending(desk: Desk, account_id: str, limit: PendingAuthorizations) -> tuple[Told, ...]:
    """Return how many authorizations may be opened beside those that wait to be proven; they are
    in the log, and nothing that can be forgotten."""
    if not limit.enabled:
        return ()
    now, left = desk.office.now(), limit.limit
    row = desk.office.store.get(PENDING_AUTHORIZATIONS, account_id)
    for order in () if row is None else row.orders:
        if now < datetime.fromisoformat(order.expires):
            left -= order.authorizations
    return (Told(PENDING, f"{limit.limit} at a time", max(left, 0), limit.limit),)


def _of_names(desk: Desk, account_id: str, names: tuple[str, ...]) -> tuple[str, tuple[Told, ...]]:
    """Return what counts of an order of these names: what was issued for all of them together, and
    of each one how often the account failed to prove it. It is in the log, and nothing that can be
    forgotten."""
    limits, rows, now = desk.office.limits, desk.office.store, desk.office.now()
    names = tuple(sorted({_a_name(name) for name in names}))
    who = account_id or ", ".join(names)
    binding = _binding(desk, account_id) if account_id else ("", "")
    if limits is None:
        return who, ()
    holding = limits.holding_for(*binding)
    same, failures = holding.duplicate_certificate, holding.failed_validation
    told = []
    if same.enabled:
        issued = log_limits.issued_lately(rows, now, same, names)
        told.append(_in_window(DUPLICATE_CERTIFICATE, names, same, issued))
    for name in names if account_id and failures.enabled else ():
        failed = log_limits.failed_lately(rows, now, failures, account_id, name)
        told.append(_in_window(FAILED_VALIDATION, (name,), failures, failed))
    return who, tuple(told)


def _in_window(
    name: str,
    names: tuple[str, ...],
    limit: DuplicateCertificate | FailedValidation,
    counting: list[datetime],
) -> Told:
    left = max(limit.limit - len(counting), 0)
    return Told(
        name,
        f"{limit.limit} in {duration_text(limit.window)}",
        left,
        limit.limit,
        next="" if left else whole_second(counting[-limit.limit] + limit.window),
        full=whole_second(counting[-1] + limit.window) if counting else "",
        names=names,
    )


def _binding(desk: Desk, account_id: str) -> tuple[str, str]:
    """Return id and comment of the key that an account was bound with, or nothing."""
    kid = _bound_with(desk, account_id)
    key = desk.office.store.get(EAB_KEYS, kid) if kid else None
    return kid, "" if key is None else key.comment


def _bound_with(desk: Desk, account_id: str) -> str:
    """Return the id of the key that an account was bound with, or "". Refuses one that is none."""
    account = desk.office.store.get(ACCOUNTS, account_id)
    if account is None:
        raise InstructionRefused(
            f"there is no account {account_id!r}; 'certeasy accounts list -f config.yml' shows"
            " which there are"
        )
    return account.eab


def _an_address(text: str) -> str:
    try:
        return _counted(text)
    except ValueError:
        raise InstructionRefused(
            f"{text!r} is no IP address, such as 203.0.113.7 or 2001:db8::1"
        ) from None


def _counted(text: str) -> str:
    """Return an address as clients' are written, however it is spelt; ValueError: it is none."""
    return client_address(str(ipaddress.ip_address(text)), None, ())


def _a_name(text: str) -> str:
    """Return a name as orders have it, however it is spelt: a client is told which spelling to
    send, an administrator who only asks need not be."""
    try:
        return _counted(text)
    except ValueError:  # then it is a DNS name
        pass
    base, wildcard = identifiers.split(text)
    encoded = "" if text.isascii() else a_labels(base)
    name = f"{WILDCARD if wildcard else ''}{encoded}" if encoded else text
    try:
        return identifiers.dns_name(name, wildcards=True)
    except Refused as refusal:
        raise InstructionRefused(
            f"{refusal.detail}; a name is that of a server (web.corp.example), a wildcard"
            " (*.corp.example), or an IP address (192.0.2.1, 2001:db8::1)"
        ) from None


def _sealed(desk: Desk, address: str) -> Sealed:
    """Seal an address under the key of the administrator who named it."""
    [(subject, key)] = desk.actor_key
    nonce = desk.office.ids.random(NONCE_LENGTH)
    return Subject(subject, key).seal(address.encode(), nonce)

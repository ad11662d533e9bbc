"""What may be named in an order.

What clients send is brought into one form first: lower case, no dot at the end, each name once, in
the order of the request. What has no such form is refused with what is wrong with it; nothing is
guessed, because a certificate for a name that was not quite asked for helps nobody. Unicode is
refused with the A-label form to send instead. RFC 8555 section 7.1.4, RFC 5890. An address is an
identifier of a type of its own: RFC 8738, `certeasy.decide.addresses`.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from certeasy.decide import addresses
from certeasy.decide.addresses import DNS, IP
from certeasy.decide.challenges import WILDCARD
from certeasy.decide.problems import Identifier, Problem, Refused, Subproblem
from certeasy.settings.names import LONGEST_NAME, canonical, fault, lowered

MOST_NAMES = 100
MOST_SENT = 1000
"""Duplicates are dropped in silence, but not without end."""
MOST_SHOWN = 20
"""So many identifiers are refused one by one; then nobody looks at the rest."""

_SHOWN = 100


class Named(Protocol):
    """An identifier as it came from a client."""

    @property
    def type(self) -> str:
        """The identifier's type; `dns` and `ip` are known."""
        ...

    @property
    def value(self) -> str:
        """The identifier itself."""
        ...


def names(
    identifiers: Iterable[Named],
    *,
    most: int = MOST_NAMES,
    wildcards: bool = False,
    ips: bool = False,
) -> tuple[str, ...]:
    """Return the canonical names of an order, each once, in the order they were sent.

    `wildcards`: whether a challenge that proves them is on offer; they keep their `*.`. `ips`:
    whether any address may be ordered; what is none of `kind` dns is one.
    Refused: malformed (none, or more than `most`); unsupportedIdentifier (a type that is not
    known); rejectedIdentifier (a value that is no name); with several of them wrong, one subproblem
    each.
    """
    sent = list(islice(identifiers, MOST_SENT + 1))
    if not sent:
        raise Refused(Problem.MALFORMED, "An order needs at least one identifier")
    if len(sent) > MOST_SENT:
        raise Refused(Problem.MALFORMED, f"An order may have at most {most} names")
    good: dict[str, None] = {}
    bad: list[Refused] = []
    for identifier in sent:
        try:
            good[_name(identifier, wildcards=wildcards, ips=ips)] = None
        except Refused as refusal:
            bad.append(refusal)
        if len(bad) == MOST_SHOWN:
            break
    if bad:
        raise _together(bad)
    if len(good) > most:
        detail = f"An order may have at most {most} names; this one has {len(good)}"
        raise Refused(Problem.MALFORMED, detail)
    return tuple(good)


def dns_name(value: str, *, wildcards: bool = False) -> str:
    """Return the canonical form of one DNS name. Refused: rejectedIdentifier."""
    name = canonical(value)
    base, wildcard = split(name)
    wrong = _wildcard_fault(base, allowed=wildcards) if wildcard else None
    wrong = wrong or fault(base, WILDCARD if wildcard else "")
    if wrong is None and len(name) > LONGEST_NAME:
        wrong = f"is longer than {LONGEST_NAME} characters"
    if wrong is None:
        return name
    if "*" in base:
        wrong = "has a star elsewhere than alone in front of a name, as in *.corp.example"
    if addresses.address(name) is not None:
        wrong += f'; an address is ordered by an identifier of the type "{IP}"'
    shown = show(value)
    detail = f'The name "{shown}" {wrong}'
    raise Refused(Problem.REJECTED_IDENTIFIER, detail, identifier=Identifier.dns(shown))


def ip_address(value: str) -> str:
    """Return the canonical form of one address. Refused: rejectedIdentifier."""
    text = lowered(value)
    if (wrong := addresses.fault(text)) is None:
        return text
    shown = show(value)
    detail = f'The address "{shown}" {wrong}'
    raise Refused(Problem.REJECTED_IDENTIFIER, detail, identifier=Identifier(IP, shown))


def split(name: str) -> tuple[str, bool]:
    """Return a canonical name without its `*.`, and whether it had one."""
    return name.removeprefix(WILDCARD), name.startswith(WILDCARD)


def show(value: str) -> str:
    """Return what a client sent, fit for a message: printable, and not longer than a line."""
    cut = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)


def _name(identifier: Named, *, wildcards: bool, ips: bool) -> str:
    """Return the canonical name of one identifier. Refused: its type or its value is wrong."""
    if identifier.type == IP and ips:
        return ip_address(identifier.value)
    if identifier.type != DNS:
        shown = Identifier(show(identifier.type), show(identifier.value))
        known = f'"{DNS}" and "{IP}" are' if ips else f'only "{DNS}" is'
        detail = f'Identifiers of type "{shown.type}" are not supported; {known}'
        raise Refused(Problem.UNSUPPORTED_IDENTIFIER, detail, identifier=shown)
    return dns_name(identifier.value, wildcards=wildcards)


def _wildcard_fault(base: str, *, allowed: bool) -> str | None:
    """Return what is wrong with a wildcard at `base`, before the base itself is looked at."""
    if not allowed:
        return "is a wildcard, which only a DNS challenge proves; no policy offers one (dns-01)"
    if "." not in base:
        return "is a wildcard over a whole top-level domain"
    return None


def _together(bad: list[Refused]) -> Refused:
    """Return one refusal for all: the one itself, or a list. RFC 8555 section 6.7.1."""
    if len(bad) == 1:
        return bad[0]
    kinds = {refusal.problem for refusal in bad}
    return Refused(
        kinds.pop() if len(kinds) == 1 else Problem.COMPOUND,
        f"{len(bad)} of the identifiers are refused; the first: {bad[0].detail}",
        subproblems=(
            Subproblem(refusal.problem.urn, refusal.detail, refusal.identifier) for refusal in bad
        ),
    )

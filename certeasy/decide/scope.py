"""Which names a policy covers.

A name is permitted when no deny rule speaks of it and an allow rule does; the verdict names the
rule, because someone will ask. How rules are written is told in `certeasy.settings.names`.
"""

from collections.abc import Iterable

from msgspec import Struct

from certeasy.settings.names import NameRule, parse

__all__ = ["NameRule", "Verdict", "covers", "parse", "permits"]


class Verdict(Struct, frozen=True):
    """Whether a name is permitted, and by which rule; without a rule, none allows it."""

    permitted: bool
    rule: NameRule | None = None

    @property
    def reason(self) -> str:
        """The verdict as the rest of a sentence, for refusals and events."""
        if self.rule is None:
            return "is not covered by any allow rule"
        word = "allowed" if self.permitted else "denied"
        return f'is {word} by the rule "{self.rule.text}"'


def covers(rule: NameRule, name: str, *, wildcard: bool) -> bool:
    """Tell whether the rule speaks of the name: canonical, for a wildcard without its `*.`."""
    if wildcard != rule.wildcard:
        return False
    if name == rule.zone:
        return rule.least == 0
    if not name.endswith(f".{rule.zone}"):
        return False
    in_front = name[: -len(rule.zone)].count(".")
    return rule.least <= in_front <= rule.most


def permits(
    allow: Iterable[NameRule], deny: Iterable[NameRule], name: str, *, wildcard: bool
) -> Verdict:
    """Judge a canonical name, for a wildcard without its `*.`: deny wins, else the first allow."""
    for rule in deny:
        if covers(rule, name, wildcard=wildcard):
            return Verdict(permitted=False, rule=rule)
    for rule in allow:
        if covers(rule, name, wildcard=wildcard):
            return Verdict(permitted=True, rule=rule)
    return Verdict(permitted=False)

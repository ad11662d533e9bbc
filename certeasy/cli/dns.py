"""`certeasy dns`: the DNS as a validator sees it."""

from pathlib import Path
from typing import get_args

import click
import msgspec

from certeasy.cli.options import fail, read, told, with_config
from certeasy.clock import SystemClock
from certeasy.decide import identifiers, scope
from certeasy.decide.addresses import IP, address, kind, objection
from certeasy.decide.challenges import proving
from certeasy.decide.problems import Refused
from certeasy.settings import Challenge, IssuancePolicy, Settings
from certeasy.validate import Asked
from certeasy.validate.kinds import validators_of
from certeasy.validate.rehearsal import Check, Rehearsal
from events.orders import Identifier

_SHOWN = 10  # rules


class Objection(msgspec.Struct, frozen=True):
    """A policy that does not permit the name, and why, as the rest of a sentence about it."""

    policy: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """What `dns test` found, as `--json` prints it.

    `objections` are those of every policy where none permits the name, or of the one chosen.
    """

    name: str
    wildcard: bool
    policy: str
    permitted: bool
    objections: tuple[Objection, ...]
    profile: str
    looked_up: str
    checks: tuple[Check, ...]


@click.group()
def dns() -> None:
    """See the DNS as a validator does."""


@dns.command(
    "test",
    short_help="Look a name up as a validator would.",
    epilog="Example: certeasy dns test web.corp.example -f /etc/certeasy/config.yml",
)
@click.argument("name")
@with_config
@click.option(
    "--policy",
    "policy_name",
    metavar="P",
    help="As under this policy, whether or not it permits the name.",
)
@click.option(
    "--challenge",
    "only",
    metavar="T",
    type=click.Choice(get_args(Challenge)),
    help="This type of challenge alone, such as dns-01, whether or not the policy offers it.",
)
@click.option("--account", metavar="URL", help="As for the account with this URL.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told()
def test(
    name: str,
    config_file: Path,
    policy_name: str | None,
    only: str | None,
    account: str | None,
    *,
    as_json: bool,
) -> None:
    """Look NAME up as for a certificate, step by step; no server is needed, nothing is changed.

    NAME is a DNS name, `*.ZONE` or an address. Without --policy: as under the first policy that
    permits it; where none does, as under the first, and each is told with its reason. For each type
    of challenge it tells how the name is looked up, what the DNS said, which addresses may be
    connected to, and what is there now.

    Exit codes: 0 each of them could be met, 1 one could not, or CAA records forbid it, 2 the
    command line is wrong.
    """
    settings = read(config_file)
    report = _report(settings, _canonical(name), policy_name, only, account)
    click.echo(msgspec.json.encode(report).decode() if as_json else _page(report))
    if not all(check.ok for check in report.checks):
        raise SystemExit(1)


def _canonical(name: str) -> str:
    """Return a name in its one form, or end the command with what is wrong with it."""
    lowered = name.lower().removesuffix(".")
    typed = "dns" if address(lowered) is None else "ip"
    try:
        (found,) = identifiers.names([Identifier(typed, name)], wildcards=True, ips=True)
    except Refused as refused:
        fail(refused.detail, 2)
    return found


def _report(
    settings: Settings, name: str, policy_name: str | None, only: str | None, account: str | None
) -> Report:
    policy = _policy(settings, name, policy_name)
    (profile,) = (
        each
        for each in settings.dns_validation_profiles
        if each.name == policy.dns_validation_profile
    )
    issuers = settings.server.caa_identities
    base, wildcard = identifiers.split(name)
    rehearsal = Rehearsal(
        profile,
        issuers,
        validators_of(msgspec.structs.replace(profile, caa="off"), issuers, SystemClock()),
        Asked(base, "", "", () if account is None else (account,), kind(base), wildcard=wildcard),
    )
    types = policy.challenges if only is None else (only,)
    offered = proving(types, name)
    if not offered:
        fail(f"{', '.join(types)}: no such challenge proves {name}", 2)
    checks = [rehearsal.challenge(each) for each in offered]
    if kind(base) != IP:
        checks.append(rehearsal.caa(offered))
    return Report(
        name=base,
        wildcard=wildcard,
        policy=policy.name,
        permitted=_objection(policy, name) is None,
        objections=_objections(settings, policy, name, chosen=policy_name is not None),
        profile=profile.name,
        looked_up=rehearsal.how(),
        checks=tuple(checks),
    )


def _policy(settings: Settings, name: str, chosen: str | None) -> IssuancePolicy:
    """Return the policy of that name; without one the first that permits the name, or the first."""
    policies = settings.issuance_policies
    if chosen is None:
        return next((each for each in policies if _objection(each, name) is None), policies[0])
    found = next((each for each in policies if each.name == chosen), None)
    if found is None:
        known = ", ".join(each.name for each in policies)
        fail(f"there is no policy {chosen!r}; known: {known}", 2)
    return found


def _objections(
    settings: Settings, policy: IssuancePolicy, name: str, *, chosen: bool
) -> tuple[Objection, ...]:
    """Return what is said against a name that is not permitted, by the chosen policy or by all."""
    if _objection(policy, name) is None:
        return ()
    policies = (policy,) if chosen else settings.issuance_policies
    return tuple(Objection(each.name, _objection(each, name) or "") for each in policies)


def _objection(policy: IssuancePolicy, name: str) -> str | None:
    """Return why a policy does not permit a name, as the rest of a sentence; None: it does."""
    found = address(name)
    if found is not None:
        return objection(policy.ip.allow_cidrs, policy.ip.deny_cidrs, found)
    base, wildcard = identifiers.split(name)
    allow = tuple(scope.parse(rule) for rule in policy.dns.allow)
    deny = tuple(scope.parse(rule) for rule in policy.dns.deny)
    verdict = scope.permits(allow, deny, base, wildcard=wildcard)
    if verdict.permitted:
        return None
    rules = ", ".join(policy.dns.allow[:_SHOWN]) or "it has none"
    more = ", ..." if len(policy.dns.allow) > _SHOWN else ""
    return verdict.reason if verdict.rule is not None else f"{verdict.reason} ({rules}{more})"


def _page(report: Report) -> str:
    """Return a report for people."""
    name = ("*." if report.wildcard else "") + report.name
    lines = [name]
    lines += [f"  policy {report.policy}: permits it"] if report.permitted else []
    for each in report.objections:
        lines.append(f"  policy {each.policy}: does NOT permit it: {name} {each.reason}")
    if len(report.objections) > 1:
        lines.append(f"  no policy permits it; it is looked up as under {report.policy}")
    lines.append(f"  DNS profile {report.profile}: {report.looked_up}")
    for check in report.checks:
        lines += ["", f"{check.what}: {'ok' if check.ok else 'NOT ok'}"]
        lines += [f"  {step}" for step in check.steps]
        lines.append(f"  -> {check.outcome}")
    return "\n".join(lines)

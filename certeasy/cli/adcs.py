"""`certeasy adcs`: look at a company's own CA, before anybody depends on it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console

from certeasy.ca.adcs.findings import Finding
from certeasy.ca.adcs.look_at_programs import ProgramsPreflight
from certeasy.ca.adcs.preflight import Preflight
from certeasy.ca.adcs.surroundings import Surroundings
from certeasy.ca.adcs.templates import KeyRules, PendingRule
from certeasy.ca.adcs.world import Subject, Wanted
from certeasy.cli.findings import line, shown, summed
from certeasy.cli.options import fail, read, told, with_config
from certeasy.clock import SystemClock
from certeasy.settings import AuthoritySettings, IssuancePolicy, Settings
from certeasy.settings.adcs import AdcsCliSettings, AdcsSettings


class Report(msgspec.Struct, frozen=True):
    """What was found of one authority, as `--json` prints it.

    `findings` are those of `certeasy.ca.adcs.findings`: step, status (ok, warn, fail, skipped),
    text, and where there is one: remedy, code, about (the template).
    """

    authority: str
    ca: str
    host: str
    transport: str
    auth: str
    ok: bool
    findings: tuple[Finding, ...]


@click.group()
def adcs() -> None:
    """Look at the Microsoft AD CS that the configuration names."""


@adcs.command(
    short_help="See whether each AD CS can be used.",
    epilog="Example: certeasy adcs check -f /etc/certeasy/config.yml",
)
@with_config
@click.option(
    "--authority",
    "names",
    metavar="NAME",
    multiple=True,
    help="This one alone; may be repeated.",
)
@click.option("--template", metavar="NAME", help="As if this were the template.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told()
def check(
    config_file: Path, names: tuple[str, ...], template: str | None, *, as_json: bool
) -> None:
    """See whether each AD CS can be used; nothing is asked for or changed.

    Line by line, from DNS over ports, clock, ticket and directory to the CA, its templates and the
    rights of the account; each line is ok, warn, fail or skipped, with what is to be done. Of an
    authority of the type adcs-cli, the two programs are looked at, and whether the CA answers them.
    No server is needed; one may run.

    Exit codes: 0 nothing failed (there may be warnings), 1 something did, 2 the command line or the
    configuration is wrong.
    """
    settings = _settings(config_file)
    chosen = _chosen(settings, names)
    if as_json:
        reports = [report(settings, authority, template, None) for authority in chosen]
        ok = all(report.ok for report in reports)
        click.echo(msgspec.json.encode({"ok": ok, "authorities": reports}).decode())
    else:
        console = Console(highlight=False, soft_wrap=True)
        reports = [report(settings, authority, template, console) for authority in chosen]
    if not all(report.ok for report in reports):
        raise SystemExit(1)


def _settings(config_file: Path) -> Settings:
    """Return the configuration; mistakes in it end the command with code 2."""
    try:
        return read(config_file)
    except SystemExit:
        raise SystemExit(2) from None


def _chosen(settings: Settings, names: tuple[str, ...]) -> list[AuthoritySettings]:
    """Return the authorities that are looked at, or end the command."""
    possible = {
        each.name: each
        for each in settings.authorities
        if isinstance(each.configuration, AdcsSettings | AdcsCliSettings)
    }
    known = ", ".join(possible) or "none"
    unknown = [name for name in names if name not in possible]
    if unknown:
        what = f"there is no authority of the type adcs or adcs-cli called {unknown[0]!r}"
        fail(f"{what}; known: {known}", 2)
    if not possible:
        fail("the configuration has no authority of the type adcs or adcs-cli", 2)
    return [each for name, each in possible.items() if not names or name in names]


def report(
    settings: Settings,
    authority: AuthoritySettings,
    template: str | None,
    console: Console | None,
) -> Report:
    """Look at one authority; what is found is printed as it is found, where there is a console."""
    match authority.configuration:
        case AdcsSettings() as chosen:
            world = Surroundings(chosen, SystemClock())
            steps = Preflight(_subject(settings, authority, chosen, template), world).run()
            with contextlib.closing(world):
                findings = _told_one_by_one(_title(authority.name, chosen), steps, console)
            host, name = chosen.server, chosen.common_name
            return _reported(authority, (name, host, chosen.transport, chosen.auth), findings)
        case AdcsCliSettings() as by_programs:
            steps = ProgramsPreflight(authority, by_programs).run()
            title = f"{authority.name}: {by_programs.ca_name}, by certreq and certutil"
            findings = _told_one_by_one(title, steps, console)
            host, _, name = by_programs.ca_name.partition("\\")
            return _reported(authority, (name, host, "programs", "process"), findings)
        case _:
            raise AssertionError(authority.type)


def _told_one_by_one(
    title: str, steps: Iterator[Finding], console: Console | None
) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    if console is not None:
        console.print(title, style="bold")
    for finding in shown(steps, console):
        findings.append(finding)
        if console is not None:
            console.print(line(finding))
    if console is not None:
        console.print(f"\n{title.partition(':')[0]}: {summed(findings)}\n")
    return tuple(findings)


def _reported(
    authority: AuthoritySettings, about: tuple[str, str, str, str], findings: tuple[Finding, ...]
) -> Report:
    ca, host, transport, auth = about
    ok = all(finding.status != "fail" for finding in findings)
    return Report(authority.name, ca, host, transport, auth, ok, findings)


def _title(name: str, chosen: AdcsSettings) -> str:
    return f"{name}: {chosen.server}\\{chosen.common_name}, transport {chosen.transport}"


def _subject(
    settings: Settings,
    authority: AuthoritySettings,
    chosen: AdcsSettings,
    template: str | None,
) -> Subject:
    """Return what is looked at: the CA, and each template with what the policies let through."""

    by_template: dict[str, list[IssuancePolicy]] = {}
    for name, policy in _uses(settings, authority, chosen):
        policies = by_template.setdefault(template or name, [])
        if policy not in policies:
            policies.append(policy)
    if not by_template:
        by_template[template or chosen.certificate_template] = []
    return Subject(
        ca_name=chosen.common_name,
        host=chosen.server,
        transport=chosen.transport,
        port=chosen.port,
        mapper_port=chosen.endpoint_mapper_port,
        smb_port=chosen.smb_port,
        auth=chosen.auth,
        user=chosen.user or "",
        revokes=not authority.disable_ca_revocation,
        issuers_in_file=chosen.ca_certificates is not None,
        wanted=tuple(
            Wanted(
                name,
                tuple(_rules(policy) for policy in policies),
                tuple(_pending(policy) for policy in policies),
                min((span for policy in policies if (span := policy.max_validity)), default=None),
            )
            for name, policies in by_template.items()
        ),
    )


def _uses(
    settings: Settings, authority: AuthoritySettings, chosen: AdcsSettings
) -> Iterator[tuple[str, IssuancePolicy]]:
    """Yield each template that orders can come to, with the policy that they come under."""
    served = {
        binding.policy
        for binding in settings.policy_bindings
        if authority.name in binding.authorities
    }
    for policy in settings.issuance_policies:
        if authority.policies and policy.name not in authority.policies:
            continue
        if policy.name in served:
            yield chosen.certificate_template, policy
        for profile in settings.profiles:
            here = profile.authority == authority.name or (
                profile.authority is None and policy.name in served
            )
            if profile.policy == policy.name and here:
                yield profile.template or chosen.certificate_template, policy


def _rules(policy: IssuancePolicy) -> KeyRules:
    allowed = policy.signature.allowed_algorithms
    elliptic = any(name.startswith("ECDSA") for name in allowed)
    return KeyRules(
        policy.name,
        rsa=any(name.startswith("RSA") for name in allowed),
        min_rsa_bits=policy.signature.min_rsa_bits,
        curves=tuple(policy.signature.allowed_ec_curves) if elliptic else (),
        ed25519="ED25519" in allowed,
    )


def _pending(policy: IssuancePolicy) -> PendingRule:
    return PendingRule(policy.name, policy.pending.accept, policy.pending.limit)

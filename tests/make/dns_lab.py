"""A lab whose names are looked up at a DNS server of the test's own, for challenges of the DNS."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from certeasy.clock import Clock
from certeasy.settings import Challenge, DnsZone
from tests.fakes.dns_server import DnsServer
from tests.make.lab import Lab
from tests.make.server import ZONE, a_server, lab_settings


@contextmanager
def a_dns_lab(
    folder: Path,
    dns: DnsServer,
    challenges: Sequence[Challenge],
    *,
    clock: Clock | None = None,
    server: dict[str, Any] | None = None,
    rules: Sequence[str] = (f".{ZONE}/3", f"*.{ZONE}"),
    **profile: Any,
) -> Iterator[Lab]:
    """Open a lab whose policy offers these challenges; `profile` and `server` are settings."""
    settings = lab_settings(folder)
    (own,), (policy,) = settings.dns_validation_profiles, settings.issuance_policies
    zone = DnsZone(suffixes=(ZONE,), dns_server=(dns.endpoint,))
    replace = msgspec.structs.replace
    settings = replace(
        settings,
        server=replace(settings.server, **server or {}),
        dns_validation_profiles=(replace(own, zones=(zone,), **profile),),
        issuance_policies=(
            replace(
                policy, challenges=tuple(challenges), dns=replace(policy.dns, allow=tuple(rules))
            ),
        ),
    )
    with a_server(folder, settings=settings, clock=clock) as application:
        yield Lab(application, {})


def lines_of(lab: Lab, kind: str) -> list[dict[str, Any]]:
    """Return the journal's lines of one type, in their order."""
    made = map(msgspec.json.decode, lab.journal())
    return [line for line in made if line["type"] == kind]

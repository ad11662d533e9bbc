"""A whole server in the test's own process: everything but the listeners, on real SQLite, in a
folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import msgspec

from certeasy.app import Application
from certeasy.clock import Clock
from certeasy.settings import (
    AuditSettings,
    AuthoritySettings,
    DnsProfile,
    DnsZone,
    IpPolicy,
    IssuancePolicy,
    NameRules,
    PolicyBinding,
    ServerSettings,
    Settings,
    WorkerSettings,
)
from tools.generous import GENEROUS

URL = "https://acme.lab.test"
ZONE = "lab.test"


def lab_settings(folder: Path, http_port: int = 5002) -> Settings:
    """Settings of a server whose names below lab.test all resolve to 127.0.0.1."""
    profile = DnsProfile(
        name="lab",
        zones=(DnsZone(suffixes=(ZONE,), hosts={f"*.{ZONE}": "127.0.0.1"}),),
        resolved_ip_policy=IpPolicy(allow_cidrs=(ip_network("127.0.0.0/8"),)),
        http_01_port=http_port,
    )
    return Settings(
        workdir=folder,
        server=ServerSettings(url=(URL,), tls=False),
        audit=AuditSettings(min_free_bytes=1 << 16),
        workers=WorkerSettings(workers=4),
        rate_limiting=GENEROUS,
        dns_validation_profiles=(profile,),
        authorities=(AuthoritySettings(name="lab-ca", type="embedded"),),
        issuance_policies=(
            IssuancePolicy(
                name="lab", dns_validation_profile="lab", dns=NameRules(allow=(f".{ZONE}/3",))
            ),
        ),
        policy_bindings=(PolicyBinding(policy="lab", authorities=("lab-ca",)),),
    )


@contextmanager
def a_server(
    folder: Path,
    *,
    clock: Clock | None = None,
    settings: Settings | None = None,
    build: Callable[..., Application] = Application,
    **changes: object,
) -> Iterator[Application]:
    """Open a server in the folder, and close it in good order; `changes` replace whole sections of
    its settings, and `build` makes it."""
    chosen = msgspec.structs.replace(settings or lab_settings(folder), **changes)
    application = build(chosen, clock=clock)
    application.open()
    try:
        yield application
    finally:
        application.close()

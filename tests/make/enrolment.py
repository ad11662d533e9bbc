"""The product's own client of a simulated CA."""

from collections.abc import Iterator
from contextlib import contextmanager

from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.identity import Credentials
from certeasy.ca.adcs.transport import Target
from certeasy.clock import Clock
from tests.make.adcs import LabCa

WEB_SERVER = {"CertificateTemplate": "WebServer"}


class Known:
    """An account of the CA's, by NTLM."""

    described = "the account of a test"

    def __init__(self, user: str, domain: str, password: str) -> None:
        self._credentials = Credentials(user, domain, kerberos=False, password=password)
        self.forgotten = 0

    def credentials(self, service: str, host: str, deadline: Deadline) -> Credentials:
        """Return the same for all."""
        return self._credentials

    def forget(self, service: str, host: str) -> None:
        """Count how often."""
        self.forgotten += 1


def known_to(ca: LabCa, password: str = "") -> Known:
    """Return the account that a CA knows."""
    return Known(ca.user, ca.domain, password or ca.password)


def within(seconds: float = 20) -> Deadline:
    """Return a deadline."""
    return Deadline(seconds)


@contextmanager
def enrolment(
    ca: LabCa,
    *,
    host: str = "",
    port: int | None = None,
    mapper_port: int = 0,
    password: str = "",
    connections: int = 4,
    clock: Clock | None = None,
    connect_timeout: float = 10,
) -> Iterator[Enrolment]:
    """Enrol at a CA, at another port than its own if there is somebody between."""
    target = Target(
        host=host or ca.host,
        transport="tcp",
        port=ca.port if port is None else port,
        mapper_port=mapper_port or ca.mapper_port,
        connect_timeout=connect_timeout,
    )
    made = Enrolment(target, known_to(ca, password), connections=connections, clock=clock)
    try:
        yield made
    finally:
        made.close()

"""What is between here and a CA, recorded: for each question an answer, or what it fails with."""

from collections.abc import Mapping
from datetime import datetime

from certeasy.ca.adcs.directory import Directory, NotRead
from certeasy.ca.adcs.errors import NotReached
from tests.fakes.directories import RecordedDirectory
from tests.make.domains import NOW, a_domain

UNKNOWN_REQUEST = 0x80094004


class RecordedWorld:
    """Everything is well unless it is told otherwise; an exception as an answer is raised.

    `closed` are (host, port) that do not answer.
    """

    def __init__(
        self,
        *,
        closed: frozenset[tuple[str, int]] | set[tuple[str, int]] = frozenset(),
        domain: Directory | Exception | None = None,
        **answers: object,
    ) -> None:
        self._closed = closed
        self._domain = RecordedDirectory(a_domain()) if domain is None else domain
        self._answers: Mapping[str, object] = answers
        self.asked: list[str] = []

    def _say(self, what: str, usual):
        self.asked.append(what)
        said = self._answers.get(what, usual)
        if isinstance(said, Exception):
            raise said
        return said

    def identity(self) -> str:
        return self._say("identity", "svc-acme@LAB.TEST by keytab /etc/certeasy/svc.keytab")

    def addresses(self, host: str) -> tuple[str, ...]:
        return self._say("addresses", ("10.0.0.5",))

    def knock(self, host: str, port: int) -> None:
        if (host, port) in self._closed:
            raise NotReached("connect", f"{host} port {port}: Connection refused")

    def controllers(self) -> tuple[str, ...]:
        return self._say("controllers", ("dc1.lab.test", "dc2.lab.test"))

    def now(self) -> datetime:
        return NOW

    def time_of(self, controller: str) -> datetime | None:
        return self._say("time", NOW)

    def ticket(self, service: str, host: str) -> None:
        self._say("ticket", None)

    def directory(self, controller: str) -> Directory:
        self.asked.append(controller)
        if isinstance(self._domain, Exception):
            raise self._domain
        if (controller, 389) in self._closed:
            raise NotRead(f"{controller}: closed")
        return self._domain

    def probe(self) -> int:
        return self._say("probe", UNKNOWN_REQUEST)

    def offered(self) -> tuple[str, ...]:
        return self._say("offered", ("AcmeServer", "ACMESERVER", "WebServer"))

    def issuers(self) -> tuple[bytes, ...]:
        services = getattr(self._domain, "services", tuple)()
        return self._say("issuers", tuple(each for one in services for each in one.certificates))

    def security(self) -> bytes:
        return self._say("security", b"")

    def setting(self, node: str, name: str) -> int:
        return self._say(name, {"EditFlags": 0x11014E, "InterfaceFlags": 0x641}[name])

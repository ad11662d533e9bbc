"""A Windows server with certificate services on it: one CA, its ports, and whom it knows.

Real machines have one CA each; several of them in one process are several CAs at once.
"""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from uuid import UUID

from msgspec import Struct, field

from certeasy.clock import Clock, SystemClock
from certeasy.ids import Ids, RandomIds
from tools.adcs_sim import csra, dcom, spnego, wcce
from tools.adcs_sim.ca import DEFAULT_TEMPLATES, Ca, Template
from tools.adcs_sim.connection import ACCESS_DENIED, Endpoint, Interface
from tools.adcs_sim.icpr import ICERT_PASSAGE, CertPassage
from tools.adcs_sim.listener import Listener
from tools.adcs_sim.mapper import MAPPER, EndpointMapper
from tools.adcs_sim.ntlm import NtlmAcceptor, Server, nt_hash
from tools.adcs_sim.pipe import NAME, PipeListener
from tools.adcs_sim.security import KERBEROS, NEGOTIATE, NTLM, Acceptor

LOOPBACK = "127.0.0.1"
Down = Literal["refused", "not-registered"]


class Plan(Struct, frozen=True, kw_only=True):
    """How to set up a machine.

    `accounts` are passwords by account name. `officers`: who may manage certificates; None:
    everybody. `private`: IF_ENFORCEENCRYPTICERTREQUEST. `refusal` is the fault of calls by whom was
    not authenticated. `folder`: where the CA keeps keys and database, to survive a restart. Ports
    that are 0 are chosen by the system. `keytab`: Kerberos is spoken, with these keys. `pipe`: the
    Unix socket at which a Samba hands over \\pipe\\cert. Without `accounts` there is no NTLM.
    """

    name: str = "LAB-CA"
    address: str = LOOPBACK
    host: str = "ca1.lab.test"
    domain: str = "LAB"
    accounts: Mapping[str, str] = field(default_factory=lambda: {"svc-acme": "Secret.123"})
    officers: tuple[str, ...] | None = None
    templates: tuple[Template, ...] = DEFAULT_TEMPLATES
    mapper_port: int = 0
    port: int = 0
    objects_port: int = 0
    private: bool = True
    refusal: int = ACCESS_DENIED
    folder: Path | None = None
    keytab: Path | None = None
    pipe: Path | None = None
    key: str = "P-256"


class Machine:
    """Serves between `with` and its end, by threads of its own."""

    def __init__(self, plan: Plan, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self.plan = plan
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds(self._clock)
        computer, _, dns_domain = plan.host.partition(".")
        hashes = {name.lower(): nt_hash(secret) for name, secret in plan.accounts.items()}
        self._ntlm = Server(plan.domain, computer.upper(), dns_domain, hashes)
        self._ports: dict[UUID, int] = {}
        self.ca = Ca(
            plan.name,
            self._clock,
            templates=plan.templates,
            folder=plan.folder,
            officers=plan.officers,
            key=plan.key,
        )
        self._listeners: list[Listener] = []
        self._pipe: PipeListener | None = None
        try:
            self._start()
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection, and give back ports and files."""
        for listener in self._listeners:
            listener.close()
        self._close_pipe()
        self.ca.close()

    @property
    def mapper_port(self) -> int:
        """Where the endpoint mapper listens."""
        return self._listeners[-1].port

    @property
    def port(self) -> int:
        """Where ICertPassage listens."""
        return self._listeners[0].port

    def down(self, how: Down = "refused") -> None:
        """Be unavailable: off the network, or with certificate services stopped."""
        if how == "refused":
            for listener in self._listeners:
                listener.close()
            self._close_pipe()
        else:
            self._close_pipe()
            self._ports.clear()
            for listener in self._listeners[:-1]:
                listener.close()

    @property
    def objects_port(self) -> int:
        """Where DCOM's objects are."""
        return self._listeners[1].port

    def up(self) -> None:
        """Be there again, on the same ports."""
        for listener in self._listeners:
            listener.reopen()
        self._open_pipe()
        self._register()

    def drop(self) -> None:
        """Cut every connection there is."""
        for listener in self._listeners:
            listener.drop()
        if self._pipe:
            self._pipe.drop()

    def acceptor(self, kind: int) -> Acceptor | None:
        """Return a new security context of a kind of authentication."""
        if kind == NTLM:
            return self._mechanism(spnego.NTLM)
        if kind == KERBEROS:
            return self._mechanism(spnego.KERBEROS)
        return spnego.SpnegoAcceptor(self._mechanism) if kind == NEGOTIATE else None

    def _mechanism(self, name: bytes) -> Acceptor | None:
        if name == spnego.NTLM and self._ntlm.accounts:
            return NtlmAcceptor(self._ntlm, self._clock, self._ids.random)
        if name in {spnego.KERBEROS, spnego.KERBEROS_OF_WINDOWS} and self.plan.keytab:
            # It is not everywhere: see there.
            from tools.adcs_sim.kerberos import KerberosAcceptor  # noqa: PLC0415

            return KerberosAcceptor(self.plan.keytab)
        return None

    def _start(self) -> None:
        passage = CertPassage(self.ca, private=self.plan.private)
        self._listen({ICERT_PASSAGE: passage}, self.plan.port)
        objects = self._export()
        mapper: dict[UUID, Interface] = {
            MAPPER: EndpointMapper(self._ports, self.plan.address),
            dcom.SCM_ACTIVATOR: dcom.Activator(objects),
            dcom.OBJECT_EXPORTER: dcom.ObjectExporter(objects),
        }
        self._listen(mapper, self.plan.mapper_port)
        self._open_pipe()
        self._register()

    def _open_pipe(self) -> None:
        if self.plan.pipe and self._pipe is None:
            passage = CertPassage(self.ca, private=self.plan.private)
            offered: dict[UUID, Interface] = {ICERT_PASSAGE: passage}
            refusal = self.plan.refusal
            endpoint = Endpoint(offered, self.acceptor, NAME, transport="np", refusal=refusal)
            self._pipe = PipeListener(endpoint, self.plan.pipe)

    def _close_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe:
            pipe.close()

    def _export(self) -> dcom.Objects:
        """Offer the CA's objects on a port of their own."""
        classes = {
            csra.CLASS: {csra.ICERT_ADMIN_D, csra.ICERT_ADMIN_D2},
            wcce.CLASS: {wcce.ICERT_REQUEST_D, wcce.ICERT_REQUEST_D2},
        }
        objects = dcom.Objects(self._ids.random, classes)
        admin, request = csra.CertAdmin(self.ca), wcce.CertRequest(self.ca)
        methods = {
            csra.ICERT_ADMIN_D: admin.methods,
            csra.ICERT_ADMIN_D2: admin.methods2,
            wcce.ICERT_REQUEST_D: request.methods,
            wcce.ICERT_REQUEST_D2: request.methods2,
        }
        offered: dict[UUID, Interface] = {
            one: dcom.ObjectInterface(one, objects, those, private=self.plan.private)
            for one, those in methods.items()
        }
        unknown = dcom.RemUnknown(objects)
        offered |= {dcom.REM_UNKNOWN: unknown, dcom.REM_UNKNOWN_2: unknown}
        port = self._listen(offered, self.plan.objects_port).port
        computer = self.plan.host.partition(".")[0].upper()
        objects.bindings = (f"{computer}[{port}]", f"{self.plan.address}[{port}]")
        return objects

    def _listen(self, interfaces: Mapping[UUID, Interface], port: int) -> Listener:
        endpoint = functools.partial(self._endpoint, interfaces)
        self._listeners.append(Listener(endpoint, self.plan.address, port))
        return self._listeners[-1]

    def _endpoint(self, interfaces: Mapping[UUID, Interface], port: int) -> Endpoint:
        return Endpoint(interfaces, self.acceptor, str(port), refusal=self.plan.refusal)

    def _register(self) -> None:
        self._ports[ICERT_PASSAGE] = self._listeners[0].port


def machines(plans: Iterable[Plan], clock: Clock | None = None) -> list[Machine]:
    """Return a machine for each plan; they run until each of them is closed."""
    return [Machine(plan, clock) for plan in plans]

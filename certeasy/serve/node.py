"""A node from start to stop: the admin listener first, then the node, then the listener for
clients.

While the database cannot be asked, or nothing can be committed, the start waits, /readyz tells why,
and the log says it once. On the way out the order is reversed, and no request that was begun goes
unanswered.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from certeasy import config
from certeasy.app import Application, ReloadRefused
from certeasy.cluster import boot
from certeasy.cluster.boot import BootRefused
from certeasy.cluster.refusal import WorkdirTaken
from certeasy.commit import Unavailable
from certeasy.log import logger, without_figures
from certeasy.serve import listener as listening
from certeasy.serve import logs
from certeasy.serve.contexts import Certificates, TlsMaterial, UnusableCertificate
from certeasy.serve.limits import Limits
from certeasy.serve.listener import Listener
from certeasy.serve.stopping import ReloadRequest, StopRequest
from certeasy.serve.systemd import Systemd
from certeasy.settings import ServerSettings, Settings
from certeasy.store import DatabaseUnavailable
from certeasy.tls.own import OwnCertificates

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

WAIT = 2.0  # seconds between two attempts to start while the database is away
ADMIN_LIMITS = Limits(threads=2, connection_limit=50)
PROOF_LIMITS = Limits(threads=2, connection_limit=50, max_body_bytes=8192)
SWITCH_INTERVAL = 0.001  # seconds; the default of 5 ms lets the committer wait for busy threads

log = logger("main")
Ready = Callable[["Node"], None]
Reread = Callable[[Settings], tuple[Settings, tuple[str, ...]]]
"""Returns, for the settings in use, those to be used from now on, and the keys of others that
differ; raises ConfigurationError."""
Reloads = tuple[ReloadRequest, Reread]


class Supervisor(Protocol):
    """Who has started this process and wants to know how it is: systemd, or Windows."""

    def ready(self) -> None:
        """Clients are served."""
        ...

    def alive(self, turns: int) -> None:
        """The node was looked at; `turns` grows as long as its committer lives."""
        ...

    def stopping(self) -> None:
        """The end has begun."""
        ...


@contextmanager
def _named(key: str, listen: str) -> Iterator[None]:
    """Tell which key of the configuration has an address that cannot be listened on."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise OSError(
            f"{key}: {listen} cannot be listened on: {why}. Stop what listens there, or give"
            f" {key} another address"
        ) from error


class Node:
    """A running node: its application and its listeners."""

    def __init__(self, settings: Settings, *, unendorsed: bool = False) -> None:
        """Begin with the admin listener, so that /healthz and /readyz answer from the first moment.

        Raises OSError where its address cannot be listened on; BootRefused where that is because
        another process runs in the workdir.
        """
        self.settings = settings
        self.application = Application(settings, unendorsed=unendorsed, listen=listen_for_proofs)
        try:
            with _named("admin.listen", settings.admin.listen):
                self.admin = listening.start(
                    self.application.admin, settings.admin.listen, ADMIN_LIMITS, name="admin"
                )
        except OSError:
            boot.refuse_used_workdir(settings)
            raise
        self.acme: Listener | None = None
        self._certificates: Certificates | None = None

    def open(self, stop: StopRequest) -> bool:
        """Open node and listener; wait while the database is away. False if asked to stop
        meanwhile.

        Raises what `Application.open` raises for what waiting does not mend.
        """
        self.application.on_stop = stop.ask
        said = ""
        while True:
            try:
                self.application.open()
                break
            except (DatabaseUnavailable, Unavailable, WorkdirTaken) as error:
                if isinstance(error, WorkdirTaken) and not said:
                    raise  # else it is a command's, given while this one waits
                reason = str(error)
                self.application.readiness.checks = {"node": _saying(reason)}
                if (what := without_figures(reason)) != said:
                    log.error("the node cannot start yet, it keeps trying: %s", reason)
                said = what
                if stop.asked_within(WAIT):
                    return False
        try:
            self.acme = self._listen()
        except BaseException:  # of whatever kind: a node that cannot be reached is not left open
            self.application.close()
            raise
        return True

    def _listen(self) -> Listener:
        server = self.settings.server
        if server.tls:
            own = self.application.own_certificates
            self._certificates = Certificates(materials(own))
            watch = self.settings.tls_certificate_manager.file_watch_interval
            self.application.schedule.every(watch.total_seconds(), self._refresh)
        with _named("server.listen", server.listen):
            return listening.start(
                self.application.answer,
                server.listen,
                limits_of(server),
                self._certificates,
                name="acme",
            )

    def _refresh(self) -> None:
        """Take new certificates into use, on a schedule."""
        own = self.application.own_certificates
        if own.refresh() and self._certificates is not None:
            try:
                self._certificates.replace(materials(own))
            except UnusableCertificate as error:
                log.error("the new certificate cannot be used, the old one stays: %s", error)

    def reload(self, reread: Reread, begin_log: logs.Begin) -> None:
        """Read the settings again and take into use what can be; a mistake keeps the old ones."""
        before = config.warnings(self.application.settings)
        try:
            settings, waiting = reread(self.application.settings)
            self.application.reload(settings)
        except config.ConfigurationError as error:
            for mistake in error.mistakes:
                log.error("the settings in use stay: %s", mistake)
            return
        except (ReloadRefused, BootRefused, OSError, Unavailable, DatabaseUnavailable) as error:
            log.error("the settings in use stay: %s", error)
            return
        begin_log(settings)
        self._refresh()
        log.info("the settings were read again, and are in use")
        for warning in config.warnings(settings):
            if warning not in before:
                log.warning("%s", warning)
        if waiting:
            log.warning(
                "these were changed, and are taken into use at the next start only: %s",
                ", ".join(waiting),
            )

    def alive(self) -> bool:
        """Whether both listeners run and the node commits."""
        return self.admin.running and (self.acme is None or self.acme.running)

    def close(self) -> bool:
        """Drain and close everything; return whether all that was begun came to its end in time."""
        begun = time.monotonic()
        clean = True
        if self.acme is not None:
            self.acme.stop_accepting()
            self.application.hasten()
            clean = self.acme.drain(self.settings.server.shutdown_timeout.total_seconds())
            self.acme.close()
        clean = self.application.close() and clean
        self.admin.close()
        log.info("stopped after %.1f s", time.monotonic() - begun)
        return clean


def listen_for_proofs(application: "WSGIApplication", address: str) -> Listener:
    """Open the listener at which another ACME server looks for proofs, in plain HTTP."""
    with _named("tls-certificate-manager.acme.http-addr", address):
        return listening.start(application, address, PROOF_LIMITS, name="http-01")


def _saying(reason: str) -> Callable[[], str | None]:
    return lambda: reason


def limits_of(server: ServerSettings) -> Limits:
    """Return the listener's limits that the settings ask for."""
    return Limits(
        threads=server.threads,
        connection_limit=server.connection_limit,
        max_body_bytes=server.max_body_bytes,
        trusted_proxies=server.trusted_proxies,
        proxy_protocol=server.proxy_protocol,
        handshake_timeout=server.handshake_timeout,
        read_header_timeout=server.read_header_timeout,
        read_timeout=server.read_timeout,
        write_timeout=server.write_timeout,
        idle_timeout=server.idle_timeout,
    )


def materials(own: OwnCertificates) -> list[TlsMaterial]:
    """Return the server's own certificates as the listener takes them."""
    return [TlsMaterial(each.chain_pem, each.key_pem, each.hosts) for each in own.all()]


def run(
    settings: Settings,
    stop: StopRequest,
    ready: Ready = lambda _node: None,
    *,
    unendorsed: bool = False,
    reloads: Reloads | None = None,
    supervisor: Supervisor | None = None,
    begin_log: logs.Begin = logs.begin,
) -> int:
    """Serve until asked to stop; return the exit code: 0 after an orderly stop, 1 if the node had
    to end.

    `ready` is called once, when clients are served; `supervisor` is told how the process is.
    `reloads`: who asks for the settings to be read again, and what reads them; `begin_log` then
    takes the log's into use. Raises what `Node` and `Node.open` raise.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    supervisor = supervisor or Systemd()
    node = Node(settings, unendorsed=unendorsed)

    def alive() -> bool:
        supervisor.alive(node.application.committer.turns)
        if reloads is not None and reloads[0].taken():
            node.reload(reloads[1], begin_log)
        return node.alive()

    try:
        if not node.open(stop):
            return 0
        ready(node)
        supervisor.ready()
        asked = stop.wait(alive)
        fault = node.application.committer.fault if asked else "a listener has died"
        if fault is None:
            log.info("stopping: %s", stop.reason)
    finally:
        supervisor.stopping()
        clean = node.close()
    if fault is not None:
        log.error("the node ended: %s", fault)
        return 1
    if not clean:
        log.warning(
            "not all work came to its end in time; what was begun goes on at the next start"
        )
    return 0

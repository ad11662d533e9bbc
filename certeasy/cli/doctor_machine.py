"""What `certeasy doctor` looks at on this machine: files, disks, the server, its ports, its TLS.

Nothing is created or changed, and nothing taken that a server could miss.
"""

import errno
import http.client
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509

from certeasy.admin import local
from certeasy.ca.adcs.findings import Finding, Status, shown
from certeasy.cluster import identity, room
from certeasy.cluster.files import openness, writable_by_others
from certeasy.cluster.room import Room
from certeasy.decide.addresses import address
from certeasy.settings import Settings, TlsBundle
from certeasy.tls.by_acme import BY_ACME, directory_of

PATIENCE = 5.0  # seconds, for one answer of this machine's own server
PLENTY = 4
"""Times the headroom, below which a disk is worth a word."""
PRIVILEGED = "a port below 1024 needs a privilege (CAP_NET_BIND_SERVICE, as the service has it)"
LARGEST_ANSWER = 1 << 20


class Running(msgspec.Struct, frozen=True):
    """Whether a server runs in the workdir, and what there is to say about that."""

    is_so: bool
    findings: tuple[Finding, ...]


def permissions(settings: Settings, file: Path) -> Iterator[Finding]:
    """Files that only the server may read; folders that only it may write."""
    step, workdir = "permissions", settings.workdir
    wrong = [
        *_open_to_others(settings, file),
        *_of_other_users(workdir),
    ]
    yield from wrong
    if not workdir.exists():
        yield Finding(step, "ok", f"{workdir} is not there yet: the first start makes it")
    elif not wrong:
        yield Finding(step, "ok", f"{workdir} and what is secret are the server's alone")


def _open_to_others(settings: Settings, file: Path) -> Iterator[Finding]:
    workdir, database = settings.workdir, settings.database
    private = [workdir / identity.KEY_FILE, settings.secrets.key_file, settings.audit.path]
    private += [database.path] if database.driver == "sqlite" else []
    private += [database.password_file] if database.password_file is not None else []
    for path in private:
        if (wrong := openness(path)) is not None:
            yield Finding("permissions", "fail", wrong, _kept(path, f"chmod 0600 {path}"))
    for path in (workdir, workdir / "keys", file):
        if (wrong := writable_by_others(path)) is not None:
            yield Finding("permissions", "fail", wrong, _kept(path, f"chmod go-w {path}"))


def _kept(path: Path, elsewhere: str) -> str:
    """Return what is to be done about a path that others can use."""
    if os.name != "nt":
        return elsewhere
    return (
        f'icacls "{path}" /inheritance:r /grant:r *S-1-5-18:F *S-1-5-32-544:F, and the'
        " account that the server runs as"
    )


def _of_other_users(workdir: Path) -> Iterator[Finding]:
    """Files that root, or whoever tried something out, has left in the server's folder."""
    if os.name == "nt" or not workdir.exists():
        return
    owner = workdir.stat().st_uid
    inside = [*workdir.iterdir(), *workdir.glob("keys/*")]
    strange = [path for path in sorted(inside) if path.lstat().st_uid != owner]
    if strange:
        names = ", ".join(str(path.relative_to(workdir)) for path in strange[:5])
        text = f"in {workdir}, which is of user {owner}, these are of others: {names}"
        remedy = f"give them to the user whom the server runs as: chown -R {owner} {workdir}"
        yield Finding("permissions", "fail", text, remedy)
    if os.geteuid() not in {0, owner}:
        text = f"{workdir} is of user {owner}, and this is user {os.geteuid()}"
        yield Finding("permissions", "warn", text, "run this as the user of the server, or root")


def disks(settings: Settings) -> Iterator[Finding]:
    """Room for the journal, the database, the log: each disk once."""
    for each in room.rooms(settings):
        yield _disk(each, settings.audit.min_free_bytes)


def _disk(disk: Room, headroom: int) -> Finding:
    free = disk.free
    text = (
        f"{free >> 20} MiB are free for {disk.what} in {disk.folder};"
        f" below {headroom >> 20} MiB changes are refused"
    )
    remedy = "make room, or a larger disk; closed segments of the journal can go to an archive"
    if free < headroom:
        return Finding("disk", "fail", text, remedy)
    return Finding("disk", "warn" if free < PLENTY * headroom else "ok", text, remedy)


# -- the server -----------------------------------------------------------------------------------


def server(settings: Settings) -> Running:
    """Whether the server runs, and what it says of itself."""
    try:
        connection = local.connect(settings.workdir, PATIENCE)
    except OSError as error:
        text = f"whether a server runs in {settings.workdir} is not known: {error}"
        return Running(is_so=False, findings=(Finding("server", "warn", text),))
    if connection is None:
        return Running(is_so=False, findings=(Finding("server", "ok", "no server runs here"),))
    connection.close()
    return Running(is_so=True, findings=())


def as_running(settings: Settings, used: Mapping[str, object]) -> Settings:
    """Return the settings with the places where the running server listens, which it keeps until
    a restart; `used` are the settings that it has in use, none where they are not known."""
    server, admin = used.get("server"), used.get("admin")
    place = msgspec.structs.replace
    if isinstance(server, Mapping):
        kept = place(
            settings.server,
            listen=str(server.get("listen", settings.server.listen)),
            proxy_protocol=server.get("proxy-protocol") is True,
        )
        settings = place(settings, server=kept)
    if isinstance(admin, Mapping):
        kept_admin = place(settings.admin, listen=str(admin.get("listen", settings.admin.listen)))
        settings = place(settings, admin=kept_admin)
    return settings


def readiness(settings: Settings) -> Iterator[Finding]:
    """What the running server says of itself, where it listens."""
    listen = settings.admin.listen
    url = f"http://{listen}/readyz"
    try:
        checks = _asked(listen)
    except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
        text = f"a server runs, and {url} does not answer: {shown(str(error))}"
        yield Finding("server", "fail", text, "look into its log")
        return
    wrong = {name: said for name, said in checks.checks.items() if said != "ok"}
    serious: Status = "warn" if checks.status == "ready" else "fail"
    for name, said in wrong.items():
        yield Finding("server", serious, f"{name}: {shown(said)}", f"{url} tells when it is over")
    if not wrong:
        yield Finding("server", "ok", f"it runs, and says at {url} that it is ready")


class _Ready(msgspec.Struct):
    status: str
    checks: dict[str, str]


def _asked(listen: str) -> _Ready:
    host, _, port = listen.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
    try:
        connection.request("GET", "/readyz")
        return msgspec.json.decode(connection.getresponse().read(LARGEST_ANSWER), type=_Ready)
    finally:
        connection.close()


def moved(settings: Settings, used: Settings) -> Iterator[Finding]:
    """What listens elsewhere until a restart: where the running server does, and the file says."""
    for key, listen, before in (
        ("server.listen", settings.server.listen, used.server.listen),
        ("admin.listen", settings.admin.listen, used.admin.listen),
    ):
        if listen != before:
            text = f"{key}: the running server listens at {before}, and this file says {listen}"
            remedy = "restart the server: a reload (SIGHUP) does not move it"
            yield Finding("ports", "warn", text, remedy)


def ports(settings: Settings, *, running: bool) -> Iterator[Finding]:
    """Where a running server listens, something answers; else the address is free."""
    manager = settings.tls_certificate_manager
    shown_at = [("tls-certificate-manager.acme.http-addr", manager.acme.http_addr)]
    for key, listen in (
        ("server.listen", settings.server.listen),
        ("admin.listen", settings.admin.listen),
        *(shown_at if any(bundle.mode in BY_ACME for bundle in manager.bundles) else ()),
    ):
        host, _, port = listen.rpartition(":")
        if (key, listen) in shown_at:
            yield _free(key, host.strip("[]"), int(port))  # it is open only while it is needed
        elif port == "0":
            yield Finding("ports", "ok", f"{key} takes any free port")
        elif running:
            yield _answering(key, listen)
        else:
            yield _free(key, host.strip("[]"), int(port))


def _answering(key: str, listen: str) -> Finding:
    try:
        socket.create_connection(place(listen), PATIENCE).close()
    except OSError as error:
        text = f"{key}: nobody answers at {listen}: {error.strerror or error}"
        return Finding("ports", "fail", text, "look into the server's log")
    return Finding("ports", "ok", f"{key}: something listens at {listen}")


def _free(key: str, host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        text = f"{key}: {host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}"
        if error.errno == errno.EACCES:
            return Finding("ports", "warn", text, PRIVILEGED)
        return Finding("ports", "fail", text, f"stop what listens there, or change {key}")
    return Finding("ports", "ok", f"{key}: {host}:{port} can be listened on")


def place(listen: str) -> tuple[str, int]:
    """Return where somebody on this machine reaches what listens there."""
    host, _, port = listen.rpartition(":")
    named = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - read, not listened on
    return named, int(port)


# -- TLS ------------------------------------------------------------------------------------------


def tls(settings: Settings, now: datetime, *, running: bool) -> Iterator[Finding]:
    """The server's own certificates: those in files, those that are shown to clients."""
    if not settings.server.tls:
        yield Finding("tls", "ok", "server.tls is false: a proxy in front speaks TLS")
        return
    soon = settings.tls_certificate_manager.renew_before
    for bundle in settings.tls_certificate_manager.bundles:
        shown_to = bundle.hosts[0]
        leaf = _in_file(bundle)
        if leaf is not None:
            yield from _judged(bundle, leaf, now, soon)
        elif not running:
            by = f"the authority {bundle.authority}"
            if bundle.mode != "pki":
                by = directory_of(bundle, settings.tls_certificate_manager.acme)
            text = f"{bundle.name}: {by} issues it; a start shows it"
            yield Finding("tls", "ok", text)
        if running:
            yield from _compared(settings, bundle, leaf, shown_to, now)


def _in_file(bundle: TlsBundle) -> x509.Certificate | None:
    """Return the leaf of a bundle of mode files, which can be read: that was looked at before."""
    if bundle.certificate is None:
        return None
    return x509.load_pem_x509_certificate(bundle.certificate.read_bytes())


def _judged(
    bundle: TlsBundle, leaf: x509.Certificate, now: datetime, soon: timedelta
) -> Iterator[Finding]:
    """What is to be said of a certificate in a file."""
    where = f"{bundle.name}: {bundle.certificate}"
    end = leaf.not_valid_after_utc
    text = f"{where} is valid until {end:%Y-%m-%d %H:%M} UTC"
    remedy = "have it renewed; the server takes new files by itself"
    if leaf.not_valid_before_utc > now:
        text = f"{where} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        yield Finding("tls", "fail", text, "compare the clocks")
    elif end <= now:
        yield Finding("tls", "fail", f"{where} has expired on {end:%Y-%m-%d}", remedy)
    else:
        yield Finding("tls", "warn" if end - now < soon else "ok", text, remedy)
    foreign = [host for host in bundle.hosts if not _covers(leaf, host)]
    if foreign:
        text = f"{where} is not for {', '.join(foreign)}, its clients will refuse it"
        yield Finding("tls", "fail", text, "have one issued with these names")


def _covers(leaf: x509.Certificate, host: str) -> bool:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    ip = address(host)
    if ip is not None:
        return ip in names.get_values_for_type(x509.IPAddress)
    dns = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return host in dns or f"*.{host.partition('.')[2]}" in dns


def _compared(
    settings: Settings,
    bundle: TlsBundle,
    leaf: x509.Certificate | None,
    host: str,
    now: datetime,
) -> Iterator[Finding]:
    """What the running server shows, held against the file."""
    if settings.server.proxy_protocol:
        yield Finding("tls", "skipped", "what is shown is not looked at: server.proxy-protocol")
        return
    try:
        seen = _seen(place(settings.server.listen), host)
    except (OSError, ValueError) as error:
        text = f"{bundle.name}: no certificate is shown for {host}: {shown(str(error))}"
        yield Finding("tls", "fail", text, "look into the server's log")
        return
    until = f"valid until {seen.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if leaf is not None and seen != leaf:
        text = f"{bundle.name}: the server shows another one than the file has, {until}"
        remedy = "wait for tls-certificate-manager.file-watch-interval; then look into its log"
        yield Finding("tls", "warn", text, remedy)
    elif seen.not_valid_after_utc <= now:
        text = f"{bundle.name}: what the server shows for {host} has expired, {until}"
        yield Finding("tls", "fail", text, "look into the server's log")
    else:
        yield Finding("tls", "ok", f"{bundle.name}: the server shows it for {host}, {until}")


def _seen(where: tuple[str, int], host: str) -> x509.Certificate:
    """Return the certificate that is shown for a host, whoever issued it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is looked at, not trusted
    with (
        socket.create_connection(where, PATIENCE) as connected,
        context.wrap_socket(connected, server_hostname=host) as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    if der is None:
        raise ValueError("none")
    return x509.load_der_x509_certificate(der)

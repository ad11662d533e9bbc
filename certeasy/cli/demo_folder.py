"""The demo's folder: a config.yml of its own, and room for all that server and client leave behind.

Nothing of it is special: `certeasy serve` and the audit commands work on the same file afterwards,
and a second demo goes on where the first one stopped, with the same CA and the same log.
"""

import errno
import os
import shlex
import socket
import tempfile
from ipaddress import ip_address
from pathlib import Path

import msgspec

from certeasy import config
from certeasy.cluster.files import private_folder, write_once
from certeasy.config import forms
from certeasy.ids import Ids
from certeasy.settings import Settings, root_file

ZONE = "demo.test"
"""Every name below it is at 127.0.0.1, for the demo's server alone."""
AUTHORITY = "demo-ca"
HOST = "127.0.0.1"
LISTEN = f"{HOST}:14000"
FIRST_PORT, PORTS = 20_000, 10_000
"""Where free ports are looked for: below those that systems lend to outgoing connections, so that a
port is still free when the same folder is used again."""
TRIES = 100

TEMPLATE = """\
# Written by `certeasy demo`, which takes it as it stands when it is started on this folder again.
# `certeasy serve -f config.yml` and all other commands work with it too. docs/configuration.md has
# every key.

# The node's identity and keys, its journal (audit.log) and its database.
workdir: {workdir}

server:
  # Clients reach it here, and every URL they are told begins with it.
  url: ["https://{listen}"]
  listen: "{listen}"

admin:
  # /healthz and /readyz, in plain HTTP.
  listen: "{admin}"

logs:
  format: text

tls-certificate-manager:
  bundles:
    # The server's own certificate comes from the CA below, a new one at every start.
    - name: own
      mode: pki
      authority: {authority}
      hosts: ["{host}"]

dns-validation-profiles:
  - name: demo
    # No DNS is asked: all names below {zone} are on this machine, and clients answer http-01
    # on a port that needs no privileges, where port 80 would be usual.
    zones:
      - suffixes: [{zone}]
        hosts: {{"*.{zone}": {loopback}}}
    http-01-port: {http_01_port}
    resolved-ip-policy:
      allow-cidrs: [127.0.0.0/8]

authorities:
  # Inside this server, with its key in the database: for labs, not for production.
  - name: {authority}
    type: embedded
    configuration:
      common-name: Certeasy Demo CA

issuance-policies:
  - name: demo
    # Names with one to three labels in front of the zone.
    dns:
      allow: [.{zone}/3]

rate-limiting:
  # The demo orders the same name at every start; elsewhere five certificates a week are enough.
  duplicate-certificate: {{limit: 100}}
"""


class DemoFailed(Exception):
    """The demo cannot go on. The message is one line and says what to do."""


class Folder(msgspec.Struct, frozen=True):
    """A folder that is ready: its config.yml is in order, and its addresses are free."""

    path: Path
    settings: Settings
    kept_from_before: bool

    @property
    def config_file(self) -> Path:
        """The configuration."""
        return self.path / "config.yml"

    @property
    def root_pem(self) -> Path:
        """The root of the demo's CA, for clients to trust."""
        return self.path / "ca-root.pem"

    @property
    def issuer_pem(self) -> Path:
        """The root of the CA that signs what clients order."""
        return self.root_pem

    @property
    def log_file(self) -> Path:
        """Where the demo's server writes its log lines."""
        return self.path / "demo.log"

    @property
    def clients(self) -> Path:
        """Where clients put what they got."""
        return self.path / "clients"

    @property
    def directory_url(self) -> str:
        """Where ACME clients begin."""
        return f"{self.settings.server.url[0]}/acme/directory"

    @property
    def http_01_port(self) -> int:
        """Where, on 127.0.0.1, the server looks for answers to http-01."""
        return self.settings.dns_validation_profiles[0].http_01_port

    def publish_root(self) -> None:
        """Lay the CA's root beside config.yml, under a name that says what it is."""
        self.root_pem.write_bytes(root_file(self.settings, AUTHORITY).read_bytes())


def prepare(path: Path | None, listen: str | None, ids: Ids) -> Folder:
    """Return the folder at `path`, made and filled if need be; None: a new temporary one.

    `listen` is where a new folder's server listens; None: at `LISTEN`, or where a port is free.
    Raises DemoFailed where the folder or an address cannot be used, OSError as files do.
    """
    if path is None:
        chosen = _choose(listen, ids)
        path = Path(tempfile.mkdtemp(prefix="certeasy-demo-")).resolve()
        _write(path, chosen, ids)
        return Folder(path, _load(path), kept_from_before=False)
    path = path.absolute()
    file = path / "config.yml"
    known = file.exists()
    if not known:
        _refuse_full(path)
        chosen = _choose(listen, ids)
        private_folder(path)
        _write(path, chosen, ids)
    folder = Folder(path, _load(path), kept_from_before=known)
    if known:
        _check(folder, listen)
    return folder


def own_ca(folder: Folder) -> Folder:
    """Return the folder, whose demo needs no CA but the server's own. Raises DemoFailed."""
    if any(authority.adcs is not None for authority in folder.settings.authorities):
        path = shlex.quote(str(folder.path))
        raise DemoFailed(
            f"{folder.config_file} is of the demo with a simulated Windows CA, which runs from a"
            f" checkout: python -m tools.adcs_sim.demo --workdir {path}; or name another --workdir"
        )
    return folder


def trouble(listen: str) -> str | None:
    """Return why `address:port` cannot be listened on, in the system's words; None: it can."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, int(port)), family=family).close()
    except OSError as error:
        return os.strerror(error.errno or errno.EADDRNOTAVAIL)
    return None


def canonical_listen(text: str) -> str:
    """Return `address:port` on loopback in one spelling. ValueError: it is none, in a sentence."""
    place = forms.host_port(text).replace("localhost:", f"{HOST}:")
    if not ip_address(place.rpartition(":")[0].strip("[]")).is_loopback:
        raise ValueError("is not on loopback, and the demo is for this machine alone")
    return place


def _choose(wanted: str | None, ids: Ids) -> str:
    """Return where a new server is to listen."""
    if wanted is None:
        return LISTEN if trouble(LISTEN) is None else f"{HOST}:{free_port(ids)}"
    host, _, port = wanted.rpartition(":")
    chosen = f"{host}:{free_port(ids)}" if port == "0" else wanted
    if why := trouble(chosen):
        raise DemoFailed(f"{chosen} cannot be used ({why}): name another --listen, or none")
    return chosen


def free_port(ids: Ids) -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    for _ in range(TRIES):
        port = FIRST_PORT + int.from_bytes(ids.random(4), "big") % PORTS
        if trouble(f"{HOST}:{port}") is None:
            return port
    raise DemoFailed(f"no free port was found on {HOST} between {FIRST_PORT} and 29999")


def _refuse_full(path: Path) -> None:
    """Refuse to strew files over a folder that is somebody's."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DemoFailed(
            f"{path} is not an empty folder, nor one of an earlier demo: name another one"
        )


def _write(path: Path, listen: str, ids: Ids) -> None:
    """Write config.yml, with all ports in it."""
    admin, http_01 = free_port(ids), free_port(ids)
    text = TEMPLATE.format(
        workdir=msgspec.json.encode(str(path)).decode(),
        listen=listen,
        host=listen.rpartition(":")[0].strip("[]"),
        admin=f"{HOST}:{admin}",
        http_01_port=http_01,
        loopback=HOST,
        zone=ZONE,
        authority=AUTHORITY,
    )
    write_once(path / "config.yml", text.encode())


def _load(path: Path) -> Settings:
    try:
        return config.load(path / "config.yml")
    except config.ConfigurationError as error:
        raise DemoFailed(f"{error.mistakes[0]} (mend it, or name another --workdir)") from None


def _check(folder: Folder, listen: str | None) -> None:
    """Look whether a file that was there before can be used, as it stands."""
    settings = folder.settings
    if not _is_ours(settings):
        raise DemoFailed(f"{folder.config_file} is not a demo's: name another --workdir")
    if listen not in {None, settings.server.listen}:
        raise DemoFailed(
            f"{folder.config_file} says {settings.server.listen}: leave --listen out, or name"
            " another --workdir"
        )
    for key, address in (
        ("server.listen", settings.server.listen),
        ("admin.listen", settings.admin.listen),
        ("http-01-port", f"{HOST}:{folder.http_01_port}"),
    ):
        if why := trouble(address):
            raise DemoFailed(
                f"{address} cannot be used ({why}; {key} in {folder.config_file}): stop what"
                " listens there, most likely a server on this folder, or name another --workdir"
            )


def _is_ours(settings: Settings) -> bool:
    """Tell a demo's settings from those of a server that people rely on."""
    try:
        canonical_listen(settings.server.listen)
    except ValueError:
        return False
    return any(authority.name == AUTHORITY for authority in settings.authorities)

"""The systemd unit of a server, from its configuration.

The process can do no more than it needs: it runs as a user of its own without any capability (but
the one for ports below 1024 where it listens on such a one), sees the file system read-only but for
its work directory, and speaks IP and Unix sockets only. Secrets that the configuration names below
`/run/credentials/` are loaded by systemd, which reads files that the server's user cannot.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from certeasy.serve.stopping import longest_stop
from certeasy.settings import Settings
from certeasy.settings.adcs import AdcsSettings

STATE = PurePosixPath("/var/lib")
CREDENTIALS = PurePosixPath("/run/credentials")
KEPT_AT = PurePosixPath("/etc/certeasy/credentials")
PRIVILEGED = 1024

UNIT = """\
[Unit]
Description=Certeasy, an ACME server in front of Microsoft AD CS
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart={program} serve -f {config}
ExecReload=/bin/kill -HUP $MAINPID
User={user}
{places}UMask=0077
{credentials}
# A start may wait for its database, and read a long log again.
TimeoutStartSec=infinity
# Requests, then jobs, end what they have begun: server.shutdown-timeout, workers.drain-timeout.
TimeoutStopSec={stop}
# The committer takes a turn every few seconds; one that hangs is ended.
WatchdogSec=2min
Restart=on-failure
RestartSec=5

CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateDevices=yes
PrivateTmp=yes
RemoveIPC=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit(settings: Settings, *, program: Path, config: Path, user: str) -> str:
    """Return the text of `certeasy.service`."""
    low = any(int(each.rpartition(":")[2]) < PRIVILEGED for each in _listened_on(settings))
    loaded = "".join(f"LoadCredential={name}:{KEPT_AT / name}\n" for name in credentials(settings))
    return UNIT.format(
        program=quoted(program),
        config=quoted(config),
        user=user,
        places=places(settings.workdir),
        credentials=loaded,
        stop=int(longest_stop(settings).total_seconds()),
        capabilities="CAP_NET_BIND_SERVICE" if low else "",
    )


def _listened_on(settings: Settings) -> Iterator[str]:
    manager = settings.tls_certificate_manager
    yield settings.server.listen
    if any(bundle.mode in {"acme", "letsencrypt"} for bundle in manager.bundles):
        yield manager.acme.http_addr


def places(workdir: Path) -> str:
    """Return the lines that make the work directory, or let it be written to."""
    if workdir.parent == Path(STATE):
        return f"StateDirectory={workdir.name}\nStateDirectoryMode=0700\n"
    return f"ReadWritePaths={quoted(workdir)}\n"


def credentials(settings: Settings) -> list[str]:
    """Return the names of the secrets that systemd is to load."""
    return sorted({file.name for file in secrets_of(settings) if CREDENTIALS in _above(file)})


def _above(file: Path) -> list[PurePosixPath]:
    return list(PurePosixPath(file.as_posix()).parents)


def secrets_of(settings: Settings) -> Iterator[Path]:
    """Yield the files with secrets that the configuration names."""
    found: list[Path | None] = [settings.database.password_file, settings.secrets.key_file]
    manager = settings.tls_certificate_manager
    found += [bundle.key for bundle in manager.bundles]
    found += [None if manager.acme.eab is None else manager.acme.eab.hmac_file]
    found += settings.notices.secret_files.values()
    for authority in settings.authorities:
        if isinstance(how := authority.configuration, AdcsSettings):
            found += [how.password_file, how.keytab, how.ccache]
    return (file for file in found if file is not None)


def quoted(path: Path) -> str:
    """Return a path as a unit writes it."""
    text = str(path).replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w/.:@%$+-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

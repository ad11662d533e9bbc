"""Apache with mod_md, from Debian, as a machine's administrator runs it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.make.acme_client import QUIET_ENV, is_served, program
from tests.make.acme_server import running
from tests.make.waiting import soon

MODULES = "/usr/lib/apache2/modules"
CONFIG = """\
ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule md_module {modules}/mod_md.so
ErrorLog {folder}/error.log
Mutex file:{folder} default
DocumentRoot {folder}
Listen 127.0.0.1:{http}
Listen 127.0.0.1:{https}
MDStoreDir {folder}/md
MDPortMap http:{http} https:{https}
MDPrivateKeys secp256r1
MDRetryDelay 1s
"""


@contextmanager
def apache(folder: Path, name: str, *, http: int, https: int, sites: str) -> Iterator[Path]:
    """Run Apache; once it serves `name` with a certificate that it got, yield where that and its
    key are. `sites` are its administrator's own lines."""
    head = CONFIG.format(folder=folder, modules=MODULES, http=http, https=https)
    config, log = folder / "apache.conf", folder / "error.log"
    config.write_text(head + sites)
    command = [program("apache2"), "-f", config, "-DFOREGROUND"]
    with running(command, port=https, log=folder / "out.log", env=QUIET_ENV) as server:
        staged, stored = folder / "md/staging" / name / "job.json", folder / "md/domains" / name
        soon(lambda: '"finished": true' in _read(staged), 120, told=log)
        server.send_signal(signal.SIGUSR1)  # as `apachectl graceful` does: what is staged is taken
        chain = stored / "pubcert.secp256r1.pem"
        soon(chain.exists, 30, told=log)
        soon(lambda: is_served(https, name, chain.read_bytes()), 30, told=log)
        yield stored


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""

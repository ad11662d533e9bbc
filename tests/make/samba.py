"""A domain for a test: Debian's Samba as its controller, in a network of its own. Root.

    with samba_domain(folder) as lab:
        lab.keytab, lab.realm, lab.password_of["svc-acme"]
        lab.inside(lambda: ...)            # a call by a thread inside that network
        lab.command("certbot", ...)        # the command line of a process inside

The controller is dc1.lab.test on 127.0.0.1 with every port a domain controller has; the CA's
machine is ca1.lab.test on 127.0.0.2, an account with keys and no ports: a test puts a simulator
there. smbd hands its pipe `\\pipe\\cert` to whoever listens on `lab.pipe`.

It comes up in about 7 s. Everything runs in a process namespace whose first process ends with us,
so nothing is left behind, whatever happens.
"""

import base64
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from tests.make.namespace import Namespace

T = TypeVar("T")

REALM, DOMAIN = "LAB.TEST", "LAB"
DC, CA = "dc1.lab.test", "ca1.lab.test"
DC_AT, CA_AT = "127.0.0.1", "127.0.0.2"
ADMINISTRATOR = "Passw0rd.Lab1"
ACCOUNTS: Mapping[str, Mapping[str, str]] = {
    "svc-acme": {"password": "Secret.123"},
    "svc-other": {"password": "Other.Secret.123"},
    "svc-disabled": {"password": "Secret.123", "state": "disabled"},
    "svc-expired": {"password": "Secret.123", "state": "expired"},
    "svc-must-change": {"password": "Secret.123", "state": "must-change"},
}
SYSTEM_PYTHON = "/usr/bin/python3"
STARTS_WITHIN = 30.0

SMB_CONF = """[global]
  netbios name = DC1
  realm = {realm}
  workgroup = {domain}
  server role = active directory domain controller
  interfaces = lo
  bind interfaces only = yes
  private dir = {at}/private
  state directory = {at}/state
  cache directory = {at}/cache
  lock directory = {at}
  binddns dir = {at}/bind-dns
  ncalrpc dir = {at}/ncalrpc
  pid directory = {at}/pid
  ntp signd socket directory = {at}/ntp_signd
  log file = {at}/log.%m
  logging = file
  log level = 1
  server services = s3fs, rpc, ldap, cldap, kdc, winbindd, dns
  dns forwarder = 0.0.0.0
  ldap server require strong auth = allow_sasl_over_tls
  disable spoolss = yes
  load printers = no
  {more}
[sysvol]
  path = {at}/state/sysvol
  read only = no
"""
KRB5_CONF = """[libdefaults]
  default_realm = {realm}
  dns_lookup_realm = false
  dns_lookup_kdc = false
  rdns = false
[realms]
  {realm} = {{
    kdc = {dc}
  }}
[domain_realm]
  .lab.test = {realm}
"""


class SambaDomain:
    """A running domain, as a test sees it."""

    realm, domain, dc, ca = REALM, DOMAIN, DC, CA
    user = "svc-acme"

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        self.folder = folder
        self.namespace = namespace
        self.at = folder / "dc"
        self.keytab = folder / "svc.keytab"
        self.machine_keytab = folder / "machines.keytab"
        self.krb5_conf = folder / "krb5.conf"
        self._smb_conf = folder / "smb.conf"
        self._samba: subprocess.Popen[bytes] | None = None

    @property
    def pipe(self) -> Path:
        """Where smbd connects to for `\\pipe\\cert`: a Unix socket that is not there yet."""
        return self.at / "ncalrpc" / "np" / "cert"

    def password_file(self, user: str = "svc-acme", password: str = "") -> Path:
        """Write a password into a private file."""
        secret = password or ACCOUNTS[user]["password"]
        file = Path(tempfile.mkdtemp(dir=self.folder)) / "password"
        file.write_text(secret + "\n")
        file.chmod(0o600)
        return file

    def ccache(self, user: str = "svc-acme", *, seconds: int = 36000) -> Path:
        """Have MIT's kinit fetch a ticket into a file; it can be renewed for a day."""
        file = Path(tempfile.mkdtemp(dir=self.folder)) / "ccache"
        kinit = ["env", f"KRB5_CONFIG={self.krb5_conf}", "kinit", "-c", f"FILE:{file}"]
        kinit += ["-l", f"{seconds}s", "-r", "1d", user]
        secret = ACCOUNTS[user]["password"] + "\n"
        subprocess.run(
            self.command(*kinit), input=secret.encode(), check=True, timeout=30,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return file

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs a program inside."""
        return self.namespace.command(*arguments)

    def inside(self, work: Callable[[], T]) -> T:
        """Return what it returns, called by a thread inside."""
        return self.namespace.inside(work)

    def restart(self, *more: str) -> None:
        """Have Samba start anew, with more lines in its configuration."""
        self.stop()
        self.start(*more)

    def put(
        self,
        objects: Mapping[str, Mapping[str, Sequence[bytes]]],
        rights: Mapping[str, str],
        accounts: Sequence[str] = ("svc-acme",),
    ) -> dict[str, str]:
        """Put objects into the directory, and rights (SDDL) on them; return accounts' SIDs.

        `{svc-acme}` in a right stands for that account.
        """
        shown = {
            dn: {
                name: [base64.b64encode(value).decode() for value in values]
                for name, values in attributes.items()
            }
            for dn, attributes in objects.items()
        }
        plan = self.folder / "directory.json"
        told = {"objects": shown, "rights": dict(rights), "accounts": list(accounts)}
        plan.write_bytes(msgspec.json.encode(told))
        make = Path(__file__).with_name("samba_directory.py")
        made = subprocess.run(
            self.command(SYSTEM_PYTHON, "-I", str(make), str(self._smb_conf), str(plan)),
            check=True, timeout=60, stdout=subprocess.PIPE,
        )  # fmt: skip
        return msgspec.json.decode(made.stdout, type=dict[str, str])

    # ------------------------------------------------------------------ up and down

    def provision(self) -> None:
        """Make a domain from nothing, with all its accounts."""
        with (self.folder / "provision.log").open("wb") as report:
            subprocess.run(
                self.command(
                    "samba-tool", "domain", "provision", f"--realm={REALM}", f"--domain={DOMAIN}",
                    "--server-role=dc", "--dns-backend=SAMBA_INTERNAL", "--host-name=dc1",
                    f"--adminpass={ADMINISTRATOR}", f"--targetdir={self.at}",
                    f"--host-ip={DC_AT}", "--option=interfaces=lo",
                    "--option=bind interfaces only=yes",
                ),
                check=True, timeout=120, stdout=report, stderr=report,
            )  # fmt: skip
        for part in ("ncalrpc", "pid", "ntp_signd", "cache"):
            (self.at / part).mkdir(exist_ok=True)
        self._configure()
        self.krb5_conf.write_text(KRB5_CONF.format(realm=REALM, dc=DC_AT))
        plan = self.folder / "accounts.json"
        plan.write_bytes(msgspec.json.encode(self._plan()))
        make = Path(__file__).with_name("samba_accounts.py")
        subprocess.run(
            self.command(SYSTEM_PYTHON, "-I", str(make), str(self._smb_conf), str(plan)),
            check=True, timeout=60, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for keytab in (self.keytab, self.machine_keytab):
            keytab.chmod(0o600)

    def _plan(self) -> object:
        machines = ["CA1$", f"host/{CA}", f"cifs/{CA}", f"RPCSS/{CA}", "DC1$", f"host/{DC}"]
        return {
            "accounts": ACCOUNTS,
            "computers": {
                "CA1": {
                    "password": "Ca1.Machine.Pw9",
                    "services": [f"host/{CA}", f"cifs/{CA}", f"RPCSS/{CA}"],
                },
                "DC1": {"services": [f"ldap/{DC}", f"cifs/{DC}", f"host/{DC}"]},
            },
            "keytabs": {
                str(self.keytab): ["svc-acme"],
                str(self.machine_keytab): machines,
            },
        }

    def _configure(self, *more: str) -> None:
        text = SMB_CONF.format(realm=REALM, domain=DOMAIN, at=self.at, more="\n  ".join(more))
        self._smb_conf.write_text(text)

    def start(self, *more: str) -> None:
        """Start Samba and wait until it answers."""
        self._configure(*more)
        # winbindd's socket has one place that libraries know; here it is one of the lab's own.
        run = 'mount -t tmpfs tmpfs /run/samba && mkdir /run/samba/winbindd && exec "$@"'
        samba = ["samba", "-i", "-M", "single", "-s", str(self._smb_conf)]
        own = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-c", run, "sh"]
        Path("/run/samba").mkdir(exist_ok=True)
        with (self.folder / "samba.log").open("ab") as report:
            self._samba = subprocess.Popen(
                self.command(*own, *samba), stdout=report, stderr=report, start_new_session=True
            )
        try:
            self.inside(self._wait)
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        """Wait for everybody who has a part in a log on; winbindd, whom smbd asks, comes last."""
        end = time.monotonic() + STARTS_WITHIN
        for place in (88, 389, 445, self.folder / "dc/state/winbindd_privileged/pipe"):
            while True:
                try:
                    _knock(place)
                    break
                except OSError:
                    if time.monotonic() > end or self._samba is None or self._samba.poll():
                        log = (self.folder / "samba.log").read_text()
                        raise RuntimeError(f"Samba did not start:\n{log}") from None
                    time.sleep(0.05)

    def stop(self) -> None:
        """End Samba, all of it."""
        if self._samba is not None:
            self._samba.kill()
            self._samba.wait()
            self._samba = None


def _knock(place: int | Path) -> None:
    """Connect to a port of the controller, or to a Unix socket. Raises OSError."""
    if isinstance(place, int):
        socket.create_connection((DC_AT, place), 1).close()
        return
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(place))


@contextmanager
def samba_domain(folder: Path | None = None) -> Iterator[SambaDomain]:
    """Run a domain. Paths of Unix sockets are short, so it has a folder of its own."""
    made = folder or Path(tempfile.mkdtemp(prefix="certeasy-lab-"))
    hosts = {DC: DC_AT, "dc1": DC_AT, "lab.test": DC_AT, CA: CA_AT, "ca1": CA_AT}
    try:
        with Namespace(made, hosts) as namespace:
            lab = SambaDomain(made, namespace)
            lab.provision()
            lab.start()
            try:
                yield lab
            finally:
                lab.stop()
    finally:
        if folder is None:
            shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    begun = time.monotonic()
    with samba_domain() as up:
        print(f"{up.folder}: up in {time.monotonic() - begun:.1f} s; Enter ends it")  # noqa: T201
        sys.stdin.readline()

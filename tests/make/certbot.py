"""certbot, driven as a user does: from PyPI, and an older one from Debian."""

from collections.abc import Sequence
from pathlib import Path

from tests.make.acme_client import TXT_HOOK, run
from tests.make.acme_server import AcmeServer


class Certbot:
    """certbot with folders of its own; `program` is the one to run."""

    def __init__(self, program: str | Path, server: AcmeServer, folder: Path) -> None:
        self.program, self.server, self.folder = program, server, folder
        self.live = folder / "etc/live/lab"
        """Where the certificate is that was asked for."""

    def __call__(self, *words: str) -> str:
        own = ["--config-dir", "etc", "--work-dir", "lib", "--logs-dir", "log"]
        command = [self.program, *words, "--non-interactive", "--server", self.server.directory_url]
        env = {"REQUESTS_CA_BUNDLE": self.server.root_pem, "TXT": self.server.txt}
        return run([*command, *own], cwd=self.folder, **env)

    def certonly(self, *names: str, how: Sequence[str] = (), more: Sequence[str] = ()) -> None:
        """Ask for a certificate, proven by http-01 unless it is said how."""
        web = ["--standalone", "--http-01-address", "127.0.0.1"]
        web += ["--http-01-port", str(self.server.http01_port)]
        terms = ["--agree-tos", "--email", "admin@corp.example", "--no-eff-email"]
        ordered = [word for name in names for word in ("--domain", name)]
        self("certonly", *(how or web), *terms, "--cert-name", "lab", *ordered, *more)

    def by_dns(self, *names: str) -> None:
        """Ask for a certificate, proven by dns-01 with a hook that stores the records."""
        hooks = ["--manual-auth-hook", f"{TXT_HOOK} certbot-auth"]
        hooks += ["--manual-cleanup-hook", f"{TXT_HOOK} certbot-cleanup"]
        self.certonly(*names, how=["--manual", "--preferred-challenges", "dns", *hooks])

    def stored(self) -> tuple[bytes, bytes]:
        """Return the chain and the key."""
        return (self.live / "fullchain.pem").read_bytes(), (self.live / "privkey.pem").read_bytes()

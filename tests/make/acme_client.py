"""Drive ACME clients by others as their users do, and look at what they got."""

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import serialization

SECONDS = 150
TXT_HOOK = Path(__file__).resolve().parents[1] / "clients/txt_hook.sh"
"""Adds and removes TXT records in the folder $TXT as each of the clients asks for it."""
QUIET_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}


def run(command: Sequence[str | Path], *, cwd: Path, **env: str | Path) -> str:
    """Run a client in `cwd` with nothing in its environment but `env`, and return its output.

    Raises AssertionError with all it wrote if it fails.
    """
    variables: Mapping[str, str] = {
        **QUIET_ENV,
        "HOME": str(cwd),
        **{name: str(value) for name, value in env.items()},
    }
    return output(command, cwd=cwd, env=variables)


# Some clients trust the system's bundle only, so they run where that file is ours, not elsewhere.
_TRUSTING = 'mount --bind "$ROOT_PEM" /etc/ssl/certs/ca-certificates.crt && exec "$@"'


def run_trusting(
    root_pem: Path, command: Sequence[str | Path], *, cwd: Path, **env: str | Path
) -> str:
    """Run a client for which `root_pem` is all that the machine trusts."""
    words = [program("unshare"), "--mount", "sh", "-c", _TRUSTING, "sh", *command]
    return run(words, cwd=cwd, ROOT_PEM=root_pem, **env)


def output(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] = QUIET_ENV,
    cwd: Path | None = None,
    ends_with: Sequence[int] = (0,),
) -> str:
    """Run a program and return all it wrote. Raises AssertionError with that if it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode in ends_with, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def assert_certificate(chain_pem: bytes, key_pem: bytes, names: Sequence[str]) -> None:
    """Assert that the leaf is for exactly these names and this key, and each signed by the next.

    A name may be an IP address.
    """
    chain = x509.load_pem_x509_certificates(chain_pem)
    leaf = chain[0]
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = alternative.get_values_for_type(x509.DNSName)
    found += map(str, alternative.get_values_for_type(x509.IPAddress))
    assert sorted(found) == sorted(names)
    key = serialization.load_pem_private_key(key_pem, None)
    assert leaf.public_key() == key.public_key()
    for certificate, issuer in pairwise(chain):
        certificate.verify_directly_issued_by(issuer)


def assert_short_lived(chain_pem: bytes) -> None:
    """Assert that the leaf is valid for a week, as the profile says that clients may ask for."""
    leaf = x509.load_pem_x509_certificate(chain_pem)
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert timedelta(days=6) < lifetime <= timedelta(days=7)


def is_served(port: int, name: str, chain_pem: bytes) -> bool:
    """Return whether a TLS server on 127.0.0.1 shows the leaf of this chain for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    shown = None
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    leaf = x509.load_pem_x509_certificate(chain_pem)
    return shown == leaf.public_bytes(serialization.Encoding.DER)


def program(name: str) -> str:
    """Return the path of an installed program; raise AssertionError if there is none."""
    path = shutil.which(name)
    assert path, f"{name} is not installed: `make interop` installs what it needs"
    return path


@contextmanager
def webroot(folder: Path, port: int) -> Iterator[Path]:
    """Serve `folder` on 127.0.0.1:port; yield the folder where http-01 responses belong."""
    challenges = folder / ".well-known/acme-challenge"
    challenges.mkdir(parents=True)
    serve = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), serve) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield challenges
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: a test that fails shows what the client said."""

"""Drive ACME clients by others as their users do, and look at what they got."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import serialization

SECONDS = 50
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
    done = subprocess.run(
        command,
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def assert_certificate(chain_pem: bytes, key_pem: bytes, names: Sequence[str]) -> None:
    """Assert that the leaf is for exactly these names and this key, and each signed by the next."""
    chain = x509.load_pem_x509_certificates(chain_pem)
    leaf = chain[0]
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(alternative.get_values_for_type(x509.DNSName)) == sorted(names)
    key = serialization.load_pem_private_key(key_pem, None)
    assert leaf.public_key() == key.public_key()
    for certificate, issuer in pairwise(chain):
        certificate.verify_directly_issued_by(issuer)


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

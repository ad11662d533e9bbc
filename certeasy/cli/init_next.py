"""What `certeasy init` says in the end: whom to trust, what to type next."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from certeasy.cli.init_questions import Given
from certeasy.cli.printing import program
from certeasy.settings import Settings, root_file

ELSEWHERE = "root.pem"
NOT_OURS = "stands for a file that is not written here: the root, in PEM"


def root_of(given: Given, settings: Settings) -> tuple[str, str]:
    """Return where the root of the server's own certificate is, and a sentence about that."""
    if given.one("tls.mode") == "pki" and given.one("authority.type") == "embedded":
        path = root_file(settings, given.one("authority.name"))
        return str(path), "the first start makes it; give it to each client"
    if given.one("tls.mode") == "pki":
        ca = given.one("authority.ca-name")
        if file := given.one("authority.ca-certificates"):
            return file, f"it has what {ca} is verified under; give it to each client"
        return ELSEWHERE, f"{NOT_OURS}, of {ca}; machines of its domain trust it already"
    shown = given.one("tls.certificate") or "the certificate that the proxy shows"
    return ELSEWHERE, f"{NOT_OURS}, under which {shown} was issued"


def trust_lines(root: str) -> Iterator[tuple[str, str]]:
    """Yield client and line: how each is told to trust the server. docs/clients has more."""
    file = shlex.quote(root)
    yield "certbot", f"REQUESTS_CA_BUNDLE={file}   (in the environment)"
    yield "lego, Traefik", f"LEGO_CA_CERTIFICATES={file}   (in the environment)"
    yield "acme.sh", f"--ca-bundle {file}   (up to the first certificate, which keeps it)"
    yield "Caddy", f"trusted_roots {file}   (in the issuer acme block)"
    yield "cert-manager", f"caBundle: what base64 -w0 {file} prints   (in the Issuer)"


def commands(config_file: Path, *, adcs: bool) -> Iterator[tuple[str, str]]:
    """Yield what to do next, and the line for it."""
    file, certeasy = shlex.quote(str(config_file)), program()
    if adcs:
        yield "look at the CA again", f"{certeasy} adcs check -f {file}"
    yield "start the server", f"{certeasy} serve -f {file}"
    if adcs:
        yield "within 30 days, the license", f"{certeasy} license status -f {file}"

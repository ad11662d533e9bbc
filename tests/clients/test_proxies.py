"""The recipes of docs/proxies.md, run as they stand but for ports and paths: nginx and HAProxy,
with certbot behind them and a client that lies about its address."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from requests.adapters import HTTPAdapter

from tests.make.acme_client import QUIET_ENV, assert_certificate, program, run
from tests.make.acme_library import connect, register
from tests.make.acme_server import AcmeServer, running
from tests.make.certbot import Certbot
from tests.make.certeasy_server import CERTEASY, certeasy

pytestmark = pytest.mark.interop

RECIPES = Path(__file__).parents[2] / "docs/examples/proxies"
CLIENT, LIE = "127.0.0.9", "203.0.113.66"
MODULES = Path("/usr/lib/nginx/modules")
NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
{modules}
events {{}}
{kind} {{
    {quiet}
    include {recipe};
}}
"""
QUIET = " ".join(
    f"{what}_temp_path {{folder}}/{what};"
    for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


class From(HTTPAdapter):
    """Speaks from an address of its own."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(CLIENT, 0), **kwargs)


def settings_of(recipe: str) -> str:
    """Return the lines that a recipe's comment puts below `server:`, without URL and address."""
    said = re.findall(r"^#     ((?!url|listen).*?)(?:   #.*)?$", recipe, flags=re.MULTILINE)
    return "\n  ".join(said)


class Recipe:
    """One of the page's recipes, and how it is run."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder, self.name = folder, name
        self.text = (RECIPES / name).read_text()

    @contextmanager
    def front(self, port: int, public_port: int) -> Iterator[None]:
        """Run the proxy before the server at `port`."""
        pem = self.folder / "proxy.pem"
        pem.write_bytes((self.folder / "tls.pem").read_bytes())
        key = self.folder / "tls.key"
        if self.name.startswith("haproxy"):  # which takes both from one file
            pem.write_bytes(pem.read_bytes() + key.read_bytes())
        text = re.sub(r"127\.0\.0\.1:8(080|443)", f"127.0.0.1:{port}", self.text)
        text = re.sub(r"(listen|bind) (:?)443", rf"\1 127.0.0.1:{public_port}", text)
        for path, here in (
            ("/etc/nginx/acme.corp.example.pem", pem),
            ("/etc/haproxy/acme.corp.example.pem", pem),
            ("/etc/nginx/acme.corp.example.key", key),
            ("/etc/nginx/corp-root.pem", self.folder / "root.pem"),
        ):
            text = text.replace(path, str(here))
        recipe, log = self.folder / self.name, self.folder / "proxy.log"
        recipe.write_text(text)
        with running(self._command(recipe), port=public_port, log=log, env=QUIET_ENV):
            yield

    def _command(self, recipe: Path) -> list[str | Path]:
        if self.name.startswith("haproxy"):
            return [program("haproxy"), "-db", "-f", recipe]
        whole = self.folder / "main.conf"
        stream = "stream" in self.name
        modules = f"load_module {MODULES}/ngx_stream_module.so;" if stream else ""
        quiet = "" if stream else "access_log off; " + QUIET.format(folder=self.folder)
        kind = "stream" if stream else "http"
        filled = NGINX.format(
            folder=self.folder, modules=modules, kind=kind, quiet=quiet, recipe=recipe
        )
        whole.write_text(filled)
        return [program("nginx"), "-c", whole, "-p", self.folder]


def address_seen(server: AcmeServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return from where, by the log, a client has opened an account that lied about it."""
    acme = connect(server, monkeypatch)
    session = acme.net.session
    session.mount("https://", From())
    session.headers.update({"X-Forwarded-For": LIE, "Forwarded": f"for={LIE}", "X-Real-IP": LIE})
    account = register(acme).uri.rpartition("/")[2]
    told = [CERTEASY, "audit", "show", "account", account, "-f", folder / "config.yml", "--json"]
    return run(told, cwd=folder)


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.iterdir()))
def test_certbot_and_the_log_see_through_a_proxy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(name, tmp_path)
    with certeasy(tmp_path, server=settings_of(recipe.text), front=recipe.front) as server:
        certbot = Certbot(program("certbot"), server, tmp_path)
        names = [server.name("proxied"), server.name("www.proxied")]
        certbot.certonly(*names)
        assert_certificate(*certbot.stored(), names)
        certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")
        seen = address_seen(server, tmp_path, monkeypatch)
        assert (CLIENT in seen, LIE in seen) == (True, False)

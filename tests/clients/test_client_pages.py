"""The pages in docs/clients, typed as they stand but for ports, paths and names: one that lies
fails here. A word that a test puts in its place has to be there."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients.test_mod_md import folder as shared_folder
from tests.clients.test_proxies import QUIET
from tests.make.acme_client import (
    QUIET_ENV,
    TXT_HOOK,
    assert_certificate,
    is_served,
    program,
    run,
    webroot,
)
from tests.make.acme_server import AcmeServer, free_port, running
from tests.make.apache import apache
from tests.make.pages import CLIENTS, commands, put_in_place, titled
from tests.make.waiting import soon

__all__ = ["shared_folder"]

pytestmark = pytest.mark.timeout(300)

BIN = Path(sys.executable).parent
ACME_SH = os.environ.get("CERTEASY_ACME_SH", "")  # noqa: TID251 - not the server's


class Reader:
    """Somebody who does what a page says, on a machine of a folder's size."""

    def __init__(self, server: AcmeServer, folder: Path, page: str) -> None:
        self.server, self.folder, self.page = server, folder, CLIENTS / f"{page}.md"
        self.zone = server.name(f"{page}-page")
        """Stands for corp.example."""
        self.here = {
            "https://acme.corp.example": server.directory_url.removesuffix("/acme/directory"),
            ".corp.example": f".{self.zone}",
        }
        (folder / "bin").mkdir()

    def program(self, name: str, line: str) -> Path:
        """Put a program of one line there."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        return path

    def binding(self) -> dict[str, str]:
        """Return what stands for KID and KEY, for one account."""
        kid, key = self.server.new_binding()
        return {" KID": f" {kid}", " KEY": f" {key}"}

    def root(self) -> dict[str, str]:
        """Return what stands for the root's file."""
        return {"/etc/ssl/root.pem": str(self.server.root_pem)}

    def types(self, here: Mapping[str, str]) -> str:
        """Type all of the page's commands into one shell, which ends at the first that fails."""
        script = put_in_place(commands(self.page), {**self.here, **self.root(), **here})
        path = f"{self.folder}/bin:{BIN}:{QUIET_ENV['PATH']}"
        words = ["sh", "-exc", script]
        return run(words, cwd=self.folder, PATH=path, TXT=self.server.txt)

    def certbot(self) -> None:
        """Tell certbot where its own files and ports are, as a machine's administrator may."""
        config = self.folder / ".config/letsencrypt/cli.ini"
        config.parent.mkdir(parents=True)
        folders = [f"{each}-dir = {self.folder}/{each}" for each in ("config", "work", "logs")]
        ports = ["http-01-address = 127.0.0.1", f"http-01-port = {self.server.http01_port}"]
        config.write_text("\n".join([*folders, *ports, "non-interactive = true\n"]))

    def certbot_has(self, name: str) -> tuple[bytes, bytes]:
        """Return the chain and the key that certbot has under a name."""
        live = self.folder / "config/live" / name
        return (live / "fullchain.pem").read_bytes(), (live / "privkey.pem").read_bytes()


Reads = Callable[[str], Reader]


@pytest.fixture
def reads(acme_server: AcmeServer, tmp_path: Path) -> Reads:
    return lambda page: Reader(acme_server, tmp_path, page)


def test_the_page_of_certbot_says_what_works(reads: Reads) -> None:
    reader = reads("certbot")
    reader.certbot()
    add = reader.program("add-txt-record", f"exec {TXT_HOOK} certbot-auth")
    remove = reader.program("remove-txt-record", f"exec {TXT_HOOK} certbot-cleanup")
    programs = {
        "/usr/local/sbin/add-txt-record": str(add),
        "/usr/local/sbin/remove-txt-record": str(remove),
    }
    said = reader.types({**reader.binding(), **programs})
    assert "The dry run was successful" in said or "all simulated renewals succeeded" in said
    assert "successfully revoked" in said
    web, zone = f"web.{reader.zone}", f"zone.{reader.zone}"
    assert_certificate(*reader.certbot_has(web), [web])
    assert_certificate(*reader.certbot_has("zone"), [zone, f"*.{zone}"])


@pytest.mark.interop
def test_the_page_of_lego_says_what_works(reads: Reads) -> None:
    reader = reads("lego")
    said = reader.types(
        {
            **reader.binding(),
            ":80": f"127.0.0.1:{reader.server.http01_port}",
            ":443": f"127.0.0.1:{reader.server.tls_alpn01_port}",
            "/usr/local/sbin/txt-record": str(TXT_HOOK),
        }
    )
    assert "revoked" in said
    stored = reader.folder / ".lego/certificates"
    for label in ("bound", "web", "alpn", "zone"):
        name = f"{label}.{reader.zone}"
        names = [name, f"*.{name}"] if label == "zone" else [name]
        key = (stored / f"{name}.key").read_bytes()
        assert_certificate((stored / f"{name}.crt").read_bytes(), key, names)


if ACME_SH:  # in no package registry: whoever has a copy says where it is

    @pytest.mark.interop
    def test_the_page_of_acme_sh_says_what_works(reads: Reads) -> None:
        reader = reads("acme-sh")
        home = reader.folder / ".acme.sh"
        reader.program("acme.sh", f'exec sh {ACME_SH} --home {home} --no-color "$@"')
        (home / "dnsapi").mkdir(parents=True)
        adding = f'dns_nsupdate_add() {{ {TXT_HOOK} present "$1" "$2"; }}\n'
        removing = f'dns_nsupdate_rm() {{ {TXT_HOOK} cleanup "$1" "$2"; }}\n'
        (home / "dnsapi/dns_nsupdate.sh").write_text("#!/usr/bin/env sh\n" + adding + removing)
        www = reader.folder / "www"
        with webroot(www, reader.server.http01_port):
            here = {"/var/www/html": str(www), "--dnssleep 5": "--dnssleep 1"}
            reader.types({**reader.binding(), **here})
        for label in ("web", "zone"):
            name = f"{label}.{reader.zone}"
            names = [name, f"*.{name}"] if label == "zone" else [name]
            key = (home / f"{name}_ecc/{name}.key").read_bytes()
            assert_certificate((home / f"{name}_ecc/fullchain.cer").read_bytes(), key, names)


@pytest.mark.interop
def test_the_caddyfile_of_the_page_works_and_so_does_its_binding(reads: Reads) -> None:
    reader = reads("caddy")
    server, folder = reader.server, reader.folder
    bound = put_in_place(titled(reader.page, "in the issuer acme block"), reader.binding())
    https = server.tls_alpn01_port
    ours = f"\tadmin off\n\tdefault_bind 127.0.0.1\n\thttp_port {server.http01_port}\n"
    ours += f"\thttps_port {https}\n\tstorage file_system {folder}/caddy\n"
    text = put_in_place(
        titled(reader.page, "Caddyfile"),
        {
            "\temail ": f"{ours}\temail ",
            "trusted_roots /etc/ssl/root.pem\n": f"trusted_roots {server.root_pem}\n{bound}",
            **reader.here,
        },
    )
    (folder / "Caddyfile").write_text(text)
    command = [program("caddy"), "run", "--config", folder / "Caddyfile"]
    log, name = folder / "caddy.log", f"web.{reader.zone}"
    with running(command, port=https, log=log, env=QUIET_ENV | {"HOME": str(folder)}):
        soon(lambda: list(folder.glob(f"caddy/certificates/*/{name}/{name}.json")), 120, told=log)
        (stored,) = folder.glob(f"caddy/certificates/*/{name}")
        chain = (stored / f"{name}.crt").read_bytes()
        assert_certificate(chain, (stored / f"{name}.key").read_bytes(), [name])
        soon(lambda: is_served(https, name, chain), told=log)


@pytest.mark.interop
@pytest.mark.parametrize("proof", ["for tls-alpn-01", "for dns-01"])
def test_the_configuration_of_apaches_page_works_and_so_do_its_additions(
    reads: Reads, shared_folder: Path, proof: str
) -> None:
    reader = reads("apache")
    server, folder = reader.server, shared_folder
    added = put_in_place(
        titled(reader.page, "beside MDCertificateAuthority"), reader.binding()
    ) + titled(reader.page, proof).replace("/usr/local/sbin/txt-record", f"{folder}/hook.sh")
    name = f"{proof.rpartition(' ')[2]}.{reader.zone}"
    page = put_in_place(
        titled(reader.page, "sites-available/web.conf") + added,
        {
            "web.corp.example": name,
            "https://acme.corp.example": reader.here["https://acme.corp.example"],
            "/etc/ssl/root.pem": f"{folder}/root.pem",
            "*:443": f"*:{server.tls_alpn01_port}",
        },
    )
    ports = {"http": server.http01_port, "https": server.tls_alpn01_port}
    with apache(folder, name, sites=page, **ports):
        pass  # entered once Apache serves with its certificate, which is what is shown


NGINX = """\
user root;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  {quiet}
  include {folder}/sites/*;
}}
"""


@pytest.fixture
def nginx(reads: Reads) -> Iterator[Reader]:
    """Somebody who reads nginx' page, and has an nginx that shows nothing yet."""
    reader = reads("nginx")
    folder = reader.folder
    (folder / "sites").mkdir()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, quiet=QUIET.format(folder=folder)))
    reader.program("nginx", f'exec {program("nginx")} -c {config} -p {folder} "$@"')
    reader.certbot()
    return reader


@pytest.mark.interop
def test_nginx_and_certbot_work_together_as_the_page_says(nginx: Reader) -> None:
    folder, server = nginx.folder, nginx.server
    http, https, name = server.http01_port, free_port(), f"web.{nginx.zone}"
    www = {"/var/www/acme": f"{folder}/www"}
    before, after = (
        titled(nginx.page, f"sites-available/web: {when}").replace("web.corp.example", name)
        for when in ("before", "after")
    )
    port = {"listen 80;": f"listen 127.0.0.1:{http};"}
    (folder / "sites/before").write_text(put_in_place(before, {**www, **port}))
    log = folder / "nginx.log"
    command = [folder / "bin/nginx"]
    with running(command, port=http, log=log, env=QUIET_ENV) as running_nginx:
        nginx.types(www)
        paths = {
            "/etc/letsencrypt": f"{folder}/config",
            "listen 443": f"listen 127.0.0.1:{https}",
        }
        (folder / "sites/after").write_text(put_in_place(after, paths))
        running_nginx.send_signal(signal.SIGHUP)  # as `nginx -s reload` does
        chain, key = nginx.certbot_has(name)
        assert_certificate(chain, key, [name])
        soon(lambda: is_served(https, name, chain), told=log)

"""Keys for external account bindings as an administrator makes, lists and takes them back."""

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from certeasy.cli import group
from events.envelope import parse
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.lab import a_lab


class Place:
    """A workdir, whose server runs or not, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.workdir = folder / "node"
        self.config = a_config(
            folder,
            workdir=f'"{self.workdir}"',
            issuance_policies="[{name: lab, dns: {allow: [.corp.test/2]}}]",
        )

    def run(self, *words: str, code: int = 0) -> str:
        """Type a command; return what it prints, or says on stderr where it is to fail."""
        result = CliRunner().invoke(group, [*words, "-f", str(self.config)])
        assert result.exit_code == code, result.output
        return result.stderr if code else result.stdout

    def made(self, *words: str) -> dict[str, str]:
        """Make a key."""
        told: dict[str, str] = msgspec.json.decode(self.run("eab", "create", *words, "--json"))
        return told

    def listed(self) -> list[dict[str, Any]]:
        """Return what `eab list` tells."""
        told: list[dict[str, Any]] = msgspec.json.decode(self.run("eab", "list", "--json"))
        return told

    def types(self) -> list[str]:
        """The type of each line of the journal."""
        lines = (self.workdir / "audit.log").read_bytes().splitlines()
        return [parse(line).envelope.type for line in lines]

    def sql(self, statement: str, *values: str) -> None:
        """Change the database while no server runs."""
        with closing(sqlite3.connect(self.workdir / "db.sqlite")) as connection, connection:
            connection.execute(statement, values)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextmanager
def standing(place: Place, how: str) -> Iterator[None]:
    """The server runs, or has run."""
    if how == "running":
        with a_lab(place.workdir):
            yield
    else:
        with a_lab(place.workdir):
            pass
        yield


@pytest.mark.parametrize("how", ["running", "stopped"])
def test_a_key_is_made_listed_and_taken_back(place: Place, how: str) -> None:
    words = ("--expires", "7d", "--max-uses", "3", "--policy", "lab", "--allow", ".corp.test/1")
    more = ("--allow", "=www.corp.test", "--challenge", "http-01", "--comment", "the shops")
    with standing(place, how):
        made = place.made(*words, *more, "--prevalidated")
        [listed] = place.listed()
        assert listed["kid"] == made["kid"]
        assert listed["expires"] == made["expires"]
        assert len(made["hmac_key"]) == 43
        assert (
            listed
            | {
                "status": "valid",
                "accounts": 0,
                "max_uses": 3,
                "policy": "lab",
                "profile": "",
                "allow": [".corp.test/1", "=www.corp.test"],
                "challenges": ["http-01"],
                "prevalidated": True,
                "comment": "the shops",
                "revoked": "",
            }
            == listed
        )
        line = place.run("eab", "list")
        assert made["hmac_key"] not in line
        assert f"{made['kid']}  valid  0 of 3 accounts  until {made['expires']}" in line
        assert "policy lab  names .corp.test/1 =www.corp.test  prevalidated  by http-01" in line
        assert "is revoked" in place.run("eab", "revoke", made["kid"])
        assert "was revoked already" in place.run("eab", "revoke", made["kid"])
        assert place.listed()[0]["status"] == "revoked"
        assert place.listed()[0]["revoked"]
        assert place.types().count("eab.created") == place.types().count("eab.revoked") == 1
    check_node(place.workdir)


def test_a_key_without_bounds_is_listed_in_a_line(place: Place) -> None:
    with standing(place, "stopped"):
        made = place.made()
        assert place.run("eab", "list") == f"{made['kid']}  valid  0 of any number of accounts\n"


def test_pitfall_16_what_to_type_is_printed_for_four_clients(place: Place) -> None:
    """Pitfall 16: the CLI prints ready certbot, lego, acme.sh and cert-manager lines."""
    with standing(place, "running"):
        told = place.run("eab", "create", "--expires", "1d")
    words = told.split()
    kid, key = words[1], words[4]
    url = "https://acme.lab.test/acme/directory"
    flat = " ".join(told.replace("\\\n", " ").split())
    assert f"certbot register --server {url} --eab-kid {kid} --eab-hmac-key {key}" in flat
    assert f"--eab --kid {kid} --hmac {key} run" in flat
    assert f"acme.sh --register-account --server {url} --eab-kid {kid} --eab-hmac-key {key}" in flat
    assert f"--from-literal=secret={key}" in flat
    assert f"keyID: {kid} keySecretRef: name: certeasy-eab key: secret" in flat
    assert all(len(line) <= 100 for line in told.splitlines())
    assert "until 20" in told
    assert "root.pem" not in told  # who issued the server's certificate is not known here


@pytest.mark.parametrize("tls", ["true", "false"])
def test_where_the_server_s_certificate_is_from_its_own_ca_each_client_is_told_to_trust_it(
    place: Place, tmp_path: Path, tls: str
) -> None:
    own = "{name: own, mode: pki, hosts: [acme.lab.test], authority: lab-ca}"
    place.config = a_config(
        tmp_path,
        workdir=f'"{place.workdir}"',
        server=f"{{url: [https://acme.lab.test], tls: {tls}}}",
        tls_certificate_manager=f"{{bundles: [{own}]}}",
        authorities="[{name: lab-ca, type: embedded}]",
    )
    with standing(place, "running"):
        told = place.run("eab", "create")
    root = place.workdir / "lab-ca.root.pem"
    pem = base64.b64encode(root.read_bytes()).decode()
    lines = (
        f"  {root}\nto each client, as root.pem.\n",
        "  REQUESTS_CA_BUNDLE=root.pem certbot register --server https://acme.lab.test/",
        "  LEGO_CA_CERTIFICATES=root.pem lego --server https://acme.lab.test/",
        "--server https://acme.lab.test/acme/directory --ca-bundle root.pem \\\n",
        "  # and --ca-bundle root.pem with the first --issue, which keeps it\n",
        f"    caBundle: {pem}\n",
    )
    # With a proxy in front, the certificate that clients see is the proxy's.
    assert [line in told for line in lines] == [tls == "true"] * len(lines)


WRONG = {
    "expires": (("--expires", "soon"), "is not a duration"),
    "never": (("--expires", "0"), "'0' is no time at all; give more than that, such as 24h"),
    "uses": (("--max-uses", "0"), "is not in the range"),
    "comment": (("--comment", "two\nlines"), "on one line"),
    "long": (("--comment", "x" * 201), "on one line"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_command_line_makes_no_key(place: Place, words: tuple[str, ...], said: str) -> None:
    assert said in place.run("eab", "create", *words, code=2)


@pytest.mark.parametrize("how", ["running", "stopped"])
def test_what_the_configuration_does_not_have_is_refused_in_the_same_words(
    place: Place, how: str
) -> None:
    with standing(place, how):
        said = place.run("eab", "create", "--policy", "nobody's", code=1)
        assert said.startswith('certeasy: no policy "nobody\'s" is configured; known: ')
        said = place.run("eab", "revoke", "nobody's", code=1)
        assert said == (
            f"certeasy: there is no key nobody's; 'certeasy eab list -f {place.config}' shows which"
            " there are\n"
        )


def test_keys_that_bind_nobody_any_more_are_listed_as_what_they_are(place: Place) -> None:
    with standing(place, "stopped"):
        short = place.made("--expires", "1h")
        place.sql(
            "UPDATE eab_keys SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)",
            short["expires"],
            "2026-01-01T00:00:00Z",
        )
        lost = place.made()
        place.sql("DELETE FROM secrets WHERE name = ?", f"eab/{lost['kid']}")
        statuses = {each["kid"]: each["status"] for each in place.listed()}
        assert statuses == {short["kid"]: "expired", lost["kid"]: "lost"}


def test_no_database_is_told(place: Place) -> None:
    assert "there is no database" in place.run("eab", "list", code=1)
    place.workdir.mkdir()
    (place.workdir / "db.sqlite").touch()
    assert "start the server once" in place.run("eab", "list", code=1)


def test_after_a_restore_without_a_backup_the_lost_keys_are_named(place: Place) -> None:
    with standing(place, "stopped"):
        kept, gone = place.made()["kid"], place.made()["kid"]
        place.run("eab", "revoke", gone)
        for path in place.workdir.glob("db.sqlite*"):
            path.unlink()
        told = place.run("journal", "restore")
        assert f"secret eab/{kept}: not in the database; nobody can be bound" in told
        assert gone not in told
        [first, second] = place.listed()
        assert (first["status"], second["status"]) == ("lost", "revoked")


def test_a_workdir_that_is_no_nodes_makes_no_key(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert "is no node's workdir yet" in place.run("eab", "create", code=1)


def test_the_key_in_a_backup_is_the_key_afterwards(place: Place, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    with standing(place, "running"):
        kid = place.made()["kid"]
        place.run("backup", "create", "--output", str(backup))
    for path in place.workdir.glob("db.sqlite*"):
        path.unlink()
    place.run("backup", "restore", "--input", str(backup))
    assert "eab/" not in place.run("journal", "restore")
    assert [(each["kid"], each["status"]) for each in place.listed()] == [(kid, "valid")]

"""`certeasy certs` and `certeasy accounts`: what was issued and to whom, and an end put to it."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from certeasy.cli import group
from certeasy.cli.certs import REASONS
from certeasy.clock import SystemClock
from events.envelope import Actor, parse
from projections.certificates import CERTIFICATES
from projections.revocations import RECORDED
from tests.make.certificates import a_leaf, cert_id_of, plant
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.csrs import a_csr
from tests.make.far_lab import a_far_lab
from tests.make.lab import Client, Lab, a_lab

NOW = SystemClock().now().replace(microsecond=0)
DAY = timedelta(days=1)
NAMES = ("www.shop.lab.test", "mail.lab.test")


class Place:
    """A workdir with a server, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.workdir = folder / "node"
        self.config = a_config(folder, workdir=f'"{self.workdir}"')

    def command(self, *words: str) -> Result:
        return CliRunner().invoke(group, [*words, "-f", str(self.config)])

    def run(self, *words: str) -> str:
        result = self.command(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fails(self, *words: str, code: int = 1) -> str:
        result = self.command(*words)
        assert result.exit_code == code, result.output
        return result.stderr

    def listed(self, *words: str) -> list[dict[str, Any]]:
        """Return what a listing tells."""
        told: list[dict[str, Any]] = msgspec.json.decode(self.run(*words, "--json"))
        return told

    def serials(self, *words: str) -> list[str]:
        return [each["serial"] for each in self.listed("certs", "list", *words)]

    def actors(self, kind: str) -> list[Actor]:
        """Who said the lines of a type."""
        lines = map(parse, (self.workdir / "audit.log").read_bytes().splitlines())
        return [line.actor for line in lines if line.envelope.type == kind]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def lab(place: Place) -> Iterator[Lab]:
    with a_lab(place.workdir) as lab:
        yield lab
    check_node(place.workdir)


def planted(lab: Lab, serial: int, *names: str, age: int = 1, days: int = 90, **more: str) -> str:
    """Have a certificate in the log, which began some days ago; return its id."""
    leaf = a_leaf(*names, serial=serial, begins=NOW - age * DAY, life=days * DAY)
    return plant(lab.server, leaf, **more)


def issued(client: Client, *names: str) -> str:
    """Have a certificate issued; return its id."""
    return client.issued(*names).rpartition("/")[2]


def test_certificates_are_listed_by_what_is_asked_for(place: Place, lab: Lab) -> None:
    planted(lab, 0x11, *NAMES, age=80)  # ten days are left
    planted(lab, 0x12, "www.lab.test", account_id="a" * 26)
    planted(lab, 0x13, "old.lab.test", age=91)
    gone = planted(lab, 0x14, "gone.lab.test")
    place.run("certs", "revoke", gone, "--reason", "superseded", "--yes")
    assert place.serials() == ["11", "12", "13", "14"]
    since = f"{NOW - 50 * DAY:%Y-%m-%d}"
    for words, serials in (
        (["--name", "WWW.Shop.lab.test."], ["11"]),
        (["--name", ".lab.test"], ["11", "12", "13", "14"]),
        (["--name", ".shop.lab.test"], ["11"]),
        (["--name", "shop.lab.test"], []),
        (["--account", "a" * 26], ["12"]),
        (["--authority", "lab-ca", "--serial", "0x12"], ["12"]),
        (["--authority", "other"], []),
        (["--status", "valid"], ["11", "12"]),
        (["--status", "expired"], ["13"]),
        (["--status", "revoked"], ["14"]),
        (["--expiring-within", "30d"], ["11"]),
        (["--expiring-within", "30d", "--status", "valid", "--name", "mail.lab.test"], ["11"]),
        (["--expiring-within", "9d"], []),
        (["--issued-since", since], ["12", "14"]),
        (["--issued-since", since, "--status", "valid", "--not-replaced"], ["12"]),
    ):
        assert place.serials(*words) == serials, words
    [line] = place.run("certs", "list", "--status", "revoked").splitlines()
    assert line.startswith(f"{gone}  revoked  14  lab-ca  to 20")
    assert line.endswith("(superseded)")


def test_what_a_client_renewed_is_told_apart(place: Place, lab: Lab) -> None:
    client = lab.client()
    client.register()
    first = client.issued("web.lab.test")
    chain = client.post(client.see(first)["certificate"]).content
    name = cert_id_of(x509.load_pem_x509_certificate(chain))
    second = client.order("web.lab.test", replaces=name).headers["location"]
    client.prove(second)
    client.finalize(second, a_csr("web.lab.test"))
    client.wait(second, "valid")
    ids = [url.rpartition("/")[2] for url in (first, second)]
    told = place.listed("certs", "list", "--name", "web.lab.test")
    assert [each["id"] for each in told] == ids
    assert (told[0]["replaced_by"], told[1]["replaces"]) == (ids[1], ids[0])
    [left] = place.listed("certs", "list", "--not-replaced")
    assert left["id"] == ids[1]
    assert f"replaced by {ids[1]}" in place.run("certs", "show", ids[0])
    [account] = place.listed("accounts", "list")
    assert {each["account"] for each in told} == {account["id"]}


def test_a_listing_is_had_in_parts(place: Place, lab: Lab) -> None:
    ids = [planted(lab, serial, f"n{serial}.lab.test") for serial in range(0x20, 0x27)]
    every: list[str] = []
    words: list[str] = []
    while True:
        result = place.command("certs", "list", "--limit", "3", "--json", *words)
        found = [each["id"] for each in msgspec.json.decode(result.stdout)]
        every += found
        if not result.stderr:
            break
        assert result.stderr == f"certeasy: there are more: go on with --after {found[-1]}\n"
        words = ["--after", found[-1]]
    assert every == ids
    assert place.listed("certs", "list", "--after", ids[-1]) == []


def test_a_spreadsheet_gets_rows_and_no_formulas(place: Place, lab: Lab) -> None:
    planted(lab, 0x31, *NAMES)
    head, row = csv.reader(io.StringIO(place.run("certs", "list", "--csv")))
    told = dict(zip(head, row, strict=True))
    assert (told["serial"], told["names"]) == ("31", " ".join(NAMES))
    planted(lab, 0x32, "*.lab.test")
    assert "\n" + "0" not in place.run("certs", "list", "--csv", "--status", "expired")
    assert "not both" in place.fails("certs", "list", "--csv", "--json", code=2)


def test_a_certificate_is_shown_by_each_of_its_numbers(place: Place, lab: Lab) -> None:
    client = lab.client()
    client.register()
    id_ = issued(client, "web.lab.test")
    [told] = place.listed("certs", "list")
    pairs = ":".join(told["serial"][n : n + 2] for n in range(0, len(told["serial"]), 2))
    for word in (id_, told["serial"].upper(), pairs, told["sha256"].upper()):
        shown = msgspec.json.decode(place.run("certs", "show", word, "--json"))
        assert shown["certificate"] == told
        assert (shown["policy"], shown["at_authority"], shown["renewal"]) == ("lab", "", [])
        assert len(shown["issuers"]) == 2
    page = place.run("certs", "show", id_)
    assert f"serial      {told['serial']}\n" in page
    assert "under policy lab\n" in page
    for word in ("nothing", "ff", "0" * 26, "f" * 64):
        assert f"there is no certificate {word}" in place.fails("certs", "show", word)


def test_two_certificates_with_one_serial_are_told_apart(place: Place, lab: Lab) -> None:
    ids = [planted(lab, 0x41, f"{n}.lab.test") for n in "ab"]
    assert f"name one by its id: {ids[0]}, {ids[1]}" in place.fails("certs", "export", "41")


def test_a_chain_is_exported_as_its_client_got_it_and_nothing_is_written_over(
    place: Place, lab: Lab, tmp_path: Path
) -> None:
    client = lab.client()
    client.register()
    url = client.issued("web.lab.test")
    chain = client.post(client.see(url)["certificate"]).content
    id_ = url.rpartition("/")[2]
    assert place.run("certs", "export", id_).encode() == chain
    file = tmp_path / "web.pem"
    place.run("certs", "export", id_, "--output", str(file))
    assert file.read_bytes() == chain
    assert "is there already" in place.fails("certs", "export", id_, "--output", str(file))
    [leaf, *_issuers] = x509.load_pem_x509_certificates(file.read_bytes())
    assert f"{leaf.serial_number:x}" in place.serials()[0]


@pytest.mark.parametrize("how", ["running", "stopped"])
def test_a_certificate_is_revoked_once_and_recorded_with_who_did_it(place: Place, how: str) -> None:
    with a_lab(place.workdir) as lab:
        client = lab.client()
        client.register()
        id_ = issued(client, "web.lab.test")
        if how == "running":
            _revoked(place, id_)
    if how == "stopped":
        _revoked(place, id_)
    [actor] = place.actors("certificate.revoked")
    assert actor.kind == "administrator"
    assert actor.sealed is not None
    check_node(place.workdir)


def _revoked(place: Place, id_: str) -> None:
    assert "nothing was changed" in place.run("certs", "revoke", id_)
    assert place.serials("--status", "revoked") == []
    told = place.run("certs", "revoke", id_, "--reason", "KEYCOMPROMISE", "--yes")
    assert "is revoked (keyCompromise)" in told
    assert "was revoked already" in place.run("certs", "revoke", id_, "--yes")
    [listed] = place.listed("certs", "list", "--status", "revoked")
    assert (listed["id"], listed["reason"]) == (id_, "keyCompromise")
    assert "key compromise\n" in place.run("certs", "show", id_)
    assert "certificateHold" in place.fails(
        "certs", "revoke", id_, "--reason", "certificateHold", code=2
    )


def test_an_administrator_s_revocation_reaches_the_authority(place: Place) -> None:
    with a_far_lab(place.workdir) as lab:
        client = lab.a_client()
        order_id = lab.finalized(client)
        lab.ends(order_id, "valid")
        told = place.run("certs", "revoke", order_id, "--reason", "superseded", "--yes")
        assert "authority lab-ca is told" in told
        lab.tells(order_id, "revocation.published")
        row = lab.server.committer.get(CERTIFICATES, order_id)
        assert row is not None
        assert lab.ca.revoked == {row.serial: REASONS["superseded"]}
        assert "its authority has revoked it" in place.run("certs", "show", order_id)


def test_one_whose_authority_is_not_told_is_to_be_revoked_there_by_hand(
    place: Place, lab: Lab
) -> None:
    id_ = planted(lab, 0x51)
    told = place.run("certs", "revoke", id_, "--yes")
    assert "is not told of revocations: revoke it there by hand" in told
    shown = msgspec.json.decode(place.run("certs", "show", id_, "--json"))
    assert shown["at_authority"] == RECORDED


def test_a_row_that_was_changed_is_neither_shown_nor_handed_out(place: Place, lab: Lab) -> None:
    id_ = planted(lab, 0x61)
    row = lab.server.node.store.get(CERTIFICATES, id_)
    assert row is not None
    changed = msgspec.structs.replace(row, certificate=a_leaf("evil.lab.test", serial=0x61))
    with lab.server.node.store.transaction() as transaction:
        transaction.store({CERTIFICATES: {(id_,): changed}})
    assert "is not what was issued" in place.fails("certs", "export", id_)
    with lab.server.node.store.transaction() as transaction:
        transaction.store({CERTIFICATES: {(id_,): row}})


@pytest.mark.parametrize("how", ["running", "stopped"])
def test_an_account_is_closed_once_and_does_nothing_more(place: Place, how: str) -> None:
    with a_lab(place.workdir) as lab:
        client = lab.client()
        client.register()
        issued(client, "web.lab.test")
        assert client.kid is not None
        if how == "running":
            _closed(place, client.kid)
    if how == "stopped":
        _closed(place, client.kid)
    with a_lab(place.workdir) as lab:
        client.lab = lab
        client.drop_nonce()
        refused = client.order("web.lab.test")
        assert refused.status_code == 403, refused.text
        assert refused.json["type"] == "urn:ietf:params:acme:error:unauthorized"
        assert "is revoked" in refused.json["detail"]
        assert place.serials("--status", "valid") != []
    [actor] = place.actors("account.revoked")
    assert actor.kind == "administrator"
    check_node(place.workdir)


def _closed(place: Place, url: str) -> None:
    assert "nothing was changed" in place.run("accounts", "deactivate", url)
    told = place.run("accounts", "deactivate", url, "--yes")
    assert "is closed; 1 certificate stays good" in told
    id_ = url.rpartition("/")[2]
    assert "was closed already" in place.run("accounts", "deactivate", id_, "--yes")
    [listed] = place.listed("accounts", "list", "--status", "revoked")
    assert listed["id"] == id_
    assert place.listed("accounts", "list", "--status", "valid") == []


def test_contacts_are_shown_of_one_account_until_their_key_is_destroyed(
    place: Place, lab: Lab
) -> None:
    client = lab.client()
    client.register(contact=["mailto:ops@corp.test"])
    lab.client().register()
    first, second = place.listed("accounts", "list")
    assert (first["contact"], second["contact"]) == (True, False)
    assert "ops@corp.test" not in place.run("accounts", "list")
    assert "ops@corp.test" not in place.run("accounts", "list", "--csv")
    for word in (first["id"], first["thumbprint"], client.kid or ""):
        shown = msgspec.json.decode(place.run("accounts", "show", word, "--json"))
        assert (shown["contacts"], shown["valid"]) == (["mailto:ops@corp.test"], 0)
    assert "contacts      mailto:ops@corp.test\n" in place.run("accounts", "show", first["id"])
    assert "contacts      none\n" in place.run("accounts", "show", second["id"])
    place.run("privacy", "erase", first["id"], "--yes")
    assert "its key was destroyed" in place.run("accounts", "show", first["id"])
    assert "there is no account nobody" in place.fails("accounts", "show", "nobody")


def test_accounts_are_listed_by_what_is_asked_for(place: Place, lab: Lab) -> None:
    lab.client().register()
    [told] = place.listed("accounts", "list", "--created-since", f"{NOW - DAY:%Y-%m-%d}")
    assert told["status"] == "valid"
    assert place.listed("accounts", "list", "--created-since", f"{NOW + DAY:%Y-%m-%d}") == []
    assert place.listed("accounts", "list", "--eab", "a" * 26) == []
    assert place.run("accounts", "list").startswith(f"{told['id']}  valid  since 20")


def test_nothing_is_told_where_there_is_nothing(place: Place) -> None:
    assert "there is no database" in place.fails("certs", "list")
    assert "there is no database" in place.fails("accounts", "list")

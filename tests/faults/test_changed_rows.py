"""Whoever can write to the database makes nothing true by it: what counts is the log."""

import base64
import hashlib
import sqlite3
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.clocks import HeldClock
from tests.make.certificates import cert_id_of
from tests.make.csrs import a_csr
from tests.make.lab import Client, Lab, a_lab
from tests.make.server import URL
from tests.make.signers import b64


def change(lab: Lab, statement: str, *values: object) -> None:
    """Change a row behind the server's back, with nothing of it left in the server's memory."""
    with sqlite3.connect(lab.server.settings.database.path) as connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()
    lab.server.committer._hot.clear()


def account_row(lab: Lab, client: Client) -> tuple[str, str, bytes]:
    assert client.kid is not None
    account_id = client.kid.rpartition("/")[2]
    with sqlite3.connect(lab.server.settings.database.path) as connection:
        query = "SELECT id, thumbprint, body FROM accounts WHERE id = ?"
        row = connection.execute(query, (account_id,)).fetchone()
    connection.close()
    return row


def journal(lab: Lab) -> str:
    return lab.server.settings.audit.path.read_text()


@pytest.fixture
def lab(tmp_path: Path):
    with a_lab(tmp_path) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def test_an_order_made_ready_by_hand_gets_no_certificate(lab: Lab, client: Client) -> None:
    order = client.placed("never-validated.lab.test")
    change(
        lab,
        "UPDATE orders SET status = 'ready', body = CAST(replace(CAST(body AS TEXT), "
        '\'"status":"pending"\', \'"status":"ready"\') AS BLOB)',
    )
    assert client.see(order)["status"] == "ready"  # the row is shown, but nothing follows from it
    answer = client.finalize(order, a_csr("never-validated.lab.test"))
    assert answer.status_code == 403
    assert "orderNotReady" in answer.text
    assert "order.finalized" not in journal(lab)


def test_names_changed_by_hand_get_no_certificate(lab: Lab, client: Client) -> None:
    order = client.ready("mine.lab.test")
    change(
        lab,
        "UPDATE orders SET "
        "body = CAST(replace(CAST(body AS TEXT), 'mine.lab', 'your.lab') AS BLOB)",
    )
    assert client.finalize(order, a_csr("your.lab.test")).status_code == 500
    assert "order.finalized" not in journal(lab)


def test_a_key_put_into_another_s_account_revokes_nothing(lab: Lab, client: Client) -> None:
    chain = client.certificate("web.lab.test")
    thief = lab.client()
    thief.register()
    mine, theirs = account_row(lab, thief), account_row(lab, client)
    change(lab, "DELETE FROM accounts WHERE id = ?", mine[0])
    change(
        lab,
        "UPDATE accounts SET thumbprint = ?, body = ? WHERE id = ?",
        mine[1],
        mine[2].replace(mine[0].encode(), theirs[0].encode()),
        theirs[0],
    )
    thief.kid = client.kid
    der = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
    answer = thief.post(f"{URL}/acme/revoke-cert", {"certificate": b64(der)})
    assert answer.status_code == 403
    assert "certificate.revoked" not in journal(lab)


def test_a_hash_put_onto_another_certificate_revokes_nothing(lab: Lab, client: Client) -> None:
    """The account asks for one of its certificates to be revoked, and another one is found."""
    first, second = (
        x509.load_pem_x509_certificate(client.certificate(name)).public_bytes(Encoding.DER)
        for name in ("web.lab.test", "www.lab.test")
    )
    sha256 = [hashlib.sha256(each).hexdigest() for each in (first, second)]
    change(lab, "UPDATE certificates SET sha256 = 'x' WHERE sha256 = ?", sha256[0])
    change(lab, "UPDATE certificates SET sha256 = ? WHERE sha256 = ?", *sha256)
    answer = client.post(f"{URL}/acme/revoke-cert", {"certificate": b64(first)})
    assert answer.status_code == 500
    assert "certificate.revoked" not in journal(lab)


def test_a_serial_put_onto_another_certificate_replaces_nothing(lab: Lab, client: Client) -> None:
    """RFC 9773 section 5: what is replaced is what the client names."""
    leaves = [
        x509.load_pem_x509_certificate(client.certificate(*names))
        for names in (("web.lab.test",), ("web.lab.test", "www.lab.test"))
    ]
    serials = [f"{leaf.serial_number:040x}".removeprefix("00") for leaf in leaves]
    bodies = [leaf.public_bytes(Encoding.DER) for leaf in leaves]
    change(lab, "UPDATE certificates SET serial = 'x' WHERE serial = ?", serials[0])
    change(lab, "UPDATE certificates SET serial = ? WHERE serial = ?", *serials)
    change(
        lab,
        "UPDATE certificates SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)"
        " WHERE serial = ?",
        *(base64.b64encode(each).decode() for each in reversed(bodies)),
        serials[0],
    )
    answer = client.order("web.lab.test", replaces=cert_id_of(leaves[0]))
    assert answer.status_code == 500
    assert journal(lab).count("order.created") == len(leaves)


def test_a_line_changed_in_the_database_stops_what_rests_on_it(lab: Lab, client: Client) -> None:
    order = client.ready("mine.lab.test")
    change(
        lab,
        "UPDATE events SET line = CAST(replace(CAST(line AS TEXT), 'mine.lab', 'your.lab') AS BLOB)"
        " WHERE type = 'order.created'",
    )
    answer = client.finalize(order, a_csr("mine.lab.test"))
    assert answer.status_code == 500
    assert "order.finalized" not in journal(lab)
    assert lab.server.committer.trouble() is None  # nobody else is harmed


def test_an_order_that_stops_so_keeps_no_other_one_open(tmp_path: Path) -> None:
    """Orders that ran out are ended together; one that cannot be is left out."""
    clock = HeldClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = lab.client()
        client.register()
        broken, others = client.placed("mine.lab.test"), client.placed("web.lab.test")
        change(
            lab,
            "UPDATE events SET line = CAST(replace(CAST(line AS TEXT), 'mine.lab', 'your.lab')"
            " AS BLOB) WHERE type = 'order.created' AND stream = ?",
            f"order/{broken.rpartition('/')[2]}",
        )
        clock.pass_by(7 * 24 * 3600)
        lab.server.expiry.expire()
        (line,) = [each for each in lab.journal() if b'"order.expired"' in each]
        assert others.rpartition("/")[2].encode() in line


def test_a_certificate_whose_successor_was_hidden_is_not_replaced_again(
    lab: Lab, client: Client
) -> None:
    """RFC 9773 section 5: a renewal counts once, whatever the tables say."""
    chain = client.certificate("web.lab.test")
    leaf = x509.load_pem_x509_certificate(chain)
    name = cert_id_of(leaf)
    second = client.order("web.lab.test", replaces=name).headers["location"]
    client.prove(second)
    assert client.finalize(second, a_csr("web.lab.test")).status_code == 200
    client.wait(second, "valid")
    change(lab, "DELETE FROM renewals")
    change(
        lab,
        "UPDATE certificates SET body = CAST(replace(CAST(body AS TEXT), "
        "'\"replaced_by\"', '\"forgotten\"') AS BLOB)"
        " WHERE instr(CAST(body AS TEXT), 'replaced_by')",
    )
    answer = client.order("web.lab.test", replaces=name)
    assert answer.status_code == 409
    assert answer.json["type"].endswith(":alreadyReplaced")

"""Accounts as clients meet them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from falcon.testing.helpers import DEFAULT_UA

from certeasy.acme import accounts as acme_accounts
from certeasy.commit import Command
from events.sealing import Sealed
from projections.accounts import ACCOUNTS
from tests.make.lab import URL, Client, Lab, a_lab, problem
from tests.make.signers import ALGORITHMS, Signer, a_signer, the_signer

NEW_ACCOUNT = f"{URL}/acme/new-account"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def lines(lab: Lab, account_url: str) -> list[Any]:
    """Return the facts of an account's stream, from the journal."""
    account_id = account_url.rpartition("/")[2]
    text = lab.server.node.journal.path.read_bytes()
    made = [msgspec.json.decode(line) for line in text.splitlines()]
    return [line for line in made if line["stream"] == f"account/{account_id}"]


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_of_any_kind_gets_an_account(lab: Lab, alg: str) -> None:
    client = lab.client(the_signer(alg))
    result = client.register(contact=["mailto:admin@corp.test"])
    assert result.status_code == 201
    assert result.json["status"] == "valid"
    assert result.json["contact"] == ["mailto:admin@corp.test"]
    assert result.json["orders"] == f"{client.kid}/orders"
    assert result.json["termsOfServiceAgreed"] is True


def test_the_same_key_finds_its_account_again(lab: Lab) -> None:
    client = lab.client()
    first = client.register(contact=["mailto:admin@corp.test"])
    again = client.register(contact=["mailto:other@corp.test"])
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["location"] == first.headers["location"]
    assert again.json == first.json


def test_a_key_is_itself_whatever_its_jwk_says_beside(lab: Lab) -> None:
    client = lab.client()
    first = client.register()
    adorned = Signer("ES256", client.signer.private_key)
    adorned.jwk = client.signer.jwk | {"kid": "x", "use": "sig", "alg": "ES256"}
    assert lab.client(adorned).register().headers["location"] == first.headers["location"]


def test_two_keys_have_two_accounts(lab: Lab) -> None:
    one, other = lab.client(), lab.client()
    one.register()
    other.register()
    assert one.kid != other.kid


@pytest.mark.parametrize("payload", [{}, {"contact": None}, {"contact": []}])
def test_an_account_needs_no_contact_and_always_shows_one(lab: Lab, payload: Any) -> None:
    result = lab.client().post(NEW_ACCOUNT, payload)
    assert result.status_code == 201
    assert result.json["contact"] == []


def test_only_return_existing_never_creates(lab: Lab) -> None:
    client = lab.client()
    for _ in range(2):
        result = client.post(NEW_ACCOUNT, {"onlyReturnExisting": True})
        assert problem(result)[:2] == (400, "accountDoesNotExist")
    client.register()
    result = client.post(NEW_ACCOUNT, {"onlyReturnExisting": True}, kid=None)
    assert (result.status_code, result.headers["location"]) == (200, client.kid)


@pytest.mark.parametrize(
    ("contact", "kind"),
    [
        ("tel:+491234", "unsupportedContact"),
        ("admin@corp.test", "unsupportedContact"),
        ("", "unsupportedContact"),
        ("mailto:", "invalidContact"),
        ("mailto:admin", "invalidContact"),
        ("mailto:a@b.test,c@d.test", "invalidContact"),
        ("mailto:a@b.test?subject=x", "invalidContact"),
        ("mailto:ä@b.test", "invalidContact"),
        ("mailto:a b@c.test", "invalidContact"),
        ("mailto:a@b@c.test", "invalidContact"),
        ("mailto:" + "a" * 300 + "@b.test", "invalidContact"),
        ("mailto:a@b.test\n", "invalidContact"),
    ],
)
def test_a_contact_that_cannot_be_used_is_refused(lab: Lab, contact: str, kind: str) -> None:
    result = lab.client().post(NEW_ACCOUNT, {"contact": ["mailto:a@b.test", contact]})
    assert problem(result)[:2] == (400, kind)


def test_more_contacts_than_anybody_has_are_refused(lab: Lab) -> None:
    many = [f"mailto:a{n}@b.test" for n in range(11)]
    assert problem(lab.client().post(NEW_ACCOUNT, {"contact": many}))[1] == "invalidContact"


def test_an_account_sees_itself(client: Client) -> None:
    result = client.post(str(client.kid))
    assert result.status_code == 200
    assert result.headers["location"] == client.kid
    assert result.json["status"] == "valid"


def test_contacts_can_be_changed_and_taken_back(lab: Lab, client: Client) -> None:
    kid = str(client.kid)
    changed = client.post(kid, {"contact": ["mailto:new@corp.test", "mailto:new@corp.test"]})
    assert (changed.status_code, changed.json["contact"]) == (200, ["mailto:new@corp.test"])
    assert client.see(kid)["contact"] == ["mailto:new@corp.test"]
    assert client.post(kid, {"contact": []}).json["contact"] == []
    assert [line["type"] for line in lines(lab, kid)] == [
        "account.created",
        "account.contacts-changed",
        "account.contacts-changed",
    ]


def test_an_update_that_changes_nothing_is_answered_and_not_written_down(
    lab: Lab, client: Client
) -> None:
    kid = str(client.kid)
    client.post(kid, {"contact": ["mailto:a@corp.test"]})
    before = lines(lab, kid)
    for update in ({}, {"contact": ["mailto:a@corp.test"]}, {"status": "valid"}, client.see(kid)):
        assert client.post(kid, update).json["contact"] == ["mailto:a@corp.test"]
    assert lines(lab, kid) == before


def test_personal_data_is_sealed_in_the_journal(lab: Lab) -> None:
    client = lab.client()
    client.register(contact=["mailto:very-personal@corp.test"])
    client.post(str(client.kid), {"contact": ["mailto:quite-personal@corp.test"]})
    journal = lab.server.node.journal.path.read_bytes()
    assert b"personal@" not in journal
    first, *_ = lines(lab, str(client.kid))
    box = msgspec.convert(first["actor"]["sealed"], Sealed)
    who = msgspec.json.decode(lab.server.subjects.open(box) or b"{}")
    assert who == {"address": "127.0.0.1", "user_agent": DEFAULT_UA}
    assert DEFAULT_UA.encode() not in journal
    assert b"127.0.0.1" not in b"".join(
        msgspec.json.encode(line) for line in lines(lab, str(client.kid))
    )
    assert all("sealed" in line["actor"] for line in lines(lab, str(client.kid)))


def test_an_account_that_left_is_let_in_nowhere(lab: Lab, client: Client) -> None:
    kid = str(client.kid)
    order = client.placed("web.lab.test")
    result = client.post(kid, {"status": "deactivated"})
    assert (result.status_code, result.json["status"]) == (200, "deactivated")
    for url, payload in [(kid, b""), (order, b""), (kid, {"contact": []})]:
        assert problem(client.post(url, payload))[:2] == (403, "unauthorized")
    assert problem(client.order("web.lab.test"))[:2] == (403, "unauthorized")
    again = client.post(NEW_ACCOUNT, {}, kid=None)
    assert problem(again)[:2] == (403, "unauthorized")
    assert "deactivated" in problem(again)[2]


def test_another_accounts_account_is_not_shown(lab: Lab, client: Client) -> None:
    other = lab.client()
    other.register()
    for url in (str(other.kid), f"{other.kid}/orders"):
        for payload in (b"", {"status": "deactivated"}):
            status, kind, detail = problem(client.post(url, payload))
            assert (status, kind) == (403, "unauthorized")
            assert "another" in detail
    assert other.see(str(other.kid))["status"] == "valid"


def test_an_account_that_never_was_is_not_found(client: Client) -> None:
    for place in ("0" * 26, "0" * 26 + "/orders", "x", "%00"):
        assert problem(client.post(f"{URL}/acme/acct/{place}"))[:2] == (404, "malformed")


def test_an_account_lists_its_orders_the_newest_last(client: Client) -> None:
    assert client.see(f"{client.kid}/orders") == {"orders": []}
    placed = [client.placed(f"web{n}.lab.test") for n in range(3)]
    assert client.see(f"{client.kid}/orders") == {"orders": placed}


def test_a_long_list_of_orders_comes_page_by_page(
    lab: Lab, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8555 section 7.1.2.1: the next page has its URL in a Link, whose cursor is signed too."""
    monkeypatch.setattr(acme_accounts, "PAGE", 2)
    placed = [client.placed(f"web{n}.lab.test") for n in range(5)]
    pages, url = [], f"{client.kid}/orders"
    while url:
        result = client.post(url)
        pages.append(result.json["orders"])
        links = [link for link in lab.links if link.endswith(';rel="next"')]
        url = links[0].partition(">")[0].removeprefix("<") if links else ""
        assert url == "" or url.startswith(f"{client.kid}/orders?cursor=")
    assert pages == [placed[:2], placed[2:4], placed[4:]]
    # The cursor is a part of the url that is signed.
    page = f"{client.kid}/orders?cursor={placed[1].rpartition('/')[2]}"
    body = client.signed(f"{client.kid}/orders")
    assert problem(client.send(page, body))[:2] == (403, "unauthorized")
    # It means nothing for another account's orders.
    other = lab.client()
    other.register()
    assert problem(other.post(page))[:2] == (403, "unauthorized")
    mine = page.replace(str(client.kid), str(other.kid))
    assert other.see(mine) == {"orders": []}


@pytest.mark.parametrize("cursor", ["x", "0" * 25, "%00", "1&cursor=2", "0" * 26 + "-0"])
def test_a_cursor_that_is_none_is_malformed(client: Client, cursor: str) -> None:
    assert problem(client.post(f"{client.kid}/orders?cursor={cursor}"))[:2] == (400, "malformed")


def test_failed_orders_are_not_listed(client: Client) -> None:
    order = client.placed("web.lab.test")
    (authorization,) = client.see(order)["authorizations"]
    client.post(authorization, {"status": "deactivated"})
    other = client.placed("web.lab.test")
    assert client.see(f"{client.kid}/orders") == {"orders": [other]}


def test_the_list_of_orders_is_only_shown(client: Client) -> None:
    assert problem(client.post(f"{client.kid}/orders", {}))[:2] == (400, "malformed")


def test_terms_of_service_must_be_agreed_to(tmp_path: Path) -> None:
    terms = "https://corp.test/terms"
    with a_lab(tmp_path, terms_of_service=terms, website="https://corp.test") as lab:
        meta = lab.wire.simulate_get("/acme/directory").json["meta"]
        assert meta == {"termsOfService": terms, "website": "https://corp.test"}
        for payload in ({}, {"termsOfServiceAgreed": False}):
            result = lab.client().post(NEW_ACCOUNT, payload)
            assert problem(result)[:2] == (403, "userActionRequired")
            assert f'<{terms}>;rel="terms-of-service"' in lab.links
        assert lab.client().register().status_code == 201
        client = lab.client()
        result = client.post(NEW_ACCOUNT, {"onlyReturnExisting": True})
        assert problem(result)[1] == "accountDoesNotExist"


def test_of_one_key_that_registers_twice_at_once_there_is_one_account(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other request's account appears after this one has looked and found none.
    committer, client = lab.server.committer, lab.client()
    submit, raced = committer.submit, []

    def overtaken(command: Command) -> Any:
        if not raced:
            raced.append(True)
            raced.append(lab.client(client.signer).register().headers["location"])
        return submit(command)

    monkeypatch.setattr(committer, "submit", overtaken)
    result = client.post(NEW_ACCOUNT, {})
    assert result.status_code == 200
    assert result.headers["location"] == raced[1]


def test_every_change_is_an_event_of_the_account(lab: Lab, client: Client) -> None:
    client.post(str(client.kid), {"contact": ["mailto:a@b.test"]})
    client.post(str(client.kid), {"status": "deactivated"})
    account_id = str(client.kid).rpartition("/")[2]
    made = lines(lab, str(client.kid))
    assert [line["type"] for line in made] == [
        "account.created",
        "account.contacts-changed",
        "account.deactivated",
    ]
    assert {line["actor"]["id"] for line in made} == {account_id}
    row = lab.server.committer.get(ACCOUNTS, account_id)
    assert row is not None
    assert row.status == "deactivated"


def test_the_key_of_an_account_is_kept_as_its_required_members(lab: Lab) -> None:
    signer = a_signer()
    signer.jwk = signer.jwk | {"kid": "x"}
    client = lab.client(signer)
    client.register()
    row = lab.server.committer.get(ACCOUNTS, str(client.kid).rpartition("/")[2])
    assert row is not None
    assert set(row.jwk) == {"crv", "kty", "x", "y"}

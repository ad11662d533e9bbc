"""Accounts, where clients are known to stumble: pitfalls 11 to 15."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.make.lab import URL, Client, Lab, a_lab, problem
from tests.make.pitfalls import links

NEW_ACCOUNT = f"{URL}/acme/new-account"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register(contact=["mailto:admin@corp.test"])
    return made


def test_pitfall_11_a_known_key_is_200_with_all_of_its_account(lab: Lab) -> None:
    """Pitfall 11, RFC 8555 section 7.3.1: 201 the first time, 200 after it, Location on both."""
    client = lab.client()
    first = client.register(contact=["mailto:admin@corp.test"])
    again = client.register()
    look = client.post(str(client.kid))
    assert [r.status_code for r in (first, again, look)] == [201, 200, 200]
    assert first.json == again.json == look.json
    assert first.json.keys() == {"status", "contact", "orders", "termsOfServiceAgreed"}
    assert {r.headers["location"] for r in (first, again, look)} == {client.kid}


def test_pitfall_12_only_return_existing_is_400_and_makes_no_account(lab: Lab) -> None:
    """Pitfall 12, RFC 8555 section 7.3.1: 400 accountDoesNotExist, not 404."""
    client = lab.client()
    before = lab.server.node.store.head().position
    for _ in range(2):
        result = client.post(NEW_ACCOUNT, {"onlyReturnExisting": True})
        assert problem(result)[:2] == (400, "accountDoesNotExist")
    assert lab.server.node.store.head().position == before


@pytest.mark.parametrize("payload", [{}, {"contact": []}, {"contact": None}])
def test_pitfall_13_a_contact_is_optional_and_always_shown(lab: Lab, payload: Any) -> None:
    """Pitfall 13, RFC 8555 section 7.3: one client has no field for it, one crashes without."""
    result = lab.client().post(NEW_ACCOUNT, payload)
    assert (result.status_code, result.json["contact"]) == (201, [])


@pytest.mark.parametrize(
    ("contact", "kind"),
    [
        ("tel:+15551234", "unsupportedContact"),
        ("https://corp.test", "unsupportedContact"),
        ("mailto:a@b.test,c@d.test", "invalidContact"),
        ("mailto:a@b.test?subject=x", "invalidContact"),
        ("mailto:nobody", "invalidContact"),
    ],
)
def test_pitfall_13_a_contact_that_is_none_is_told_apart(lab: Lab, contact: str, kind: str) -> None:
    """Pitfall 13, RFC 8555 section 7.3: by its scheme, or as a mail address."""
    assert problem(lab.client().post(NEW_ACCOUNT, {"contact": [contact]}))[:2] == (400, kind)


def test_pitfall_14_an_update_that_changes_nothing_is_answered(lab: Lab, client: Client) -> None:
    """Pitfall 14, RFC 8555 section 7.3.2: with the account, and its orders."""
    seen = client.see(str(client.kid))
    before = lab.server.node.store.head().position
    for update in ({}, {"contact": seen["contact"]}, seen, {"unknown": 1}):
        result = client.post(str(client.kid), update)
        assert (result.status_code, result.json) == (200, seen)
        assert result.headers["location"] == client.kid
    assert lab.server.node.store.head().position == before
    assert seen["orders"] == f"{client.kid}/orders"
    assert client.see(seen["orders"]) == {"orders": []}


def test_pitfall_15_terms_of_service_must_be_agreed_to(tmp_path: Path) -> None:
    """Pitfall 15, RFC 8555 section 7.3.3: userActionRequired, with a Link to them."""
    terms = "https://corp.test/terms"
    with a_lab(tmp_path, terms_of_service=terms) as lab:
        directory = lab.wire.simulate_get("/acme/directory").json
        assert directory["meta"] == {"termsOfService": terms}
        result = lab.client().post(NEW_ACCOUNT, {})
        assert problem(result)[:2] == (403, "userActionRequired")
        assert links(lab, "terms-of-service") == [terms]
        assert lab.client().register().status_code == 201
        # Who has an account is not asked again.
        client = lab.client()
        client.register()
        assert client.post(NEW_ACCOUNT, {}, kid=None).status_code == 200


def test_pitfall_15_without_terms_the_directory_has_no_such_key(lab: Lab) -> None:
    """Pitfall 15: an empty text in its place ends one client."""
    assert "meta" not in lab.wire.simulate_get("/acme/directory").json
    assert lab.client().post(NEW_ACCOUNT, {}).status_code == 201

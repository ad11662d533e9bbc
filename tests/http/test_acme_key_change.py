"""An account's key as it is changed. RFC 8555 section 7.3.5."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from projections.accounts import ACCOUNTS
from tests.make.lab import URL, Client, Lab, Result, a_lab, problem
from tests.make.signers import ALGORITHMS, Signer, a_signer, the_signer

KEY_CHANGE = f"{URL}/acme/key-change"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register(contact=["mailto:admin@corp.test"])
    return made


def inner(client: Client, new: Signer, **spoiled: Any) -> bytes:
    """Return what the new key signs; `spoiled` replaces members of it or of its header."""
    payload = {"account": client.kid, "oldKey": client.signer.jwk} | spoiled.pop("payload", {})
    header = {"nonce": None} | spoiled.pop("header", {})
    kept = {name: value for name, value in payload.items() if value is not None}
    return new.request(kept, **{"url": KEY_CHANGE, "header": header} | spoiled)


def changed(client: Client, new: Signer, **spoiled: Any) -> Result:
    """Ask for the key to be changed."""
    return client.post(KEY_CHANGE, inner(client, new, **spoiled))


def facts(lab: Lab, client: Client) -> list[Any]:
    """Return the data of the account's key changes, from the journal."""
    account_id = str(client.kid).rpartition("/")[2]
    lines = map(msgspec.json.decode, lab.journal())
    return [
        line["data"]
        for line in lines
        if line["type"] == "account.key-changed" and line["data"]["account_id"] == account_id
    ]


def test_the_directory_says_where_keys_are_changed(lab: Lab) -> None:
    assert lab.wire.simulate_get("/acme/directory").json["keyChange"] == KEY_CHANGE


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_an_account_goes_on_with_its_new_key_of_any_kind(
    lab: Lab, client: Client, alg: str
) -> None:
    old, new, kid = client.signer, a_signer(alg), client.kid
    order = client.placed("web.lab.test")
    result = changed(client, new)
    assert result.status_code == 200
    assert result.headers["location"] == kid
    assert result.json["status"] == "valid"
    assert result.json["contact"] == ["mailto:admin@corp.test"]
    # The old key is nobody's now ...
    status, kind, _detail = problem(client.post(str(kid)))
    assert (status, kind) == (400, "badSignatureAlgorithm") if alg != "ES256" else (400, kind)
    # ... the new one finds the account, and all that it had.
    client.signer, client.kid = new, None
    assert client.post(f"{URL}/acme/new-account", {"onlyReturnExisting": True}).headers[
        "location"
    ] == str(kid)
    client.kid = kid
    assert client.see(order)["status"] == "pending"
    assert client.prove(order)["status"] == "ready"
    [fact] = facts(lab, client)
    assert fact["jwk"] == new.jwk
    assert fact["previous"] != fact["thumbprint"]
    # Whoever has the old key may open another account with it.
    assert lab.client(old).register().status_code == 201


def test_a_key_that_an_account_has_is_a_conflict_with_its_url(lab: Lab, client: Client) -> None:
    other = lab.client()
    other.register()
    for holder in (other, client):
        result = changed(client, holder.signer)
        assert problem(result)[:2] == (409, "malformed")
        assert result.headers["location"] == holder.kid
        assert "replay-nonce" in result.headers
    assert facts(lab, client) == []
    assert client.see(str(client.kid))["status"] == "valid"


def test_a_key_that_is_registered_in_the_same_moment_is_a_conflict_too(
    lab: Lab, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer, new, raced = lab.server.committer, a_signer(), []
    submit = committer.submit

    def overtaken(command: Any) -> Any:
        if not raced:
            raced.append(True)
            raced.append(lab.client(new).register().headers["location"])
        return submit(command)

    monkeypatch.setattr(committer, "submit", overtaken)
    result = changed(client, new)
    assert problem(result)[0] == 409
    assert result.headers["location"] == raced[1]


def test_the_old_key_is_itself_however_it_is_written(client: Client) -> None:
    adorned = client.signer.jwk | {"kid": "x", "use": "sig", "alg": "ES256"}
    assert changed(client, a_signer(), payload={"oldKey": adorned}).status_code == 200


SPOILED: dict[str, tuple[dict[str, Any], str, str]] = {
    "another url": ({"url": f"{URL}/acme/new-order"}, "malformed", "is for the url"),
    "no url": ({"header": {"nonce": None, "url": None}}, "malformed", "is for the url"),
    "a nonce": ({"header": {"nonce": "AAAA"}}, "malformed", "nonce"),
    "a kid": ({"kid": f"{URL}/acme/acct/{'0' * 26}"}, "malformed", "signed with a 'jwk'"),
    "another account": (
        {"payload": {"account": f"{URL}/acme/acct/{'0' * 26}"}},
        "unauthorized",
        "the account",
    ),
    "an account elsewhere": (
        {"payload": {"account": "https://evil.test/acme/acct/1"}},
        "unauthorized",
        "the account",
    ),
    "no account": ({"payload": {"account": None}}, "malformed", "account"),
    "no old key": ({"payload": {"oldKey": None}}, "malformed", "oldKey"),
    "another old key": ({"payload": {"oldKey": the_signer().jwk}}, "malformed", "oldKey"),
    "an old key that is none": ({"payload": {"oldKey": {"kty": "EC"}}}, "badPublicKey", "curve"),
    "an old key that is text": ({"payload": {"oldKey": "key"}}, "malformed", "jwk"),
    "no signature": ({"signature": b""}, "malformed", "signature"),
    "another signature": ({"signature": b"\1" * 64}, "malformed", "signature"),
    "alg none": ({"header": {"nonce": None, "alg": "none"}}, "badSignatureAlgorithm", "algorithm"),
    "alg of another key": (
        {"header": {"nonce": None, "alg": "RS256"}},
        "badSignatureAlgorithm",
        "algorithm",
    ),
    "a secret in the key": (
        {"header": {"nonce": None, "jwk": the_signer().jwk | {"d": "AA"}}},
        "malformed",
        "secret",
    ),
    "a shared secret": (
        {"header": {"nonce": None, "jwk": {"kty": "oct", "k": "AA"}}},
        "malformed",
        "secret",
    ),
    "crit": ({"header": {"nonce": None, "crit": ["x"]}}, "malformed", "crit"),
    "an unprotected header": ({"outer": {"header": {}}}, "malformed", "unprotected"),
}


@pytest.mark.parametrize(("spoil", "kind", "says"), SPOILED.values(), ids=SPOILED)
def test_a_new_key_that_does_not_say_so_itself_changes_nothing(
    lab: Lab, client: Client, spoil: dict[str, Any], kind: str, says: str
) -> None:
    result = changed(client, a_signer(), **spoil)
    status, seen, detail = problem(result)
    assert (status, seen) == (403 if kind == "unauthorized" else 400, kind)
    assert detail.startswith("in the JWS of the new key: ")
    assert says in detail
    assert facts(lab, client) == []


def test_a_weak_key_becomes_nobodys(lab: Lab, client: Client) -> None:
    weak = the_signer("RS256").jwk | {"e": "Aw"}
    result = changed(client, the_signer("RS256"), header={"nonce": None, "jwk": weak})
    assert problem(result)[:2] == (400, "badPublicKey")
    assert facts(lab, client) == []


def test_what_another_account_wanted_for_itself_is_not_for_this_one(
    lab: Lab, client: Client
) -> None:
    """A JWS by a new key that was seen elsewhere names the account it was made for."""
    other = lab.client()
    other.register()
    stolen = inner(other, a_signer())
    assert problem(client.post(KEY_CHANGE, stolen))[:2] == (403, "unauthorized")


@pytest.mark.parametrize("payload", [b"", b"{}", b"rubbish", b'{"account":"x","oldKey":{}}'])
def test_a_change_without_the_new_keys_word_is_malformed(client: Client, payload: bytes) -> None:
    assert problem(client.post(KEY_CHANGE, payload))[:2] == (400, "malformed")


def test_only_the_account_itself_changes_its_key(lab: Lab, client: Client) -> None:
    new = a_signer()
    body = client.signed(KEY_CHANGE, inner(client, new), kid=None)
    assert problem(client.send(KEY_CHANGE, body))[:2] == (400, "malformed")
    client.post(str(client.kid), {"status": "deactivated"})
    assert problem(changed(client, new))[:2] == (403, "unauthorized")
    row = lab.server.committer.get(ACCOUNTS, str(client.kid).rpartition("/")[2])
    assert row is not None
    assert row.jwk == client.signer.jwk


def test_an_account_may_name_itself_by_any_of_the_servers_addresses(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    other = "https://other.lab.test"
    with a_lab(tmp_path_factory.mktemp("lab"), url=(URL, other)) as lab:
        client = lab.client()
        client.register()
        named = str(client.kid).replace(URL, other)
        new = a_signer()
        signed = inner(client, new, payload={"account": named}, url=f"{other}/acme/key-change")
        body = client.signed(f"{other}/acme/key-change", signed)
        assert client.send("/acme/key-change", body).status_code == 200

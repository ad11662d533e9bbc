"""External account bindings as clients meet them (RFC 8555 section 7.3.4); keys come from the
administrator's side of a running server.
"""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.admin import eab as making
from certeasy.admin.client import ask
from certeasy.admin.desk import InstructionRefused
from certeasy.admin.eab import EabMade, RevokeEab
from certeasy.clock import SystemClock
from certeasy.ids import RandomIds
from certeasy.settings import CertificateProfile
from events.envelope import parse
from projections.eab import EAB_KEYS
from projections.orders import ORDERS
from tests.fakes.clocks import HeldClock
from tests.make.bindings import (
    NEW_ACCOUNT,
    a_key,
    binding,
    bound_client,
    register,
    unpadded,
)
from tests.make.checks import check_node
from tests.make.csrs import a_csr, p256
from tests.make.lab import URL, Client, Lab, Result, a_lab, problem
from tests.make.server import a_server, lab_settings
from tests.make.signers import a_signer, b64


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server that takes nobody without a binding."""
    with a_lab(tmp_path_factory.mktemp("closed"), external_account_required=True) as made:
        yield made


def revoked(lab: Lab, key: EabMade) -> None:
    assert ask(lab.server.settings.workdir, RevokeEab(key.kid)) is not None


def types(lab: Lab) -> list[str]:
    lines = lab.journal()
    return [parse(line).envelope.type for line in lines]


# -- binding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("kind", ["ES256", "RS256", "EdDSA"])
def test_an_account_is_bound_with_a_key_that_was_handed_out(lab: Lab, alg: str, kind: str) -> None:
    """RFC 8555 section 7.3.4: the account returned has the binding of the request."""
    key, client = a_key(lab), lab.client(a_signer(kind))
    bound = binding(key, client.signer, alg=alg)
    result = register(client, bound, contact=["mailto:ops@lab.test"])
    assert result.status_code == 201
    assert result.json["externalAccountBinding"] == bound
    assert lab.server.node.store.accounts_bound()[key.kid] == 1


def test_pitfall_9_other_members_of_the_jwk_change_nothing(lab: Lab) -> None:
    """Pitfall 9: `kid`, `use`, `alg` in the JWK, and its order, do not change whose key it is."""
    key, client = a_key(lab), lab.client()
    other = dict(reversed(client.signer.jwk.items())) | {"kid": "x", "use": "sig", "alg": "ES256"}
    assert register(client, binding(key, client.signer, jwk=other)).status_code == 201


def test_pitfall_16_a_key_is_32_bytes_of_unpadded_base64url(lab: Lab) -> None:
    """Pitfall 16: no padding, no other alphabet, at most 64 characters."""
    for _ in range(20):
        key = a_key(lab)
        assert len(unpadded(key.hmac_key)) == 32
        assert len(key.hmac_key) == 43
        assert not set(key.hmac_key) & set("+/= ")


class Given(RandomIds):
    """Ids whose next random bytes are given."""

    def __init__(self, *given: bytes) -> None:
        super().__init__(SystemClock())
        self.given = list(given)

    def random(self, length: int) -> bytes:
        return self.given.pop(0) if self.given and length == 32 else super().random(length)


def test_pitfall_16_no_command_line_takes_a_key_for_an_option(lab: Lab) -> None:
    """Pitfall 16: a key is pasted behind an option, where a hyphen would begin another one."""
    given = [b"\xf8" + bytes(31), b"\xfb" * 32, b"\x00" * 32]
    assert [b64(each)[0] for each in given] == ["-", "-", "A"]
    assert making._a_key(Given(*given)) == given[-1]
    assert not any(a_key(lab).hmac_key.startswith("-") for _ in range(20))


def test_pitfall_16_the_same_account_with_a_binding_again_is_found(lab: Lab) -> None:
    """Pitfall 16: an existing account that sends a binding again gets 200, not an error."""
    client, key = bound_client(lab, max_uses=1)
    kid = client.kid
    again = register(client, binding(key, client.signer))
    assert (again.status_code, again.headers["location"]) == (200, kid)
    revoked(lab, key)
    again = register(client, binding(key, client.signer))
    assert (again.status_code, again.headers["location"]) == (200, kid)
    result = client.post(NEW_ACCOUNT, {"onlyReturnExisting": True}, kid=None)
    assert result.status_code == 200


def test_pitfall_16_a_client_that_did_not_decode_the_key_is_told_so(lab: Lab) -> None:
    """Pitfall 16: keys are pasted encoded once too often, or once too little."""
    key, client = a_key(lab), lab.client()
    text = key.hmac_key.encode()
    result = register(client, binding(key, client.signer, secret=text))
    assert problem(result)[:2] == (403, "unauthorized")
    assert "with its text: the client has to decode it" in result.json["detail"]


def test_pitfall_17_where_a_binding_is_required_it_says_so_with_403(closed: Lab) -> None:
    """Pitfall 17: the RFC gives no status; 403 it is. The directory tells (section 7.1.1)."""
    meta = closed.wire.simulate_get("/acme/directory").json["meta"]
    assert meta["externalAccountRequired"] is True
    client = closed.client()
    for nothing in ({}, {"externalAccountBinding": None}):
        result = client.post(NEW_ACCOUNT, {"termsOfServiceAgreed": True} | nothing)
        assert problem(result)[:2] == (403, "externalAccountRequired")
    client, _key = bound_client(closed)
    assert client.order("web.lab.test").status_code == 201


def test_where_no_binding_is_required_the_directory_is_silent(lab: Lab) -> None:
    directory = lab.wire.simulate_get("/acme/directory").json
    assert "externalAccountRequired" not in directory.get("meta", {})
    client = lab.client()
    assert client.register().status_code == 201
    assert "externalAccountBinding" not in client.see(str(client.kid))


def test_accounts_that_were_there_before_a_binding_was_required_stay(tmp_path: Path) -> None:
    with a_lab(tmp_path / "w") as lab:
        early = lab.client()
        early.register()
    with a_lab(tmp_path / "w", external_account_required=True) as lab:
        again = lab.client(early.signer)
        assert again.register().status_code == 200
        assert again.order("web.lab.test").status_code == 201


# -- what is no binding --------------------------------------------------------------------------

ANOTHER = a_signer("ES256")
WRONG: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "another MAC key": ({"secret": b"x" * 32}, 403, "unauthorized", "was not made with the key"),
    "an empty MAC key": ({"secret": b""}, 403, "unauthorized", "was not made with the key"),
    "unknown kid": ({"kid": "0" * 26}, 403, "unauthorized", "is not known here"),
    "kid of no form": ({"kid": "../nonces"}, 403, "unauthorized", "is not known here"),
    "no kid": ({"kid": None}, 400, "malformed", "has no 'kid'"),
    "kid is no text": ({"kid": 7}, 400, "malformed", "kid"),
    "another url": ({"url": f"{URL}/acme/new-order"}, 400, "malformed", "is for the url"),
    "no url": ({"url": None}, 400, "malformed", "is for the url"),
    "a nonce": ({"nonce": "AAAA"}, 400, "malformed", "must not be"),
    "a jwk": ({"jwk": {"kty": "oct"}}, 400, "malformed", "must not be"),
    "crit": ({"crit": ["b64"], "b64": False}, 400, "malformed", "must not be"),
    "another key": ({"jwk_": ANOTHER.jwk}, 400, "malformed", "signs another key"),
    "a payload that is no key": ({"jwk_": b"{}"}, 400, "malformed", "kty"),
    "an endless payload": ({"jwk_": b"{" + b" " * 5000}, 400, "malformed", "signs another key"),
    "none": ({"alg": "none"}, 400, "badSignatureAlgorithm", "use one of HS256"),
    "ES256": ({"alg": "ES256"}, 400, "badSignatureAlgorithm", "use one of HS256"),
    "HS1": ({"alg": "HS1"}, 400, "badSignatureAlgorithm", "use one of HS256"),
}


@pytest.mark.parametrize(("spoiled", "status", "kind", "said"), WRONG.values(), ids=WRONG)
def test_a_binding_that_does_not_hold_binds_nobody(
    lab: Lab, spoiled: dict[str, Any], status: int, kind: str, said: str
) -> None:
    key, client = a_key(lab), lab.client()
    changed = {("jwk" if name == "jwk_" else name): value for name, value in spoiled.items()}
    if "jwk" in spoiled:  # in the header, where it does not belong
        jwk = changed.pop("jwk")
        bound = binding(key, client.signer, **changed)
        members = {"alg": "HS256", "kid": key.kid, "url": NEW_ACCOUNT, "jwk": jwk}
        bound["protected"] = b64(members)
    else:
        bound = binding(key, client.signer, **changed)
    result = register(client, bound)
    assert problem(result)[:2] == (status, kind)
    assert said in result.json["detail"]
    assert key.kid not in lab.server.node.store.accounts_bound()


def shape(bound: dict[str, str], **changes: Any) -> dict[str, Any]:
    members = bound | changes
    return {name: value for name, value in members.items() if value is not None}


SHAPES: dict[str, Any] = {
    "a text": "eyJhbGciOiJIUzI1NiJ9",
    "a list": [],
    "nothing in it": {},
    "no signature": {"signature": None},
    "an unprotected header": {"header": {"alg": "HS256"}},
    "a list of signatures": {"signatures": []},
    "a padded signature": {"signature": "A" * 43 + "="},
    "an endless signature": {"signature": "A" * 200},
    "an endless payload": {"payload": "A" * 9000},
    "an endless header": {"protected": "A" * 9000},
    "a header that is no JSON": {"protected": b64(b"{")},
    "a header of another alphabet": {"protected": "+/+/"},
}


@pytest.mark.parametrize("wrong", SHAPES.values(), ids=SHAPES)
def test_what_is_no_jws_is_malformed(lab: Lab, wrong: Any) -> None:
    key, client = a_key(lab), lab.client()
    bound = binding(key, client.signer)
    sent = shape(bound, **wrong) if isinstance(wrong, dict) and wrong else wrong
    assert problem(register(client, sent))[:2] == (400, "malformed")


def test_an_hmac_does_not_sign_a_request_nor_a_signature_a_binding(lab: Lab) -> None:
    """Algorithm confusion: each of the two readers knows its own algorithms only."""
    key, client = a_key(lab), lab.client()
    body = client.signed(NEW_ACCOUNT, {}, kid=None, header={"alg": "HS256"})
    assert problem(client.send(NEW_ACCOUNT, body))[1] == "badSignatureAlgorithm"
    signed = msgspec.json.decode(client.signer.request(b64(b"{}").encode(), url=NEW_ACCOUNT))
    assert problem(register(client, signed))[1] == "badSignatureAlgorithm"
    with_kid = shape(signed, protected=b64({"alg": "ES256", "kid": key.kid, "url": NEW_ACCOUNT}))
    assert problem(register(client, with_kid))[1] == "badSignatureAlgorithm"


# -- bounds --------------------------------------------------------------------------------------


def test_a_key_that_has_run_out_was_used_up_or_taken_back_binds_nobody(tmp_path: Path) -> None:
    clock = HeldClock()
    with a_lab(tmp_path / "w", clock=clock) as lab:
        once = a_key(lab, max_uses=1)
        short = a_key(lab, valid=timedelta(minutes=5))
        gone = a_key(lab)
        first = lab.client()
        assert register(first, binding(once, first.signer)).status_code == 201
        revoked(lab, gone)
        clock.pass_by(301)
        for key, said in ((once, "was used once"), (short, "expired at"), (gone, "")):
            client = lab.client()
            result = register(client, binding(key, client.signer))
            assert problem(result)[:2] == (403, "unauthorized")
            assert said in result.json["detail"]
            assert "ask whoever runs this server for another one" in result.json["detail"]


def test_a_key_binds_exactly_as_many_as_it_may_whoever_comes_at_once(lab: Lab) -> None:
    key = a_key(lab, max_uses=3)
    clients = [lab.client() for _ in range(12)]
    statuses: list[int] = []
    begin = threading.Barrier(len(clients))

    def come(client: Client) -> None:
        bound = binding(key, client.signer)
        begin.wait(10.0)
        statuses.append(register(client, bound).status_code)

    threads = [threading.Thread(target=come, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert sorted(statuses) == [201] * 3 + [403] * 9
    row = lab.server.committer.get(EAB_KEYS, key.kid)
    assert row is not None
    assert row.uses == 3


def test_the_same_request_twice_at_once_uses_a_key_once(lab: Lab) -> None:
    """A client that comes twice at once has one account, though the key is used up by then."""
    key, signer = a_key(lab, max_uses=1), a_signer("ES256")
    clients = [lab.client(signer) for _ in range(6)]
    answers: list[Result] = []
    begin = threading.Barrier(len(clients))

    def come(client: Client) -> None:
        bound = binding(key, signer)
        begin.wait(10.0)
        answers.append(register(client, bound))

    threads = [threading.Thread(target=come, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert sorted(each.status_code for each in answers) == [200] * 5 + [201]
    assert len({each.headers["location"] for each in answers}) == 1


def test_a_revoked_key_stops_new_orders_of_its_accounts_and_of_no_other(lab: Lab) -> None:
    client, key = bound_client(lab)
    other, _ = bound_client(lab)
    begun = client.ready("web.lab.test")
    revoked(lab, key)
    result = client.order("web.lab.test")
    assert problem(result)[:2] == (403, "unauthorized")
    assert f"The key {key.kid}, with which this account was bound" in result.json["detail"]
    assert client.see(str(client.kid))["status"] == "valid"
    assert client.see(begun)["status"] == "ready"  # what was begun may be finished
    assert other.order("web.lab.test").status_code == 201


def test_accounts_of_a_key_order_only_the_names_it_allows(lab: Lab) -> None:
    client, key = bound_client(lab, allow=(".shop.lab.test/1", "=www.lab.test"))
    assert client.order("a.shop.lab.test", "www.lab.test").status_code == 201
    result = client.order("a.shop.lab.test", "web.lab.test", "b.a.shop.lab.test")
    assert problem(result)[:2] == (400, "rejectedIdentifier")
    told = [each["identifier"]["value"] for each in result.json["subproblems"]]
    assert told == ["web.lab.test", "b.a.shop.lab.test"]
    assert f"external account binding {key.kid}: .shop.lab.test/1" in result.json["detail"]
    client, _ = bound_client(lab, allow=("=elsewhere.test",))
    result = client.order("elsewhere.test")  # the key allows it, no policy does
    assert problem(result)[:2] == (400, "rejectedIdentifier")


def test_names_that_a_key_grants_are_born_valid_with_the_rule_in_the_log(lab: Lab) -> None:
    client, key = bound_client(lab, allow=(".shop.lab.test/1",), prevalidated=True)
    order = client.placed("a.shop.lab.test")
    assert client.see(order)["status"] == "ready"
    [authorization] = [client.see(url) for url in client.see(order)["authorizations"]]
    assert authorization["status"] == "valid"
    [challenge] = authorization["challenges"]
    assert challenge["status"] == "valid"
    line = lab.journal()[-2]
    fact = msgspec.json.decode(line)
    assert fact["type"] == "authorization.prevalidated"
    assert fact["data"]["rule"] == f"eab {key.kid}"
    assert client.certificate("b.shop.lab.test")


def test_names_that_a_key_granted_are_not_issued_for_once_it_was_taken_back(lab: Lab) -> None:
    client, key = bound_client(lab, allow=(".shop.lab.test/1",), prevalidated=True)
    order = client.placed("a.shop.lab.test")
    revoked(lab, key)
    result = client.finalize(order, a_csr("a.shop.lab.test", key=p256(1)))
    assert problem(result)[:2] == (403, "unauthorized")
    assert client.see(order)["status"] == "ready"


def test_a_proof_ahead_of_any_order_is_bound_as_an_order_is(tmp_path: Path) -> None:
    """RFC 8555 section 7.4.1: newAuthz permits no more than an order does."""
    with a_lab(tmp_path / "w", pre_authorization=True) as lab:
        client, key = bound_client(lab, allow=(".shop.lab.test/1",), prevalidated=True)

        def ask(name: str) -> Result:
            identifier = {"type": "dns", "value": name}
            return client.post(f"{URL}/acme/new-authz", {"identifier": identifier})

        assert problem(ask("web.lab.test"))[:2] == (400, "rejectedIdentifier")
        opened = ask("a.shop.lab.test")
        assert (opened.status_code, opened.json["status"]) == (201, "pending")
        assert client.see(client.placed("a.shop.lab.test"))["status"] == "ready"
        revoked(lab, key)
        assert problem(ask("a.shop.lab.test"))[:2] == (403, "unauthorized")


def test_a_binding_stays_when_the_account_changes_its_key(lab: Lab) -> None:
    """RFC 8555 section 7.3.5: the account is the same, and so is what it may do."""
    client, key = bound_client(lab, allow=("=www.lab.test",))
    signer = a_signer("ES256")
    url = f"{URL}/acme/key-change"
    inner = signer.request(
        {"account": client.kid, "oldKey": client.signer.jwk}, url=url, header={"nonce": None}
    )
    assert client.post(url, inner).status_code == 200
    client.signer = signer
    assert client.order("www.lab.test").status_code == 201
    assert problem(client.order("web.lab.test"))[1] == "rejectedIdentifier"
    revoked(lab, key)
    assert problem(client.order("www.lab.test"))[1] == "unauthorized"


def revocation(client: Client, chain: bytes) -> Result:
    """Ask for the first certificate of a chain to be revoked."""
    leaf = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)
    return client.post(f"{URL}/acme/revoke-cert", {"certificate": b64(leaf)})


def test_accounts_of_a_revoked_key_end_their_own_certificates_and_nobody_elses(lab: Lab) -> None:
    """RFC 8555 section 7.6: who holds authorizations for all names revokes; not with a lost key."""
    other = lab.client()
    other.register()
    theirs = [other.certificate("a.shop.lab.test") for _ in range(2)]
    client, key = bound_client(lab, allow=(".shop.lab.test/1",), prevalidated=True)
    own = client.certificate("a.shop.lab.test")
    assert revocation(client, theirs[0]).status_code == 200
    revoked(lab, key)
    assert problem(revocation(client, theirs[1]))[:2] == (403, "unauthorized")
    assert revocation(client, own).status_code == 200


def test_a_key_without_prevalidation_leaves_the_proof_to_the_client(lab: Lab) -> None:
    client, _ = bound_client(lab, allow=(".shop.lab.test/1",))
    assert client.see(client.placed("a.shop.lab.test"))["status"] == "pending"


def test_accounts_of_a_key_order_under_its_policy(tmp_path: Path) -> None:
    settings = lab_settings(tmp_path / "w")
    [first] = settings.issuance_policies
    [binding_] = settings.policy_bindings
    replace = msgspec.structs.replace
    with a_server(
        tmp_path / "w",
        issuance_policies=(first, replace(first, name="second")),
        policy_bindings=(binding_, replace(binding_, policy="second")),
    ) as server:
        lab = Lab(server, {})
        for bounds, policy in (({}, "lab"), ({"policy": "second"}, "second")):
            client, _ = bound_client(lab, **bounds)
            order_id = client.placed("web.lab.test").rpartition("/")[2]
            stored = server.committer.get(ORDERS, order_id)
            assert stored is not None
            assert stored.policy == policy


def test_accounts_of_a_key_order_its_profile(tmp_path: Path) -> None:
    short = CertificateProfile("short", "for a day", "lab", max_validity=timedelta(days=1))
    long = CertificateProfile("long", "for a year", "lab")
    with a_server(tmp_path / "w", profiles=(short, long)) as server:
        lab = Lab(server, {})
        client, _ = bound_client(lab, profile="short", policy="lab")
        order = client.placed("web.lab.test")
        stored = server.committer.get(ORDERS, order.rpartition("/")[2])
        assert stored is not None
        assert stored.profile == "short"
        assert client.order("web.lab.test", profile="short").status_code == 201
        result = client.order("web.lab.test", profile="long")
        assert problem(result)[:2] == (400, "invalidProfile")
        with pytest.raises(InstructionRefused, match="no profile 'medium' is configured"):
            a_key(lab, profile="medium")


def test_a_key_of_a_profile_and_of_another_policy_is_not_made(tmp_path: Path) -> None:
    settings = lab_settings(tmp_path / "w")
    [first] = settings.issuance_policies
    [bound] = settings.policy_bindings
    replace = msgspec.structs.replace
    with (
        a_server(
            tmp_path / "w",
            issuance_policies=(first, replace(first, name="second")),
            policy_bindings=(bound, replace(bound, policy="second")),
            profiles=(CertificateProfile("short", "for a day", "lab"),),
        ) as server,
        pytest.raises(InstructionRefused, match="is one of policy lab, not of second"),
    ):
        a_key(Lab(server, {}), profile="short", policy="second")


UNKNOWN = {
    "policy": ({"policy": "nobody's"}, 'no policy "nobody\'s" is configured; known: lab'),
    "challenge": ({"challenges": ("smtp-01",)}, "no challenge type 'smtp-01' is configured"),
    "rule": ({"allow": ("lab.test",)}, "about names is wrong"),
    "comment": ({"comment": "two\nlines"}, "cannot be printed"),
    "grant of nothing": ({"prevalidated": True}, "nothing can be prevalidated"),
}


@pytest.mark.parametrize(("bounds", "said"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_key_with_bounds_that_nothing_meets_is_not_made(
    lab: Lab, bounds: dict[str, Any], said: str
) -> None:
    before = types(lab).count("eab.created")
    with pytest.raises(InstructionRefused) as caught:
        a_key(lab, **bounds)
    assert said.replace('"', "'") in str(caught.value).replace('"', "'")
    assert types(lab).count("eab.created") == before


# -- secrets -------------------------------------------------------------------------------------


def test_a_key_is_in_no_file_in_clear_and_nowhere_once_it_was_taken_back(tmp_path: Path) -> None:
    with a_lab(tmp_path / "w") as lab:
        client, key = bound_client(lab)
        secret = unpadded(key.hmac_key)
        name = f"eab/{key.kid}"
        assert lab.server.node.secrets.get(name) == secret
        files = [path for path in (tmp_path / "w").rglob("*") if path.is_file()]
        for path in files:
            content = path.read_bytes()
            assert secret not in content, path
            assert key.hmac_key.encode() not in content, path
        revoked(lab, key)
        assert lab.server.node.secrets.get(name) is None
        result = register(lab.client(), binding(key, client.signer))
        assert result.status_code == 400  # signed for another key than the request's
    check_node(tmp_path / "w")


def test_a_key_survives_a_restart_and_its_uses_do(tmp_path: Path) -> None:
    with a_lab(tmp_path / "w") as lab:
        _client, key = bound_client(lab, max_uses=2)
    with a_lab(tmp_path / "w") as lab:
        second, third = lab.client(), lab.client()
        assert register(second, binding(key, second.signer)).status_code == 201
        assert register(third, binding(key, third.signer)).status_code == 403


def test_a_key_whose_secret_was_lost_binds_nobody_and_says_so(tmp_path: Path) -> None:
    with a_lab(tmp_path / "w") as lab:
        key = a_key(lab)
        with lab.server.node.store.repeatable() as transaction:
            transaction.drop_secret(f"eab/{key.kid}")
        client = lab.client()
        result = register(client, binding(key, client.signer))
        assert problem(result)[:2] == (403, "unauthorized")
        assert "is not known here" in result.json["detail"]

"""A nonce is good once: in order, all at once, after a refusal, and after the server was restarted.

RFC 8555 section 6.5. What a wrong signature comes with is not used up by it: nobody can spend
another's nonces without the other's key.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from certeasy.settings import NameRules
from tests.make.doors import DOORS, Owner, a_hostile_lab, sent
from tests.make.lab import URL, Client, Lab, Result, problem
from tests.make.server import a_server, lab_settings

AT_ONCE = 12


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_hostile_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(scope="module")
def owner(lab: Lab) -> Owner:
    return Owner(lab, 1)


def position(lab: Lab) -> int:
    return lab.server.node.store.head().position


def bad_nonce(result: Result) -> str:
    """Return the reason, after checking that it is badNonce in the words that acme.sh knows."""
    status, kind, detail = problem(result)
    assert (status, kind) == (400, "badNonce"), detail
    assert detail.startswith("JWS has an invalid anti-replay nonce: ")
    return detail


# What they change could not be asked for by the others after them.
LASTING = ("/acme/revoke-cert", "/acme/key-change")


@pytest.mark.parametrize("path", [path for path in DOORS if path not in LASTING])
def test_the_same_request_is_refused_the_second_time(lab: Lab, owner: Owner, path: str) -> None:
    door = DOORS[path]
    spoil = {"kid": None} if door.by_key else {}
    body = owner.client.signed(door.url(owner), door.right(owner), **spoil)
    assert owner.client.send(door.url(owner), body).status_code in (200, 201, 204)
    before = position(lab)
    for _ in range(2):
        assert "it has been used" in bad_nonce(owner.client.send(door.url(owner), body))
    assert position(lab) == before


def test_a_nonce_is_used_up_for_every_other_request_too(lab: Lab, owner: Owner) -> None:
    client, nonce = owner.client, lab.a_nonce()
    assert client.post(owner.order, nonce=nonce).status_code == 200
    assert "used" in bad_nonce(client.post(owner.valid, nonce=nonce))
    assert "used" in bad_nonce(lab.client().post(f"{URL}/acme/new-account", {}, nonce=nonce))


REFUSED: dict[str, Callable[[Client, Owner, str], Result]] = {
    "a payload that is no JSON": lambda c, o, nonce: c.post(o.order, b"{", nonce=nonce),
    "a payload where none belongs": lambda c, o, nonce: c.post(o.order, {}, nonce=nonce),
    "a name that is no name": lambda c, _, nonce: c.post(
        f"{URL}/acme/new-order", {"identifiers": [{"type": "dns", "value": "-"}]}, nonce=nonce
    ),
    "a name that no policy allows": lambda c, _, nonce: c.post(
        f"{URL}/acme/new-order", {"identifiers": [{"type": "dns", "value": "x.y"}]}, nonce=nonce
    ),
    "an order that is not ready": lambda c, o, nonce: c.post(
        o.order.replace("/order/", "/finalize/"), {"csr": "AAAA"}, nonce=nonce
    ),
    "a certificate of nobody": lambda c, _, nonce: c.post(
        f"{URL}/acme/revoke-cert", {"certificate": "AAAA"}, nonce=nonce
    ),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_a_nonce_of_a_refused_request_is_used_up(
    lab: Lab, owner: Owner, refused: Callable[[Client, Owner, str], Result]
) -> None:
    nonce = lab.a_nonce()
    assert problem(refused(owner.client, owner, nonce))[1] != "badNonce"
    assert "used" in bad_nonce(refused(owner.client, owner, nonce))
    assert "used" in bad_nonce(owner.client.post(owner.order, nonce=nonce))


def test_a_wrong_signature_uses_up_no_nonce(lab: Lab, owner: Owner) -> None:
    nonce = lab.a_nonce()
    stranger = lab.client()
    stranger.kid = owner.account
    assert problem(stranger.post(owner.order, nonce=nonce))[1] == "malformed"
    assert owner.client.post(owner.order, nonce=nonce).status_code == 200


def test_a_wrong_url_uses_up_the_nonce_or_not_but_never_opens_a_door_twice(
    lab: Lab, owner: Owner
) -> None:
    nonce = lab.a_nonce()
    spoiled = {"nonce": nonce, "header": {"url": owner.valid}}
    assert problem(owner.client.post(owner.order, **spoiled))[1] == "unauthorized"
    owner.client.post(owner.order, nonce=nonce)
    assert "used" in bad_nonce(owner.client.post(owner.order, nonce=nonce))


def all_at_once(send: Callable[[], Result], times: int = AT_ONCE) -> list[Result]:
    """Send from so many threads in the same moment; return the answers."""
    barrier, results = threading.Barrier(times), []

    def run() -> None:
        barrier.wait()
        results.append(send())

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_many_at_once_one_is_let_in(lab: Lab, owner: Owner) -> None:
    url = f"{URL}/acme/new-order"
    body = owner.client.signed(url, {"identifiers": [{"type": "dns", "value": "once.lab.test"}]})
    before = position(lab)
    results = all_at_once(lambda: lab.client().send(url, body))
    assert sorted(result.status_code for result in results) == [201] + [400] * (AT_ONCE - 1)
    assert position(lab) == before + 1
    for result in results:
        if result.status_code == 400:
            bad_nonce(result)


def test_of_many_that_ask_only_one_is_shown(lab: Lab, owner: Owner) -> None:
    body = owner.client.signed(owner.order)
    results = all_at_once(lambda: lab.client().send(owner.order, body))
    assert sorted(result.status_code for result in results) == [200] + [400] * (AT_ONCE - 1)


def test_of_many_different_requests_with_one_nonce_one_is_let_in(lab: Lab, owner: Owner) -> None:
    nonce, before = lab.a_nonce(), position(lab)
    bodies = [
        owner.client.signer.request(
            {"identifiers": [{"type": "dns", "value": f"one-of-{n}.lab.test"}]},
            url=f"{URL}/acme/new-order",
            kid=owner.account,
            nonce=nonce,
        )
        for n in range(AT_ONCE)
    ]
    results = all_at_once(lambda: lab.client().send(f"{URL}/acme/new-order", bodies.pop()))
    assert sorted(result.status_code for result in results) == [201] + [400] * (AT_ONCE - 1)
    assert position(lab) == before + 1


def test_a_nonce_stays_used_and_an_unused_one_good_after_a_restart(tmp_path: Path) -> None:
    """What changed something is not done twice, what was refused is not done later either."""
    with a_server(tmp_path) as server:
        lab = Lab(server, {})
        client = lab.client()
        new_account = client.signed(f"{URL}/acme/new-account", {}, kid=None)
        created = client.send(f"{URL}/acme/new-account", new_account)
        client.kid = created.headers["location"]
        order = client.signed(f"{URL}/acme/new-order", _for("web.lab.test"))
        placed = client.send(f"{URL}/acme/new-order", order)
        assert placed.status_code == 201
        refused = client.signed(f"{URL}/acme/new-order", _for("web.elsewhere.test"))
        assert problem(client.send(f"{URL}/acme/new-order", refused))[1] == "rejectedIdentifier"
        changed = client.signed(client.kid, {"contact": ["mailto:me@corp.test"]})
        assert client.send(client.kid, changed).status_code == 200
        unused = lab.a_nonce()
    settings = lab_settings(tmp_path)
    (policy,) = settings.issuance_policies
    generous = msgspec.structs.replace(
        policy, dns=NameRules(allow=(".lab.test/3", ".elsewhere.test/3"))
    )
    with a_server(tmp_path, issuance_policies=(generous,)) as server:
        lab.server = server
        before = position(lab)
        for body in (order, refused):
            assert "used" in bad_nonce(client.send(f"{URL}/acme/new-order", body))
        # What changes nothing any more is a mere look: the nonces of those are kept in memory only.
        assert client.send(f"{URL}/acme/new-account", new_account).status_code == 200
        assert client.send(client.kid, changed).status_code == 200
        assert position(lab) == before
        assert client.post(client.kid, nonce=unused).status_code == 200
        assert "used" in bad_nonce(client.post(client.kid, nonce=unused))


def test_a_nonce_of_another_installation_is_not_ours(tmp_path: Path) -> None:
    with a_server(tmp_path / "one") as one, a_server(tmp_path / "other") as other:
        client = Lab(one, {}).client()
        foreign = Lab(other, {}).a_nonce()
        result = client.post(f"{URL}/acme/new-account", {}, nonce=foreign)
        assert "it was not issued here" in bad_nonce(result)


def test_a_request_to_another_installation_is_good_nowhere_else(tmp_path: Path) -> None:
    """Two servers behind one URL, one key: what was meant for one is not carried to the other."""
    with a_server(tmp_path / "one") as one, a_server(tmp_path / "other") as other:
        first, second = Lab(one, {}).client(), Lab(other, {}).client()
        body = first.signed(f"{URL}/acme/new-account", {}, kid=None)
        assert first.send(f"{URL}/acme/new-account", body).status_code == 201
        assert "it was not issued here" in bad_nonce(second.send(f"{URL}/acme/new-account", body))


def test_what_a_stranger_sends_uses_up_only_the_strangers_nonces(lab: Lab, owner: Owner) -> None:
    """A refusal for another's object spends the nonce of whoever asked, and writes nothing."""
    stranger = Owner(lab, 2)
    door = DOORS["/acme/revoke-cert"]
    nonce, before = lab.a_nonce(), position(lab)
    payload = door.right(owner)
    assert problem(sent(door, stranger, owner, payload, nonce=nonce))[0] == 403
    assert "used" in bad_nonce(sent(door, stranger, owner, payload, nonce=nonce))
    assert position(lab) == before


def _for(name: str) -> dict[str, object]:
    return {"identifiers": [{"type": "dns", "value": name}]}

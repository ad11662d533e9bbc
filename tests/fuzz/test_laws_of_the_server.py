"""Laws of the whole server: whatever comes to any of its routes, no answer is a 500.

Every route is in the table that the application's own router is compared with
(`tests/make/doors.py`). What is sent is signed as it must be and says anything, or is anything.
"""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import nearby
from tests.http.test_hostile_requests import Right
from tests.make.doors import DOORS, Owner, a_hostile_lab
from tests.make.lab import URL, Lab, Result, problem

PATHS = st.sampled_from(sorted(DOORS))
PARTS = st.sampled_from(
    ["acme", "acct", "order", "authz", "challenge", "cert", "orders", "..", ".", "", "%00", "%2e",
     "%ff", "new-order", "0" * 26, "0" * 26 + "-0", "0" * 26 + "-0-0", "\u00e9", "a" * 300, "*",
     "'"]
)  # fmt: skip
METHODS = st.sampled_from("GET HEAD POST PUT PATCH DELETE OPTIONS TRACE".split())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_hostile_lab(tmp_path_factory.mktemp("lab"), max_body_bytes=32 * 1024) as made:
        yield made


@pytest.fixture(scope="module")
def owner(lab: Lab) -> Owner:
    return Owner(lab, 1)


@pytest.fixture(autouse=True)
def nothing_is_an_error_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR):
        yield
    assert [record.getMessage() for record in caplog.records] == []


def assert_answered(result: Result) -> None:
    """Assert that the answer is a success, or a problem that is the client's."""
    assert result.status_code < 500, result.text
    if result.status_code >= 400 and result.content:
        problem(result)


def position(lab: Lab) -> int:
    return lab.server.node.store.head().position


@given(
    path=PATHS, payload=nearby.objects() | nearby.JSON.map(lambda one: nearby.written({"x": one}))
)
def test_any_object_is_answered_at_every_route(
    lab: Lab, owner: Owner, path: str, payload: bytes
) -> None:
    right = Right(owner, DOORS[path])
    assert_answered(owner.client.send(right.url, right.saying(payload)))


@given(path=PATHS, changes=nearby.changes())
def test_what_is_nearly_right_is_answered_at_every_route(
    lab: Lab, owner: Owner, path: str, changes: nearby.Changes
) -> None:
    right = Right(owner, DOORS[path])
    payload = nearby.changed(right.payload or b"{}", changes)
    assert_answered(owner.client.send(right.url, right.saying(payload)))


@given(path=PATHS, changes=nearby.changes())
def test_a_spoiled_request_is_answered_at_every_route(
    lab: Lab, owner: Owner, path: str, changes: nearby.Changes
) -> None:
    right = Right(owner, DOORS[path])
    body = nearby.changed(right.texts(), changes)
    before = position(lab)
    result = owner.client.send(right.url, body)
    assert_answered(result)
    assert position(lab) == before or result.status_code < 300


@given(path=PATHS, members=nearby.some("alg", "nonce", "url", "kid", "jwk", "crit", "b64", "x"))
def test_any_header_is_answered_at_every_route(
    lab: Lab, owner: Owner, path: str, members: dict[str, object]
) -> None:
    right = Right(owner, DOORS[path])
    header = nearby.written(right.members | members)
    assert_answered(owner.client.send(right.url, right.raw(header)))


@given(parts=st.lists(PARTS, max_size=5), method=METHODS, body=st.binary(max_size=50))
def test_any_path_is_answered_by_any_method(
    lab: Lab, parts: list[str], method: str, body: bytes
) -> None:
    path = "/" + "/".join(parts)
    headers = {"Content-Type": "application/jose+json", "Accept": "text/html"}
    result = lab.wire.simulate_request(method, path, body=body, headers=headers)
    assert_answered(result)
    assert result.content or method == "HEAD" or result.status_code in (200, 204)


@given(
    where=st.sampled_from(["order", "finalize", "authz", "challenge", "cert", "acct"]),
    which=st.text("0123456789abcdefghijklmnopqrstuv-/%.", max_size=40)
    | st.from_regex(r"[0-9a-v]{26}(-[0-9]{1,6}){0,3}", fullmatch=True),
)
def test_any_id_is_answered(lab: Lab, owner: Owner, where: str, which: str) -> None:
    url = f"{URL}/acme/{where}/{which}"
    result = owner.client.post(url)
    assert_answered(result)
    assert result.status_code >= 400 or which in owner.account


@given(
    names=st.lists(
        st.text(max_size=40) | st.sampled_from(["a.lab.test", "A.lab.test.", "*.lab.test"]),
        max_size=5,
    )
)
def test_any_names_are_ordered_or_refused(lab: Lab, owner: Owner, names: list[str]) -> None:
    storable = [str(nearby.storable(name)) for name in names]
    assert_answered(owner.client.order(*storable))


@given(contacts=st.lists(st.text(max_size=40) | st.emails().map("mailto:{}".format), max_size=4))
def test_any_contacts_are_kept_or_refused(lab: Lab, owner: Owner, contacts: list[str]) -> None:
    storable = [str(nearby.storable(contact)) for contact in contacts]
    result = owner.client.post(owner.account, {"contact": storable})
    assert_answered(result)
    if result.status_code == 200:
        assert owner.client.see(owner.account)["contact"] is not None


@given(data=st.data())
def test_any_certificate_is_revoked_or_refused(lab: Lab, owner: Owner, data: st.DataObject) -> None:
    """Nearly the owner's certificate is nobody's."""
    encoded = data.draw(nearby.near([owner.der.encode()], most=2))
    payload = b'{"certificate":"%s","reason":6}' % encoded
    right = Right(owner, DOORS["/acme/revoke-cert"])
    before = position(lab)
    result = owner.client.send(right.url, right.saying(payload))
    assert_answered(result)
    assert result.status_code >= 400
    assert position(lab) == before

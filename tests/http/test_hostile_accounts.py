"""What belongs to one account is nobody else's, at every route there is. RFC 8555 section 10.5.

The table is generated from the application's own router (`tests/make/doors.py`): a route that
nobody has said a word about fails the first test, and all others are tried by a stranger.
"""

import base64
from collections.abc import Iterator

import falcon
import falcon.inspect
import pytest
from cryptography import x509

from tests.make.doors import DOORS, SHOWN, Owner, Payload, a_hostile_lab, routes, sent
from tests.make.lab import URL, Lab, Result, problem
from tests.make.signers import a_signer, b64

ASKED = [(path, way) for path, door in DOORS.items() for way in door.strangers]


class World:
    """A server with two accounts that have one of everything, and somebody without an account."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one, self.other = Owner(lab, 1), Owner(lab, 2)

    def position(self) -> int:
        """Return how many lines the log has."""
        return self.lab.server.node.store.head().position


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with a_hostile_lab(tmp_path_factory.mktemp("lab")) as lab:
        made = World(lab)
        yield made
        # After all of that each account still has what it had.
        for owner in (made.one, made.other):
            client = owner.client
            assert client.see(owner.account)["contact"] == [owner.contact]
            assert client.see(owner.order)["status"] == "pending"
            assert client.post(owner.finalize, owner.csr).status_code == 200


def assert_kept(result: Result, owner: Owner, told: str) -> None:
    """Assert that an answer says nothing of the owner's but what the question said itself."""
    head = " ".join(f"{name}: {value}" for name, value in result.headers.items())
    answered = f"{head} {result.text}"
    leaked = [secret for secret in owner.secrets() if secret in answered and secret not in told]
    assert not leaked, answered


def test_somebody_has_said_what_stands_at_every_route(world: World) -> None:
    app = world.lab.server.acme
    unknown = set(routes(app)) - set(DOORS) - SHOWN
    assert not unknown, f"say in tests/make/doors.py what stands at {sorted(unknown)}"
    gone = (set(DOORS) | SHOWN) - set(routes(app))
    assert not gone, f"tests/make/doors.py speaks of {sorted(gone)}, which there is no more"
    # What is shown to everybody cannot be changed by anybody.
    for path in SHOWN:
        assert routes(app)[path] <= {"GET", "HEAD"}
    # Whatever is reached without a route would be in no table.
    assert falcon.inspect.inspect_sinks(app) == []
    assert falcon.inspect.inspect_static_routes(app) == []


@pytest.mark.parametrize(("path", "way"), ASKED, ids=str)
def test_another_accounts_object_is_neither_shown_nor_changed(
    world: World, path: str, way: str
) -> None:
    door = DOORS[path]
    for thief, owner in ((world.one, world.other), (world.other, world.one)):
        payload = door.strangers[way](owner)
        before = world.position()
        result = sent(door, thief, owner, payload)
        assert problem(result)[0] in (403, 404), result.text
        assert world.position() == before
        assert_kept(result, owner, door.url(owner))


@pytest.mark.parametrize(("path", "way"), ASKED, ids=str)
def test_a_key_without_an_account_gets_nothing_of_anybody(
    world: World, path: str, way: str
) -> None:
    door, owner = DOORS[path], world.one
    stranger = world.lab.client()
    before = world.position()
    result = stranger.post(door.url(owner), door.strangers[way](owner))
    assert problem(result)[0] in (400, 403), result.text
    assert world.position() == before
    assert_kept(result, owner, door.url(owner))


@pytest.mark.parametrize(("path", "way"), ASKED, ids=str)
def test_an_account_is_not_believed_by_its_name_alone(world: World, path: str, way: str) -> None:
    """The kid is the owner's, the signature a stranger's: with a key of the same kind, another."""
    door, owner = DOORS[path], world.one
    for signer in (world.other.client.signer, a_signer("ES256"), a_signer("EdDSA")):
        stranger = world.lab.client(signer)
        stranger.kid = owner.account
        before = world.position()
        result = stranger.post(door.url(owner), door.strangers[way](owner))
        assert problem(result)[:2] in ((400, "malformed"), (400, "badSignatureAlgorithm"))
        assert world.position() == before
        assert_kept(result, owner, door.url(owner) + owner.account)


@pytest.mark.parametrize("path", [path for path, door in DOORS.items() if door.strangers])
def test_what_belongs_to_somebody_is_asked_for_by_post_only(world: World, path: str) -> None:
    taken = routes(world.lab.server.acme)[path]
    assert taken == {"POST"}
    where = DOORS[path].url(world.one).removeprefix("https://acme.lab.test")
    for method in set(falcon.HTTP_METHODS) - taken - {"OPTIONS", "CONNECT"}:
        result = world.lab.wire.simulate_request(method, where)
        assert result.status_code == 405, method
        assert_kept(result, world.one, where)


@pytest.mark.parametrize("path", [path for path, door in DOORS.items() if not door.strangers])
def test_what_is_anybodys_says_nothing_of_anybody(world: World, path: str) -> None:
    door, owner = DOORS[path], world.one
    where = door.url(owner).removeprefix("https://acme.lab.test")
    for method in routes(world.lab.server.acme)[path] & {"GET", "HEAD"}:
        assert_kept(world.lab.wire.simulate_request(method, where), owner, "")
    payload: Payload = door.right(world.other)
    assert_kept(sent(door, world.other, owner, payload), owner, "")


def test_one_account_that_is_closed_opens_nothing_any_more(world: World) -> None:
    closed = Owner(world.lab, 3)
    assert closed.client.post(closed.account, {"status": "deactivated"}).status_code == 200
    before = world.position()
    for path, way in ASKED:
        door = DOORS[path]
        for about in (closed, world.one):
            result = sent(door, closed, about, door.strangers[way](about))
            assert problem(result)[:2] == (403, "unauthorized"), path
    assert world.position() == before


def test_the_list_of_ones_orders_has_no_others_whatever_the_cursor(world: World) -> None:
    """RFC 8555 section 7.1.2.1: the cursor is part of the url that is signed."""
    one, other = world.one, world.other
    for order in (other.order, other.ready, other.valid):
        cursor = order.rpartition("/")[2]
        url = f"{one.account}/orders?cursor={cursor}"
        path, _, query = url.removeprefix(URL).partition("?")
        body = one.client.signed(url)
        result = world.lab.wire.simulate_post(
            path, body=body, query_string=query, headers={"Content-Type": "application/jose+json"}
        )
        assert result.status_code == 200
        assert set(result.json["orders"]) <= {one.order, one.ready, one.valid}
        assert_kept(result, other, cursor)


@pytest.mark.parametrize(
    ("signed", "asked"), [("", "cursor=x"), ("?cursor=x", ""), ("?x=1", "x=2")]
)
def test_what_is_asked_behind_the_path_is_signed_too(world: World, signed: str, asked: str) -> None:
    """RFC 8555 section 6.4: nobody changes the question on its way."""
    where = f"{world.one.account}/orders"
    body = world.one.client.signed(where + signed)
    headers = {"Content-Type": "application/jose+json"}
    result = world.lab.wire.simulate_post(
        where.removeprefix(URL), body=body, query_string=asked, headers=headers
    )
    assert problem(result)[:2] == (403, "unauthorized")


def test_another_accounts_certificate_is_not_replaced(world: World) -> None:
    """RFC 9773 section 5: the order of one account replaces no certificate of another's."""
    thief, owner = world.one, world.other
    leaf = x509.load_der_x509_certificate(base64.urlsafe_b64decode(owner.der + "=="))
    aki = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    assert aki.key_identifier is not None
    replaces = f"{b64(aki.key_identifier)}.{b64(serial)}"
    before = world.position()
    result = thief.client.order(owner.names[2], replaces=replaces)
    assert problem(result)[:2] in ((400, "malformed"), (403, "unauthorized"))
    assert world.position() == before
    assert_kept(result, owner, f"{replaces} {owner.names[2]}")

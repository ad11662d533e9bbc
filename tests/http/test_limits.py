"""Limits as clients meet them, with the time in the test's hands."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import falcon.testing
import msgspec
import pytest
from msgspec.structs import replace

from certeasy.commit import Unavailable
from certeasy.limits.clients import ABUSE, ACCOUNTS, CHANGES, GLOBAL, NAMES, ORDERS
from certeasy.settings.limits import (
    AbuseLimit,
    AccountChanges,
    AccountCreation,
    GlobalLimit,
    LimitOverride,
    OrderCreation,
    RateChange,
    RateLimiting,
    SanBudget,
)
from tests.fakes.clocks import HeldClock
from tests.http.test_acme_key_change import changed
from tests.http.test_renewal_info import cert_id_of, leaf_of
from tests.make.bindings import bound_client
from tests.make.lab import URL, Client, Lab, Result, a_lab, problem
from tests.make.signers import a_signer
from tools.generous import GENEROUS

HOUR = timedelta(hours=1)
FIRST, SECOND = "203.0.113.7", "203.0.113.8"
DIRECTORY = "/acme/directory"
NEW_ORDER = f"{URL}/acme/new-order"
BEHIND: dict[str, Any] = {
    "trusted_proxies": (ip_network("127.0.0.0/8"),),
    "remote_ip_header": "X-Client",
}


class HeldLab(Lab):
    """A lab whose clock stands still, and whose clients come from where the test says."""

    def __init__(self, lab: Lab, clock: HeldClock) -> None:
        self.__dict__.update(lab.__dict__)
        self.clock = clock
        self.come_from(FIRST)

    def come_from(self, address: str) -> None:
        """Let requests come from an address from now on."""
        headers = {"X-Client": address}
        self.wire = falcon.testing.TestClient(self._answered, headers=headers)

    def a_client(self) -> Client:
        """Return a client with an account."""
        client = self.client()
        client.register()
        return client

    def marks(self, address: str = FIRST) -> float:
        """Return how many marks an address has."""
        [left] = [
            told.left for told in self.server.limits.of_address(address) if told.limit == ABUSE
        ]
        return self.server.settings.rate_limiting.abuse.marks - left

    def refusals(self) -> list[dict[str, Any]]:
        """Return the refusals that the log has."""
        lines = map(msgspec.json.decode, self.server.node.store.lines(0))
        return [line["data"] for line in lines if line["type"] == "request.refused"]

    def log_has(self, *types: str) -> int:
        """Return how many events of these types the log has."""
        lines = map(msgspec.json.decode, self.server.node.store.lines(0))
        return sum(line["type"] in types for line in lines)

    def counted(self, limit: str) -> float:
        """Return how often a limit has refused somebody."""
        registry = self.server.metrics.registry
        return registry.get_sample_value("certeasy_limits_refused_total", {"limit": limit}) or 0.0


@contextmanager
def held(folder: Path, **limits: Any) -> Iterator[HeldLab]:
    """Open a lab with these limits; the others are out of reach."""
    clock = HeldClock()
    sections = {"rate_limiting": replace(GENEROUS, **limits)}
    with a_lab(folder, clock=clock, sections=sections, **BEHIND) as lab:
        yield HeldLab(lab, clock)


def limited(result: Result, limit: str) -> int:
    """Return after how many seconds a refused client may come back; it is told all it needs."""
    status, kind, detail = problem(result)
    assert (status, kind) == (429, "rateLimited")
    assert f"(limit {limit}); free again at 20" in detail
    seconds = int(result.headers["retry-after"])
    assert detail.endswith(f", in {seconds} second{'' if seconds == 1 else 's'}")
    return seconds


# -- requests of an address ----------------------------------------------------------------------


def test_an_address_sends_so_many_requests_and_the_next_when_it_was_told(tmp_path: Path) -> None:
    every = GlobalLimit(limit=6, window=timedelta(minutes=1), burst=3)
    with held(tmp_path, global_=every) as lab:
        for _ in range(3):
            assert lab.wire.simulate_get(DIRECTORY).status_code == 200
        assert limited(lab.wire.simulate_get(DIRECTORY), GLOBAL) == 10
        assert HELP in lab.links
        lab.clock.pass_by(9.5)
        assert limited(lab.wire.simulate_get(DIRECTORY), GLOBAL) == 1
        lab.clock.pass_by(0.5)
        assert lab.wire.simulate_get(DIRECTORY).status_code == 200
        assert limited(lab.wire.simulate_get(DIRECTORY), GLOBAL) == 10
        # Another address has its own.
        lab.come_from(SECOND)
        assert lab.wire.simulate_get(DIRECTORY).status_code == 200
        assert lab.counted(GLOBAL) == 3


def test_refusals_are_counted_from_the_first_on(tmp_path: Path) -> None:
    """A figure that is not there before it is 1 has not grown, for who watches it."""
    with held(tmp_path) as lab:
        figures = lab.server.metrics.text().decode()
        for limit in (GLOBAL, ABUSE, ACCOUNTS, CHANGES, ORDERS, NAMES, "duplicate-certificate"):
            assert f'certeasy_limits_refused_total{{limit="{limit}"}} 0.0\n' in figures


HELP = f'<{URL}/acme/limits>;rel="help"'


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", b""),
        ("HEAD", "/acme/new-nonce", b""),
        ("GET", "/acme/renewal-info/AA.BB", b""),
        ("GET", "/nothing/is/here", b""),
        ("OPTIONS", "/acme/new-order", b""),
        ("POST", "/acme/new-order", b"no JWS at all"),
        ("POST", "/acme/new-account", b"{" * 100_000),
    ],
)
def test_every_request_counts_and_is_refused_before_it_is_looked_at(
    tmp_path: Path, method: str, path: str, body: bytes
) -> None:
    with held(tmp_path, global_=GlobalLimit(limit=1, window=HOUR, burst=1)) as lab:
        assert lab.wire.simulate_request(method, path, body=body).status_code != 429
        result = lab.wire.simulate_request(method, path, body=body)
        assert result.status_code == 429
        assert result.headers["retry-after"] == "3600"
        assert lab.refusals() == []


def test_what_is_told_about_limits_is_told_to_those_who_met_one(tmp_path: Path) -> None:
    with held(tmp_path, global_=GlobalLimit(limit=1, window=HOUR, burst=1)) as lab:
        lab.wire.simulate_get(DIRECTORY)
        assert lab.wire.simulate_get(DIRECTORY).status_code == 429
        for _ in range(3):
            page = lab.wire.simulate_get("/acme/limits")
            assert page.status_code == 200
        assert "global: requests of one address: 1 in 1h, 1 at once" in page.text
        assert "abuse: " in page.text


def test_the_page_to_look_at_can_be_another_one(tmp_path: Path) -> None:
    page = "https://www.corp.test/acme-limits"
    every = GlobalLimit(limit=1, window=HOUR, burst=1)
    with held(tmp_path, global_=every, help_url=page) as lab:
        lab.wire.simulate_get(DIRECTORY)
        lab.wire.simulate_get(DIRECTORY)
        assert f'<{page}>;rel="help"' in lab.links


def test_addresses_of_one_network_count_as_one_and_those_on_the_whitelist_not(
    tmp_path: Path,
) -> None:
    every = GlobalLimit(limit=1, window=HOUR, burst=1)
    networks = (ip_network("198.51.100.0/24"), ip_network("2001:db8:f::/48"))
    with held(tmp_path, global_=every, whitelist=networks) as lab:

        def status(address: str) -> int:
            lab.come_from(address)
            return lab.wire.simulate_get(DIRECTORY).status_code

        assert status("2001:db8:1:2::3") == 200
        assert status("2001:db8:1:2:ffff::4") == 429
        assert status("2001:db8:1:3::3") == 200
        assert [status(FIRST), status(SECOND), status(FIRST)] == [200, 200, 429]
        assert [status("198.51.100.9") for _ in range(5)] == [200] * 5
        assert [status("2001:db8:f:1::9") for _ in range(5)] == [200] * 5
        # One that comes as IPv4 inside IPv6 is the IPv4 address.
        assert status(f"::ffff:{FIRST}") == 429


def test_a_clock_that_is_set_back_makes_nobody_wait(tmp_path: Path) -> None:
    every = GlobalLimit(limit=6, window=timedelta(minutes=1), burst=3)
    with held(tmp_path, global_=every) as lab:
        for _ in range(3):
            assert lab.wire.simulate_get(DIRECTORY).status_code == 200
        lab.clock.set_to(lab.clock.now() - timedelta(days=1))
        assert limited(lab.wire.simulate_get(DIRECTORY), GLOBAL) == 10
        lab.clock.pass_by(10)
        assert lab.wire.simulate_get(DIRECTORY).status_code == 200


# -- marks ---------------------------------------------------------------------------------------


def hostile_requests(lab: HeldLab, mine: Client, other: Client) -> dict[str, tuple[Any, float]]:
    """What can be sent, and how many marks it costs."""
    order, account = other.placed("web.lab.test"), str(other.kid)
    nowhere = "0" * 26
    spoiled = mine.signed(NEW_ORDER, {"identifiers": []})
    return {
        "no JWS": (lambda: mine.send(NEW_ORDER, b"rubbish"), 1),
        "a wrong signature": (
            lambda: mine.send(NEW_ORDER, spoiled.replace(b'"signature":"', b'"signature":"AAAA')),
            1,
        ),
        "another's order": (lambda: mine.post(order), 1),
        "another's account": (lambda: mine.post(account), 1),
        "an unknown order": (lambda: mine.post(f"{URL}/acme/order/{nowhere}"), 0.25),
        "an unknown account": (lambda: mine.post(f"{URL}/acme/acct/{nowhere}"), 0.25),
        "an unknown authorization": (lambda: mine.post(f"{URL}/acme/authz/{nowhere}-0"), 0.25),
        "an unknown path": (lambda: lab.wire.simulate_get("/wp-login.php"), 0.25),
        "an unknown signer": (
            lambda: mine.post(order, kid=f"{URL}/acme/acct/{nowhere}"),
            0.25,
        ),
        "a bad nonce": (lambda: mine.post(order, nonce="AAAAAAAAAAAA"), 0),
        "a certificate of others": (lambda: lab.wire.simulate_get("/acme/renewal-info/AA.BB"), 0),
        "a name that policy forbids": (lambda: mine.order("web.corp.example"), 0),
        "an account looked for": (
            lambda: lab.client().post(f"{URL}/acme/new-account", {"onlyReturnExisting": True}),
            0,
        ),
        "an algorithm of the past": (
            lambda: mine.post(order, header={"alg": "HS256"}),
            0,
        ),
    }


def test_marks_are_for_what_no_client_does_by_mistake_often(tmp_path: Path) -> None:
    with held(tmp_path, abuse=AbuseLimit()) as lab:
        mine, other = lab.a_client(), lab.a_client()
        for what, (send, weight) in hostile_requests(lab, mine, other).items():
            mine.drop_nonce()
            assert lab.marks() == 0, what
            assert send().status_code >= 400, what
            assert lab.marks() == weight, what
            lab.clock.pass_by(3)


def test_an_address_with_ten_marks_is_refused_until_one_is_off(tmp_path: Path) -> None:
    with held(tmp_path, abuse=AbuseLimit()) as lab:
        client = lab.a_client()
        for _ in range(10):
            assert problem(client.send(NEW_ORDER, b"rubbish"))[:2] == (400, "malformed")
        assert limited(client.send(NEW_ORDER, b"rubbish"), ABUSE) == 3
        assert limited(lab.wire.simulate_get(DIRECTORY), ABUSE) == 3
        assert HELP in lab.links
        lab.come_from(SECOND)
        assert lab.wire.simulate_get(DIRECTORY).status_code == 200
        lab.come_from(FIRST)
        # Who asks while he is refused is not refused for longer.
        lab.clock.pass_by(2.9)
        assert limited(lab.wire.simulate_get(DIRECTORY), ABUSE) == 1
        lab.clock.pass_by(0.1)
        assert lab.wire.simulate_get(DIRECTORY).status_code == 200
        assert lab.counted(ABUSE) == 3
        assert lab.refusals() == []


def test_whom_the_whitelist_names_gets_no_marks(tmp_path: Path) -> None:
    with held(tmp_path, abuse=AbuseLimit(), whitelist=(ip_network(FIRST),)) as lab:
        client = lab.a_client()
        for _ in range(30):
            assert client.send(NEW_ORDER, b"rubbish").status_code == 400


# -- accounts ------------------------------------------------------------------------------------


def test_an_address_registers_so_many_accounts(tmp_path: Path) -> None:
    few = AccountCreation(limit=10, window=HOUR, burst=2)
    with held(tmp_path, account_creation=few) as lab:
        lab.a_client()
        lab.a_client()
        third = lab.client()
        new = f"{URL}/acme/new-account"
        assert limited(third.post(new, {}), ACCOUNTS) == 360
        lab.come_from(SECOND)
        assert third.post(new, {}).status_code == 201
        lab.come_from(FIRST)
        lab.clock.pass_by(359)
        fourth = lab.client()
        assert limited(fourth.post(new, {}), ACCOUNTS) == 1
        lab.clock.pass_by(1)
        assert fourth.post(new, {}).status_code == 201
        assert lab.counted(ACCOUNTS) == 2
        assert lab.refusals() == []


def test_looking_an_account_up_is_no_creation(tmp_path: Path) -> None:
    """cert-manager registers anew at each of its starts, and means the account that it has; uacme
    and acmetool ask first (onlyReturnExisting)."""
    few = AccountCreation(limit=1, window=HOUR, burst=1)
    with held(tmp_path, account_creation=few) as lab:
        mine, other = lab.a_client(), lab.client()
        new = f"{URL}/acme/new-account"
        for _ in range(5):
            assert mine.post(new, {}, kid=None).status_code == 200
            missing = other.post(new, {"onlyReturnExisting": True})
            assert problem(missing)[:2] == (400, "accountDoesNotExist")
        assert limited(other.post(new, {}), ACCOUNTS) == 3600


def test_an_account_that_is_refused_for_another_reason_is_none(tmp_path: Path) -> None:
    few = AccountCreation(limit=10, window=HOUR, burst=1)
    with held(tmp_path, account_creation=few) as lab:
        client = lab.client()
        new = f"{URL}/acme/new-account"
        for _ in range(3):
            wrong = client.post(new, {"contact": ["fax:+49"]})
            assert problem(wrong)[1] == "unsupportedContact"
        assert client.post(new, {}).status_code == 201


def test_an_account_changes_its_contacts_and_key_so_often(tmp_path: Path) -> None:
    """Each change is a line in the log, for ever; requests alone would be twenty in a second."""
    few = AccountChanges(limit=10, window=HOUR, burst=2)
    with held(tmp_path, account_changes=few) as lab:
        client, other = lab.a_client(), lab.a_client()
        account, contact = str(client.kid), ["mailto:a@corp.test"]
        assert client.post(account, {"contact": contact}).status_code == 200
        # What changes nothing is no change, however often, nor is what is refused.
        for _ in range(3):
            assert client.post(account, {"contact": contact}).json["contact"] == contact
            assert client.post(account, {"contact": ["fax:+49"]}).status_code == 400
            assert changed(client, other.signer).status_code == 409
        new = a_signer("ES256")
        assert changed(client, new).status_code == 200
        client.signer = new
        for wish in (
            lambda: client.post(account, {"contact": ["mailto:b@corp.test"]}),
            lambda: changed(client, a_signer("ES256")),
        ):
            result = wish()
            assert limited(result, CHANGES) == 360
            assert "this account may make 10 changes in 1h, 2 at once" in problem(result)[2]
            assert HELP in lab.links
        [first] = lab.refusals()
        assert first["kind"] == CHANGES
        assert lab.log_has("account.contacts-changed", "account.key-changed") == 2
        # Another account has its own, and to leave is always possible.
        assert changed(other, a_signer("ES256")).status_code == 200
        lab.clock.pass_by(359.5)
        client.drop_nonce()
        assert limited(client.post(account, {"contact": []}), CHANGES) == 1
        lab.clock.pass_by(0.5)
        assert client.post(account, {"contact": []}).status_code == 200
        assert client.post(account, {"status": "deactivated"}).status_code == 200


def test_changes_of_the_whitelist_are_not_counted(tmp_path: Path) -> None:
    few = AccountChanges(limit=1, window=HOUR, burst=1)
    with held(tmp_path, account_changes=few, whitelist=(ip_network(FIRST),)) as lab:
        client = lab.a_client()
        for number in range(3):
            wish = {"contact": [f"mailto:{number}@corp.test"]}
            assert client.post(str(client.kid), wish).status_code == 200


# -- orders --------------------------------------------------------------------------------------


def test_an_account_places_so_many_orders_and_the_next_when_it_was_told(tmp_path: Path) -> None:
    with held(tmp_path, order_creation=OrderCreation()) as lab:
        client = lab.a_client()
        for number in range(5):
            assert client.order(f"web-{number}.lab.test").status_code == 201
        assert limited(client.order("web-5.lab.test"), ORDERS) == 180
        assert HELP in lab.links
        lab.clock.pass_by(179)
        client.drop_nonce()
        assert limited(client.order("web-5.lab.test"), ORDERS) == 1
        lab.clock.pass_by(1)
        assert client.order("web-5.lab.test").status_code == 201
        # Other accounts have their own, from the same address, too.
        assert lab.a_client().order("web.lab.test").status_code == 201
        assert lab.counted(ORDERS) == 2
        lab.server.refusals.close()
        first, more = lab.refusals()
        assert first["kind"] == more["kind"] == ORDERS
        assert "this account may place 20 orders in 1h, 5 at once" in first["detail"]
        assert first["names"] == ["web-5.lab.test"]
        assert [each.get("count", 1) for each in (first, more)] == [1, 1]


def test_an_order_that_is_refused_for_another_reason_is_not_counted(tmp_path: Path) -> None:
    few = OrderCreation(limit=20, window=HOUR, burst=1)
    with held(tmp_path, order_creation=few) as lab:
        client = lab.a_client()
        for _ in range(3):
            assert problem(client.order("web.corp.example"))[1] == "rejectedIdentifier"
            wrong = client.order("web.lab.test", notAfter="2027-01-01T00:00:00Z")
            assert problem(wrong)[1] == "malformed"
        assert client.order("web.lab.test").status_code == 201
        assert limited(client.order("web.lab.test"), ORDERS) == 180


def test_an_order_that_cannot_be_stored_is_not_counted(tmp_path: Path) -> None:
    few = OrderCreation(limit=20, window=HOUR, burst=1)
    with held(tmp_path, order_creation=few, san_budget=SanBudget(limit=3)) as lab:
        client = lab.a_client()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(lab.server.committer, "submit", out_of_service)
            for _ in range(3):
                assert problem(client.order("a.lab.test", "b.lab.test"))[0] == 503
        assert client.order("a.lab.test", "b.lab.test").status_code == 201


def out_of_service(_command: Any) -> Any:
    raise Unavailable("the database is away")


def test_names_have_a_budget_and_who_meets_two_limits_is_told_the_later(tmp_path: Path) -> None:
    orders, names = OrderCreation(limit=60, window=HOUR, burst=2), SanBudget(limit=10, window=HOUR)
    with held(tmp_path, order_creation=orders, san_budget=names) as lab:
        client = lab.a_client()
        six = [f"web-{number}.lab.test" for number in range(6)]
        assert client.order(*six).status_code == 201
        result = client.order(*six)
        assert limited(result, NAMES) == 720
        told = "may order 10 names in 1h; this order has 6, and 4 are left"
        assert told in problem(result)[2]
        # Nothing was spent for it: the other order is there, and the four names.
        assert client.order(*six[:4]).status_code == 201
        # Now both are used up: one order is back in a minute, one name in six.
        result = client.order("one.lab.test")
        assert limited(result, NAMES) == 360
        lab.clock.pass_by(360)
        client.drop_nonce()
        assert client.order("one.lab.test").status_code == 201


def test_an_order_larger_than_the_budget_takes_all_of_it(tmp_path: Path) -> None:
    with held(tmp_path, san_budget=SanBudget(limit=3, window=HOUR)) as lab:
        client = lab.a_client()
        names = [f"web-{number}.lab.test" for number in range(5)]
        assert client.order(*names).status_code == 201
        assert limited(client.order(*names), NAMES) == 3600
        lab.clock.pass_by(3600)
        client.drop_nonce()
        assert client.order(*names).status_code == 201


def test_a_renewal_by_ari_is_stopped_by_neither(tmp_path: Path) -> None:
    orders, names = OrderCreation(limit=1, window=HOUR, burst=1), SanBudget(limit=1, window=HOUR)
    with held(tmp_path, order_creation=orders, san_budget=names) as lab:
        client = lab.a_client()
        before = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
        # Before its time it is an order like any other: a loop of successors would meet no limit.
        early = client.order("web.lab.test", "www.lab.test", replaces=before)
        assert limited(early, ORDERS) == 3600
        lab.clock.pass_by(60 * 24 * 3600)
        client.drop_nonce()
        assert client.order("www.lab.test").status_code == 201
        assert client.order("www.lab.test").status_code == 429
        assert client.order("web.lab.test", replaces=before).status_code == 201
        assert client.order("www.lab.test").status_code == 429


def test_what_is_due_by_the_log_s_time_is_a_renewal_though_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    with held(tmp_path, order_creation=OrderCreation(limit=1, window=HOUR, burst=1)) as lab:
        client = lab.a_client()
        before = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
        now = lab.clock.now()
        lab.clock.set_to(now + timedelta(days=60))
        lab.a_client()
        lab.clock.set_to(now)
        lab.server.committer.accept_clock(lab.server.node.store.head().at)
        client.drop_nonce()
        assert client.order("www.lab.test").status_code == 429
        renewal = client.order("web.lab.test", "www.lab.test", replaces=before)
        assert renewal.status_code == 201


def test_names_that_a_renewal_adds_are_counted_as_names(tmp_path: Path) -> None:
    """Else one certificate that was revoked, which is due at once, would open the budget."""
    with held(tmp_path, san_budget=SanBudget(limit=2, window=HOUR)) as lab:
        client = lab.a_client()
        before = cert_id_of(leaf_of(client, client.issued("web.lab.test")))
        lab.clock.pass_by(60 * 24 * 3600)
        client.drop_nonce()
        assert client.order("a.lab.test").status_code == 201
        two = client.order("web.lab.test", "b.lab.test", "c.lab.test", replaces=before)
        assert limited(two, NAMES) == 1800
        one = client.order("web.lab.test", "b.lab.test", replaces=before)
        assert one.status_code == 201
        assert limited(client.order("c.lab.test"), NAMES) == 1800


def test_a_renewal_of_the_same_names_is_stopped_by_neither(tmp_path: Path) -> None:
    orders, names = OrderCreation(limit=1, window=HOUR, burst=1), SanBudget(limit=2, window=HOUR)
    with held(tmp_path, order_creation=orders, san_budget=names) as lab:
        client, other = lab.a_client(), lab.a_client()
        client.issued("web.lab.test", "www.lab.test")
        for _ in range(3):
            assert client.order("www.lab.test", "web.lab.test").status_code == 201
        # Fewer names are no renewal, nor are the same ones by another account.
        assert limited(client.order("web.lab.test"), ORDERS) == 3600
        assert other.order("web.lab.test", "www.lab.test").status_code == 201
        assert limited(other.order("web.lab.test", "www.lab.test"), ORDERS) == 3600
        # Nor is it one when the certificate is over.
        lab.clock.pass_by(91 * 24 * 3600)
        client.drop_nonce()
        assert client.order("web.lab.test", "www.lab.test").status_code == 201
        assert limited(client.order("web.lab.test", "www.lab.test"), ORDERS) == 3600


def test_orders_of_the_whitelist_are_not_counted_but_their_names_are(tmp_path: Path) -> None:
    orders, names = OrderCreation(limit=1, window=HOUR, burst=1), SanBudget(limit=3, window=HOUR)
    free = (ip_network(FIRST),)
    with held(tmp_path, order_creation=orders, san_budget=names, whitelist=free) as lab:
        client = lab.a_client()
        for number in range(3):
            assert client.order(f"web-{number}.lab.test").status_code == 201
        assert limited(client.order("web-3.lab.test"), NAMES) == 1200


def test_a_fleet_on_one_account_has_the_limits_of_its_binding(tmp_path: Path) -> None:
    few = OrderCreation(limit=20, window=HOUR, burst=1)
    fleet = LimitOverride("fleet", order_creation=RateChange(limit=60, burst=4))
    with held(tmp_path, order_creation=few, overrides=(fleet,)) as lab:
        client, _ = bound_client(lab, comment="fleet")
        for number in range(4):
            assert client.order(f"web-{number}.lab.test").status_code == 201
        assert limited(client.order("web-4.lab.test"), ORDERS) == 60
        for other in (lab.a_client(), bound_client(lab, comment="no fleet")[0]):
            assert other.order("web.lab.test").status_code == 201
            assert limited(other.order("web.lab.test"), ORDERS) == 180


def test_proofs_ahead_of_orders_are_counted_by_name(tmp_path: Path) -> None:
    orders, names = OrderCreation(limit=1, window=HOUR, burst=1), SanBudget(limit=2, window=HOUR)
    clock = HeldClock()
    sections = {"rate_limiting": replace(GENEROUS, order_creation=orders, san_budget=names)}
    with a_lab(tmp_path, clock=clock, sections=sections, pre_authorization=True, **BEHIND) as plain:
        lab = HeldLab(plain, clock)
        client = lab.a_client()

        def asked(name: str) -> Result:
            identifier = {"type": "dns", "value": name}
            return client.post(f"{URL}/acme/new-authz", {"identifier": identifier})

        assert [asked(f"{name}.lab.test").status_code for name in "ab"] == [201, 201]
        assert limited(asked("c.lab.test"), NAMES) == 1800


# -- settings ------------------------------------------------------------------------------------


def test_other_limits_hold_from_the_next_request_on_and_what_was_counted_stays(
    tmp_path: Path,
) -> None:
    with held(tmp_path, order_creation=OrderCreation(limit=20, window=HOUR, burst=2)) as lab:
        client = lab.a_client()
        for number in range(2):
            client.placed(f"web-{number}.lab.test")
        assert limited(client.order("www.lab.test"), ORDERS) == 180
        settings = lab.server.settings

        def reload(**limit: Any) -> None:
            orders = OrderCreation(window=HOUR, **limit)
            limits = replace(settings.rate_limiting, order_creation=orders)
            lab.server.reload(replace(settings, rate_limiting=limits))

        reload(limit=40, burst=5)  # one comes back in 90 seconds, and in 360 all are back
        assert client.order("www.lab.test").status_code == 201
        assert limited(client.order("ftp.lab.test"), ORDERS) == 90
        reload(limit=40, burst=5, enabled=False)
        assert client.order("ftp.lab.test").status_code == 201


def test_without_limits_nobody_is_refused(tmp_path: Path) -> None:
    one = GlobalLimit(limit=1, window=HOUR, burst=1)
    none = RateLimiting(enabled=False, global_=one, abuse=AbuseLimit(marks=1, recovery=1))
    sections = {"rate_limiting": none}
    with a_lab(tmp_path, sections=sections, **BEHIND) as plain:
        lab = HeldLab(plain, HeldClock())
        client = lab.a_client()
        for number in range(30):
            assert client.send(NEW_ORDER, b"rubbish").status_code == 400
            assert client.order(f"web-{number}.lab.test").status_code == 201
        assert "global" not in lab.wire.simulate_get("/acme/limits").text
        lines = map(msgspec.json.decode, lab.journal())
        [loaded] = [line["data"] for line in lines if line["type"] == "settings.loaded"]
        # What is switched off is an event.
        assert loaded["settings"]["rate-limiting"]["enabled"] is False


def test_a_good_client_of_the_defaults_meets_no_limit(tmp_path: Path) -> None:
    with a_lab(tmp_path, sections={"rate_limiting": RateLimiting()}, **BEHIND) as plain:
        lab = HeldLab(plain, HeldClock())
        client = lab.a_client()
        for number in range(5):
            client.issued(f"web-{number}.lab.test")
        assert [lab.counted(name) for name in (GLOBAL, ABUSE, ACCOUNTS, ORDERS, NAMES)] == [0] * 5

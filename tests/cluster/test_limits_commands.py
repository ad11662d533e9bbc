"""Limits as an administrator sees them, and has it forgotten what somebody has spent."""

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

from certeasy.decide.log_limits import PENDING
from certeasy.limits.clients import OF_ACCOUNTS, OF_ADDRESSES
from certeasy.settings.limits import (
    AbuseLimit,
    DuplicateCertificate,
    FailedValidation,
    GlobalLimit,
    LimitOverride,
    OrderCreation,
    RateLimiting,
    WindowChange,
)
from events.envelope import parse
from events.limits import LimitsReset
from tests.cluster.test_eab_commands import Place
from tests.fakes.clocks import HeldClock
from tests.make.bindings import bound_client
from tests.make.checks import check_node
from tests.make.lab import URL, Client, Lab, a_lab
from tools.generous import GENEROUS

ADDRESS = "203.0.113.7"
LIMITS = replace(
    GENEROUS,
    global_=GlobalLimit(limit=600, window=timedelta(minutes=1), burst=200),
    abuse=AbuseLimit(),
    order_creation=OrderCreation(burst=2),
    whitelist=(ip_network("192.0.2.0/24"),),
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextmanager
def counting(place: Place, limits: RateLimiting = LIMITS) -> Iterator[tuple[Lab, Client]]:
    """A server runs that has these limits, and one client at the address, with an account."""
    with a_lab(
        place.workdir,
        clock=HeldClock(),
        sections={"rate_limiting": limits},
        trusted_proxies=(ip_network("127.0.0.0/8"),),
        remote_ip_header="X-Client",
    ) as lab:
        lab.wire = falcon.testing.TestClient(lab._answered, headers={"X-Client": ADDRESS})
        client = lab.client()
        client.register()
        yield lab, client


def told(place: Place, *words: str) -> Any:
    return msgspec.json.decode(place.run("limits", *words, "--json"))


def account_of(client: Client) -> str:
    return str(client.kid).rpartition("/")[2]


def test_how_an_account_stands_is_shown(place: Place) -> None:
    with counting(place) as (_, client):
        account = account_of(client)
        assert "order-creation: 2 of 2 left (20 orders in 1h, 2 at once)" in place.run(
            "limits", "show", "--account", account
        )
        client.placed("web.lab.test")
        client.placed("www.lab.test", "ftp.lab.test")
        line = place.run("limits", "show", "--account", str(client.kid)).splitlines()[0]
        assert line == (
            "order-creation: 0 of 2 left (20 orders in 1h, 2 at once);"
            " the next at 2026-11-02T09:03:00Z, all at 2026-11-02T09:06:00Z"
        )
        shown = told(place, "show", "--account", account)
        assert shown["running"] is True
        names = {each["limit"]: each["left"] for each in shown["standing"]}
        most = LIMITS.pending_authorizations.limit
        assert names == {
            "order-creation": 0,
            "san-budget": 1_000_000 - 3,
            "account-changes": 1_000_000,
            "pending-authorizations": most - 3,
        }


def test_what_counts_of_an_order_of_some_names_is_shown(place: Place) -> None:
    limits = replace(
        LIMITS,
        duplicate_certificate=DuplicateCertificate(limit=2),
        failed_validation=FailedValidation(limit=3),
    )
    with counting(place, limits) as (_, client):
        account = account_of(client)
        words = ("limits", "show", "--account", account, "--name", "WEB.lab.test.")
        assert place.run(*words).splitlines() == [
            "duplicate-certificate of web.lab.test: 2 of 2 left (2 in 7d)",
            "failed-validation of web.lab.test: 3 of 3 left (3 in 1h)",
        ]
        client.certificate("web.lab.test")
        [issued] = told(place, "show", "--name", "web.lab.test")["standing"]
        assert (issued["left"], issued["next"]) == (1, "")
        assert issued["full"] == "2026-11-09T09:00:00Z"
        client.certificate("web.lab.test")
        assert client.order("web.lab.test").status_code == 429
        assert place.run(*words).splitlines()[0] == (
            "duplicate-certificate of web.lab.test: 0 of 2 left (2 in 7d);"
            " the next at 2026-11-09T09:00:00Z, all at 2026-11-09T09:00:00Z"
        )
        [both] = told(place, "show", "--name", "web.lab.test", "--name", "a.lab.test")["standing"]
        assert (both["left"], both["names"]) == (2, ["a.lab.test", "web.lab.test"])


def test_what_is_shown_counts_by_the_log_s_time_where_the_clock_was_set_back(place: Place) -> None:
    """As orders are decided: what ran out by it is pending no more."""
    with counting(place) as (lab, client):
        words = ("show", "--account", account_of(client))
        client.placed("web.lab.test")
        [*_, pending] = told(place, *words)["standing"]
        assert (pending["limit"], pending["burst"] - pending["left"]) == (PENDING, 1)
        now, clock = lab.server.clock.now(), lab.server.clock
        assert isinstance(clock, HeldClock)
        clock.set_to(now + timedelta(days=30))
        lab.client().register()
        clock.set_to(now)
        lab.server.committer.accept_clock(lab.server.node.store.head().at)
        [*_, pending] = told(place, *words)["standing"]
        assert (pending["limit"], pending["burst"] - pending["left"]) == (PENDING, 0)


def test_how_an_address_stands_is_shown(place: Place) -> None:
    with counting(place) as (_, client):
        client.send(f"{URL}/acme/new-order", b"rubbish")
        client.post(f"{URL}/acme/order/{'0' * 26}")
        standing = told(place, "show", "--address", ADDRESS)["standing"]
        left = {each["limit"]: each["left"] for each in standing}
        assert left["abuse"] == 8.75
        assert left["global"] < 200
        assert left["account-creation"] == 1_000_000 - 1
        text = place.run("limits", "show", "--address", ADDRESS)
        assert "abuse: 8.75 of 10 left (20 in 1m, 10 at once)" in text
        # Addresses of one network count as one.
        shown = told(place, "show", "--address", "2001:db8:1:2::3")
        assert shown["counted_as"] == "2001:db8:1:2::/64"
        shown = told(place, "show", "--address", f"::ffff:{ADDRESS}")
        assert shown["counted_as"] == ADDRESS
        # The whitelist is not counted.
        assert told(place, "show", "--address", "192.0.2.9")["standing"] == []


def test_without_a_name_those_are_shown_for_whom_it_takes_longest(place: Place) -> None:
    with counting(place) as (lab, client):
        client.placed("web.lab.test")
        other = lab.client()
        other.register()
        other.placed("web.lab.test")
        other.placed("www.lab.test")
        shown = {each["limit"]: each for each in told(place, "show")["counted"]}
        assert list(shown) == [*OF_ADDRESSES, *OF_ACCOUNTS]
        assert shown["order-creation"]["subjects"] == 2
        assert [each["subject"] for each in shown["order-creation"]["longest"]] == [
            account_of(other),
            account_of(client),
        ]
        assert [each["subject"] for each in shown["global"]["longest"]] == [ADDRESS]
        text = place.run("limits", "show", "--most", "1")
        assert "order-creation: 2 subjects\n" in text
        assert f"  {account_of(other)}  all back at 2026-11-02T09:06:00Z\n" in text
        assert account_of(client) not in text


def test_limits_that_are_switched_off_are_shown_as_such(place: Place) -> None:
    off = replace(
        LIMITS, abuse=AbuseLimit(enabled=False), order_creation=OrderCreation(enabled=False)
    )
    with counting(place, off) as (_, client):
        account = account_of(client)
        assert told(place, "show")["off"] == ["abuse", "order-creation"]
        text = place.run("limits", "show")
        assert "abuse: 0 subjects; switched off\n" in text
        assert "order-creation: 0 subjects; switched off\n" in text
        assert "global: 1 subject\n" in text
        assert told(place, "show", "--address", ADDRESS)["off"] == ["abuse"]
        assert "abuse: switched off\n" in place.run("limits", "show", "--address", ADDRESS)
        assert told(place, "show", "--account", account)["off"] == ["order-creation"]
        assert "order-creation: switched off\n" in place.run("limits", "show", "--account", account)
        assert told(place, "show", "--account", account, "--name", "a.lab.test")["off"] == []


def test_without_limits_each_is_shown_as_switched_off(place: Place) -> None:
    with counting(place, replace(LIMITS, enabled=False)) as (_, client):
        every = [f"{limit}: 0 subjects; switched off" for limit in (*OF_ADDRESSES, *OF_ACCOUNTS)]
        assert place.run("limits", "show").splitlines() == every
        words = ("limits", "show", "--account", account_of(client))
        assert place.run(*words).splitlines() == [
            f"{limit}: switched off" for limit in (*OF_ACCOUNTS, "pending-authorizations")
        ]
        assert place.run(*words, "--name", "web.lab.test").splitlines() == [
            "duplicate-certificate: switched off",
            "failed-validation: switched off",
        ]
        assert place.run("limits", "show", "--name", "web.lab.test").splitlines() == [
            "duplicate-certificate: switched off",
        ]


def test_a_limit_is_switched_off_for_some_accounts(place: Place) -> None:
    fleet = LimitOverride("fleet", san_budget=WindowChange(enabled=False))
    with counting(place, replace(LIMITS, overrides=(fleet,))) as (lab, client):
        bound, _ = bound_client(lab, comment="fleet")
        assert told(place, "show", "--account", account_of(bound))["off"] == ["san-budget"]
        assert told(place, "show", "--account", account_of(client))["off"] == []


def test_what_an_account_has_spent_is_forgotten_and_that_is_recorded(place: Place) -> None:
    with counting(place) as (lab, client):
        client.placed("web.lab.test")
        client.placed("www.lab.test")
        assert client.order("ftp.lab.test").status_code == 429
        done = place.run("limits", "reset", "--account", account_of(client))
        assert done == "forgotten: order-creation, san-budget\n"
        assert client.order("ftp.lab.test").status_code == 201
        [record] = [
            parse(line) for line in lab.journal() if parse(line).envelope.type == "limits.reset"
        ]
        assert record.event == LimitsReset(("order-creation", "san-budget"), account_of(client))
        assert record.actor.kind == "administrator"
        assert lab.server.subjects.open(record.actor.sealed)
    check_node(place.workdir)


def test_an_address_is_not_written_down_in_clear(place: Place) -> None:
    with counting(place) as (lab, client):
        for _ in range(10):
            client.send(f"{URL}/acme/new-order", b"rubbish")
        assert client.send(f"{URL}/acme/new-order", b"rubbish").status_code == 429
        done = place.run("limits", "reset", "--address", ADDRESS)
        assert done == "forgotten: global, abuse, account-creation\n"
        assert client.send(f"{URL}/acme/new-order", b"rubbish").status_code == 400
        [line] = [line for line in lab.journal() if parse(line).envelope.type == "limits.reset"]
        assert ADDRESS.encode() not in line
        record = parse(line)
        assert lab.server.subjects.open(record.event.address) == ADDRESS.encode()
        assert ADDRESS.encode() not in b"".join(lab.journal())
    check_node(place.workdir)
    # Who has the keys reads it, and it can be erased.
    shown = place.run("privacy", "show", ADDRESS)
    assert f"address: {ADDRESS}" in shown
    place.run("privacy", "erase", ADDRESS, "--yes")
    place.run("privacy", "show", ADDRESS, code=1)


def test_a_network_is_found_by_each_of_its_addresses(place: Place) -> None:
    with counting(place) as (lab, _):
        headers = {"X-Client": "2001:db8:1:2::3"}
        falcon.testing.TestClient(lab._answered, headers=headers).simulate_get("/")
        done = place.run("limits", "reset", "--address", "2001:db8:1:2::4")
        assert done == "forgotten: global\n"
    shown = place.run("privacy", "show", "2001:db8:1:2::5")
    assert "address: 2001:db8:1:2::/64" in shown
    place.run("privacy", "show", "2001:db8:1:3::5", code=1)


def test_where_nothing_was_spent_nothing_is_recorded(place: Place) -> None:
    with counting(place) as (_, client):
        words = ("limits", "reset", "--account", account_of(client))
        account = account_of(client)
        assert place.run(*words) == (
            f"nothing to forget: account {account} has spent nothing of order-creation,"
            " san-budget, account-changes\n"
        )
        assert told(place, *words[1:]) == {
            "limits": [],
            "running": True,
            "counted_as": account,
            "unspent": ["order-creation", "san-budget", "account-changes"],
            "off": [],
        }
        words = ("limits", "reset", "--address", "192.0.2.9")
        assert place.run(*words) == (
            "nothing to forget: address 192.0.2.9 is on rate-limiting.whitelist, of which nothing"
            " is counted\n"
        )
        assert "limits.reset" not in place.types()


def test_where_limits_are_switched_off_there_is_nothing_to_forget(place: Place) -> None:
    with counting(place, RateLimiting(enabled=False)):
        assert place.run("limits", "reset", "--address", ADDRESS) == (
            "nothing to forget: global, abuse, account-creation are switched off\n"
        )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("WEB.Lab.Test", "web.lab.test"),
        ("*.LAB.test", "*.lab.test"),
        ("münchen.lab.test", "xn--mnchen-3ya.lab.test"),
        ("*.München.lab.test.", "*.xn--mnchen-3ya.lab.test"),
        ("2001:DB8:0::0:1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_name_is_known_in_any_spelling(place: Place, typed: str, meant: str) -> None:
    with counting(place):
        [found] = told(place, "show", "--name", typed)["standing"]
        assert found["names"] == [meant]


@pytest.mark.parametrize(
    "typed", ["", "web..lab.test", "10.0.0.0/8", "a.*.lab.test", "web test", "x" * 300]
)
def test_what_is_no_name_is_told(place: Place, typed: str) -> None:
    with counting(place):
        said = place.run("limits", "show", "--name", typed, code=1)
        assert "a wildcard (*.corp.example), or an IP address (192.0.2.1, 2001:db8::1)" in said


def test_where_no_server_runs_nothing_is_counted(place: Place) -> None:
    with counting(place) as (_, client):
        client.placed("web.lab.test")
    assert told(place, "show") == {
        "running": False,
        "counted_as": "",
        "standing": [],
        "counted": [],
        "off": [],
    }
    assert place.run("limits", "show", "--address", ADDRESS) == ""
    words = ("limits", "reset", "--account", account_of(client))
    assert place.run(*words) == (
        "nothing to forget: no server runs here: nothing is counted, and nobody is held to"
        " anything\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "--account", "0" * 26), 1, "there is no account '00000000000000000000000000'"),
        (("show", "--address", "acme.lab.test"), 1, "'acme.lab.test' is no IP address"),
        (("reset", "--address", "10.0.0.0/8"), 1, "'10.0.0.0/8' is no IP address"),
        (("reset",), 2, "give --account or --address"),
        (("reset", "--account", "a", "--address", ADDRESS), 2, "give --account or --address"),
        (("show", "--account", "a", "--address", ADDRESS), 2, "give --account or --address"),
    ],
)
def test_what_is_no_account_and_no_address_is_told(
    place: Place, words: tuple[str, ...], code: int, said: str
) -> None:
    with counting(place):
        assert said in place.run("limits", *words, code=code)

"""What a key for external account bindings lets accounts do, and when no more."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from certeasy.decide import accounts, eab, scope
from certeasy.decide.eab import EabRefused
from certeasy.decide.problems import Problem, Refused
from events.eab import EabCreated, EabRevoked, EabUsed
from projections.accounts import ACCOUNTS
from projections.eab import EAB_KEYS, EabKey
from tests.make.decided import START, World

KID = "0" * 26


@pytest.fixture
def world() -> World:
    return World()


def a_key(world: World, kid: str = KID, **bounds) -> EabKey:
    world.do(eab.create(EabCreated(kid, **bounds), world.now))
    key = world.rows.get(EAB_KEYS, kid)
    assert key is not None
    return key


def later(**how) -> str:
    return f"{START + timedelta(**how):%Y-%m-%dT%H:%M:%SZ}"


# -- making and taking back ----------------------------------------------------------------------


def test_a_key_is_made_with_what_was_said_about_it(world: World) -> None:
    fact = EabCreated(KID, later(days=1), 3, "p", "short", ("=a.test",), ("http-01",), True, "why")
    assert eab.create(fact, world.now).facts == ((f"eab/{KID}", fact),)


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        (EabCreated(KID, expires=later()), "which is over"),
        (EabCreated(KID, prevalidated=True), "nothing can be prevalidated"),
        (EabCreated(KID, allow=("a.test",)), "'a.test' about names is wrong"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(world: World, fact: EabCreated, said: str) -> None:
    with pytest.raises(EabRefused, match=said):
        eab.create(fact, world.now)


def test_a_key_is_taken_back_once(world: World) -> None:
    a_key(world)
    decision = eab.revoke(world.rows, kid=KID)
    assert decision.facts == ((f"eab/{KID}", EabRevoked(KID)),)
    world.do(decision)
    assert eab.revoke(world.rows, kid=KID).facts == ()


def test_a_key_that_nobody_made_cannot_be_taken_back(world: World) -> None:
    with pytest.raises(EabRefused, match="there is no key"):
        eab.revoke(world.rows, kid="nobody's")


@pytest.mark.parametrize(("text", "is_one"), [(KID, True), ("", False), (KID.upper() + "/", False)])
def test_only_what_looks_like_an_id_is_looked_for(text: str, is_one: bool) -> None:
    assert eab.is_kid(text) is is_one
    assert eab.secret_name(KID) == f"eab/{KID}"


# -- binding -------------------------------------------------------------------------------------


def test_an_account_is_bound_in_the_moment_of_its_creation(world: World) -> None:
    a_key(world, max_uses=9)
    account = world.account(eab=KID)
    assert account.eab == KID
    assert world.facts[-1] == (f"eab/{KID}", EabUsed(KID, account.id))
    assert world.account().eab == ""


def refusal(world: World, kid: str = KID) -> str:
    with pytest.raises(Refused) as caught:
        world.account(eab=kid)
    assert caught.value.problem is Problem.UNAUTHORIZED
    return caught.value.detail


def test_a_key_binds_as_many_accounts_as_it_may_and_no_more(world: World) -> None:
    a_key(world, max_uses=2)
    for _ in range(2):
        world.account(eab=KID)
    assert f"key {KID} was used 2 times, as often as it may be" in refusal(world)


def test_a_key_binds_nobody_after_its_time_nor_when_it_was_taken_back(world: World) -> None:
    a_key(world, expires=later(hours=1))
    world.account(eab=KID)
    world.now += timedelta(hours=1)
    assert f"expired at {later(hours=1)}" in refusal(world)
    world.do(eab.revoke(world.rows, kid=KID))
    assert "was revoked" in refusal(world)
    assert "is not known here" in refusal(world, "1" * 26)


# -- ordering ------------------------------------------------------------------------------------


def test_accounts_of_a_key_that_was_taken_back_order_nothing_more(world: World) -> None:
    a_key(world)
    bound, free = world.account(eab=KID), world.account()
    world.order("web.corp.test", account=bound)
    world.do(eab.revoke(world.rows, kid=KID))
    with pytest.raises(Refused, match="was revoked") as caught:
        world.order("web.corp.test", account=bound)
    assert caught.value.problem is Problem.UNAUTHORIZED
    world.order("web.corp.test", account=free)


def test_an_account_whose_key_the_log_lost_orders_nothing(world: World) -> None:
    """Nobody knows what it may do: it is not more than before."""
    account = world.account()
    world.rows.put(ACCOUNTS, type(account)(**{**_members(account), "eab": KID}))
    with pytest.raises(Refused, match="was revoked"):
        eab.key_of(world.rows, world.rows.get(ACCOUNTS, account.id))


def _members(account):
    return {name: getattr(account, name) for name in account.__struct_fields__}


def test_the_key_of_an_account_is_what_it_was_bound_with(world: World) -> None:
    key = a_key(world)
    bound, free = world.account(eab=KID), world.account()
    found = eab.key_of(world.rows, bound)
    assert found is not None
    assert found.kid == key.kid
    assert eab.key_of(world.rows, free) is None
    assert eab.key_of(world.rows, None) is None


NAMES = ("web.shop.test", "a.b.shop.test", "shop.test", "*.shop.test", "*.eu.shop.test")


@pytest.mark.parametrize(
    ("allow", "permitted"),
    [
        ((".shop.test/1",), NAMES[:1]),
        ((".shop.test/2",), NAMES[:2]),
        (("=shop.test", "*.shop.test"), NAMES[2:4]),
        (("*..shop.test/1",), NAMES[4:]),
    ],
)
def test_accounts_of_a_key_order_the_names_it_allows(
    world: World, allow: tuple[str, ...], permitted: tuple[str, ...]
) -> None:
    key = a_key(world, allow=allow)
    eab.check_names(key, permitted)
    for name in set(NAMES) - set(permitted):
        with pytest.raises(Refused, match="not among those that this account") as caught:
            eab.check_names(key, (*permitted, name))
        assert caught.value.problem is Problem.REJECTED_IDENTIFIER
        assert caught.value.identifier is not None
        assert caught.value.identifier.value == name
        assert not caught.value.subproblems


def test_each_name_that_is_not_allowed_is_named(world: World) -> None:
    key = a_key(world, allow=(".shop.test/1",))
    with pytest.raises(Refused, match="2 of the names are refused") as caught:
        eab.check_names(key, NAMES[:3])
    told = [each.identifier.value for each in caught.value.subproblems if each.identifier]
    assert told == list(NAMES[1:3])


def test_a_long_list_of_rules_is_not_told_to_its_end(world: World) -> None:
    key = a_key(world, allow=tuple(f"=n{n}.test" for n in range(50)))
    with pytest.raises(Refused, match=r"=n19\.test, …\)"):
        eab.check_names(key, ("web.test",))


def test_a_key_without_rules_restricts_nothing(world: World) -> None:
    for key in (None, a_key(world)):
        eab.check_names(key, NAMES)
        assert eab.challenges(key, ("http-01", "dns-01"), NAMES) == ("http-01", "dns-01")
        assert eab.prevalidated(key, NAMES) == {}
        assert eab.profile(key, "short") == "short"
        assert eab.profile(key, None) is None


def test_accounts_of_a_key_prove_control_in_its_ways(world: World) -> None:
    key = a_key(world, challenges=("dns-01", "tls-alpn-01"))
    assert eab.challenges(key, ("http-01", "dns-01"), NAMES) == ("dns-01",)
    with pytest.raises(Refused, match="cannot be proven by dns-01, tls-alpn-01") as caught:
        eab.challenges(key, ("http-01",), NAMES)
    assert caught.value.problem is Problem.REJECTED_IDENTIFIER


def test_a_name_that_the_ways_of_a_key_cannot_prove_is_refused(world: World) -> None:
    key = a_key(world, challenges=("http-01",))
    offered = ("http-01", "dns-01")
    assert eab.challenges(key, offered, ("web.test", "192.0.2.1")) == ("http-01",)
    with pytest.raises(Refused, match="cannot be proven by http-01") as caught:
        eab.challenges(key, offered, ("web.test", "*.web.test"))
    assert caught.value.identifier is not None
    assert caught.value.identifier.value == "*.web.test"
    free = a_key(world, "1" * 26)
    with pytest.raises(Refused, match="cannot be proven by http-01"):
        eab.challenges(free, ("http-01",), ("*.web.test",))


@pytest.mark.parametrize(
    "other",
    [
        {"policy": "lax"},
        {"profile": "lax"},
        {"allow": ()},
        {"challenges": ()},
        {"prevalidated": True},
    ],
)
def test_an_order_is_held_against_the_key_that_the_log_has(
    world: World, other: dict[str, Any]
) -> None:
    key = a_key(world, allow=(".shop.test/1",), challenges=("dns-01",))
    eab.check_same(msgspec.structs.replace(key, uses=3, position=9), key)
    eab.check_same(None, None)
    for seen in (None, msgspec.structs.replace(key, **other)):
        with pytest.raises(Refused) as caught:
            eab.check_same(seen, key)
        assert caught.value.problem is Problem.SERVER_INTERNAL


def test_accounts_of_a_key_order_its_profile(world: World) -> None:
    key = a_key(world, profile="short")
    assert eab.profile(key, None) == "short"
    assert eab.profile(key, "short") == "short"
    with pytest.raises(Refused, match="the profile short only") as caught:
        eab.profile(key, "long")
    assert caught.value.problem is Problem.INVALID_PROFILE


def test_the_rules_of_a_key_are_read_once_for_all_names_of_an_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred names and a hundred rules would be ten thousand readings."""
    key = a_key(world, allow=(".a.test/1", ".shop.test/1"), prevalidated=True)
    read: list[str] = []

    def reading(text: str) -> scope.NameRule:
        read.append(text)
        return scope.parse(text)

    monkeypatch.setattr(eab, "parse", reading)
    names = tuple(f"n{n}.shop.test" for n in range(100))
    eab.check_names(key, names)
    assert len(eab.prevalidated(key, names)) == len(names)
    assert len(read) == 2 * len(key.allow)


def test_names_that_a_key_grants_need_no_proof(world: World) -> None:
    key = a_key(world, allow=(".shop.test/1",), prevalidated=True)
    assert eab.prevalidated(key, NAMES) == {"web.shop.test": f"eab {KID}"}


@pytest.mark.parametrize("granted", [True, False])
def test_what_a_key_granted_is_finished_only_while_the_key_is_there(
    world: World, granted: bool
) -> None:
    a_key(world, allow=(".shop.test/1",), prevalidated=granted)
    bound = world.account(eab=KID)
    eab.check_still_granted(world.rows, bound)
    world.do(eab.revoke(world.rows, kid=KID))
    if granted:
        with pytest.raises(Refused, match="was revoked"):
            eab.check_still_granted(world.rows, bound)
    else:  # control was proven
        eab.check_still_granted(world.rows, bound)
    eab.check_still_granted(world.rows, world.account())


def test_what_a_key_granted_is_not_finished_where_its_row_is_gone(world: World) -> None:
    """Who can write to the database takes away a row; nobody knows then what the key granted."""
    a_key(world, allow=(".shop.test/1",), prevalidated=True)
    bound = world.account(eab=KID)
    world.rows.delete(EAB_KEYS, KID)
    with pytest.raises(Refused, match="was revoked"):
        eab.check_still_granted(world.rows, bound)


def test_a_key_without_a_bound_on_its_uses_has_no_line_for_each(world: World) -> None:
    """Its stream is read when a decision is made about it, however many accounts it has bound."""
    a_key(world)
    for _ in range(5):
        assert world.account(eab=KID).eab == KID
    assert [stream for stream, _ in world.facts].count(f"eab/{KID}") == 1


def test_an_account_without_a_binding_uses_nothing(world: World) -> None:
    assert eab.use(world.rows, world.now, kid="", account_id="a") == ()
    assert accounts.stream("a") == "account/a"

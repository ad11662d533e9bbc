"""What may happen to an account, and which contacts it may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide import accounts, contacts
from certeasy.decide.decision import KeyUnused
from certeasy.decide.problems import Problem, Refused
from events.accounts import AccountContactsChanged, AccountCreated
from events.sealing import Sealed
from projections.accounts import ACCOUNTS, DEACTIVATED, REVOKED, VALID
from tests.make.decided import NO_ID, World

SEALED = Sealed("account/x", "box")


def test_a_key_registers_itself_if_no_account_has_it() -> None:
    world = World()
    decision = accounts.create(
        world.rows,
        world.now,
        account_id="a",
        thumbprint="t",
        jwk={"kty": "EC"},
        contact=SEALED,
        terms_agreed=True,
    )
    assert decision.guards == (KeyUnused("t"),)
    assert decision.facts == (
        (
            "account/a",
            AccountCreated(
                account_id="a",
                thumbprint="t",
                jwk={"kty": "EC"},
                terms_agreed=True,
                contact=SEALED,
            ),
        ),
    )


def test_contacts_are_replaced() -> None:
    world = World()
    account = world.account()
    for contact in (SEALED, None):
        named = {"account_id": account.id, "thumbprint": account.thumbprint, "contact": contact}
        assert world.decide(accounts.change_contact, **named) == ["account.contacts-changed"]
        assert world.facts[-1][1] == AccountContactsChanged(account_id=account.id, contact=contact)
        row = world.rows.get(ACCOUNTS, account.id)
        assert row is not None
        assert row.contact == contact


def test_an_account_changes_its_key_if_no_account_has_the_new_one() -> None:
    world = World()
    account = world.account()
    named = {"account_id": account.id, "new_thumbprint": "new", "new_jwk": {"kty": "OKP"}}
    decision = accounts.change_key(world.rows, thumbprint=account.thumbprint, **named)
    assert decision.guards == (KeyUnused("new"),)
    assert world.do(decision) == ["account.key-changed"]
    row = world.rows.get(ACCOUNTS, account.id)
    assert row is not None
    assert (row.thumbprint, row.jwk, row.status) == ("new", {"kty": "OKP"}, VALID)
    with pytest.raises(Refused, match="present key"):
        accounts.change_key(world.rows, thumbprint=account.thumbprint, **named)


def test_who_left_does_not_come_back() -> None:
    world = World()
    account = world.account()
    named = {"account_id": account.id, "thumbprint": account.thumbprint}
    assert world.decide(accounts.deactivate, **named) == ["account.deactivated"]
    row = world.rows.get(ACCOUNTS, account.id)
    assert row is not None
    assert row.status == DEACTIVATED
    for decider, more in ((accounts.deactivate, {}), (accounts.change_contact, {"contact": None})):
        with pytest.raises(Refused, match="deactivated") as caught:
            world.decide(decider, **named, **more)
        assert caught.value.problem is Problem.UNAUTHORIZED


def test_whoever_runs_the_server_closes_an_account_once() -> None:
    world = World()
    account = world.account()
    assert world.decide(accounts.revoke, account_id=account.id) == ["account.revoked"]
    row = world.rows.get(ACCOUNTS, account.id)
    assert row is not None
    assert row.status == REVOKED
    assert world.decide(accounts.revoke, account_id=account.id) == []
    with pytest.raises(Refused, match="revoked") as caught:
        accounts.signed_by(world.rows, account.id, account.thumbprint)
    assert caught.value.problem is Problem.UNAUTHORIZED
    with pytest.raises(Refused, match="no account") as caught:
        world.decide(accounts.revoke, account_id=NO_ID)
    assert caught.value.problem is Problem.ACCOUNT_DOES_NOT_EXIST


def test_only_the_accounts_present_key_acts_for_it() -> None:
    world = World()
    account = world.account()
    assert accounts.signed_by(world.rows, account.id, account.thumbprint).status == VALID
    with pytest.raises(Refused) as caught:
        accounts.signed_by(world.rows, account.id, "an old key")
    assert caught.value.problem is Problem.UNAUTHORIZED


def test_nobody_acts_for_an_account_that_never_was() -> None:
    with pytest.raises(Refused) as caught:
        accounts.signed_by(World().rows, NO_ID, "t")
    assert caught.value.problem is Problem.ACCOUNT_DOES_NOT_EXIST
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "contact",
    ["mailto:a@b.test", "MailTo:admin+acme@corp.example", "mailto:first.last@sub.corp.test"],
)
def test_a_mail_address_is_a_contact(contact: str) -> None:
    assert contacts.checked([contact, contact]) == (contact,)


@given(st.lists(st.text(max_size=40) | st.text("mailto:@ab.,?%", max_size=20), max_size=12))
def test_whatever_is_sent_is_one_address_each_or_refused(sent: list[str]) -> None:
    refused: Refused | None = None
    taken: tuple[str, ...] = ()
    try:
        taken = contacts.checked(sent)
    except Refused as refusal:
        refused = refusal
    assert len(set(taken)) == len(taken)
    assert all(each.count("@") == 1 and each.isascii() for each in taken)
    if refused is not None:
        assert refused.problem in (Problem.INVALID_CONTACT, Problem.UNSUPPORTED_CONTACT)
        assert refused.detail.isprintable()

"""A line that cannot follow from those before it is named, never folded."""

from datetime import timedelta

import pytest

from events.accounts import (
    AccountContactsChanged,
    AccountCreated,
    AccountDeactivated,
    AccountKeyChanged,
    AccountRevoked,
)
from events.certificates import (
    CertificateReplaced,
    CertificateRevoked,
    CertificateTwinFound,
    RevocationPublished,
)
from events.eab import EabCreated, EabUsed
from events.envelope import timestamp
from events.nodes import NodeKeyRotated, NodeRetired
from events.orders import (
    AuthorizationDeactivated,
    AuthorizationPrevalidated,
    ChallengeAccepted,
    ChallengeValidated,
    Identifier,
    IssuanceAbandoned,
    IssuanceFailed,
    IssuancePending,
    IssuanceSearched,
    IssuanceSubmitted,
    OfferedAuthorization,
    OfferedChallenge,
    OrderCreated,
    OrderExpired,
    OrderFinalized,
    OrderInvalidated,
    OrderReady,
    Problem,
)
from events.retention import RetentionApplied
from projections.fold import fold, streams_of
from projections.jobs import JOBS
from projections.revocations import REVOCATIONS
from projections.suspects import SUSPECTS
from projections.tables import Contradiction, WorkingRows
from tests.make.journals import ALog, a_log, key_of
from tests.make.stories import (
    a_loss,
    a_lost_answer,
    a_recovery,
    a_renewal,
    a_retention,
)

PROBLEM = Problem("urn:ietf:params:acme:error:dns", "no such name", 400)
NAME = "web.corp.internal"


def folded(log: ALog) -> WorkingRows:
    rows = WorkingRows(lambda _table, _key: None)
    for record in log.records:
        fold(record, rows)
    return rows


def an_order(log: ALog) -> str:
    return log.a_new_order(NAME, account=log.an_account())


def ordered_again(log: ALog) -> None:
    order = an_order(log)
    identifier = Identifier("dns", NAME)
    offered = (OfferedAuthorization(identifier, (OfferedChallenge("http-01", "t"),)),)
    again = OrderCreated(order, "a", (identifier,), offered, "2026-12-01T00:00:00Z", "p", "lab")
    log.say(again, f"order/{order}")


def registered_again(log: ALog) -> None:
    account = log.an_account()
    log.say(AccountCreated(account, "x", {"kty": "OKP"}), f"account/{account}")


def changed_after_the_end(log: ALog) -> None:
    account = log.an_account()
    log.say(AccountDeactivated(account), f"account/{account}")
    log.say(AccountContactsChanged(account), f"account/{account}")


def closed_twice(log: ALog) -> None:
    account = log.an_account()
    log.say(AccountRevoked(account), f"account/{account}")
    log.say(AccountRevoked(account), f"account/{account}")


def left_before_its_time(log: ALog) -> None:
    order = log.an_order(NAME, account=log.an_account())
    a_retention(log, order)
    log.now -= timedelta(days=150)
    a_retention(log, log.an_order(NAME, account=log.an_account()))
    late = RetentionApplied(timestamp(log.now + timedelta(days=1)), ())
    log.say(late, "retention")


def left_while_it_was_pending(log: ALog) -> None:
    a_retention(log, an_order(log))


def left_with_a_certificate_that_is_valid(log: ALog) -> None:
    order = log.an_order(NAME, account=log.an_account())
    log.now += timedelta(days=30)
    log.say(RetentionApplied(timestamp(log.now - timedelta(days=1)), (order,)), "retention")


def left_while_a_revocation_waited(log: ALog) -> None:
    account = log.an_account()
    order = log.an_order(NAME, account=account)
    revoked = CertificateRevoked(order, log.serials[order], 4, "account", publish=True)
    log.say(revoked, f"certificate/{order}")
    a_retention(log, order)


def left_while_a_twin_was_looked_for(log: ALog) -> None:
    a_retention(log, a_lost_answer(log, NAME, account=log.an_account()))


def left_without_its_order(log: ALog) -> None:
    order = log.an_order(NAME, account=log.an_account())
    a_retention(log, order, revocations=(f"{log.new_id()}-0123456789ab",))


def left_twice(log: ALog) -> None:
    order = log.an_order(NAME, account=log.an_account())
    a_retention(log, order)
    a_retention(log, order)


def bound_with_a_key_that_nobody_made(log: ALog) -> None:
    log.an_account(eab=log.new_id())


def bound_more_often_than_may_be(log: ALog) -> None:
    kid = log.an_eab_key(max_uses=1)
    log.an_account(eab=kid)
    log.an_account(eab=kid)


def bound_after_the_key_was_taken_back(log: ALog) -> None:
    kid = log.an_eab_key()
    log.an_eab_revocation(kid)
    log.say(EabUsed(kid, "a"), f"eab/{kid}")


def key_taken_back_twice(log: ALog) -> None:
    kid = log.an_eab_key()
    log.an_eab_revocation(kid)
    log.an_eab_revocation(kid)


def key_made_twice(log: ALog) -> None:
    kid = log.an_eab_key()
    log.say(EabCreated(kid), f"eab/{kid}")


def ready_with_nothing_proven(log: ALog) -> None:
    log.say(OrderReady(), f"order/{an_order(log)}")


def finalized_before_it_was_ready(log: ALog) -> None:
    log.say(OrderFinalized(b"csr", "0" * 64), f"order/{an_order(log)}")


def proven_before_it_was_tried(log: ALog) -> None:
    log.say(ChallengeValidated(0, 0, {}), f"order/{an_order(log)}")


def tried_by_a_challenge_it_has_not(log: ALog) -> None:
    log.say(ChallengeAccepted(0, 7), f"order/{an_order(log)}")


def tried_twice(log: ALog) -> None:
    order = an_order(log)
    log.say(ChallengeAccepted(0, 0), f"order/{order}")
    log.say(ChallengeAccepted(0, 0), f"order/{order}")


def known_already_twice(log: ALog) -> None:
    order = an_order(log)
    log.say(AuthorizationPrevalidated(0, "eab x"), f"order/{order}")
    log.say(AuthorizationPrevalidated(0, "eab x"), f"order/{order}")


def known_already_by_another_challenge(log: ALog) -> None:
    order, identifier = log.new_id(), Identifier("dns", NAME)
    ways = tuple(OfferedChallenge(kind, "t") for kind in ("http-01", "dns-01"))
    offered = (OfferedAuthorization(identifier, ways),)
    made = OrderCreated(order, "a", (identifier,), offered, "2026-12-01T00:00:00Z", "p", "lab")
    log.say(made, f"order/{order}")
    log.say(AuthorizationPrevalidated(0, "eab x", 0), f"order/{order}")
    log.say(AuthorizationPrevalidated(0, "eab x", 1), f"order/{order}")


def given_up_twice(log: ALog) -> None:
    order = an_order(log)
    log.say(AuthorizationDeactivated(0), f"order/{order}")
    log.say(AuthorizationDeactivated(0), f"order/{order}")


def given_up_where_there_is_none(log: ALog) -> None:
    log.say(AuthorizationDeactivated(1), f"order/{an_order(log)}")


def ran_out_after_it_was_valid(log: ALog) -> None:
    log.say(OrderExpired(PROBLEM), f"order/{log.an_order(NAME)}")


def changed_another_s_key(log: ALog) -> None:
    account, other = log.an_account(), log.an_account()
    fact = AccountKeyChanged(account, key_of(other), "new", {"kty": "OKP"})
    log.say(fact, f"account/{account}")


def submitted_out_of_turn(log: ALog) -> None:
    order = log.an_order(NAME)
    log.say(IssuanceSubmitted(2, "lab", "0" * 64), f"order/{order}")


def submitted_with_another_request(log: ALog) -> None:
    order = an_order(log)
    log.say(ChallengeAccepted(0, 0), f"order/{order}")
    log.say(ChallengeValidated(0, 0, {}), f"order/{order}")
    log.say(OrderReady(), f"order/{order}")
    log.say(OrderFinalized(b"csr", "0" * 64), f"order/{order}")
    log.say(IssuanceSubmitted(1, "lab", "1" * 64), f"order/{order}")


def failed_before_it_was_submitted(log: ALog) -> None:
    log.say(IssuanceFailed(1, "lab", "no", final=True), f"order/{an_order(log)}")


def pending_at_another_authority(log: ALog) -> None:
    order = log.a_submitted_order(NAME, account=log.an_account())
    log.say(IssuancePending(1, "other", "7"), f"order/{order}")


def given_up_when_it_had_ended(log: ALog) -> None:
    log.say(IssuanceAbandoned(1, "lab", "why"), f"order/{log.an_order(NAME)}")


def searched_for_what_was_not_given_up(log: ALog) -> None:
    order = log.a_submitted_order(NAME, account=log.an_account())
    log.say(IssuanceSearched(1, "lab", settled=True, reason="no"), f"order/{order}")


def twin_of_no_attempt(log: ALog) -> None:
    order = log.an_order(NAME)
    twin = CertificateTwinFound(order, "lab", 2, "found", b"twin", "07")
    log.say(twin, f"certificate/{order}")


def published_untold(log: ALog) -> None:
    order = log.an_order(NAME)
    log.say(RevocationPublished(order, "lab", "07", "0" * 64), f"certificate/{order}")


def ended_after_it_was_valid(log: ALog) -> None:
    log.say(OrderInvalidated("authority", PROBLEM), f"order/{log.an_order(NAME)}")


def revoked_twice(log: ALog) -> None:
    order = log.an_order(NAME)
    log.a_revocation(order)
    log.a_revocation(order)


def revoked_by_another_serial(log: ALog) -> None:
    order = log.an_order(NAME)
    log.say(CertificateRevoked(order, "00", 1, "account"), f"certificate/{order}")


def replaced_twice(log: ALog) -> None:
    order, _ = a_renewal(log)
    serial = log.serials[order]
    log.say(CertificateReplaced(order, serial, "another", "07"), f"certificate/{order}")


def replaced_by_another_serial(log: ALog) -> None:
    order = log.an_order(NAME)
    log.say(CertificateReplaced(order, "00", "another", "07"), f"certificate/{order}")


def retired_unknown(log: ALog) -> None:
    log.say(NodeRetired("nobody", 1, "0" * 64), "node/nobody")


def gave_up_unknown(log: ALog) -> None:
    log.say(NodeKeyRotated("nobody", "new", "x", "old", "jws"), "node/nobody")


def gave_up_twice(log: ALog) -> None:
    first = log.a_key_rotation().event
    log.say(first, f"node/{log.nodes[0].server_id}")


def signed_with_another_key(log: ALog) -> None:
    account, other = log.an_account(), log.an_account()
    actor = log.actor(account)
    thief = type(actor)(actor.kind, actor.id, actor.sealed, key_of(other))
    log.say(AccountDeactivated(account), f"account/{account}", actor=thief)


@pytest.mark.parametrize(
    ("story", "words"),
    [
        (registered_again, "created a second time"),
        (ordered_again, "created a second time"),
        (changed_after_the_end, "although it is deactivated"),
        (closed_twice, "although it is revoked"),
        (left_before_its_time, "of what is not over before"),
        (left_while_it_was_pending, "which was not over before"),
        (left_with_a_certificate_that_is_valid, "which was not over before"),
        (left_while_a_revocation_waited, "which was not over before"),
        (left_while_a_twin_was_looked_for, "which was not over before"),
        (left_without_its_order, "which is open"),
        (left_twice, "which was not over before"),
        (bound_with_a_key_that_nobody_made, "eab.used for eab key .* before it was created"),
        (bound_more_often_than_may_be, "more often than it may be"),
        (bound_after_the_key_was_taken_back, "eab.used for eab key .* although it is revoked"),
        (key_taken_back_twice, "although it is revoked"),
        (key_made_twice, "created a second time"),
        (ready_with_nothing_proven, "not all of it was proven"),
        (finalized_before_it_was_ready, "although it is pending"),
        (proven_before_it_was_tried, "which is pending"),
        (tried_by_a_challenge_it_has_not, "has no challenge 0-7"),
        (tried_twice, "which is processing"),
        (known_already_twice, "which is valid"),
        (known_already_by_another_challenge, "which is not pending"),
        (given_up_twice, "no authorization 0 to give up"),
        (given_up_where_there_is_none, "no authorization 1 to give up"),
        (ran_out_after_it_was_valid, "although it is valid"),
        (changed_another_s_key, "gives up the key .*, not its own"),
        (submitted_out_of_turn, "although it is valid"),
        (submitted_with_another_request, "did not come to this submission"),
        (failed_before_it_was_submitted, "although it is pending"),
        (pending_at_another_authority, "attempt 1 of .*, which is not open"),
        (given_up_when_it_had_ended, "attempt 1 of .*, which is not open"),
        (searched_for_what_was_not_given_up, "attempt 1 of .*, which is not open"),
        (twin_of_no_attempt, "has no attempt 2"),
        (published_untold, "of which no authority was told"),
        (ended_after_it_was_valid, "although it is valid"),
        (revoked_twice, "revoked a second time"),
        (revoked_by_another_serial, "never issued so"),
        (replaced_twice, "replaced a second time"),
        (replaced_by_another_serial, "never issued so"),
        (retired_unknown, "retired, but unknown"),
        (gave_up_unknown, "node nobody gives up the key old, not its own"),
        (gave_up_twice, "gives up the key .*, not its own"),
        (signed_with_another_key, "did not have the key"),
    ],
)
def test_what_cannot_follow_is_named_by_its_position(story, words):
    log = a_log()
    story(log)
    with pytest.raises(Contradiction, match=words) as caught:
        folded(log)
    assert caught.value.position == log.position
    assert str(caught.value).startswith(f"position {log.position}: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": ("victim.corp.internal",)}, "not what its order asked for"),
        ({"account_id": "another"}, "not the certificate of its order"),
        ({"attempt": 2}, "not the certificate of its order"),
    ],
)
def test_a_certificate_is_its_own_order_s(changes, words):
    log = a_log()
    log.an_order(NAME)
    rows = folded(ALogUpTo(log, 1))
    issued = log.records[-1]
    fact = type(issued.event)(
        **{f: getattr(issued.event, f) for f in issued.event.__struct_fields__} | changes
    )
    forged = a_log_going_on(log, fact)
    with pytest.raises(Contradiction, match=words):
        fold(forged, rows)


class ALogUpTo:
    """A log without its last lines."""

    def __init__(self, log: ALog, less: int) -> None:
        self.records = log.records[:-less]


def a_log_going_on(log: ALog, fact):
    """Return the line that says something else in the place of the log's last one."""
    return log.say(fact, log.records[-1].envelope.stream)


def test_a_certificate_is_recovered_once():
    log = a_log(nodes=2)
    lost = a_loss(log, lambda: log.an_order(NAME, by=1), by=1)
    log.a_start()
    a_recovery(log, lost, by=1)
    rows = folded(log)
    again = log.records[-1]
    with pytest.raises(Contradiction, match="is recovered, but is there"):
        fold(again, rows)


def test_only_what_decisions_are_based_on_has_streams_of_its_own():
    assert streams_of(JOBS, ("job",)) == ()
    of_order = ("order/an-order", "certificate/an-order")
    assert streams_of(REVOCATIONS, ("an-order", "cert")) == of_order
    assert streams_of(SUSPECTS, ("an-order-2",)) == of_order

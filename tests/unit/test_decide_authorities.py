"""Changes of an authority's health are recorded once each."""

import pytest

from certeasy.decide import authorities
from events.authorities import AuthorityFailed, AuthorityRecovered
from projections.authorities import TROUBLES
from projections.fold import fold
from projections.tables import Contradiction, WorkingRows
from tests.make.decided import World
from tests.make.journals import a_log

CA = "authority/ca"


def test_an_authority_fails_once_and_recovers_once() -> None:
    world = World()
    assert world.decide(authorities.recovered, "ca") == []
    assert world.decide(authorities.failed, "ca", "away", "0x800706ba") == ["authority.failed"]
    assert world.decide(authorities.failed, "ca", "still away") == []
    trouble = world.rows.get(TROUBLES, "ca")
    assert trouble is not None
    assert (trouble.reason, trouble.code) == ("away", "0x800706ba")
    assert world.decide(authorities.recovered, "ca") == ["authority.recovered"]
    assert world.rows.get(TROUBLES, "ca") is None
    assert world.decide(authorities.recovered, "ca") == []


def test_a_long_reason_is_cut() -> None:
    (_, fact), *_ = authorities.failed(World().rows, "ca", "x" * 5000).facts
    assert isinstance(fact, AuthorityFailed)
    assert len(fact.reason) == 1000


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ((AuthorityFailed("ca", "away"),) * 2, "fails a second time"),
        ((AuthorityRecovered("ca", "2026-11-02T09:00:00Z"),), "what did not happen"),
        (
            (AuthorityFailed("ca", "away"), AuthorityRecovered("ca", "1999-11-02T09:00:00Z")),
            "what did not happen",
        ),
    ],
)
def test_a_log_in_which_an_authority_is_in_two_ways_at_once_is_refused(facts, what) -> None:
    log = a_log()
    for fact in facts:
        log.say(fact, CA)
    rows = WorkingRows(lambda _table, _key: None)
    *before, last = log.records
    for record in before:
        fold(record, rows)
    with pytest.raises(Contradiction, match=what):
        fold(last, rows)


def test_a_certificate_of_an_authority_is_recorded_once() -> None:
    world = World()
    assert world.decide(authorities.seen, "ca", b"der") == ["authority.certificate-seen"]
    assert world.facts[-1][0] == CA
    assert world.decide(authorities.seen, "ca", b"der") == []
    assert world.decide(authorities.seen, "ca", b"renewed") == ["authority.certificate-seen"]


def test_an_authority_is_kept_while_orders_wait_for_it() -> None:
    world = World()
    account = world.account()
    assert authorities.needed(["ca"], []) is None
    waiting = [world.row(world.processing(f"{n}.test", account=account)) for n in range(22)]
    assert authorities.needed(["other"], waiting) is None
    few = authorities.needed(["ca", "other"], waiting[:2])
    assert few is not None
    assert few.startswith('the authority "ca" cannot be taken out')
    assert f"wait for it: {waiting[0].id}, {waiting[1].id}; leave it in" in few
    many = authorities.needed(["ca"], waiting)
    assert many is not None
    assert f"{waiting[19].id} and 2 more; leave it in" in many

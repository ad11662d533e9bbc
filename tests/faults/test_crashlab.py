"""A real server, killed and hurt under load; and the lab, which must notice a broken promise."""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("signals, limits and mounts are POSIX's", allow_module_level=True)

from tests.make.journals import a_log
from tests.make.postgres import Postgres
from tools.crashlab import faults, kills, stops, switching
from tools.crashlab.evidence import IN_ROWS, Kept, Story, contradictions, mended
from tools.crashlab.ledger import ACCEPTED, ISSUED, VALID, Known

CLIENTS = 6
slow = pytest.mark.timeout(
    400
)  # alone it needs a tenth of it; whoever shares the machine counts too


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str | None:
    """The address of an empty PostgreSQL database, or None for SQLite."""
    if request.param == "sqlite":
        return None
    server: Postgres = request.getfixturevalue("postgres")
    return server.a_database()


@slow
def test_kill_9_loses_nothing_and_doubles_nothing(
    tmp_path: Path, a_seed: str, database: str | None
):
    said: list[str] = []
    outcome = kills.run(
        tmp_path / "lab",
        rounds=5,
        clients=CLIENTS,
        seed=a_seed,
        tell=said.append,
        database=database,
    )
    assert not outcome.broken, "\n".join([str(outcome), *said])
    assert (outcome.rounds, outcome.lost, outcome.bad_nonces) == (5, 0, 0), outcome
    assert outcome.kills >= 5
    assert outcome.certificates > 5, outcome


@slow
def test_a_server_that_is_asked_to_end_does_so_in_time_and_owes_nothing(
    tmp_path: Path, a_seed: str, database: str | None
):
    said: list[str] = []
    outcome = stops.run(
        tmp_path / "lab",
        rounds=5,
        clients=CLIENTS,
        seed=a_seed,
        tell=said.append,
        database=database,
    )
    assert not outcome.broken, "\n".join([str(outcome), *said])
    assert (outcome.rounds, outcome.lost, outcome.bad_nonces) == (5, 0, 0), outcome
    assert outcome.certificates > 5, outcome


@slow
def test_ten_switch_overs_lose_nothing(tmp_path: Path, a_seed: str, postgres: Postgres):
    """One node stops, the other starts, under load; a second one beside the first is refused."""
    said: list[str] = []
    outcome = switching.run(
        tmp_path / "lab",
        postgres.a_database(),
        switches=10,
        clients=CLIENTS,
        seed=a_seed,
        tell=said.append,
    )
    print(outcome)  # noqa: T201 - seconds each, for who runs it with -s
    assert not outcome.broken, "\n".join([str(outcome), *said])
    assert (len(outcome.seconds), outcome.lost, outcome.bad_nonces) == (10, 0, 0), outcome
    assert outcome.certificates > 10, outcome


@slow
def test_a_node_that_was_killed_is_followed_when_its_lease_has_run_out(
    tmp_path: Path, a_seed: str, postgres: Postgres
):
    outcome = switching.run(
        tmp_path / "lab",
        postgres.a_database(),
        switches=1,
        clients=CLIENTS,
        seed=a_seed,
        tell=lambda _said: None,
        crash=True,
    )
    assert not outcome.broken, outcome
    assert outcome.lost == 0, outcome


@slow
def test_a_node_that_slept_past_its_lease_commits_nothing_more(
    tmp_path: Path, a_seed: str, postgres: Postgres
):
    said: list[str] = []
    outcome = switching.freeze(
        tmp_path / "lab",
        postgres.a_database(),
        rounds=2,
        clients=CLIENTS,
        seed=a_seed,
        tell=said.append,
    )
    assert not outcome.broken, "\n".join([str(outcome), *said])
    assert (len(outcome.seconds), outcome.lost) == (2, 0), outcome


@slow
@pytest.mark.parametrize("fault", ["torn", "full", "limit", "second", "stutter"])
def test_a_fault_passes_and_everything_holds(fault: str, tmp_path: Path, a_seed: str):
    outcome = faults.run(fault, tmp_path / "lab", clients=CLIENTS, seed=a_seed)
    if outcome.outcome == faults.LEFT_OUT:
        pytest.skip(outcome.said)
    assert outcome.outcome == faults.HELD, f"{outcome}, seed {a_seed}"


@pytest.fixture
def a_seed() -> str:
    # pytest-randomly seeds `random` with what it prints: a failure can be repeated.
    return f"{random.getrandbits(32):08x}"


# -- the lab itself ------------------------------------------------------------------------------

LOG = a_log()
ACCOUNT_ID = LOG.an_account()
LOG.a_failed_order("gone.corp.internal", account=ACCOUNT_ID)
ORDER_ID = LOG.an_order("web.corp.internal", account=ACCOUNT_ID)
LINES = [record.line for record in LOG.records]
FACTS = frozenset(fact for fact in Story(LINES).facts if fact[0] in (*IN_ROWS, ACCEPTED))
ROWS = {fact for fact in FACTS if fact[0] in IN_ROWS}
PROMISED = Known(FACTS, FACTS)
SEEN = Known(frozenset(), FACTS)


def kept(
    journal: Sequence[bytes] = LINES,
    database: Sequence[bytes] = LINES,
    *,
    torn: int = 0,
    rows: set[tuple[str, ...]] = ROWS,
) -> Kept:
    return Kept(list(journal), torn, list(database), rows)


def test_where_everything_is_kept_nothing_is_found():
    assert {fact[0] for fact in FACTS} == {*IN_ROWS, ACCEPTED} - {"certificate.revoked"}
    assert contradictions(PROMISED, kept(), at_rest=True) == []
    assert contradictions(PROMISED, kept(torn=7)) == []


def test_what_was_promised_must_be_in_the_journal_at_once():
    behind = kept(LINES[:-1], torn=100)
    assert any("is not in the journal" in text for text in contradictions(PROMISED, behind))
    assert contradictions(SEEN, behind) == []


def test_what_was_seen_must_be_in_the_journal_once_the_server_was_ready():
    behind = kept(LINES[:-1])
    assert any("not in the journal" in t for t in contradictions(SEEN, behind, level=FACTS))
    assert any("not in the journal" in t for t in contradictions(SEEN, behind, at_rest=True))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (kept(LINES[:-1], LINES[:-1]), "is not in the database's log"),
        (kept(rows=ROWS - {(VALID, ORDER_ID)}), "is not in the tables"),
        (kept(LINES, LINES[:-1]), "the journal has 1 lines more than the database"),
        (kept([*LINES[:-2], LINES[-1]]), "has position"),
        (kept([*LINES[:-1], LINES[-1][:-1] + b"x"]), "journal: line"),
        (kept([*LINES, LINES[-1]], [*LINES, LINES[-1]]), f"{VALID} {ORDER_ID} is there 2 times"),
    ],
)
def test_a_broken_promise_is_named(broken: Kept, told: str):
    assert any(told in text for text in contradictions(PROMISED, broken))


def test_a_killed_node_writes_the_end_of_its_lines_later_and_nothing_that_was_promised():
    """Another node goes on behind them: they are no longer the end of the log."""
    nothing, own = frozenset[tuple[str, ...]](), LOG.records[0].envelope.server_id
    short, holed = kept(LINES[:-2]), kept([*LINES[:-2], LINES[-1]])
    assert mended(short, own, nothing).journal == LINES
    assert mended(short, "another", nothing) == short
    assert mended(short, own, FACTS) == short
    assert mended(holed, own, nothing) == holed


def test_another_certificate_than_the_client_has_is_no_proof():
    other = Known(FACTS, FACTS | {(ISSUED, ORDER_ID, "0" * 64)})
    found = contradictions(other, kept())
    assert found, "a fact that is nowhere was not missed"
    assert all("0" * 64 in text for text in found)


def test_at_rest_nothing_may_be_torn_or_behind():
    assert any("torn" in text for text in contradictions(SEEN, kept(torn=1), at_rest=True))
    nothing = Known(frozenset(), frozenset())
    assert any("lacks 1" in t for t in contradictions(nothing, kept(LINES[:-1]), at_rest=True))


def test_a_journal_that_differs_from_the_database_is_named():
    other = a_log()
    other.an_order("other.corp.internal", account=other.an_account())
    other.say(other.records[-1].event, "certificate/other")
    nothing = Known(frozenset(), frozenset())
    lines = [record.line for record in other.records]
    found = contradictions(nothing, kept(lines[: len(LINES)], [*LINES, lines[-1]]))
    assert any("is not what the database has at this position" in text for text in found)

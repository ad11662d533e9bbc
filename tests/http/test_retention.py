"""What is over leaves the tables of a server, and nothing is lost: the log has it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from certeasy.cli import group
from certeasy.jobs.retention import AT_ONCE, Retention
from certeasy.settings import DatabaseSettings, RetentionSettings
from certeasy.store import DatabaseUnavailable, Store
from events.envelope import parse
from events.retention import RetentionApplied
from projections.certificates import CERTIFICATES
from projections.fold import TABLES
from projections.orders import ORDERS
from tests.fakes.clocks import MovedClock
from tests.make.certificates import a_leaf, plant
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.far_lab import FarLab, a_far_lab
from tests.make.lab import URL, Lab, a_lab
from tests.make.postgres import Postgres, settings_of
from tests.make.signers import b64


def run(config: Path, *words: str) -> str:
    result = CliRunner().invoke(group, [*words, "-f", str(config)])
    assert result.exit_code == 0, result.output
    return result.stdout


def gone(lab: Lab) -> list[str]:
    """The orders that have left, as the journal tells."""
    facts = [parse(line).event for line in lab.journal()]
    return [order for f in facts if isinstance(f, RetentionApplied) for order in f.orders]


def kept(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables."""
    with store.projected() as (_head, rows):
        return {table.name: list(rows(table)) for table in TABLES}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseSettings:
    if request.param == "sqlite":
        return DatabaseSettings(path=tmp_path / "node" / "db.sqlite")
    postgres: Postgres = request.getfixturevalue("postgres")
    return settings_of(postgres.a_database())


def test_what_is_over_leaves_the_tables_and_stays_in_the_log(
    tmp_path: Path, database: DatabaseSettings
) -> None:
    clock = MovedClock()
    workdir = tmp_path / "node"
    with a_lab(workdir, clock=clock, sections={"database": database}) as lab:
        client = lab.client()
        client.register()
        over = client.issued("over.lab.test")
        shown = client.see(over)
        failed = client.placed("failed.lab.test")
        [challenge] = client.challenges(failed)
        client.post(challenge["url"], {})
        assert client.wait(failed, "invalid")["status"] == "invalid"
        clock.pass_by(timedelta(days=100).total_seconds())
        client.drop_nonce()
        lives = client.issued("lives.lab.test")
        pending = client.placed("pending.lab.test")
        lab.server.retention.apply()
        ids = [url.rpartition("/")[2] for url in (over, failed, lives, pending)]
        assert gone(lab) == [ids[1]], "the other certificate expired ten days ago only"
        clock.pass_by(timedelta(days=85).total_seconds())
        lab.server.expiry.expire()
        lab.server.retention.apply()
        lab.server.retention.apply()
        assert gone(lab) == [ids[1], ids[0]]
        committer = lab.server.committer
        assert [committer.get(ORDERS, id_) is None for id_ in ids] == [True, True, False, False]
        assert committer.get(CERTIFICATES, ids[0]) is None
        client.drop_nonce()
        for url in (over, failed, shown["certificate"], shown["authorizations"][0]):
            refused = client.post(url)
            assert refused.status_code == 404, url
            assert refused.json["type"] == "urn:ietf:params:acme:error:malformed"
        assert client.see(lives)["status"] == "valid"
        assert client.issued("over.lab.test")
    check_node(workdir, database=database)


def test_an_auditor_finds_what_has_left_and_replays_to_the_same_tables(tmp_path: Path) -> None:
    clock = MovedClock()
    workdir = tmp_path / "node"
    config = a_config(tmp_path, workdir=f'"{workdir}"')
    with a_lab(workdir, clock=clock) as lab:
        client = lab.client()
        client.register()
        over = client.issued("over.lab.test").rpartition("/")[2]
        serial = lab.server.node.store.get(CERTIFICATES, over)
        assert serial is not None
        clock.pass_by(timedelta(days=185).total_seconds())
        client.drop_nonce()
        client.issued("new.lab.test")
        lab.server.retention.apply()
        assert gone(lab) == [over]
        account = str(client.kid).rpartition("/")[2]
    journal = str(workdir / "audit.log")
    for words in (
        ("order", over),
        ("name", "over.lab.test"),
        ("serial", serial.serial),
        ("account", account),
    ):
        told = run(config, "audit", "show", *words)
        assert "issued certificate" in told
        assert "1 order, over before" in told
        alone = CliRunner().invoke(group, ["audit", "show", *words, "--journal", journal])
        assert alone.stdout.count("\n") == told.count("\n"), words
    assert "left the tables" not in run(config, "audit", "show", "name", "new.lab.test")
    live, replayed = tmp_path / "live.sqlite", tmp_path / "replayed.sqlite"
    run(config, "projections", "export", "--out", str(live))
    replay = ["audit", "replay", "--journal", journal, "--out", str(replayed)]
    anchor = CliRunner().invoke(group, ["audit", "keys", "-f", str(config)]).stdout
    keys = tmp_path / "keys.json"
    keys.write_text(anchor)
    done = CliRunner().invoke(group, [*replay, "--keys", str(keys)])
    assert done.exit_code == 0, done.output
    equal = CliRunner().invoke(group, ["audit", "diff", str(live), str(replayed)])
    assert equal.exit_code == 0, equal.output
    assert run(config, "certs", "list", "--name", "over.lab.test") == ""


@pytest.mark.parametrize("what", ["a twin", "a revocation"])
def test_what_is_open_between_the_log_and_an_authority_stays(tmp_path: Path, what: str) -> None:
    with a_far_lab(tmp_path, probes=False, shows=False) as lab:
        client = lab.a_client()
        lab.ca.next(*["lost"] if what == "a twin" else [])
        order_id = lab.finalized(client)
        lab.ends(order_id, "valid")
        if what == "a revocation":
            lab.ca.refuses = True
            row = lab.server.committer.get(CERTIFICATES, order_id)
            assert row is not None
            client.post(f"{URL}/acme/revoke-cert", {"certificate": b64(row.certificate)})
            lab.tells(order_id, "revocation.failed", minutes=1)
        else:
            lab.tells(order_id, "issuance.searched", minutes=3)
        lab.pass_by(days=400)
        lab.server.retention.apply()
        assert gone(lab) == []
        assert lab.server.node.store.over("2099-01-01T00:00:00Z", 10) == []
        assert lab.order(order_id).status == "valid"


def test_a_published_revocation_leaves_with_its_order(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        order_id = _revoked(lab)
        lab.pass_by(days=400)
        lab.server.retention.apply()
        assert gone(lab) == [order_id]
        assert lab.server.node.store.revocations_of(order_id) == []
    check_node(tmp_path)


def _revoked(lab: FarLab) -> str:
    client = lab.a_client()
    order_id = lab.finalized(client)
    lab.ends(order_id, "valid")
    row = lab.server.committer.get(CERTIFICATES, order_id)
    assert row is not None
    client.post(f"{URL}/acme/revoke-cert", {"certificate": b64(row.certificate)})
    lab.tells(order_id, "revocation.published")
    return order_id


def test_a_certificate_whose_order_the_log_has_lost_leaves_as_well(tmp_path: Path) -> None:
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        id_ = plant(lab.server, a_leaf("lost.lab.test"))
        lives = plant(lab.server, a_leaf("new.lab.test", serial=9, begins=clock.now()))
        clock.pass_by(timedelta(days=150).total_seconds())
        lab.server.retention.apply()
        clock.pass_by(timedelta(days=60).total_seconds())
        lab.server.retention.apply()
        assert set(gone(lab)) == {id_, lives}
    check_node(tmp_path)


def test_much_leaves_in_steps_of_a_bounded_size(tmp_path: Path) -> None:
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        many = 2 * AT_ONCE + 3
        ids = [plant(lab.server, a_leaf(f"n{n}.lab.test", serial=n + 9)) for n in range(many)]
        clock.pass_by(timedelta(days=400).total_seconds())
        lab.server.retention.apply()
        facts = [parse(line).event for line in lab.journal()]
        steps = [len(fact.orders) for fact in facts if isinstance(fact, RetentionApplied)]
        assert steps == [AT_ONCE, AT_ONCE, 3]
        assert set(gone(lab)) == set(ids)
    check_node(tmp_path)


def test_with_retention_switched_off_nothing_is_looked_for(tmp_path: Path) -> None:
    with a_lab(tmp_path, sections={"retention": RetentionSettings(enabled=False)}) as lab:
        jobs = lab.server.schedule._scheduler.get_jobs()
    with a_lab(tmp_path) as lab:
        assert len(lab.server.schedule._scheduler.get_jobs()) == len(jobs) + 1


class Wrong:
    """Tables of which a question is answered wrongly, or not at all."""

    def __init__(self, lab: Lab, over: Callable[[], list[str]]) -> None:
        self._store, self._over = lab.server.node.store, over

    def over(self, _cutoff: str, _most: int) -> list[str]:
        return self._over()

    def revocations_among(self, order_ids: list[str]) -> list[str]:
        return self._store.revocations_among(order_ids)


def test_a_node_that_stops_begins_no_further_step(tmp_path: Path) -> None:
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        plant(lab.server, a_leaf())
        clock.pass_by(timedelta(days=400).total_seconds())
        lab.server.retention.stop()
        lab.server.retention.apply()
        assert gone(lab) == []


def test_a_database_that_is_away_ends_nothing_but_this_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> list[str]:
        raise DatabaseUnavailable("it is away")

    with a_lab(tmp_path) as lab:
        tables = Wrong(lab, away)
        Retention(lab.server.committer, lab.server.clock, timedelta(days=90), tables).apply()
    assert "could not leave the tables: it is away" in caplog.text


def test_an_order_whose_lines_were_changed_keeps_none_of_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = lab.client()
        client.register()
        broken, other = (client.issued(f"{name}.lab.test").rpartition("/")[2] for name in "ab")
    with a_lab(tmp_path, clock=clock) as lab:
        with closing(sqlite3.connect(tmp_path / "db.sqlite")) as connection, connection:
            connection.execute(
                "UPDATE events SET line = CAST(replace(CAST(line AS TEXT), 'a.lab', 'c.lab')"
                " AS BLOB) WHERE stream = ?",
                (f"order/{broken}",),
            )
        clock.pass_by(timedelta(days=400).total_seconds())
        lab.server.retention.apply()
        assert gone(lab) == [other]
    assert "an order that is over cannot leave the tables: " in caplog.text

"""What /metrics tells of a server that is at work."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import falcon.testing
import pytest
from prometheus_client.parser import text_string_to_metric_families

from certeasy.app import Application
from certeasy.store import DatabaseUnavailable
from tests.fakes.clocks import MovedClock
from tests.fakes.faults import database_error
from tests.make.lab import Client, Lab, a_lab
from tests.make.server import lab_settings
from tests.make.waiting import soon

DAY = 86400.0
NAME = "web.lab.test"


class Seen:
    """One look at /metrics: values by name and labels."""

    def __init__(self, lab: Lab) -> None:
        answer = falcon.testing.TestClient(lab.server.admin).simulate_get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.text = answer.text
        self.values = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.values.get((f"certeasy_{name}", tuple(sorted(labels.items()))))


def a_client(lab: Lab) -> Client:
    client = lab.client()
    client.register()
    return client


def _is_done(lab: Lab, kind: str) -> bool:
    return Seen(lab)("job_attempts_total", kind=kind, outcome="done") == 1


def _batches_agree(seen: Seen) -> bool:
    batches = seen("commit_batch_commands_count")
    parts = {seen("commit_seconds_count", part=part) for part in ("database", "journal")}
    return (seen("commit_batch_commands_sum") or 0) >= 5 and parts == {batches}


def test_an_order_is_seen_on_its_whole_way(tmp_path: Path):
    with a_lab(tmp_path) as lab:
        before = Seen(lab)
        assert before("events_total", type="certificate.issued") is None
        a_client(lab).certificate(NAME)
        # Who waits is answered first, and counted right after.
        soon(lambda: Seen(lab)("issuance_seconds_count", authority="lab-ca") == 1)
        for kind in ("validate", "issue"):
            soon(partial(_is_done, lab, kind))
        seen = Seen(lab)
        assert seen("events_total", type="order.created") == 1
        assert seen("events_total", type="certificate.issued") == 1
        assert seen("validation_seconds_count", challenge="http-01", outcome="valid") == 1
        assert seen("issuance_seconds_count", authority="lab-ca") == 1
        assert seen("authority_request_seconds_count", authority="lab-ca", outcome="issued") == 1
        assert seen("http_request_seconds_count", resource="/acme/new-order") == 1
        assert (seen("http_request_seconds_count", resource="/acme/finalize/*") or 0) >= 1
        assert (seen("http_responses_total", status="201") or 0) >= 2


def test_the_log_and_the_journal_are_seen_where_they_are(tmp_path: Path):
    with a_lab(tmp_path) as lab:
        a_client(lab).certificate(NAME)
        lines = lab.journal()
        seen = Seen(lab)
        assert seen("log_position") == seen("journal_seq") == len(lines)
        assert seen("journal_lag_events") == 0
        assert seen("journal_open") == 1
        assert seen("journal_active_bytes") == lab.server.node.journal.path.stat().st_size
        free, headroom = seen("journal_disk_free_bytes"), seen("journal_headroom_bytes")
        assert free is not None
        assert headroom is not None
        assert headroom < free
        soon(lambda: _batches_agree(Seen(lab)))
        assert seen("commit_queue_commands") == 0


def test_the_node_tells_what_it_is_and_whether_it_accepts_anything(tmp_path: Path):
    with a_lab(tmp_path) as lab:
        seen = Seen(lab)
        assert seen("node_role", role="writer") == seen("node_accepting") == seen("node_epoch") == 1
        assert seen("node_role", role="starting") == 0
        assert 'database="sqlite"' in seen.text
    seen = Seen(lab)
    assert seen("node_role", role="stopping") == 1
    assert seen("node_accepting") == 0


def test_a_node_that_has_not_begun_tells_so(tmp_path: Path):
    admin = falcon.testing.TestClient(Application(lab_settings(tmp_path)).admin)
    text = admin.simulate_get("/metrics").text
    assert 'certeasy_node_role{role="starting"} 1.0' in text
    assert "certeasy_node_accepting 0.0" in text


def test_problems_are_counted_by_what_they_are_and_never_by_what_was_asked(tmp_path: Path):
    with a_lab(tmp_path) as lab:
        client = a_client(lab)
        assert client.order("elsewhere.test").status_code == 400
        for number in range(30):
            assert lab.wire.simulate_get(f"/acme/nowhere/{number}").status_code == 404
        seen = Seen(lab)
        assert seen("acme_problems_total", type="rejectedIdentifier") == 1
        assert seen("acme_problems_total", type="malformed") == 30
        assert seen("http_request_seconds_count", resource="none") == 30
        assert "nowhere" not in seen.text
        assert "elsewhere" not in seen.text


def test_an_authority_that_cannot_be_used_is_seen(tmp_path: Path):
    with a_lab(tmp_path) as lab:
        assert Seen(lab)("authority_up", authority="lab-ca") == 1
        breakers = lab.server.breakers
        breakers.failed("lab-ca", breakers.asking("lab-ca"), "no route to host")
        assert Seen(lab)("authority_up", authority="lab-ca") == 0


def test_errors_of_the_database_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with a_lab(tmp_path) as lab:
        begun(lab)
        store = lab.server.node.store

        def broken(*_given: Any) -> Any:
            raise database_error()

        with monkeypatch.context() as patch:
            patch.setattr("certeasy.store.store.ask", broken)
            with pytest.raises(DatabaseUnavailable):
                store.head()
        assert Seen(lab)("database_errors_total", kind="unavailable") == 1


def test_a_look_asks_nothing_of_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with a_lab(tmp_path) as lab:
        lab.server.schedule.stop()

        def asked(*_given: Any) -> Any:
            raise AssertionError("the database was asked")

        with monkeypatch.context() as patch:
            patch.setattr("certeasy.store.store.ask", asked)
            assert Seen(lab)("node_accepting") == 1


# -- what is counted every now and then ---------------------------------------------------------


def begun(lab: Lab) -> None:
    """Return once the count that a start makes is over, and let no other be made by itself."""
    soon(lambda: Seen(lab)("counts_timestamp_seconds"))
    lab.server.schedule.stop()


def counted(lab: Lab, clock: MovedClock) -> Seen:
    """Count as soon as it is time for that, and look."""
    begun(lab)
    clock.pass_by(3600)
    lab.server.counts.count()
    return Seen(lab)


def test_orders_are_counted_by_status(tmp_path: Path):
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = a_client(lab)
        client.placed("a.lab.test")
        client.ready("b.lab.test")
        client.issued("c.lab.test")
        client.drop_nonce()
        seen = counted(lab, clock)
        by_status = {
            status: seen("orders", status=status)
            for status in ("pending", "ready", "processing", "valid", "invalid")
        }
        assert by_status == {"pending": 1, "ready": 1, "processing": 0, "valid": 1, "invalid": 0}
        assert seen("counts_timestamp_seconds") == pytest.approx(clock.now().timestamp(), abs=5)


def _renewed_plainly(client: Client) -> None:
    client.issued(NAME)


def _renewed_with_another_name(client: Client) -> None:
    client.issued("www.lab.test", NAME)


@pytest.mark.parametrize("renew", [_renewed_plainly, _renewed_with_another_name])
def test_a_certificate_is_overdue_until_there_is_a_later_one_for_its_names(
    tmp_path: Path, renew: Callable[[Client], None]
):
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = a_client(lab)
        client.issued(NAME)
        seen = counted(lab, clock)
        assert seen("certificates_overdue") == seen("certificates_expiring", within="30d") == 0
        clock.pass_by(70 * DAY)  # of 90
        seen = counted(lab, clock)
        assert seen("certificates_overdue") == seen("certificates_expiring", within="30d") == 1
        assert seen("certificates_expiring", within="7d") == 0
        assert [each.names for each in lab.server.counts.overdue] == [(NAME,)]
        client.drop_nonce()
        renew(client)
        seen = counted(lab, clock)
        assert seen("certificates_overdue") == seen("certificates_expiring", within="30d") == 0
        assert lab.server.counts.overdue == ()


def test_a_certificate_whose_names_were_renewed_in_part_is_overdue(tmp_path: Path):
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = a_client(lab)
        client.issued(NAME, "www.lab.test")
        begun(lab)
        clock.pass_by(85 * DAY)
        client.drop_nonce()
        client.issued("www.lab.test")
        seen = counted(lab, clock)
        assert seen("certificates_overdue") == seen("certificates_expiring", within="7d") == 1
        assert seen("certificates_expiring", within="1d") == 0


def test_what_was_revoked_or_has_expired_is_not_overdue(tmp_path: Path):
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = a_client(lab)
        client.issued(NAME)
        begun(lab)
        clock.pass_by(91 * DAY)
        assert counted(lab, clock)("certificates_overdue") == 0


def test_a_count_that_took_long_is_not_made_again_soon(tmp_path: Path):
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = a_client(lab)
        counts = lab.server.counts
        seen = counted(lab, clock)
        assert seen("orders", status="pending") == 0
        by_status = lab.server.node.store.orders_by_status

        def slow() -> dict[str, int]:
            clock.pass_by(30)
            return by_status()

        lab.server.node.store.orders_by_status = slow  # type: ignore[method-assign]
        client.drop_nonce()
        client.placed(NAME)
        assert counted(lab, clock)("orders", status="pending") == 1
        client.drop_nonce()
        client.placed("www.lab.test")
        clock.pass_by(2900)
        counts.count()
        assert Seen(lab)("orders", status="pending") == 1
        clock.pass_by(200)
        counts.count()
        assert Seen(lab)("orders", status="pending") == 2
        assert (Seen(lab)("counts_seconds") or 0) >= 30


def test_a_database_that_is_away_costs_one_count(tmp_path: Path):
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock) as lab:
        begun(lab)
        store, by_status = lab.server.node.store, lab.server.node.store.orders_by_status

        def away() -> dict[str, int]:
            raise DatabaseUnavailable("it is away")

        store.orders_by_status = away  # type: ignore[method-assign]
        counted(lab, clock)
        store.orders_by_status = by_status  # type: ignore[method-assign]
        assert counted(lab, clock)("orders", status="pending") == 0

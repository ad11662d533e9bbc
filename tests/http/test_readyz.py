"""/readyz: whether a node can take orders, each check `ok` or what is wrong in a sentence."""

import os
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from certeasy.settings import AuditSettings
from tests.fakes.faults import database_error
from tests.make.lab import Lab, a_lab


def told(lab: Lab) -> tuple[int, dict[str, str]]:
    answer = falcon.testing.TestClient(lab.server.admin).simulate_get("/readyz")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["status"] == {200: "ready", 503: "not ready"}[answer.status_code]
    return answer.status_code, answer.json["checks"]


def test_a_node_that_is_well_says_so_of_each_of_its_parts(tmp_path: Path):
    low = AuditSettings(min_free_bytes=1 << 16, low_free_bytes=1 << 16)
    with a_lab(tmp_path, sections={"audit": low}) as lab:
        names = ("database", "journal", "role", "certificate", "license")
        names += ("journal disk", "authority lab-ca")
        assert told(lab) == (200, dict.fromkeys(names, "ok"))


def test_a_disk_that_fills_up_is_told_before_anything_is_refused(tmp_path: Path):
    low = AuditSettings(min_free_bytes=1 << 16, low_free_bytes=1 << 40)
    with a_lab(tmp_path, sections={"audit": low}) as lab:
        status, checks = told(lab)
        assert (status, checks["journal"]) == (200, "ok")
        path = lab.server.node.journal.path
        assert f"bytes are free where {path} is, less than {1 << 40}" in checks["journal disk"]
        assert "audit.low-free-bytes" in checks["journal disk"]


def test_a_disk_without_room_makes_a_node_not_ready(tmp_path: Path, monkeypatch: Any):
    with a_lab(tmp_path) as lab:
        monkeypatch.setattr(lab.server.node.journal.disk, "free", lambda _path: 1000)
        status, checks = told(lab)
        assert status == 503
        assert "1000 bytes free on the journal's disk, 65536 are needed" in checks["journal"]


def test_a_disk_that_cannot_be_asked_is_no_disk_that_is_well(tmp_path: Path, monkeypatch: Any):
    with a_lab(tmp_path) as lab:

        def gone(_path: Path) -> int:
            raise OSError(os.strerror(5))

        monkeypatch.setattr(lab.server.node.journal.disk, "free", gone)
        status, checks = told(lab)
        assert status == 503
        assert checks["journal"].startswith("the check itself failed: ")


def test_a_database_that_is_away_makes_a_node_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with a_lab(tmp_path) as lab:

        def broken(*_given: Any) -> Any:
            raise database_error()

        with monkeypatch.context() as patch:
            patch.setattr("certeasy.store.store.ask", broken)
            status, checks = told(lab)
        assert status == 503
        assert checks["database"].startswith("the database is out of service: ")
        assert told(lab)[0] == 200


def test_a_node_that_has_stopped_is_not_ready(tmp_path: Path):
    with a_lab(tmp_path) as lab:
        pass
    assert told(lab)[0] == 503

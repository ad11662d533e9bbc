"""The figures as they are declared, and their page."""

import math
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from certeasy.metrics import Metrics, told
from tests.make.metric_rows import declared, row

PAGE = (Path(__file__).resolve().parents[2] / "docs/monitoring.md").read_text(encoding="utf-8")
DECLARED = declared()


def test_the_page_has_each_figure_with_its_kind_and_labels_and_no_other():
    told = {line for line in PAGE.splitlines() if line.startswith("| `certeasy_")}
    assert told == {row(name, metric) for name, metric in DECLARED.items()}


@pytest.mark.parametrize("name", DECLARED)
def test_names_are_as_prometheus_wants_them(name: str):
    metric = DECLARED[name]
    assert re.fullmatch(r"certeasy_[a-z0-9]+(_[a-z0-9]+)*", name)
    assert (metric._type == "counter") == name.endswith("_total")
    if metric._type == "histogram":
        assert name.endswith(("_seconds", "_commands"))


def test_two_nodes_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.problems.labels("badNonce").inc()
    assert one.registry.get_sample_value("certeasy_acme_problems_total", {"type": "badNonce"}) == 1
    assert b'type="badNonce"' not in other.text()


def test_a_figure_that_cannot_be_told_costs_no_other():
    metrics = Metrics()

    def gone() -> float:
        raise OSError("the disk is gone")

    metrics.journal_free.set_function(told(gone))
    metrics.position.set_function(told(lambda: 12))
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }
    assert math.isnan(found["certeasy_journal_disk_free_bytes"])
    assert found["certeasy_log_position"] == 12


def test_no_series_tells_when_it_was_made():
    assert "_created" not in Metrics().text().decode()

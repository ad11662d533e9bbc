"""The figures as they are declared, and their page."""

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
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


# -- what is made of them -----------------------------------------------------------------------

FOLDER = Path(__file__).resolve().parents[2] / "docs/monitoring"
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = msgspec.json.decode((FOLDER / "dashboard.json").read_bytes())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = sorted({each["expr"] for each in (*RULES, *TARGETS)})
OF_PROMETHEUS = {"job", "instance", "le"}
SERIES = {
    f"{name}{suffix}": metric
    for name, metric in DECLARED.items()
    for suffix in (("_bucket", "_sum", "_count") if metric._type == "histogram" else ("",))
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_alerts_and_the_dashboard_ask_for_figures_and_labels_that_there_are(expression: str):
    asked = re.findall(r"\bcerteasy_\w+", expression)
    assert set(asked) <= set(SERIES)
    labels = OF_PROMETHEUS.union(*(SERIES[name]._labelnames for name in asked))
    for inside in re.findall(r"\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*=", inside)) <= labels
    for inside in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", inside)) <= labels


def shown(text: str) -> set[str]:
    """The labels that a legend or a sentence has."""
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_how_bad_it_is_and_has_its_row_on_the_page(rule: dict[str, Any]):
    assert rule["labels"]["severity"] in {"critical", "warning"}
    names = re.findall(r"\bcerteasy_\w+", rule["expr"])
    known = OF_PROMETHEUS.union(*(SERIES[name]._labelnames for name in names))
    assert shown(rule["annotations"]["summary"]) <= known
    assert f"| `{rule['alert']}` |" in PAGE


def test_the_page_tells_of_no_other_alert():
    alerts = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `Certeasy")}
    assert alerts == {rule["alert"] for rule in RULES}


def test_a_legend_shows_labels_that_there_are():
    for target in TARGETS:
        names = re.findall(r"\bcerteasy_\w+", target["expr"])
        known = OF_PROMETHEUS.union(*(SERIES[name]._labelnames for name in names))
        assert shown(target["legendFormat"]) <= known, target


def test_each_figure_that_tells_of_trouble_is_on_the_dashboard():
    on_it = {name for target in TARGETS for name in re.findall(r"\bcerteasy_\w+", target["expr"])}
    asked = {name for rule in RULES for name in re.findall(r"\bcerteasy_\w+", rule["expr"])}
    assert {name for name in asked if "_counts_" not in name and "renewal" not in name} <= on_it


def test_no_two_panels_of_the_dashboard_lie_on_each_other():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])

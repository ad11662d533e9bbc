"""Prometheus' own tool reads the figures and the alerts, and has the alerts go off."""

import shutil
import subprocess
from pathlib import Path

import pytest

from certeasy.metrics import Metrics

pytestmark = pytest.mark.interop

PROMTOOL = shutil.which("promtool") or "promtool"
ALERTS = Path(__file__).resolve().parents[2] / "docs/monitoring/alerts.yml"
SERIES = 'job="certeasy", instance="one"'


def promtool(*words: str | Path, given: bytes = b"") -> str:
    done = subprocess.run([PROMTOOL, *words], input=given, capture_output=True, check=False)
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    return told


def test_the_figures_are_named_as_prometheus_advises():
    metrics = Metrics()
    metrics.describe_build("sqlite")
    metrics.batch_stored(3, 0.01, 0.002)
    metrics.job_tried("issue", "done", 0.2)
    assert promtool("check", "metrics", given=metrics.text()) == ""


def test_the_alerts_are_rules():
    assert "SUCCESS" in promtool("check", "rules", ALERTS)


@pytest.mark.parametrize(
    ("series", "values", "alert"),
    [
        ("certeasy_node_accepting{%s}", "1+0x10 0+0x10", "CerteasyAcceptsNothing"),
        (
            'certeasy_authority_up{%s, authority="corp"}',
            "1+0x10 0+0x30",
            "CerteasyAuthorityAway",
        ),
        ("certeasy_certificates_overdue{%s}", "0+0x10 2+0x90", "CerteasyCertificatesOverdue"),
        (
            'certeasy_notices_total{%s, channel="smtp", outcome="failed"}',
            "0+0x10 1+0x3",
            "CerteasyNoticesNotSent",
        ),
        ("certeasy_managed_servers_allowed{%s}", "25+0x10 0+0x3", "CerteasyNoNewServers"),
        (
            "certeasy_journal_headroom_bytes{%s}",
            "5000000000+0x10 500000000+0x30",
            "CerteasyJournalDiskLow",
        ),
        (
            'certeasy_database_errors_total{%s, kind="unavailable"}',
            "0+0x10 1+0x3",
            "CerteasyDatabaseErrors",
        ),
        (
            'certeasy_limits_refused_total{%s, limit="order-creation"}',
            "0+0x10 1+1x50",
            "CerteasyClientsRefused",
        ),
        (
            'certeasy_job_attempts_total{%s, kind="issue", outcome="failed"}',
            "0+0x10 1+0x3",
            "CerteasyJobsFail",
        ),
    ],
)
def test_an_alert_goes_off_when_there_is_reason_and_not_before(
    tmp_path: Path, series: str, values: str, alert: str
):
    minutes = sum(int(part.partition("x")[2]) + 1 for part in values.split()) - 1
    (tmp_path / "test.yml").write_text(
        f"""
rule_files: [{ALERTS}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: '{series % SERIES}'
        values: '{values}'
    promql_expr_test:
      - expr: count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)
        eval_time: 9m
        exp_samples: [{{labels: '{{}}', value: 0}}]
      - expr: count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)
        eval_time: {minutes}m
        exp_samples: [{{labels: '{{}}', value: 1}}]
"""
    )
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "test.yml")

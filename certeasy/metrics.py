"""Every figure that this server gives to Prometheus, declared in one place.

The rules that all of them keep:

* Names begin with `certeasy_`, and say the unit: `_seconds`, `_bytes`; what only grows ends in
  `_total`. docs/monitoring.md has a row for each.
* No label has a value that a client could choose: whoever asks for a million things makes no
  million series.
* Giving them costs the same, however much there is: what has to be counted in the database is
  counted by a job (`certeasy.jobs.counts`), and a figure that cannot be told at the moment is NaN.

A node has one `Metrics`, with a registry of its own.
"""

import math
import platform
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from certeasy import __version__

__all__ = ["CONTENT_TYPE", "Counter", "Gauge", "Metrics", "told"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""What should take milliseconds, in seconds."""
SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""What waits for others."""
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

disable_created_metrics()  # type: ignore[no-untyped-call] # a time of birth for every series doubles what has to be stored


class Metrics:
    """What is counted and measured in one node."""

    def __init__(self) -> None:
        made = self.registry = CollectorRegistry()
        # -- the node ---------------------------------------------------------------------------
        self.build_info = Gauge(
            "certeasy_build_info",
            "1; the labels tell what runs: version, python, database (driver)",
            ["version", "python", "database"],
            registry=made,
        )
        self.accepting = Gauge(
            "certeasy_node_accepting",
            "1 if changes are accepted at the moment, as /readyz tells under 'role'",
            registry=made,
        )
        self.role = Gauge(
            "certeasy_node_role",
            "1 for the role that the node has: writer, starting, stopping",
            ["role"],
            registry=made,
        )
        self.epoch = Gauge(
            "certeasy_node_epoch",
            "How often the writer's place has changed hands, this node's time included",
            registry=made,
        )
        # -- the log ----------------------------------------------------------------------------
        self.events = Counter(
            "certeasy_events_total",
            "Events this node has committed, by type",
            ["type"],
            registry=made,
        )
        self.batch = Histogram(
            "certeasy_commit_batch_commands",
            "Commands that were stored together, in one transaction",
            buckets=COUNTS,
            registry=made,
        )
        self.commit = Histogram(
            "certeasy_commit_seconds",
            "How long a batch took: part 'database' (decided, signed, committed), part 'journal'"
            " (written and synced)",
            ["part"],
            buckets=QUICK,
            registry=made,
        )
        self.queue = Gauge(
            "certeasy_commit_queue_commands",
            "Commands that wait to be stored",
            registry=made,
        )
        self.position = Gauge(
            "certeasy_log_position",
            "Position of the last event that this node has committed",
            registry=made,
        )
        self.journal_seq = Gauge(
            "certeasy_journal_seq",
            "Number of the last line in this node's journal",
            registry=made,
        )
        self.journal_lag = Gauge(
            "certeasy_journal_lag_events",
            "Events that the database has and the journal does not have yet",
            registry=made,
        )
        self.journal_open = Gauge(
            "certeasy_journal_open",
            "1 if the journal can be written",
            registry=made,
        )
        self.journal_size = Gauge(
            "certeasy_journal_active_bytes",
            "Size of the journal's active file",
            registry=made,
        )
        self.journal_free = Gauge(
            "certeasy_journal_disk_free_bytes",
            "Free space on the journal's disk",
            registry=made,
        )
        self.journal_headroom = Gauge(
            "certeasy_journal_headroom_bytes",
            "Free space on the journal's disk beyond audit.min-free-bytes; below 0 nothing is"
            " accepted",
            registry=made,
        )
        self.database_errors = Counter(
            "certeasy_database_errors_total",
            "Errors of the database: kind 'unavailable', or 'commit-unknown'",
            ["kind"],
            registry=made,
        )
        # -- requests ---------------------------------------------------------------------------
        self.requests = Histogram(
            "certeasy_http_request_seconds",
            "How long a request of a client took, from its first look to its answer, by resource",
            ["resource"],
            buckets=QUICK,
            registry=made,
        )
        self.responses = Counter(
            "certeasy_http_responses_total",
            "Answers to clients, by HTTP status",
            ["status"],
            registry=made,
        )
        self.problems = Counter(
            "certeasy_acme_problems_total",
            "Problem documents sent to clients, by the last part of their type",
            ["type"],
            registry=made,
        )
        self.limited = Counter(
            "certeasy_limits_refused_total",
            "Requests that were refused because of a limit, by limit",
            ["limit"],
            registry=made,
        )
        # -- work -------------------------------------------------------------------------------
        self.jobs_waiting = Gauge(
            "certeasy_jobs_waiting",
            "Jobs that are due, or put off, and not at work",
            registry=made,
        )
        self.jobs_running = Gauge(
            "certeasy_jobs_running",
            "Jobs at work",
            registry=made,
        )
        self.jobs = Counter(
            "certeasy_job_attempts_total",
            "Attempts at jobs, by kind, and outcome: done, again (it is tried later), failed (in a"
            " way nobody thought of)",
            ["kind", "outcome"],
            registry=made,
        )
        self.job_time = Histogram(
            "certeasy_job_attempt_seconds",
            "How long an attempt at a job took, by kind",
            ["kind"],
            buckets=SLOW,
            registry=made,
        )
        self.validations = Histogram(
            "certeasy_validation_seconds",
            "How long looking for a challenge took, by challenge type and outcome: valid, invalid",
            ["challenge", "outcome"],
            buckets=SLOW,
            registry=made,
        )
        self.issuances = Histogram(
            "certeasy_issuance_seconds",
            "How long clients waited for a certificate, from the finalized order to the issued"
            " certificate, by authority",
            ["authority"],
            buckets=SLOW,
            registry=made,
        )
        # -- authorities ------------------------------------------------------------------------
        self.authority_up = Gauge(
            "certeasy_authority_up",
            "1 if nothing speaks against an authority, 0 while it cannot be used",
            ["authority"],
            registry=made,
        )
        self.authority_requests = Histogram(
            "certeasy_authority_request_seconds",
            "How long an authority took for a request, by authority and outcome: issued, pending,"
            " denied, unavailable, in-doubt",
            ["authority", "outcome"],
            buckets=SLOW,
            registry=made,
        )
        # -- what is counted every now and then -------------------------------------------------
        self.orders = Gauge(
            "certeasy_orders",
            "Orders in the database, by status",
            ["status"],
            registry=made,
        )
        self.certificates_expiring = Gauge(
            "certeasy_certificates_expiring",
            "Certificates in force without a successor that expire within this time: 1d, 7d, 30d",
            ["within"],
            registry=made,
        )
        self.certificates_overdue = Gauge(
            "certeasy_certificates_overdue",
            "Certificates in force without a successor whose time to renew is over (of those that"
            " expire within 30 days)",
            registry=made,
        )
        self.counted_at = Gauge(
            "certeasy_counts_timestamp_seconds",
            "When orders and certificates were last counted",
            registry=made,
        )
        self.counting = Gauge(
            "certeasy_counts_seconds",
            "How long that took; the next count is not before a hundred times as long has passed",
            registry=made,
        )
        # -- the license ------------------------------------------------------------------------
        self.license_state = Gauge(
            "certeasy_license_state",
            "1 for the state that the license has: valid, grace, expired and so on",
            ["state"],
            registry=made,
        )
        self.license_end = Gauge(
            "certeasy_license_state_ends_timestamp_seconds",
            "When that state ends by itself; NaN: it does not",
            registry=made,
        )
        self.servers = Gauge(
            "certeasy_managed_servers",
            "Accounts with a certificate in force, or one on its way",
            registry=made,
        )
        self.servers_allowed = Gauge(
            "certeasy_managed_servers_allowed",
            "How many of them the license allows; +Inf: any number",
            registry=made,
        )
        # -- the server's own certificate -------------------------------------------------------
        self.tls_expiry = Gauge(
            "certeasy_tls_not_after_timestamp_seconds",
            "When the server's own certificate expires, by bundle",
            ["bundle"],
            registry=made,
        )
        self.tls_failing = Gauge(
            "certeasy_tls_renewal_failing",
            "1 while the server's own certificate is due and cannot be renewed, by bundle",
            ["bundle"],
            registry=made,
        )
        # -- notices ----------------------------------------------------------------------------
        self.notices = Counter(
            "certeasy_notices_total",
            "Notices to people, by channel (webhook, smtp) and outcome: sent, failed, dropped (too"
            " many waited)",
            ["channel", "outcome"],
            registry=made,
        )
        ProcessCollector(registry=made)

        self._in_database = self.commit.labels("database")
        self._in_journal = self.commit.labels("journal")

    def batch_stored(self, commands: int, database: float, journal: float) -> None:
        """Note a batch: how many commands, and the seconds that its two parts took."""
        self.batch.observe(commands)
        self._in_database.observe(database)
        self._in_journal.observe(journal)

    def job_tried(self, kind: str, outcome: str, seconds: float) -> None:
        """Note an attempt at a job: what came of it, and how long it took."""
        self.jobs.labels(kind, outcome).inc()
        self.job_time.labels(kind).observe(seconds)

    def describe_build(self, database: str) -> None:
        """Tell what runs, and on which kind of database."""
        self.build_info.labels(__version__, platform.python_version(), database).set(1)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)


def told(figure: Callable[[], float]) -> Callable[[], float]:
    """Return what gives a figure, or NaN where it cannot be told: one does not cost the others."""

    def safely() -> float:
        try:
            return float(figure())
        except Exception:  # noqa: BLE001 - of whatever kind: nobody is to miss the other figures
            return math.nan

    return safely

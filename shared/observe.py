"""Structured logs, and every metric the platform exports about itself."""

from __future__ import annotations

import json
import logging
import sys
from functools import partial
from typing import Any, TextIO

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram

from shared.log_lines import LineLogger

MESSAGES = Counter(
    "barograph_messages_total",
    "Deliveries settled, by outcome: handled, duplicate, retried, declined, rejected.",
    ["queue", "outcome"],
)
PUBLISHED = Counter(
    "barograph_published_messages_total", "Messages the broker confirmed.", ["type"]
)
HANDLING = Histogram(
    "barograph_handling_seconds",
    "Time to handle one batch of deliveries, publishing included.",
    ["queue"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60),
)
OUTBOX = Gauge(
    "barograph_outbox_messages", "Messages in the outbox that are not yet confirmed by the broker."
)
DEAD_LETTERS = Gauge(
    "barograph_dead_letters",
    "Messages that could not be handled and wait for an operator.",
    ["queue"],
)
SPANS = Counter(
    "barograph_spans_total",
    "Spans for the collector of traces, by outcome: sent, dropped (it did not take them).",
    ["outcome"],
)
CONNECTIONS_LOST = Counter(
    "barograph_broker_connections_lost_total",
    "Open connections to the broker that ended.",
    ["link"],
)
NO_PROGRESS = Gauge(
    "barograph_no_progress", "1 for a part of the service that makes no progress.", ["part"]
)
SET_ASIDE = Counter(
    "barograph_set_aside_total",
    "Messages and batches of samples that could not be processed and were set aside.",
    ["queue"],
)
OUTBOX_SET_ASIDE = Gauge(
    "barograph_outbox_set_aside_messages",
    "Messages in the outbox that can never be published, kept for an operator.",
)
PARTITION_LAG = Gauge(
    "barograph_partition_lag_seconds",
    "Age of the latest batch of samples that this replica has processed.",
    ["partition"],
)
PARTITIONS_OWNED = Gauge("barograph_partitions_owned", "Sample streams this replica owns.")
PARTITION_UNOWNED = Gauge(
    "barograph_partition_unowned_seconds",
    "How long a stream in this replica's share has had no known owner.",
    ["partition"],
)
REPLICAS_ALIVE = Gauge(
    "barograph_replicas_alive", "Replicas this one shares the sample streams with, itself included."
)
LEADS = Gauge(
    "barograph_leads",
    "1 on the leading replica of task or healer, 0 on standbys.",
)
SAMPLES = Counter(
    "barograph_samples_total", "Samples that were processed, by outcome.", ["outcome"]
)
SERIES_CUT = Counter(
    "barograph_series_cut_total",
    "New series whose labels were cut because they were too many or too long.",
)
SNAPSHOTS = Counter("barograph_snapshots_total", "Snapshots of a service's state.")
JOBS = Gauge("barograph_jobs", "Jobs known, by state.", ["state"])
SERIES = Gauge("barograph_series", "Series judged, by history: silent, coarse, own.", ["stage"])
ANOMALIES = Counter("barograph_anomalies_total", "Anomalies that began.", ["family"])
PREDICTIONS = Counter(
    "barograph_predictions_total",
    "Alarm predictions: opened, came_true, did_not_come, averted, series_ended.",
    ["outcome"],
)
MISSED_ALARMS = Counter("barograph_missed_alarms_total", "Alarms that were not predicted.")
FORECASTS = Counter("barograph_forecasts_total", "Forecasts that were made.", ["forecaster"])
FORECAST_LAG = Gauge("barograph_forecast_lag_series", "Series whose forecast is overdue.")
_RULE = ["item", "rule", "partition"]
PREDICTION_ACCURACY = Gauge(
    "barograph_prediction_accuracy_ratio",
    "The share of predicted alarms that came true.",
    _RULE,
)
MISSED_ALARM_RATE = Gauge(
    "barograph_missed_alarm_ratio",
    "The share of alarms that were not predicted.",
    _RULE,
)
ALARM_REDUCTION = Gauge(
    "barograph_alarm_reduction_ratio",
    "Predicted alarms that were averted, as a share of these and all alarms that occurred.",
    _RULE,
)
PREDICTION_LEAD = Gauge(
    "barograph_prediction_lead_seconds", "Mean time from a prediction to its alarm.", _RULE
)
INTERVAL_COVERAGE = Gauge(
    "barograph_interval_coverage_ratio",
    "The share of values inside their forecast 95 % interval.",
    _RULE,
)
BRIER_SCORE = Gauge(
    "barograph_prediction_brier_score",
    "Mean squared error of the probabilities of an alarm within the horizon; 0 is best.",
    _RULE,
)
ALERTS = Counter(
    "barograph_alert_changes_total", "Changes of an alert's state that were published.", ["state"]
)
CANARY_ROUNDS = Counter(
    "barograph_canary_rounds_total",
    "The canary's rounds, by outcome: complete, failed.",
    ["outcome"],
)
CANARY_SECONDS = Gauge(
    "barograph_canary_seconds",
    "How long the canary's last alarm took to be raised and cleared.",
    ["step"],
)
CANARY_LAST_SUCCESS = Gauge(
    "barograph_canary_last_success_timestamp_seconds",
    "Unix time of the canary's last complete round.",
)
ALERTS_OPEN = Gauge(
    "barograph_alerts_open",
    "Open alerts, by state of notification: waiting, pending, held, notified.",
    ["status"],
)
STORMING = Gauge(
    "barograph_alert_storm", "1 during a storm, in which people receive summaries of all alerts."
)
OUTSIDE_ALERTS = Counter(
    "barograph_outside_alerts_total",
    "Alerts posted by Prometheus or Alertmanager, by outcome: taken, refused, truncated (left out "
    "of a webhook by its sender).",
    ["outcome"],
)
ALERTS_HELD = Counter(
    "barograph_alerts_held_total",
    "Alerts of which people were not notified for a while, by reason: silence, "
    "inhibited, flapping.",
    ["why"],
)
ALERTS_HELD_SECONDS = Counter(
    "barograph_alert_held_seconds_total",
    "Time for which alerts were held back, by reason; added when they no longer are.",
    ["why"],
)
OLDEST_UNNOTIFIED = Gauge(
    "barograph_oldest_unnotified_critical_seconds",
    "Age of the oldest critical alert that people were not notified of and that no silence or "
    "inhibition holds; 0: none.",
)
DELIVERIES = Counter(
    "barograph_deliveries_total",
    "Notifications given to a channel, by outcome: sent, postponed, refused.",
    ["channel", "outcome"],
)
DELIVERIES_WAITING = Gauge(
    "barograph_deliveries_waiting", "Notifications not yet accepted by a channel.", ["channel"]
)
SAVED_ALARMS = Counter(
    "barograph_saved_alarms_total",
    "Predicted alarms that never fired because a remediation was verified in time.",
    ["family"],
)
REMEDIATIONS = Counter(
    "barograph_remediations_total",
    "Remediations that were executed, by outcome.",
    ["remediation", "outcome"],
)


def configure_logging(level: str = "INFO") -> None:
    """One JSON object a line on standard error; names are constant, values are fields."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=partial(_line_logger, sys.stderr),
        # Creating a logger costs as much as the line, and each alert of a storm logs several.
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    # pika reports every lost connection at length; the link says the same in one line.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def _line_logger(file: TextIO, *_name: object) -> LineLogger:
    return LineLogger(file)


def _json(line: dict[str, Any], **options: Any) -> str:
    """A line as JSON, also with what only the slower writer takes, such as half characters."""
    try:
        return orjson.dumps(line, **options).decode()
    except TypeError:
        return json.dumps(line, **options)

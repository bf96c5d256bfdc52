"""Grafana dashboards about Barograph itself, made from a table of panels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8
_SELECT = 'namespace="$namespace"'


@dataclass(frozen=True)
class Panel:
    """One graph: PromQL in which ``@`` stands for the selection of the namespace."""

    title: str
    expression: str
    legend: str
    unit: str = "short"


PLATFORM = (
    Panel("Replicas that answer", "sum by (job) (up{@})", "{{job}}"),
    Panel(
        "Messages settled",
        "sum by (queue, outcome) (rate(barograph_messages_total{@}[5m]))",
        "{{queue}} {{outcome}}",
        "ops",
    ),
    Panel(
        "Messages published",
        "sum by (type) (rate(barograph_published_messages_total{@}[5m]))",
        "{{type}}",
        "ops",
    ),
    Panel(
        "Time to handle a batch, 99 %",
        "histogram_quantile(0.99,"
        " sum by (le, queue) (rate(barograph_handling_seconds_bucket{@}[5m])))",
        "{{queue}}",
        "s",
    ),
    Panel(
        "Decided on, not yet confirmed", "max by (job) (barograph_outbox_messages{@})", "{{job}}"
    ),
    Panel("Partitions owned", "sum by (job, pod) (barograph_partitions_owned{@})", "{{pod}}"),
    Panel(
        "Age of the newest samples worked on",
        "max by (job, partition) (barograph_partition_lag_seconds{@})",
        "{{job}} {{partition}}",
        "s",
    ),
    Panel("Dead letters", "max by (queue) (barograph_dead_letters{@})", "{{queue}}"),
)

MACHINES = (
    Panel(
        "Samples",
        "sum by (job, outcome) (rate(barograph_samples_total{@}[5m]))",
        "{{job}} {{outcome}}",
        "ops",
    ),
    Panel(
        "Anomalies opened an hour",
        "sum by (family) (increase(barograph_anomalies_total{@}[1h]))",
        "{{family}}",
    ),
    Panel(
        "Alarms predicted, by what became of them, a day",
        "sum by (outcome) (increase(barograph_predictions_total{@}[1d]))",
        "{{outcome}}",
    ),
    Panel(
        "Missed alarms per day",
        "sum(increase(barograph_missed_alarms_total{@}[1d]))",
        "missed",
    ),
    Panel(
        "Predictions that came true",
        "avg by (item) (barograph_prediction_accuracy_ratio{@})",
        "{{item}}",
        "percentunit",
    ),
    Panel(
        "Alarms missed, of all",
        "avg by (item) (barograph_missed_alarm_ratio{@})",
        "{{item}}",
        "percentunit",
    ),
    Panel(
        "Forecasts",
        "sum by (forecaster) (rate(barograph_forecasts_total{@}[15m]))",
        "{{forecaster}}",
        "ops",
    ),
    Panel(
        "Series whose forecast is overdue",
        "sum by (pod) (barograph_forecast_lag_series{@})",
        "{{pod}}",
    ),
    Panel(
        "Remediations a day",
        "sum by (remediation, outcome) (increase(barograph_remediations_total{@}[1d]))",
        "{{remediation}} {{outcome}}",
    ),
    Panel("Snapshots", "sum by (job) (rate(barograph_snapshots_total{@}[15m]))", "{{job}}", "ops"),
)

ALERTING = (
    Panel(
        "Open alerts, by where they stand",
        "max by (status) (barograph_alerts_open{@})",
        "{{status}}",
    ),
    Panel(
        "Held back an hour, by why",
        "sum by (why) (increase(barograph_alerts_held_total{@}[1h]))",
        "{{why}}",
    ),
    Panel(
        "Notices an hour, by channel and outcome",
        "sum by (channel, outcome) (increase(barograph_deliveries_total{@}[1h]))",
        "{{channel}} {{outcome}}",
    ),
    Panel("Notices that wait", "max by (channel) (barograph_deliveries_waiting{@})", "{{channel}}"),
    Panel(
        "Time for the test alarm to come and go",
        "max by (step) (barograph_canary_seconds{@})",
        "{{step}}",
        "s",
    ),
    Panel(
        "Rounds of the canary an hour",
        "sum by (outcome) (increase(barograph_canary_rounds_total{@}[1h]))",
        "{{outcome}}",
    ),
    Panel("Storm", "max(barograph_alert_storm{@})", "storm"),
    Panel(
        "Alerts from outside",
        "sum by (outcome) (rate(barograph_outside_alerts_total{@}[5m]))",
        "{{outcome}}",
        "ops",
    ),
)

DASHBOARDS = {
    "alerting": ("Barograph: alerts and notices", ALERTING),
    "platform": ("Barograph: messages and services", PLATFORM),
    "machines": ("Barograph: machines, predictions, remediations", MACHINES),
}
"""Name to title and panels; each becomes a file of the chart."""


def dashboard(name: str) -> dict[str, Any]:
    """Grafana's JSON model of a dashboard."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"barograph-{name}",
        "title": title,
        "tags": ["barograph"],
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [_data_source(), _namespace()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _data_source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _namespace() -> dict[str, Any]:
    query = "label_values(barograph_published_messages_total, namespace)"
    return {
        "name": "namespace",
        "type": "query",
        "label": "Namespace",
        "query": query,
        "refresh": 2,
        "datasource": {"type": "prometheus", "uid": "${source}"},
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": source,
                "expr": panel.expression.replace("@", _SELECT),
                "legendFormat": panel.legend,
            }
        ],
    }

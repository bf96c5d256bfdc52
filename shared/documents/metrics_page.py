"""The page of the metrics that the platform exports about itself."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared import observe
from shared.documents.markdown import document, table

_INTRODUCTION = """\
Every service serves them at `/metrics` of its health port (`barograph status` names it), in
Prometheus' text format, beside Python's and the process's own. The chart's rules and dashboards are
made of them."""


def metrics_page() -> str:
    """Every metric of ``shared.observe``: name, type, labels, meaning."""
    found = [m for m in vars(observe).values() if isinstance(m, Counter | Gauge | Histogram)]
    rows = sorted(_row(metric) for metric in found)
    head = ("metric", "type", "labels", "meaning")
    return document("# Metrics", _INTRODUCTION, table(head, rows))


def _row(metric: Counter | Gauge | Histogram) -> tuple[str, str, str, str]:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001
    return f"`{name}`", family.type, labels, family.documentation

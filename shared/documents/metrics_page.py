"""The page of the metrics that the platform exports about itself."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared import observe
from shared.documents.markdown import document, table

_INTRODUCTION = """\
Every service exports these metrics at `/metrics` on its health port (see `barograph status`), in
Prometheus' text format, in addition to those of Python and of the process. The chart's rules and
dashboards use them."""


def metrics_page() -> str:
    """Every metric of ``shared.observe``: name, type, labels, meaning."""
    found = [m for m in vars(observe).values() if isinstance(m, Counter | Gauge | Histogram)]
    rows = sorted(_row(metric) for metric in found)
    head = ("metric", "type", "labels", "meaning")
    return document("# Metrics", _INTRODUCTION, table(head, rows))


def _row(metric: Counter | Gauge | Histogram) -> tuple[str, str, str, str]:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - the library does not tell them
    return f"`{name}`", family.type, labels, family.documentation

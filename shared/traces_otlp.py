"""Spans to an OpenTelemetry collector, over OTLP/HTTP; with the extra ``traces`` only.

Whoever exports a span never waits: spans lie in a queue that a thread of the SDK's empties. While
the collector is unavailable they are tried again for seconds and then dropped, the oldest first; no
message waits for that, and the end of the process waits two seconds at most.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared import traces
from shared.observe import SPANS
from shared.traces import Kind, Span

_QUEUE = 8192
_EVERY_MS = 2000
_TRY_S = 5
_FLUSH_S = 2.0
_ALL = 2**64
_KINDS = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.CONSUMER: SpanKind.CONSUMER,
}
_SCOPE = InstrumentationScope("barograph")


@contextmanager
def exporting(url: str, service: str, instance: str, ratio: float = 1.0) -> Iterator[None]:
    """Have the spans of this process sent to ``url`` while the block runs.

    Args:
        url: of the collector, its path included: http://collector:4318/v1/traces.
        service: which one did it (``service.name``).
        instance: which replica (``service.instance.id``).
        ratio: of all traces, those that are sent; all services keep the same ones.
    """
    # The SDK's own log is left out: a metric counts what an unavailable collector did not take.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    sender = _Sender(url, service, instance, ratio)
    traces.export_to(sender.export)
    try:
        yield
    finally:
        traces.export_to(None)
        sender.close()


class _Sender:
    def __init__(self, url: str, service: str, instance: str, ratio: float) -> None:
        attributes = {
            "service.name": f"barograph-{service}",
            "service.namespace": "barograph",
            "service.instance.id": instance,
        }
        self._resource = Resource.create(attributes)
        self._limit = round(ratio * _ALL)
        self._queue = BatchSpanProcessor(
            _Counted(OTLPSpanExporter(url, timeout=_TRY_S)),
            max_queue_size=_QUEUE,
            schedule_delay_millis=_EVERY_MS,
        )

    def export(self, span: Span) -> None:
        if int(span.trace_id[16:], 16) < self._limit:
            self._queue.on_end(_readable(span, self._resource))

    def close(self) -> None:
        # The processor's shutdown waits for half a minute if the collector is unavailable.
        last = threading.Thread(target=self._queue.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(_FLUSH_S)


class _Counted(SpanExporter):
    """Counts what became of the spans."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        outcome = "sent" if result is SpanExportResult.SUCCESS else "dropped"
        SPANS.labels(outcome).inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    parent = None
    if span.parent_id:
        parent = _context(span.trace_id, span.parent_id, remote=True)
    return ReadableSpan(
        span.name,
        context=_context(span.trace_id, span.span_id),
        parent=parent,
        resource=resource,
        attributes=span.attributes,
        links=[
            Link(_context(*found, remote=True))
            for found in map(traces.parts, span.links)
            if found is not None
        ],
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.problem) if span.problem else Status(),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(trace_id: str, span_id: str, *, remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, flags)

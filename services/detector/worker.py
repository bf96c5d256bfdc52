"""The partition worker: feeds an engine from a stream and keeps its snapshots."""

from __future__ import annotations

from collections.abc import Iterable

from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from services.detector.turns import Counts
from shared.columns import Array
from shared.contracts import (
    AnomalyDetected,
    CurveAnswered,
    CurveAsk,
    Message,
    SeriesFound,
    SeriesSearch,
    ThresholdTried,
    ThresholdTry,
)
from shared.observe import ANOMALIES, SAMPLES, SERIES
from shared.service.snapshot_worker import SnapshotWorker, batch_read
from shared.snapshots import SnapshotStore


class DetectorWorker(SnapshotWorker):
    """Judges one partition; see ``shared.service.PartitionWorker``."""

    def __init__(self, partition: int, settings: EngineSettings, store: SnapshotStore) -> None:
        super().__init__(partition, store)
        self._settings = settings
        self._engine = Engine(settings)
        self._exported = Counts()
        self._stages: dict[str, int] = {}

    def _load(self, arrays: dict[str, Array] | None) -> None:
        engine = Engine(self._settings)
        if arrays is not None:
            engine.restore(arrays)
        self._engine = engine
        self._exported = Counts()

    def _arrays(self) -> dict[str, Array]:
        return self._engine.snapshot()

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        """The events that follow from one Arrow batch."""
        events = self._engine.process(batch_read(offset, batch))
        self._export(events)
        return events

    def snapshot(self, offset: int) -> None:
        """Store state and offset as one, and show how many series are in each stage."""
        self._export_stages()
        super().snapshot(offset)

    def close(self) -> None:
        """Remove this replica's metrics of the series: the next owner counts them."""
        for stage, series in self._stages.items():
            SERIES.labels(stage).dec(series)
        self._stages = {}

    def found(self, question: SeriesSearch, partitions: int) -> SeriesFound:
        """The partition's series that somebody searches."""
        series, more = self._engine.curves.search(question)
        return SeriesFound(
            request_id=question.request_id,
            partition=self._partition,
            partitions=partitions,
            series=tuple(series),
            more=more,
        )

    def answer(self, question: CurveAsk) -> CurveAnswered:
        """Answer with what is known of a series."""
        curve = self._engine.curves.of(question.series)
        return CurveAnswered(request_id=question.request_id, source="detector", curve=curve)

    def tried(self, question: ThresholdTry) -> ThresholdTried:
        """Answer when a series would have alarmed with another threshold."""
        began, confirm_s = self._engine.curves.tried(question)
        return ThresholdTried(request_id=question.request_id, began_ms=began, confirm_s=confirm_s)

    def _export(self, events: Iterable[Message]) -> None:
        now, before = self._engine.counts, self._exported
        for outcome in ("judged", "not_judged", "late", "stale", "invalid", "refused"):
            SAMPLES.labels(outcome).inc(getattr(now, outcome) - getattr(before, outcome))
        self._exported = Counts(**vars(now))
        for event in events:
            if isinstance(event, AnomalyDetected):
                ANOMALIES.labels(event.family).inc()

    def _export_stages(self) -> None:
        # All partitions of a process share the gauge: each moves it by what has changed of its own.
        stages = self._engine.stages()
        for stage, series in stages.items():
            SERIES.labels(stage).inc(series - self._stages.get(stage, 0))
        self._stages = stages

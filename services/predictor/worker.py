"""The partition worker: feeds an engine from a stream and keeps its snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor

from prometheus_client import Gauge

from services.predictor.engine import Engine
from services.predictor.settings import EngineSettings
from shared.columns import Array
from shared.contracts import (
    CurveAnswered,
    CurveAsk,
    ForecastScore,
    Message,
    ScoresAnswered,
    ScoresAsk,
)
from shared.contracts.questions import MAX_SCORES
from shared.observe import (
    ALARM_REDUCTION,
    BRIER_SCORE,
    FORECAST_LAG,
    INTERVAL_COVERAGE,
    MISSED_ALARM_RATE,
    PREDICTION_ACCURACY,
    PREDICTION_LEAD,
)
from shared.service.snapshot_worker import SnapshotWorker, batch_read
from shared.snapshots import SnapshotStore
from shared.weeks import week_name

_LEDGER_GAUGES = {
    PREDICTION_ACCURACY: "accuracy",
    MISSED_ALARM_RATE: "missed_rate",
    ALARM_REDUCTION: "reduction",
    PREDICTION_LEAD: "lead_s",
    INTERVAL_COVERAGE: "coverage",
    BRIER_SCORE: "brier",
}
"""The metrics of the ledger, and the attribute of its scores that each shows."""


class PredictorWorker(SnapshotWorker):
    """Forecasts one partition; see ``shared.service.PartitionWorker``.

    Forecasting runs in ``heavy``, one thread for all partitions of a replica: statsmodels' filter
    of warnings is the process's, and the broker's thread must get its turn. Its result is awaited,
    so an offset counts as processed only with all that follows from it.
    """

    def __init__(
        self, partition: int, settings: EngineSettings, store: SnapshotStore, heavy: Executor
    ) -> None:
        super().__init__(partition, store)
        self._settings = settings
        self._heavy = heavy
        self._engine = Engine(settings)
        self._lag = 0
        self._exported: set[tuple[Gauge, tuple[str, ...]]] = set()

    def _load(self, arrays: dict[str, Array] | None) -> None:
        engine = Engine(self._settings)
        if arrays is not None:
            engine.restore(arrays)
        self._engine = engine

    def _arrays(self) -> dict[str, Array]:
        return self._engine.snapshot()

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        """The events that follow from one Arrow batch."""
        samples = batch_read(offset, batch)
        events = self._heavy.submit(self._engine.process, samples).result()
        self._export()
        return events

    def answer(self, question: CurveAsk) -> CurveAnswered:
        """Answer with what is known of a series, and what would be forecast of it now."""
        curve = self._heavy.submit(self._engine.curve, question.series).result()
        return CurveAnswered(request_id=question.request_id, source="predictor", curve=curve)

    def scores(self, question: ScoresAsk, partitions: int) -> ScoresAnswered:
        """Answer with how far the partition's forecasts were right, week by week."""
        found = [
            ForecastScore(item=item, week=week_name(week), **score.model_dump())
            for item, weeks in sorted(self._engine.episodes.ledger.weeks.items())
            for week, score in sorted(weeks.items(), reverse=True)
        ]
        return ScoresAnswered(
            request_id=question.request_id,
            partition=self._partition,
            partitions=partitions,
            scores=tuple(found[:MAX_SCORES]),
        )

    def close(self) -> None:
        """Remove this replica's metrics of lag and ledger: the next owner shows them."""
        FORECAST_LAG.dec(self._lag)
        self._lag = 0
        for gauge, labels in self._exported:
            gauge.remove(*labels)
        self._exported.clear()

    def _export(self) -> None:
        partition = str(self._partition)
        # A difference: the gauge is the sum over this replica's partitions.
        FORECAST_LAG.inc(self._engine.lag - self._lag)
        self._lag = self._engine.lag
        shown: set[tuple[Gauge, tuple[str, ...]]] = set()
        for item, score in self._engine.episodes.ledger.scores.items():
            labels = (item, self._engine.rule(item), partition)
            for gauge, name in _LEDGER_GAUGES.items():
                value = getattr(score, name)
                if value is not None:
                    gauge.labels(*labels).set(value)
                    shown.add((gauge, labels))
        for gauge, gone in self._exported - shown:
            gauge.remove(*gone)
        self._exported = shown

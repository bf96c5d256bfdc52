"""People's judgements of past verdicts: values that are normal for a series after all.

"Not an anomaly" moves the series' own limit, for the shape that was judged (spikes or drops), to
the judged value; from then on only what lies beyond it is an anomaly. "It was one" at or within
the limit takes the limit back. Static alarm thresholds are not touched: they are not learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.columns import Column, Columns, Rows
from shared.contracts import AnomalyJudged
from shared.contracts.alerts import Direction
from shared.samples import SampleBatch, from_rows, labels_text

Bools = NDArray[np.bool_]


class Labels:
    """The learned limits of all series, in columns."""

    def __init__(self) -> None:
        self.state = Columns(
            [Column("highest", np.float64, -np.inf), Column("lowest", np.float64, np.inf)]
        )

    def take(self, row: int, label: AnomalyJudged) -> None:
        """One person's label; the same again changes nothing."""
        highest, lowest = self.state["highest"], self.state["lowest"]
        drop = label.direction is Direction.DROP
        if label.anomaly:
            if not drop and label.value <= highest[row]:
                highest[row] = -np.inf
            if drop and label.value >= lowest[row]:
                lowest[row] = np.inf
        elif drop:
            lowest[row] = min(lowest[row], label.value)
        else:
            highest[row] = max(highest[row], label.value)

    @property
    def any(self) -> Bools:
        """The series that people have judged."""
        return np.isfinite(self.state["highest"]) | np.isfinite(self.state["lowest"])

    def excused(
        self, rows: Rows, values: NDArray[np.float64], direction: NDArray[np.int8]
    ) -> Bools:
        """Points whose kind of value was called normal."""
        with np.errstate(invalid="ignore"):
            high = (direction >= 0) & (values <= self.state["highest"][rows])
            low = (direction < 0) & (values >= self.state["lowest"][rows])
        return np.asarray(high | low)


def label_batch(label: AnomalyJudged) -> SampleBatch:
    """The label as it travels in its machine's stream: a batch without samples."""
    return from_rows((), judged=(label.model_dump_json(),))


def parsed(texts: Sequence[str]) -> list[AnomalyJudged]:
    """The labels of a batch."""
    return [AnomalyJudged.model_validate_json(text) for text in texts]


def point_of(label: AnomalyJudged) -> SampleBatch:
    """One row that names the series, to find it by."""
    series = label.series
    row = (series.host, series.item, labels_text(series.labels), 0, label.value)
    return from_rows([row])

"""VUS-PR, the volume under the precision-recall surface, by its published definition.

Paparrizos et al. 2022 and TSB-AD 2024. A labelled run is widened by a buffer whose labels fall with
the square root of the distance, recall is multiplied by the share of runs that are touched at all,
and the area under the precision-recall curve is averaged over every buffer from 0 to the series'
own period. No point adjustment; 1 is perfect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_THRESHOLDS = 250
_MAX_LAGS, _MIN_LAG, _MAX_PERIOD, _USUAL_PERIOD = 400, 3, 300, 125


def runs(labels: Bools) -> list[tuple[int, int]]:
    """First and last place of every labelled run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels.astype(np.int8), [0]])))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def period(values: Floats) -> int:
    """The lag of the highest local maximum of the autocorrelation; 125 where there is none."""
    centred = values - values.mean()
    total = float(centred @ centred)
    lags = min(_MAX_LAGS, len(values) - 1)
    if total <= 0 or lags <= _MIN_LAG + 2:
        return _USUAL_PERIOD
    padded = np.fft.rfft(centred, 2 * len(values))
    found = np.fft.irfft(padded * padded.conj())[_MIN_LAG : lags + 1] / total
    inner = np.flatnonzero((found[1:-1] > found[:-2]) & (found[1:-1] > found[2:])) + 1
    if not len(inner):
        return _USUAL_PERIOD
    best = int(inner[np.argmax(found[inner])])
    return best + _MIN_LAG if _MIN_LAG <= best <= _MAX_PERIOD else _USUAL_PERIOD


def _widened(labels: Bools, spans: list[tuple[int, int]], buffer: int) -> Floats:
    """Labels from 0 to 1: every run with a fading buffer of half of ``buffer`` on each side."""
    wide = labels.astype(np.float64)
    n = len(labels)
    for first, last in spans:
        after = np.arange(last + 1, min(last + buffer // 2 + 1, n))
        wide[after] += np.sqrt(1 - (after - last) / buffer)
        before = np.arange(max(first - buffer // 2, 0), first)
        wide[before] += np.sqrt(1 - (first - before) / buffer)
    return np.minimum(wide, 1.0)


def _joined(spans: list[tuple[int, int]], buffer: int, n: int) -> list[tuple[int, int]]:
    """The runs with their buffers; those that meet are one."""
    half = buffer // 2
    found = [(max(spans[0][0] - half, 0), min(spans[0][1] + half, n - 1))]
    for first, last in spans[1:]:
        begin, end = max(first - half, 0), min(last + half, n - 1)
        if begin <= found[-1][1]:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def vus_pr(labels: Bools, scores: Floats, longest: int) -> float:
    """Mean area under precision and recall, over buffers of 0 to ``longest`` points."""
    spans, n = runs(labels), len(labels)
    ranked = -np.sort(-scores)
    thresholds = ranked[np.linspace(0, n - 1, _THRESHOLDS).astype(int)]
    predicted_at = scores >= thresholds[:, None]
    predicted = predicted_at.sum(axis=1)
    before = np.concatenate([np.zeros((len(predicted_at), 1)), predicted_at.cumsum(axis=1)], axis=1)
    marked = float(labels.sum())
    areas = []
    for buffer in range(longest + 1):
        wide = _widened(labels, spans, buffer)
        caught = predicted_at @ wide
        present = marked + predicted_at @ np.where(labels, 0.0, wide)
        joined = _joined(spans, buffer, n)
        begin, end = np.array(joined).T
        touched = (before[:, end + 1] > before[:, begin]).mean(axis=1)
        recall = np.minimum(caught / ((marked + present) / 2), 1.0) * touched
        areas.append(float(np.diff(recall, prepend=0.0) @ (caught / predicted)))
    return float(np.mean(areas))

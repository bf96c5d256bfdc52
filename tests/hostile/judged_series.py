"""Series put through the default detector as the service does it, and what was said of them."""

from __future__ import annotations

import numpy as np

from services.detector.alignment import Alignment
from services.detector.detectors import Votes, make
from services.detector.detectors.base import tick_of
from services.detector.notices import Lasting, Notices
from shared.columns import Columns

MONDAY_MS = 1_767_571_200_000


def judged(
    rows: np.ndarray, step_ms: int, moments: np.ndarray
) -> tuple[list[list[int]], np.ndarray, list[Votes]]:
    """Return where each of ``rows`` opened an episode, which points were anomalous, all votes.

    ``moments``: the time of each point, in steps. A point that is NaN was never sent.
    """
    detector = make("surprise")
    state, alignment = Columns(detector.columns()), Alignment(None, 3)
    notices = Notices(Lasting(1), Lasting(5))
    for columns in (state, alignment.state, notices.state):
        columns.grow(len(rows))
    opened: list[list[int]] = [[] for _ in rows]
    votes, anomalous = [], np.zeros(rows.shape, dtype=np.bool_)
    for point in range(rows.shape[1]):
        sent = np.flatnonzero(~np.isnan(rows[:, point]))
        times = np.full(len(sent), MONDAY_MS + round(moments[point] * step_ms))
        missing, broken = alignment.advance(sent, times)
        tick = tick_of(rows[sent, point], times, rows=sent, missing=missing, broken=broken)
        votes.append(detector.step(state, tick))
        anomalous[sent, point] = votes[-1].anomalous
        for place in notices.step(sent, times, votes[-1].judged, votes[-1].anomalous).opened:
            opened[sent[place]].append(point)
    return opened, anomalous, votes

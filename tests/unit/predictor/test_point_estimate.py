"""The one time that a prediction names lies inside every range it names."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.predictor.crossing import Crossing
from services.predictor.episodes import Episodes, Prediction, Subject
from services.predictor.forecasters.base import Forecast
from services.predictor.passage import Passage
from services.predictor.settings import EngineSettings
from shared.contracts import AlarmPredicted
from shared.contracts.alerts import SeriesRef

STEPS = 24


@given(
    mean=st.floats(0.1, STEPS),
    earliest=st.floats(0.1, STEPS),
    latest=st.none() | st.floats(0.1, STEPS),
    shares=st.lists(st.floats(0.0, 1.0), min_size=STEPS, max_size=STEPS),
)
def test_a_predictions_point_estimate_lies_inside_its_ranges(
    mean: float, earliest: float, latest: float | None, shares: list[float]
) -> None:
    reached = np.maximum.accumulate(np.array(shares))
    flat = np.full(STEPS, 95.0)
    found = Prediction(
        crossing=Crossing(mean, earliest, latest),
        forecast=Forecast(flat, flat, flat),
        forecaster="drift",
        why={},
        passage=Passage(reached, {}),
    )
    subject = Subject(
        series=SeriesRef(host="db7", item="df.bytes.used.percent"),
        threshold=90.0,
        above=True,
        time_ms=3_600_000,
        value=80.0,
        open_step=1,
        history=np.array([79.0, 80.0]),
    )
    episodes = Episodes(EngineSettings())
    (event,) = episodes.forecast_made(0, subject, found, 0)
    assert isinstance(event, AlarmPredicted)
    assert event.earliest_ms <= event.crossing_ms
    assert event.latest_ms is None or event.crossing_ms <= event.latest_ms
    assert event.likely_from_ms is not None
    assert event.likely_until_ms is not None
    assert event.likely_from_ms <= event.crossing_ms <= event.likely_until_ms

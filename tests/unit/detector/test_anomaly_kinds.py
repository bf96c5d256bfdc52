"""Tests of what kind of anomaly the default detector names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detector.detectors.surprise import Surprise
from shared.contracts.alerts import AnomalyKind

_CHANNELS = range(10)
_UP = {AnomalyKind.SPIKE, AnomalyKind.LEVEL_UP}
_DOWN = {AnomalyKind.DIP, AnomalyKind.LEVEL_DOWN}


def _kind(channel: int, value: float, direction: int) -> AnomalyKind:
    return Surprise().kind({"kind": channel, "value": value, "expected": 10.0}, direction)


@given(st.sampled_from(_CHANNELS), st.floats(-1e9, 9.9))
def test_a_fall_is_never_called_a_rise(channel: int, value: float) -> None:
    assert _kind(channel, value, -1) not in _UP


@given(st.sampled_from(_CHANNELS), st.floats(10.1, 1e9))
def test_a_rise_is_never_called_a_fall(channel: int, value: float) -> None:
    assert _kind(channel, value, 1) not in _DOWN


@pytest.mark.parametrize("direction", [-1, 0, 1])
def test_every_channel_has_a_kind(direction: int) -> None:
    assert all(_kind(channel, 5.0, direction) is not AnomalyKind.OTHER for channel in _CHANNELS)

import math

import numpy as np
import pytest

from services.detector.recent import Recent


@pytest.mark.parametrize("value", [1.7976931348623157e308, -3.5e38, 3.4e38, 0.0])
def test_every_value_can_be_told_in_an_event(value: float) -> None:
    recent = Recent(4)
    recent.state.grow(1)
    recent.add(np.array([0]), np.array([1_700_000_000_000]), np.array([value]))
    (point,) = recent.points(0)
    assert math.isfinite(point.value)
    assert math.copysign(1, point.value) == math.copysign(1, value)


def test_a_point_without_a_value_is_left_out() -> None:
    recent = Recent(4)
    recent.state.grow(1)
    recent.add(np.array([0]), np.array([1_700_000_000_000]), np.array([np.nan]))
    assert recent.points(0) == ()

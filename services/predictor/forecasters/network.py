"""The common part of the 24-49-1 networks: scaling, feedback, and training errors."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.predictor.forecasters.base import NORMAL_95, Floats, Forecast, Forecaster

INPUTS = 24
HIDDEN = 2 * INPUTS + 1
Singles = NDArray[np.float32]


class Network(Forecaster):
    """Base of forecasters that train such networks on normalised series."""

    window: int = Field(168, ge=2 * INPUTS, le=10_000, description="Latest steps trained on.")
    learning_rate: float = Field(0.01, gt=0, lt=1, description="Adam's learning rate.")
    seed: int = Field(7, ge=0, description="The seed of the first weights.")

    def least_points(self, season: int) -> int:
        """Two seasons, and never fewer than two input windows."""
        return max(2 * INPUTS, 2 * season)

    @abstractmethod
    def normalised(self, normal: Singles, horizon: int) -> tuple[Singles, Singles]:
        """Means and deviations (n, horizon) of series (n, points) of mean 0 and deviation 1."""

    @abstractmethod
    def trained_on(self, values: Floats) -> dict[str, str]:
        """For ``why``: what of these series (n, points) it was trained on."""

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        values = values[:, -self.window :]
        center = values.mean(axis=1, keepdims=True)
        scale = np.maximum(values.std(axis=1, keepdims=True), 1e-9)
        flat = np.ptp(values, axis=1) <= 1e-9 * np.maximum(1, np.abs(center[:, 0]))
        normal = ((values - center) / scale).astype(np.float32)
        made, deviation = self.normalised(normal, horizon)
        mean = made * scale + center
        half = NORMAL_95 * np.maximum.accumulate(deviation.astype(np.float64), axis=1) * scale
        half[flat], mean[flat] = 0, values[flat, -1:]
        why = {"network": f"{INPUTS}-{HIDDEN}-1", **self.trained_on(values)}
        return [Forecast(m, m - h, m + h, why) for m, h in zip(mean, half, strict=True)]

    def first_weights(self) -> Singles:
        """(24, 49) of the hidden layer."""
        size = (INPUTS, HIDDEN)
        return np.random.default_rng(self.seed).normal(scale=INPUTS**-0.5, size=size).astype("f4")


def fed_back(tf: Any, weights: Any, x: Any, horizon: int, residual: bool = False) -> Any:
    """Outputs (n, windows, horizon), each fed back as the newest input of the next.

    ``residual``: the network says what differs from its oldest input.
    """
    hidden, bias, output = weights
    outputs = []
    for _ in range(horizon):
        made = tf.sigmoid(x @ hidden + bias) @ output[:, :HIDDEN] + output[:, HIDDEN:]
        outputs.append(made + x[..., :1] if residual else made)
        x = tf.concat([x[..., 1:], outputs[-1]], axis=-1)
    return tf.concat(outputs, axis=-1)


def errors_ahead(tf: Any, weights: Any, normal: Any, horizon: int, residual: bool = False) -> Any:
    """Root mean square error (n, horizon) at each step ahead on the training days."""
    points = normal.shape[1]
    reach = min(horizon, points - INPUTS)
    windows = tf.signal.frame(normal, INPUTS, 1)[:, :-1]
    outputs = fed_back(tf, weights, windows, reach, residual)
    errors = []
    for ahead in range(reach):
        targets = normal[:, INPUTS + ahead :]
        misses = outputs[:, : points - INPUTS - ahead, ahead] - targets
        errors.append(tf.sqrt(tf.reduce_mean(misses**2, axis=1)))
    return tf.stack(errors + errors[-1:] * (horizon - reach), axis=-1)

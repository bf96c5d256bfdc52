"""The 24-49-1 network: for volatile items with a daily rhythm such as CPU and network.

24 hourly inputs (one day), 2n+1 = 49 sigmoid hidden units, one linear output; seven days of
history give 144 training samples. Several steps ahead by feeding the output back. All series are
trained in one batched TensorFlow graph, each with its own weights, on values normalised per
series. The interval is that of the network's own errors at each step ahead on the training days.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from services.predictor.forecasters.base import NORMAL_95, Floats, Forecast, Forecaster, forecaster

INPUTS = 24
HIDDEN = 2 * INPUTS + 1


@forecaster
class Neural24x49x1(Forecaster):
    """Per-series weights, one graph; the same seed for each series, so batches do not matter."""

    NAME: ClassVar[str] = "neural_24_49_1"

    window: int = Field(
        168, ge=2 * INPUTS, le=10_000, description="Latest steps trained on: 7 days, 144 samples."
    )
    epochs: int = Field(300, ge=1, le=10_000, description="Full-batch Adam steps.")
    learning_rate: float = Field(0.01, gt=0, lt=1, description="Of Adam.")
    weight_decay: float = Field(1e-4, ge=0, lt=1, description="L2 penalty on the weights.")
    seed: int = Field(7, ge=0, description="Of the initial weights.")

    def least_points(self, season: int) -> int:
        """Two seasons, and never fewer than two input windows."""
        return max(2 * INPUTS, 2 * season)

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        values = values[:, -self.window :]
        center = values.mean(axis=1, keepdims=True)
        scale = np.maximum(values.std(axis=1, keepdims=True), 1e-9)
        flat = np.ptp(values, axis=1) <= 1e-9 * np.maximum(1, np.abs(center[:, 0]))
        normal = ((values - center) / scale).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(normal, INPUTS + 1, axis=1)
        weights = self._train(windows[..., :INPUTS], windows[..., INPUTS])
        mean = _feed_back(weights, normal[:, None, -INPUTS:], horizon)[:, 0] * scale + center
        half = NORMAL_95 * _errors(weights, normal, horizon) * scale
        half[flat] = 0
        mean[flat] = values[flat, -1:]
        why = {"network": f"{INPUTS}-{HIDDEN}-1", "training_samples": str(windows.shape[1])}
        return [Forecast(m, m - h, m + h, why) for m, h in zip(mean, half, strict=True)]

    def _train(self, inputs: Floats, targets: Floats) -> list[Floats]:
        """Weights of all series: (n,24,49), (n,1,49), (n,49,1), (n,1,1)."""
        import tensorflow as tf  # noqa: PLC0415 - heavy

        n = len(inputs)
        weights = [tf.Variable(np.repeat(w[None], n, axis=0)) for w in self._initial()]
        x, y = tf.constant(inputs), tf.constant(targets[..., None])

        # Compiled: the epochs are a loop in the graph, not Python calls.
        train = tf.function(lambda: self._loop(tf, weights, x, y))
        return [np.asarray(w) for w in train()]

    def _initial(self) -> list[Floats]:
        rng = np.random.default_rng(self.seed)
        shapes = ((INPUTS, HIDDEN), (1, HIDDEN), (HIDDEN, 1), (1, 1))
        return [
            (rng.normal(size=shape) * (shape[0] ** -0.5 if shape[0] > 1 else 0)).astype(np.float32)
            for shape in shapes
        ]

    def _loop(self, tf: Any, variables: Any, x: Any, y: Any) -> Any:
        weights = [tf.convert_to_tensor(v) for v in variables]
        zeros = [tf.zeros_like(w) for w in weights]

        def step(t: Any, now: Any, first: Any, second: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(now)
                output = tf.sigmoid(x @ now[0] + now[1]) @ now[2] + now[3]
                penalty = sum(tf.reduce_sum(w * w) for w in (now[0], now[2]))
                # Summed over series: their gradients stay independent of each other.
                loss = tf.reduce_sum(tf.reduce_mean((output - y) ** 2, axis=[1, 2]))
                loss += self.weight_decay * penalty
            gradients = tape.gradient(loss, now)
            first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
            second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
            rate = self.learning_rate * tf.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            now = [
                w - rate * m / (tf.sqrt(v) + 1e-7)
                for w, m, v in zip(now, first, second, strict=True)
            ]
            return t + 1, now, first, second

        end = float(self.epochs)
        state = (tf.constant(1.0), weights, zeros, zeros)
        return tf.while_loop(lambda t, *_: t <= end, step, state)[1]


def _output(weights: list[Floats], x: Floats) -> Floats:
    hidden = 1 / (1 + np.exp(-np.clip(x @ weights[0] + weights[1], -60, 60)))
    result: Floats = (hidden @ weights[2] + weights[3])[..., 0]
    return result


def _feed_back(weights: list[Floats], x: Floats, horizon: int) -> Floats:
    """Outputs (n, windows, horizon), each fed back as the newest input of the next."""
    outputs = []
    for _ in range(horizon):
        outputs.append(_output(weights, x))
        x = np.concatenate([x[..., 1:], outputs[-1][..., None]], axis=-1)
    return np.stack(outputs, axis=-1).astype(np.float64)


def _errors(weights: list[Floats], normal: Floats, horizon: int) -> Floats:
    """Root mean square error (n, horizon) at each step ahead, never shrinking with distance."""
    points = normal.shape[1]
    reach = min(horizon, points - INPUTS)
    windows = np.lib.stride_tricks.sliding_window_view(normal, INPUTS, axis=1)[:, :-1]
    outputs = _feed_back(weights, windows, reach)
    errors = np.empty((len(normal), horizon))
    for ahead in range(reach):
        targets = normal[:, INPUTS + ahead :]
        misses = outputs[:, : targets.shape[1], ahead] - targets
        errors[:, ahead] = np.sqrt((misses**2).mean(axis=1))
    errors[:, reach:] = errors[:, reach - 1 : reach]
    result: Floats = np.maximum.accumulate(errors, axis=1)
    return result

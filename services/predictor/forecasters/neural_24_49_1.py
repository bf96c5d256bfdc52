"""The 24-49-1 network: for volatile items with a daily rhythm such as CPU and network.

24 hourly inputs (one day), 2n+1 = 49 sigmoid hidden units, one linear output; seven days of
history give 144 training samples. Several steps ahead by feeding the output back. All series are
trained in one batched TensorFlow graph, each with its own weights, on values normalised per
series.

The output's weights are not descended to but solved for: ridge regression on the hidden units,
with the penalty whose leave-one-out error is least (Allen's PRESS, exact from the leverages). The
hidden layer is random, as in an extreme learning machine; for ``epochs`` steps it may follow the
gradient, the output solved again at each (variable projection), and the step with the least
leave-one-out error is kept. That fits the past better and forecasts no better: none by default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from services.predictor.forecasters.base import Floats, forecaster
from services.predictor.forecasters.network import (
    HIDDEN,
    INPUTS,
    Network,
    Singles,
    errors_ahead,
    fed_back,
)

_BATCH = 512
"""Series a call of the graph: 100 MB of hidden units and what is made of them."""
_MIN_PENALTY = 1e-6
_MAX_LEVERAGE = 0.99


@forecaster
class Neural24x49x1(Network):
    """Per-series weights, one graph; the same seed for each series, so batches do not matter."""

    NAME: ClassVar[str] = "neural_24_49_1"

    window: int = Field(
        168, ge=2 * INPUTS, le=10_000, description="Latest steps trained on: 7 days, 144 samples."
    )
    epochs: int = Field(
        0, ge=0, le=10_000, description="Adam steps of the hidden layer; 0: it stays random."
    )
    penalties: tuple[float, ...] = Field(
        (1e-3, 1e-2, 1e-1),
        min_length=1,
        max_length=20,
        description="Penalties on the output's weights; the least leave-one-out error chooses one.",
    )
    seed: int = Field(7, ge=0, description="The seed of the first weights.")

    def normalised(self, normal: Singles, horizon: int) -> tuple[Singles, Singles]:
        """Each series by its own weights."""
        run = _graph(self, horizon)
        parts = [run(normal[at : at + _BATCH]) for at in range(0, len(normal), _BATCH)]
        means, deviations = zip(*parts, strict=True)
        return np.concatenate(means), np.concatenate(deviations)

    def trained_on(self, values: Floats) -> dict[str, str]:
        """Return how many windows of each series."""
        return {"training_samples": str(values.shape[1] - INPUTS)}


@lru_cache(maxsize=8)
def _graph(network: Neural24x49x1, horizon: int) -> Callable[[Singles], tuple[Singles, Singles]]:
    """Means and deviations (n, horizon) of normalised values (n, points); traced once a length."""
    import tensorflow as tf

    def forecast(normal: Any) -> tuple[Any, Any]:
        windows = tf.signal.frame(normal, INPUTS + 1, 1)
        x, y = windows[..., :INPUTS], windows[..., INPUTS:]
        press, fitted, weights = _train(tf, network, x, y)
        mean = fed_back(tf, weights, normal[:, None, -INPUTS:], horizon)[:, 0]
        errors = errors_ahead(tf, weights, normal, horizon)
        # The errors on what was trained on are too small by what leaving one out says.
        return mean, errors * tf.sqrt(press / tf.maximum(fitted, 1e-12))[:, 0]

    compiled = tf.function(forecast, autograph=False)

    def run(normal: Singles) -> tuple[Singles, Singles]:
        # Any number of series, but so many points: what is traced depends on these.
        traced = compiled.get_concrete_function(tf.TensorSpec((None, normal.shape[1]), tf.float32))
        mean, deviation = traced(tf.constant(normal))
        return mean.numpy(), deviation.numpy()

    return run


def _train(tf: Any, network: Neural24x49x1, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Leave-one-out and training error (n,1,1), and weights (n,24,49), (n,1,49), (n,50,1)."""
    n, samples = tf.shape(x)[0], tf.cast(tf.shape(x)[1], tf.float32)
    hidden = tf.tile(network.first_weights()[None], [n, 1, 1])
    bias = tf.zeros([n, 1, HIDDEN])
    units, best = _output(tf, network, x, y, hidden, bias)
    zeros = tf.zeros_like(hidden), tf.zeros_like(bias)

    def step(t: Any, now: Any, first: Any, second: Any, units: Any, last: Any, kept: Any) -> Any:
        hidden, bias = now
        output, error = last
        # With the output solved for, its own gradient is 0: only the hidden layer's is left.
        back = error * tf.transpose(output[:, :HIDDEN], [0, 2, 1]) * units * (1 - units)
        back *= 2 / samples
        slopes = tf.matmul(x, back, transpose_a=True), tf.reduce_sum(back, 1, keepdims=True)
        first = [0.9 * m + 0.1 * g for m, g in zip(first, slopes, strict=True)]
        second = [0.99 * v + 0.01 * g * g for v, g in zip(second, slopes, strict=True)]
        rate = network.learning_rate * tf.sqrt(1 - 0.99**t) / (1 - 0.9**t)
        hidden, bias = (
            w - rate * m / (tf.sqrt(v) + 1e-7)
            for w, m, v in zip((hidden, bias), first, second, strict=True)
        )
        units, (press, fitted, output, error) = _output(tf, network, x, y, hidden, bias)
        better = press < kept[0]
        new = press, fitted, hidden, bias, output
        kept = [tf.where(better, a, b) for a, b in zip(new, kept, strict=True)]
        return t + 1, [hidden, bias], first, second, units, [output, error], kept

    press, fitted, output, error = best
    start = (
        tf.constant(1.0),
        [hidden, bias],
        list(zeros),
        list(zeros),
        units,
        [output, error],
        [press, fitted, hidden, bias, output],
    )
    end = float(network.epochs)
    press, fitted, *weights = tf.while_loop(lambda t, *_: t <= end, step, start)[-1]
    return press, fitted, weights


def _output(
    tf: Any, network: Neural24x49x1, x: Any, y: Any, hidden: Any, bias: Any
) -> tuple[Any, Any]:
    """Hidden units (n, samples, 49), and what the best penalty gives.

    That is the leave-one-out and the training error (n,1,1), the output's weights (n,50,1), and the
    errors (n, samples, 1).
    """
    units = tf.sigmoid(x @ hidden + bias)
    basis = tf.concat([units, tf.ones_like(units[..., :1])], -1)
    samples = tf.cast(tf.shape(x)[1], tf.float32)
    gram = tf.matmul(basis, basis, transpose_a=True) / samples
    moment = tf.matmul(basis, y, transpose_a=True) / samples
    # The mean is hardly penalised.
    shape = np.append(np.ones(HIDDEN), 1e-3)
    best: Any = None
    for penalty in network.penalties:
        ridge = tf.constant((penalty * shape + _MIN_PENALTY).astype(np.float32))
        root = tf.linalg.cholesky(gram + tf.linalg.diag(ridge))
        output = tf.linalg.cholesky_solve(root, moment)
        inner = tf.linalg.triangular_solve(root, tf.transpose(basis, [0, 2, 1]))
        leverage = tf.reduce_sum(inner * inner, 1)[..., None] / samples
        error = basis @ output - y
        left_out = error / (1 - tf.minimum(leverage, _MAX_LEVERAGE))
        press = tf.reduce_mean(left_out**2, 1, keepdims=True)
        new = press, tf.reduce_mean(error**2, 1, keepdims=True), output, error
        if best is None:
            best = new
        else:
            better = press < best[0]
            best = tuple(tf.where(better, a, b) for a, b in zip(new, best, strict=True))
    return units, best

"""One 24-49-1 network for all series of a batch, after scaling.

It learns from all of them together, so it needs no long history of each, but many of them in one
batch: a replay, a backfill, a whole partition at a full hour. It says what differs from the value a
day before (``residual``), on each series less its mean and over its deviation; several steps ahead
by feeding the output back. Alone with one series it is a network of that series.
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


@forecaster
class NeuralGlobal(Network):
    """Shared weights; the same seed and order of samples each time."""

    NAME: ClassVar[str] = "neural_global"

    steps: int = Field(600, ge=1, le=100_000, description="Adam steps.")
    samples: int = Field(512, ge=16, le=65_536, description="Samples of an Adam step.")
    learning_rate: float = Field(0.01, gt=0, lt=1, description="Adam's rate, falling to 0.")
    weight_decay: float = Field(1e-4, ge=0, lt=1, description="L2 penalty on the weights.")
    residual: bool = Field(True, description="Say what differs from the value a day before.")
    seed: int = Field(7, ge=0, description="The seed of first weights and sample order.")

    def normalised(self, normal: Singles, horizon: int) -> tuple[Singles, Singles]:
        """All series by the same weights."""
        return _graph(self, horizon)(normal)

    def trained_on(self, values: Floats) -> dict[str, str]:
        """Return how many series together."""
        return {"trained_on_series": str(len(values))}


@lru_cache(maxsize=8)
def _graph(network: NeuralGlobal, horizon: int) -> Callable[[Singles], tuple[Singles, Singles]]:
    """Means and deviations (n, horizon) of normalised values (n, points)."""
    import tensorflow as tf

    def forecast(normal: Any, order: Any) -> tuple[Any, Any]:
        windows = tf.signal.frame(normal, INPUTS + 1, 1)
        weights = _train(tf, network, windows, order)
        # One set of weights, for every series: (1, inputs, units).
        hidden, bias, output = (w[None] for w in weights)
        mean = fed_back(
            tf, (hidden, bias, output), normal[:, None, -INPUTS:], horizon, network.residual
        )
        errors = errors_ahead(tf, (hidden, bias, output), normal, horizon, network.residual)
        return mean[:, 0], errors

    compiled = tf.function(forecast, autograph=False)

    def run(normal: Singles) -> tuple[Singles, Singles]:
        # Series and moment of each sample, as shares: alike series give alike samples.
        share = np.random.default_rng(network.seed).random((network.steps, network.samples, 2))
        order = (share * (len(normal), normal.shape[1] - INPUTS)).astype(np.int32)
        traced = compiled.get_concrete_function(
            tf.TensorSpec((None, normal.shape[1]), tf.float32),
            tf.TensorSpec(order.shape, tf.int32),
        )
        mean, deviation = traced(tf.constant(normal), tf.constant(order))
        return mean.numpy(), deviation.numpy()

    return run


def _train(tf: Any, network: NeuralGlobal, windows: Any, order: Any) -> list[Any]:
    """Weights (24,49), (1,49), (50,1): the last row is the output's bias."""
    hidden = tf.constant(network.first_weights())
    start = [hidden, tf.zeros([1, HIDDEN]), tf.zeros([HIDDEN + 1, 1])]
    zeros = [tf.zeros_like(w) for w in start]

    def step(at: Any, now: Any, first: Any, second: Any) -> Any:
        chosen = tf.gather_nd(windows, order[at])
        x, y = chosen[:, :INPUTS], chosen[:, INPUTS:]
        y = y - x[:, :1] if network.residual else y
        with tf.GradientTape() as tape:
            tape.watch(now)
            made = tf.sigmoid(x @ now[0] + now[1]) @ now[2][:HIDDEN] + now[2][HIDDEN:]
            penalty = sum(tf.reduce_sum(w * w) for w in (now[0], now[2]))
            loss = tf.reduce_mean((made - y) ** 2) + network.weight_decay * penalty
        slopes = tape.gradient(loss, now)
        first = [0.9 * m + 0.1 * g for m, g in zip(first, slopes, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, slopes, strict=True)]
        t = tf.cast(at + 1, tf.float32)
        rate = network.learning_rate * (1 - t / (network.steps + 1))
        rate *= tf.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        now = [
            w - rate * m / (tf.sqrt(v) + 1e-7) for w, m, v in zip(now, first, second, strict=True)
        ]
        return at + 1, now, first, second

    found: list[Any] = tf.while_loop(
        lambda at, *_: at < network.steps, step, (tf.constant(0), start, zeros, zeros)
    )[1]
    return found
